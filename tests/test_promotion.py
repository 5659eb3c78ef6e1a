"""Under `jax.numpy_dtype_promotion("strict")` and `jax.numpy_rank_promotion("raise")`,
with which users find casts and broadcasts of their own, there are none of ours.

A program that compiles to the same text there gives what it gives without them.
"""

import contextlib
import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from implementations import implementations, in_pairs
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from jax_fused_ssim import fused_ssim, image_metrics, photometric_loss, sharded

SHAPE = (2, 3, 12, 13)


@contextlib.contextmanager
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def gradients(f):
    return jax.grad(lambda x, y: jnp.sum(f(x, y)), (0, 1))


def of_square(f):
    """A loss whose cotangent is not constant."""
    return jax.grad(lambda x, y: jnp.sum(f(x, y) ** 2), (0, 1))


def forward(f):
    return lambda x, y: jax.jvp(f, (x, y), (y, x))


def reverse_over_reverse(f):
    def inner(x, y):
        return sum(jnp.sum(g.astype("float32")) for g in of_square(f)(x, y))

    return jax.grad(inner, (0, 1))


def forward_over_reverse(f):
    return lambda x, y: jax.jvp(of_square(f), (x, y), (y, x))


def mapped(in_axes):
    def vmapped(f):
        def of_each(x, y):
            pair = (
                a[0] if d is None else a for a, d in zip((x, y), in_axes, strict=True)
            )
            return jax.vmap(of_square(f), in_axes)(*pair)

        return of_each

    return vmapped


def rematerialised(f):
    return of_square(jax.checkpoint(f))


def scanned(f):
    def total(x, y):
        def step(carry, pair):
            return carry + jnp.sum(f(*pair).astype("float32")), None

        return jax.lax.scan(step, jnp.zeros((), "float32"), (x, y))[0]

    return jax.value_and_grad(total, (0, 1))


USES = {
    "value": lambda f: f,
    "gradients": gradients,
    "gradients of a square": of_square,
    "jvp": forward,
    "grad of grad": reverse_over_reverse,
    "jvp of grad": forward_over_reverse,
    "vmap": mapped((0, 0)),
    "vmap, second unmapped": mapped((0, None)),
    "vmap, first unmapped": mapped((None, 0)),
    "jit": jax.jit,
    "remat": rematerialised,
    "scan": scanned,
}
X64 = {"float16": False, "bfloat16": True, "float32": False, "float64": True}
every_dtype = pytest.mark.parametrize(("dtype", "x64"), X64.items())
REDUCTIONS = ["mean", "per_image", "none"]
FUNCTIONS = {
    "mean": fused_ssim,
    "per_image": functools.partial(fused_ssim, reduction="per_image"),
    "none": functools.partial(fused_ssim, reduction="none"),
    "loss": functools.partial(photometric_loss, l2_weight=0.5),
    "loss per image, valid": functools.partial(
        photometric_loss, l2_weight=0.5, reduction="per_image", padding="valid"
    ),
}


def pair(dtype):
    return tuple(jnp.asarray(images.noise(SHAPE, seed), dtype) for seed in (1, 2))


@implementations(slow=False, kernels=in_pairs)
@every_dtype
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if "," in n else n for n in FUNCTIONS],
)
@pytest.mark.parametrize("use", USES)
def test_programs_are_those_of_standard_promotion(
    use, name, implementation, dtype, x64
):
    function = functools.partial(FUNCTIONS[name], implementation=implementation)
    with jax.enable_x64(x64):
        x, y = pair(dtype)
        expected = jax.jit(USES[use](function)).lower(x, y).as_text()
        with strict():
            found = jax.jit(USES[use](function)).lower(x, y).as_text()
        assert found == expected


@every_dtype
def test_terms_and_metrics(dtype, x64):
    def everything(x, y):
        return photometric_loss(x, y, return_terms=True), image_metrics(x, y)

    with jax.enable_x64(x64):
        expected = everything(*pair(dtype))
        with strict():
            found = everything(*pair(dtype))
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert f.dtype == e.dtype
        np.testing.assert_array_equal(f, e)


@pytest.mark.parametrize(
    ("dtype", "reduction", "use"),
    in_pairs(list(X64), REDUCTIONS, [gradients, of_square, forward_over_reverse]),
)
def test_sharded_programs_are_those_of_standard_promotion(dtype, reduction, use):
    cut = P(None, None, "a", "b")
    function = jax.shard_map(
        functools.partial(
            sharded.fused_ssim, height_axis="a", width_axis="b", reduction=reduction
        ),
        # Programs for eight devices, of which lowering needs none.
        mesh=AbstractMesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2),
        in_specs=cut,
        out_specs=cut if reduction == "none" else P(),
    )

    def lowered():
        image = jax.ShapeDtypeStruct((2, 3, 48, 32), dtype)
        traced = jax.jit(use(function)).trace(image, image)
        return traced.lower(lowering_platforms=("cpu",)).as_text()

    with jax.enable_x64(X64[dtype]):
        expected = lowered()
        with strict():
            assert lowered() == expected


@every_dtype
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_outside_jit(data_format, dtype, x64):
    function = functools.partial(
        fused_ssim, padding="valid", data_format=data_format, reduction="per_image"
    )
    with jax.enable_x64(x64):
        x, y = (jnp.asarray(images.noise((2, 12, 13, 14), s), dtype) for s in (1, 2))
        expected = function(x, y), of_square(function)(x, y)
        with strict():
            found = function(x, y), of_square(function)(x, y)
            assert function(x, y, train=False).dtype == expected[0].dtype
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert f.dtype == e.dtype
        np.testing.assert_array_equal(f, e)


def test_two_dtypes_are_an_error_of_jax():
    x, _ = pair("float32")
    with strict(), pytest.raises(ValueError, match="promotion=strict"):
        fused_ssim(x, x.astype("bfloat16"))
