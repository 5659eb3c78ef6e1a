"""Run by test_sharded_loss.py in a process of its own, which has 8 CPU devices.

Prints one JSON object: for every case the largest relative error of loss, terms and
gradients against those of the whole images on one device, and how many collectives of
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

from jax_fused_ssim import fused_ssim, photometric_loss, sharded

SHAPE = (2, 3, 44, 48)
MESHES = {"two": {"a": 2}, "four": {"a": 4}, "two by two": {"a": 2, "b": 2}}
VALID, NHWC = {"padding": "valid"}, {"data_format": "NHWC"}
REGION, PER_IMAGE = {"error_region": "map"}, {"reduction": "per_image"}


def weighting(name, mask="[H, W]"):
    return {"weights": mask, "weighting": name}


# Name: the mesh, whose axes cut the height and the width, and the keywords.
CASES = {
    "rows": ("four", {}),
    "rows, valid": ("four", VALID),
    "rows, valid, errors of the map": ("four", VALID | REGION),
    "two blocks, valid, channels last": ("two", VALID | NHWC),
    "both": ("two by two", {}),
    "both, valid": ("two by two", VALID | PER_IMAGE),
    "both, valid, errors of the map, channels last": (
        "two by two",
        VALID | REGION | NHWC,
    ),
    "rows, windows of 5, a range": (
        "four",
        {
            "window_size": 5,
            "sample_covariance": True,
            "data_range": jnp.full((1,), 2.0),
        },
    ),
    "inside, both, windows of 7": (
        "two by two",
        weighting("inside") | {"window_size": 7, "sigma": None},
    ),
    "normalized, rows, windows of 9": (
        "four",
        VALID | weighting("normalized") | {"window_size": 9, "sigma": 2.0},
    ),
    "map, rows": ("four", weighting("map")),
    "map, both, valid": ("two by two", VALID | weighting("map")),
    "map, an image": ("two", PER_IMAGE | weighting("map", "[B, 1, H, W]")),
    "inside, rows, valid, errors of the map": (
        "four",
        VALID | REGION | weighting("inside"),
    ),
    "inside, both, channels last": ("two by two", NHWC | weighting("inside")),
    "inside, of columns": ("two", VALID | weighting("inside", "[1, W]")),
    "normalized, rows": ("four", weighting("normalized")),
    "normalized, both, valid, channels last": (
        "two by two",
        VALID | REGION | NHWC | weighting("normalized"),
    ),
}


def pair():
    x, noise = np.random.default_rng(0).random((2, *SHAPE))
    return jnp.asarray(x, jnp.float32), jnp.asarray((x + noise) / 2, jnp.float32)


def mask_of(name):
    """Weights with a hole across the borders of blocks, and its neighbourhood NaN for
    all that do not look there."""
    weights = np.random.default_rng(1).random((2, 1, *SHAPE[-2:])).astype(np.float32)
    weights[..., 9:25, 20:31] = 0
    return {
        "[H, W]": weights[0, 0],
        "[B, 1, H, W]": weights,
        "[1, W]": weights[0, 0, 9:10],
    }[name]


def mesh_of(name):
    sizes = MESHES[name]
    count = int(np.prod(list(sizes.values())))
    return jax.make_mesh(
        tuple(sizes.values()),
        tuple(sizes),
        axis_types=(AxisType.Auto,) * len(sizes),
        devices=jax.devices()[:count],
    )


def cut_of(shape, mesh, channels_last):
    """How an array that broadcasts to the images is cut."""
    names = ["a", "b" if "b" in mesh.axis_names else None]
    names = [*names, None] if channels_last else names
    spec = [None] * len(shape)
    for i in range(1, min(len(names), len(shape)) + 1):
        spec[-i] = names[-i] if shape[-i] != 1 else None
    return P(*spec)


def run(mesh, keywords):
    mesh, keywords = mesh_of(mesh), dict(keywords)
    arrays = list(pair())
    if "weights" in keywords:
        arrays.append(jnp.asarray(mask_of(keywords.pop("weights"))))
        if keywords["weighting"] != "map":
            arrays[0] = arrays[0].at[..., 12:20, 22:28].set(jnp.nan)
    channels_last = keywords.get("data_format") == "NHWC"
    if channels_last:
        arrays = [
            jnp.moveaxis(a, -3, -1) if a.ndim > 2 else a[..., None] for a in arrays
        ]
    options = {"ssim_weight": 0.4, "l2_weight": 0.3, "return_terms": True, **keywords}

    def step(function):
        def loss(x, y, *weights):
            given = {"weights": weights[0]} if weights else {}
            value, terms = function(x, y, **given)
            return value, terms

        return loss

    names = {"height_axis": "a", "width_axis": "b" if "b" in mesh.axis_names else None}
    on_blocks = jax.shard_map(
        step(functools.partial(sharded.photometric_loss, **names, **options)),
        mesh=mesh,
        in_specs=tuple(cut_of(a.shape, mesh, channels_last) for a in arrays),
        out_specs=P(),
    )
    on_whole = step(functools.partial(photometric_loss, **options))

    def gradients(function):
        def total(*arrays):
            value, terms = function(*arrays)
            return value.sum(), (value, terms)

        return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))

    program = gradients(on_blocks).lower(*arrays).compile()
    found, expected = program(*arrays), gradients(on_whole)(*arrays)
    return {
        "error": error(found, expected),
        "finite": all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(expected)),
        **collectives(program),
    }


def similarity():
    """`sharded.fused_ssim` with weights, differentiated inside shard_map."""
    mesh, (x, y) = mesh_of("two"), pair()
    weights = jnp.asarray(mask_of("[H, W]"))
    cut = P(None, None, "a")

    def ssim(x, y, w):
        function = functools.partial(sharded.fused_ssim, height_axis="a")
        return jax.value_and_grad(lambda x: function(x, y, weights=w))(x)

    blocks = jax.shard_map(
        ssim, mesh=mesh, in_specs=(cut, cut, P("a")), out_specs=(P(), cut)
    )
    expected = jax.value_and_grad(lambda x: fused_ssim(x, y, weights=weights))(x)
    return error(jax.jit(blocks)(x, y, weights), expected)


def identical():
    """Of identical images, the loss and the largest gradient."""
    x, _ = pair()
    function = functools.partial(sharded.photometric_loss, height_axis="a")
    cut = P(None, None, "a")
    loss = jax.shard_map(function, mesh=mesh_of("four"), in_specs=cut, out_specs=P())
    value, grad = jax.jit(jax.value_and_grad(loss))(x, x)
    return [float(value), float(jnp.abs(grad).max())]


def errors():
    """The messages of what is refused."""
    x, y = pair()
    cut = P(None, None, "a")

    def message(*arrays, cuts=(cut, cut), **options):
        def function(x, y, *w):
            given = {"weights": w[0]} if w else {}
            return sharded.photometric_loss(x, y, height_axis="a", **given, **options)

        try:
            jax.eval_shape(
                jax.shard_map(
                    function, mesh=mesh_of("four"), in_specs=cuts, out_specs=P()
                ),
                *arrays,
            )
        except (TypeError, ValueError) as raised:
            return str(raised)
        return None

    weights = jnp.ones(SHAPE[-2:])
    return {
        "keyword": message(x, y, window=3),
        "whole weights": message(x, y, weights, cuts=(cut, cut, P())),
        "small": message(x[:, :, :40], y[:, :, :40]),
        "reduction": message(x, y, reduction="none"),
        "twice": message(x, y, width_axis="a"),
    }


def main() -> None:
    found = {
        "cases": {name: run(*case) for name, case in CASES.items()},
        "similarity": similarity(),
        "identical": identical(),
        "errors": errors(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
