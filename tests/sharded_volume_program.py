"""Run by test_sharded_volume.py in a process of its own, which has 8 CPU devices.

Prints one JSON object: for every case the largest relative error of values and
gradients against those of the whole volumes on one device, and how many collectives of
each kind the compiled program has.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from eight_devices import collectives, error
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jax_fused_ssim import fused_ssim3d, sharded

SHAPE = (2, 2, 44, 24, 26)
SIZES = {"a": 2, "b": 2, "c": 2}
ARGUMENTS = ("depth_axis", "height_axis", "width_axis")
NDHWC = {"data_format": "NDHWC"}

# Name: the mesh axes that cut depth, height and width, and the keywords.
CASES = {
    "depth": ("a--", {}),
    "depth by four": ("ab--", {}),
    "depth, valid": ("a--", {"padding": "valid"}),
    "depth, a map": ("a--", {"reduction": "none"}),
    "depth and height, channels last": ("a-b-", {"reduction": "per_image"} | NDHWC),
    "depth, height and width": ("a-b-c", {}),
    "depth and width, windows of 5": (
        "a--c",
        {"window_size": 5, "sigma": None, "sample_covariance": True},
    ),
    "width, valid, channels last": ("--c", {"padding": "valid"} | NDHWC),
}


def pair():
    x, noise = np.random.default_rng(0).random((2, *SHAPE))
    return jnp.asarray(x, jnp.float32), jnp.asarray((x + noise) / 2, jnp.float32)


def mesh_axes(cut):
    """Of depth, height and width."""
    names = [tuple(names) or None for names in cut.split("-")]
    return [*names, None, None][:3]


def run(cut, keywords):
    names = mesh_axes(cut)
    mesh = jax.make_mesh(
        tuple(SIZES.values()), tuple(SIZES), axis_types=(AxisType.Auto,) * len(SIZES)
    )
    x, y = pair()
    placed = P(None, None, *names)
    if keywords.get("data_format") == "NDHWC":
        x, y = (jnp.moveaxis(a, 1, -1) for a in (x, y))
        placed = P(None, *names, None)
    whole_map = keywords.get("reduction") == "none"
    blocks = jax.shard_map(
        functools.partial(
            sharded.fused_ssim3d,
            **dict(zip(ARGUMENTS, names, strict=True)),
            **keywords,
        ),
        mesh=mesh,
        in_specs=placed,
        out_specs=placed if whole_map else P(),
    )
    whole = functools.partial(fused_ssim3d, **keywords)

    def gradients(function):
        def total(x, y):
            result = function(x, y)
            return (result**2).sum(), result

        return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))

    program = gradients(blocks).lower(x, y).compile()
    return {
        "error": error(program(x, y), gradients(whole)(x, y)),
        **collectives(program),
    }


def batch():
    """A batch that XLA shards by itself."""
    mesh = jax.make_mesh((2,), ("n",), axis_types=(AxisType.Auto,))
    placed = jax.sharding.NamedSharding(mesh, P("n"))
    x, y = (jax.device_put(a, placed) for a in pair())
    gradients = jax.jit(jax.value_and_grad(fused_ssim3d, (0, 1)))
    program = gradients.lower(x, y).compile()
    expected = gradients(*pair())
    return {"error": error(program(x, y), expected), **collectives(program)}


def errors():
    """The messages of what is refused."""
    mesh = jax.make_mesh((8,), ("a",), axis_types=(AxisType.Auto,))
    x, y = pair()

    def message(**options):
        function = functools.partial(sharded.fused_ssim3d, **options)
        cut = P(None, None, "a")
        try:
            jax.eval_shape(
                jax.shard_map(function, mesh=mesh, in_specs=cut, out_specs=P()),
                *(jnp.pad(a, [(0, 0)] * 2 + [(0, 4)] + [(0, 0)] * 2) for a in (x, y)),
            )
        except (TypeError, ValueError) as raised:
            return str(raised)
        return None

    return {
        "no axis": message(),
        "small": message(depth_axis="a"),
        "keyword": message(depth_axis="a", window=3),
        "format": message(depth_axis="a", data_format="NCHW"),
    }


def main() -> None:
    found = {
        "cases": {name: run(*case) for name, case in CASES.items()},
        "batch": batch(),
        "errors": errors(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
