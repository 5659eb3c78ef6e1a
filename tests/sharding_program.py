"""Run by test_sharding.py in a process of its own, which has 8 CPU devices.

Prints one JSON object: for every case the largest relative error against the unsharded
result, and how many collectives of each kind the compiled program has.
"""

import functools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from eight_devices import collectives, error
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jax_fused_ssim import (
    fused_ms_ssim,
    fused_ssim,
    image_metrics,
    photometric_loss,
)


def squared_map(x, y):
    """Has a cotangent map that is not constant."""
    return (fused_ssim(x, y, reduction="none") ** 2).mean()


def per_image(x, y):
    return fused_ssim(x, y, reduction="per_image")


def one_target(x, y):
    """Every image of a batch against one image."""
    return jax.vmap(fused_ssim, (0, None))(x, y)


def channels_last(x, y):
    return fused_ssim(x, y, data_format="NHWC")


def loss(x, y):
    return photometric_loss(x, y, l2_weight=0.5)


def weighted(x, y, weighting="map"):
    """With weights that all images share."""
    weights = jnp.linspace(0.5, 2, x.shape[-1]) * jnp.ones((x.shape[-2], 1))
    weights = weights.at[:9, 3:20].set(0)
    return photometric_loss(x, y, weights=weights, weighting=weighting)


def normalized(x, y):
    return weighted(x, y, "normalized")


def scales(x, y):
    return fused_ms_ssim(x, y, scale_weights=(0.3, 0.7))


def gradients(f):
    return jax.value_and_grad(f, (0, 1))


@functools.cache
def mesh():
    auto = (AxisType.Auto, AxisType.Auto)
    # 4 x 2 of the test's devices; benchmarks.multi_gpu may have others.
    count = jax.device_count()
    return jax.make_mesh((count // 2, 2), ("a", "b"), axis_types=auto)


def over_devices(x, y):
    """By hand: each device takes its own images."""
    cut = PartitionSpec("a")
    mean = jax.shard_map(
        lambda x, y: jax.lax.pmean(loss(x, y), "a"),
        mesh=mesh(),
        in_specs=cut,
        out_specs=PartitionSpec(),
    )
    return gradients(mean)(x, y)


# Name: function, whether the second image is one image, and the two shardings.
CASES = {
    "batch": (gradients(fused_ssim), False, ("a",), ("a",)),
    "batch, value": (fused_ssim, False, ("a",), ("a",)),
    "channels": (gradients(fused_ssim), False, (None, "b"), (None, "b")),
    "two axes": (gradients(fused_ssim), False, ("a", "b"), ("a", "b")),
    "two axes in one": (gradients(fused_ssim), False, (("a", "b"),), (("a", "b"),)),
    "one replicated": (gradients(fused_ssim), False, ("a",), ()),
    "first replicated": (gradients(fused_ssim), False, (), ("a",)),
    "map": (gradients(squared_map), False, ("a",), ("a",)),
    "per image": (per_image, False, ("a",), ("a",)),
    "channels last": (gradients(channels_last), False, ("a",), ("a",)),
    "vmap, shared target": (one_target, True, ("a",), ()),
    "vmap of gradients, shared target": (
        jax.vmap(gradients(fused_ssim), (0, None)),
        True,
        ("a",),
        (),
    ),
    "loss": (gradients(loss), False, ("a",), ("a",)),
    "loss, channels": (gradients(loss), False, (None, "b"), (None, "b")),
    "loss, vmap, shared target": (
        jax.vmap(gradients(loss), (0, None)),
        True,
        ("a",),
        (),
    ),
    "loss, shard_map": (over_devices, False, ("a",), ("a",)),
    "weighted loss": (gradients(weighted), False, ("a",), ("a",)),
    "weighted loss, channels": (gradients(weighted), False, (None, "b"), (None, "b")),
    "normalized loss": (gradients(normalized), False, ("a",), ("a",)),
    "scales": (gradients(scales), False, ("a",), ("a",)),
    "scales, channels": (gradients(scales), False, (None, "b"), (None, "b")),
    "metrics": (image_metrics, False, ("a",), ("a",)),
    "rows": (gradients(fused_ssim), False, (None, None, "a"), (None, None, "a")),
    "batch and rows": (
        gradients(fused_ssim),
        False,
        ("b", None, "a"),
        ("b", None, "a"),
    ),
}


def operand_shapes(compiled):
    """Shapes of what the first custom call of a compiled program is given."""
    call = re.search(r"custom-call\(.* operand_layout.*", compiled.as_text())[0]
    constraints = re.search(r"operand_layout_constraints=\{(.*?\})\}", call)[1]
    return [
        [int(d) for d in shape.split(",")]
        for shape in re.findall(r"f32\[([\d,]+)\]", constraints)
    ]


# What a case is compared with, where that is not its own function on one device.
UNSHARDED = {over_devices: gradients(loss)}


def run(function, one, spec1, spec2):
    rng = np.random.default_rng(0)
    x = rng.random((8, 4, 32, 40), dtype=np.float32)
    y = rng.random(x.shape[one:], dtype=np.float32)
    on_one_device = UNSHARDED.get(function, function)
    expected = on_one_device(jnp.asarray(x), jnp.asarray(y))
    x, y = (
        jax.device_put(a, NamedSharding(mesh(), PartitionSpec(*spec)))
        for a, spec in ((x, spec1), (y, spec2))
    )
    compiled = jax.jit(function).lower(x, y).compile()
    results = jax.tree.leaves(compiled(x, y))
    return {
        "error": error(results, expected),
        "shards": [list(r.sharding.shard_shape(r.shape)) for r in results],
        "operands": operand_shapes(compiled),
        **collectives(compiled),
    }


def main() -> None:
    json.dump({name: run(*case) for name, case in CASES.items()}, sys.stdout)


if __name__ == "__main__":
    main()
