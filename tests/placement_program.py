"""Run by test_placement.py in a process of its own, which has 8 CPU devices.

Meshes with explicit axes, `jax.shard_map` with its default checks, and `jax.pmap`.
Prints one JSON object: for every case the largest relative error against the result on
one device, and how many collectives of each kind the compiled program has; for meshes
with explicit axes also the sharding that each result has by its type.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from eight_devices import collectives, error
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_fused_ssim import fused_ssim, image_metrics, photometric_loss

SHAPE = (8, 4, 16, 20)


def gradients(f):
    return jax.value_and_grad(f, (0, 1))


def per_image(x, y):
    return fused_ssim(x, y, reduction="per_image")


def full_map(x, y):
    return fused_ssim(x, y, reduction="none")


def squared_map(x, y):
    """Has a cotangent map that is not constant."""
    return (full_map(x, y) ** 2).mean()


def hessian_vector(f):
    def product(x, y):
        return jax.jvp(jax.grad(f), (x, y), (jnp.sin(x), jnp.cos(y)))[1]

    return product


def channels_last(x, y):
    return fused_ssim(x, y, data_format="NHWC")


def loss(x, y):
    return photometric_loss(x, y, l2_weight=0.5)


def loss_and_terms(x, y):
    return photometric_loss(x, y, l2_weight=0.5, return_terms=True)


def losses_of_images(x, y):
    return photometric_loss(x, y, l2_weight=0.5, reduction="per_image")


BATCH, CHANNELS, ROWS = ("a",), (None, "b"), (None, None, "a")
# Name: function, the shardings of both images, and those of the results that are not
# scalars. None: the second image lies on no mesh.
EXPLICIT = {
    "batch": (gradients(fused_ssim), BATCH, BATCH, [BATCH, BATCH]),
    "channels": (gradients(fused_ssim), CHANNELS, CHANNELS, [CHANNELS, CHANNELS]),
    "two axes": (gradients(fused_ssim), ("a", "b"), ("a", "b"), [("a", "b")] * 2),
    "replicated target": (jax.value_and_grad(fused_ssim), BATCH, (), [BATCH]),
    "target on no mesh": (jax.value_and_grad(fused_ssim), BATCH, None, [BATCH]),
    "replicated": (gradients(fused_ssim), BATCH, (), [BATCH, ()]),
    "replicated first": (gradients(fused_ssim), (), BATCH, [(), BATCH]),
    "one each": (gradients(fused_ssim), BATCH, CHANNELS, [BATCH, CHANNELS]),
    "at odds": (gradients(fused_ssim), ("a",), ("b",), [("a",), ("b",)]),
    "one axis in two places": (
        gradients(fused_ssim),
        ("a",),
        (None, "a"),
        [("a",), (None, "a")],
    ),
    "rows": (gradients(fused_ssim), ROWS, ROWS, [ROWS, ROWS]),
    "per image": (per_image, BATCH, BATCH, [BATCH]),
    "map": (full_map, BATCH, (), [BATCH]),
    "loss of the map": (gradients(squared_map), BATCH, BATCH, [BATCH, BATCH]),
    "channels last": (gradients(channels_last), BATCH, BATCH, [BATCH, BATCH]),
    "vmap": (jax.vmap(gradients(fused_ssim)), BATCH, BATCH, [BATCH] * 3),
    "second order": (hessian_vector(fused_ssim), BATCH, (), [BATCH]),
    "loss": (gradients(loss), BATCH, BATCH, [BATCH, BATCH]),
    "loss, channels": (gradients(loss), CHANNELS, CHANNELS, [CHANNELS, CHANNELS]),
    "loss, replicated target": (jax.value_and_grad(loss), BATCH, (), [BATCH]),
    "loss, target on no mesh": (jax.value_and_grad(loss), BATCH, None, [BATCH]),
    "loss, second order": (hessian_vector(loss), BATCH, (), [BATCH]),
    "loss per image": (losses_of_images, BATCH, BATCH, [BATCH]),
    "terms": (loss_and_terms, BATCH, BATCH, []),
    "metrics": (image_metrics, BATCH, (), [BATCH] * 4),
}


def per_dimension(spec, ndim):
    """The mesh axis of every dimension."""
    return [*spec, *[None] * (ndim - len(spec))]


def pair(shape=SHAPE):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.random(shape), jnp.float32) for _ in range(2))


def run_explicit(function, spec1, spec2, expected_specs, mesh):
    x, y = pair()
    expected = function(x, y)
    x, y = (
        a if spec is None else jax.device_put(a, NamedSharding(mesh, P(*spec)))
        for a, spec in ((x, spec1), (y, spec2))
    )
    traced = jax.jit(function).trace(x, y)
    compiled = traced.lower().compile()
    types = [o for o in jax.tree.leaves(jax.eval_shape(function, x, y)) if o.ndim]
    return {
        "error": error(compiled(x, y), expected),
        "specs": [per_dimension(t.sharding.spec, t.ndim) for t in types],
        "expected specs": [
            per_dimension(spec, t.ndim)
            for spec, t in zip(expected_specs, types, strict=True)
        ],
        **collectives(compiled),
    }


def averaged(f):
    """Averaged over the devices, inside shard_map."""
    return lambda x, y: jax.lax.pmean(f(x, y), "a")


def summed(f):
    """Summed over the devices, inside shard_map."""
    return lambda x, y: jax.lax.psum(f(x, y).sum(), "a")


def against_one(f):
    """Every image of a batch against one, without shard_map."""
    return lambda x, y: f(x, jnp.broadcast_to(y, x.shape))


def swapped(f):
    return lambda x, y: f(y, x)


def squared(x, y):
    return full_map(x, y) ** 2


def images_summed(f):
    """One call for every image: what `summed` must be if the devices hold one each."""
    return lambda x, y: sum(f(a[None], y).sum() for a in x)


CUT, WHOLE = P("a"), P()
# Name: function inside shard_map, its in_specs, its out_specs, and what it computes.
# Where the second image is whole, all devices hold the same one.
SHARD_MAP = {
    "sharded": (averaged(fused_ssim), (CUT, CUT), WHOLE, fused_ssim),
    "shared": (averaged(fused_ssim), (CUT, WHOLE), WHOLE, against_one(fused_ssim)),
    "shared, first": (
        averaged(swapped(fused_ssim)),
        (CUT, WHOLE),
        WHOLE,
        against_one(fused_ssim),
    ),
    "shared, map": (swapped(full_map), (CUT, WHOLE), CUT, against_one(full_map)),
    "gradients": (
        gradients(summed(fused_ssim)),
        (CUT, WHOLE),
        (WHOLE, (CUT, WHOLE)),
        gradients(images_summed(fused_ssim)),
    ),
    "gradients, shared first": (
        gradients(summed(swapped(fused_ssim))),
        (CUT, WHOLE),
        (WHOLE, (CUT, WHOLE)),
        gradients(images_summed(fused_ssim)),
    ),
    "gradients of the map": (
        gradients(summed(squared)),
        (CUT, WHOLE),
        (WHOLE, (CUT, WHOLE)),
        gradients(images_summed(squared)),
    ),
    "gradients of vmap": (
        gradients(summed(jax.vmap(fused_ssim))),
        (CUT, WHOLE),
        (WHOLE, (CUT, WHOLE)),
        gradients(images_summed(fused_ssim)),
    ),
    "second order": (
        hessian_vector(summed(fused_ssim)),
        (CUT, WHOLE),
        CUT,
        hessian_vector(images_summed(fused_ssim)),
    ),
    "loss and terms": (
        averaged(loss_and_terms),
        (CUT, WHOLE),
        WHOLE,
        against_one(loss_and_terms),
    ),
    "gradients of the loss": (
        gradients(summed(loss)),
        (CUT, WHOLE),
        (WHOLE, (CUT, WHOLE)),
        gradients(images_summed(loss)),
    ),
    "second order of the loss": (
        hessian_vector(summed(loss)),
        (CUT, WHOLE),
        CUT,
        hessian_vector(images_summed(loss)),
    ),
    "metrics": (image_metrics, (CUT, WHOLE), CUT, against_one(image_metrics)),
}


def run_shard_map(function, specs, out_specs, expected, mesh):
    x, y = pair()
    y = y[:1] if specs[1] == WHOLE else y
    expected = expected(x, y)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out_specs)
    x, y = (
        jax.device_put(a, NamedSharding(mesh, spec))
        for a, spec in zip((x, y), specs, strict=True)
    )
    compiled = jax.jit(mapped).lower(x, y).compile()
    return {"error": error(compiled(x, y), expected), **collectives(compiled)}


def other_ways(mesh):
    """Errors of a gradient of shard_map from outside, and of shard_map unchecked."""
    x, y = pair()
    outside = jax.jit(
        gradients(
            jax.shard_map(
                averaged(fused_ssim), mesh=mesh, in_specs=(CUT, WHOLE), out_specs=WHOLE
            )
        )
    )
    unchecked = jax.jit(
        jax.shard_map(
            full_map, mesh=mesh, in_specs=(CUT, WHOLE), out_specs=CUT, check_vma=False
        )
    )
    expected = gradients(against_one(fused_ssim))(x, y[:1])
    return {
        "gradients outside": error(outside(x, y[:1]), expected),
        "unchecked": error(unchecked(x, y[:1]), against_one(full_map)(x, y[:1])),
    }


def run_pmap():
    x, y = pair()
    value, in_target = jax.pmap(
        lambda x, y: jax.lax.psum(jax.value_and_grad(fused_ssim, 1)(x, y), "i"),
        axis_name="i",
        in_axes=(0, None),
    )(x, y[0])
    images = images_summed(fused_ssim)
    return {
        "images": error(
            jax.pmap(gradients(fused_ssim))(x, y), jax.vmap(gradients(fused_ssim))(x, y)
        ),
        "shared image": error(
            (value[0], in_target[:1]), jax.value_and_grad(images, 1)(x, y[:1])
        ),
    }


def main() -> None:
    explicit = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
    auto = jax.make_mesh((8,), ("a",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(explicit):
        typed = {name: run_explicit(*case, explicit) for name, case in EXPLICIT.items()}
    found = {
        "explicit": typed,
        "shard_map": {n: run_shard_map(*case, auto) for n, case in SHARD_MAP.items()},
        "other ways": other_ways(auto),
        "pmap": run_pmap(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
