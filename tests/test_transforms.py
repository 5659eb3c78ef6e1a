"""Every transformation of JAX on the public functions and on every op.

What a transformation gives is compared with a Python loop, with the plain JAX
implementation in float64, or with finite differences.
"""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads
from ops_table import OPS, every_op

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    fused_ms_ssim,
    fused_ssim,
    fused_ssim3d,
    photometric_loss,
    ssim_terms,
    xla,
)
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.window import Window

SHAPE = (2, 13, 14)  # of one image, channels first
FACTORS = {
    "scale": 0.5,
    "error_scale": 0.25,
    "ssim_weight": 0.8,
    "l1_weight": 0.3,
    "l2_weight": 0.6,
}
SPECS = {
    "first": Spec(padding=(True, True), **FACTORS),
    "last": Spec(
        padding=(True, False), crop=(True, True), channels_last=True, **FACTORS
    ),
    "another window": Spec(
        window=Window(8, 2.0),
        padding=(True, False),
        crop=(True, True),
        channels_last=True,
        **FACTORS,
    ),
}


def pair(*shape, dtype=np.float32):
    return tuple(jnp.asarray(images.noise(shape, seed), dtype) for seed in (1, 2))


def of_pair(op, layout, summed=0):
    """An op as a function of two images, with a cotangent that is not constant."""
    spec = SPECS[layout].with_summed(summed)

    def function(x, y):
        shape = spec.map_shape(x.shape)
        cotangent = jnp.sin(jnp.arange(np.prod(shape), dtype=x.dtype))
        return OPS[op](x, y, cotangent.reshape(shape), spec)

    return function


every_spec = pytest.mark.parametrize(
    "layout",
    ["first", "last", pytest.param("another window", marks=pytest.mark.slow)],
)


def assert_same(found, expected, rtol=1e-6):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        scale = np.abs(np.asarray(e)).max()
        np.testing.assert_allclose(f, e, rtol=0, atol=rtol * scale)


def loop(function, in_axes, *arrays):
    """vmap by a Python loop."""
    size = next(
        a.shape[d] for a, d in zip(arrays, in_axes, strict=True) if d is not None
    )
    results = [
        function(
            *(
                a if d is None else jnp.take(a, i, axis=d)
                for a, d in zip(arrays, in_axes, strict=True)
            )
        )
        for i in range(size)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


@every_op
@every_spec
def test_jit(op, layout):
    function = of_pair(op, layout)
    x, y = pair(3, 13, 14, 2)
    assert_same(jax.jit(function)(x, y), function(x, y), 0)


@every_op
@every_spec
def test_in_parts(op, layout):
    """Of an exported program devices may share the images, by other ops for some."""
    functions = [of_pair(op, layout, summed) for summed in (0, 1, 2)]

    def function(x, y):
        return [f(x, y) for f in functions]

    x, y = pair(3, 13, 14, 2)
    checks = [export.DisabledSafetyCheck.custom_call(t) for t in CUSTOM_CALL_TARGETS]
    shared = export.export(jax.jit(function), disabled_checks=checks)(x, y)
    found = shared.call(x, y)
    for in_parts, whole in zip(found, function(x, y), strict=True):
        assert_same(in_parts, whole)


@every_op
@every_spec
@pytest.mark.parametrize(
    "in_axes", [(0, 0), (1, -1), (2, 0), (-1, 1), (0, None), (None, 2)], ids=str
)
def test_vmap(op, layout, in_axes):
    function = of_pair(op, layout)
    one = (2, 13, 14, 1) if layout == "last" else (1, 2, 13, 14)
    x, y = (
        jnp.stack([a] if d is None else [a, a[::-1] * 0.9, a * 0.8], axis=d or 0)
        if d is not None
        else a
        for a, d in zip(pair(*one), in_axes, strict=True)
    )
    assert_same(jax.vmap(function, in_axes)(x, y), loop(function, in_axes, x, y), 0)


@every_op
@pytest.mark.parametrize(
    "axes", [*itertools.product([(0, None), (None, 0), (0, 0)], repeat=2)], ids=str
)
def test_nested_vmap(op, axes):
    """Each image mapped by one vmap, the other, both or neither: strides of 0."""
    inner, outer = axes
    function = of_pair(op, "first")
    x, y = (
        jnp.asarray(images.noise((*([3] * n), *SHAPE), 5 + n), jnp.float32)
        for n in (
            (inner[0] is not None) + (outer[0] is not None),
            (inner[1] is not None) + (outer[1] is not None),
        )
    )
    found = jax.vmap(jax.vmap(function, inner), outer)(x, y)
    expected = loop(lambda a, b: loop(function, inner, a, b), outer, x, y)
    assert_same(found, expected, 0)


@pytest.mark.parametrize("function", [fused_ssim, photometric_loss])
@pytest.mark.parametrize("use", [lambda f: f, jax.grad], ids=["value", "gradient"])
def test_unmapped_image_is_not_copied(use, function):
    x, y = pair(4, *SHAPE)
    text = jax.jit(jax.vmap(use(function), (0, None))).lower(x, y[0]).as_text()
    call = next(line for line in text.splitlines() if "custom_call" in line)
    assert "(tensor<4x2x13x14xf32>, tensor<1x2x13x14xf32>)" in call


def test_out_axes_and_axis_name():
    x, y = pair(4, *SHAPE)
    full = functools.partial(fused_ssim, reduction="none")
    found = jax.vmap(full, out_axes=-1)(x, y)
    assert_same(found, jnp.moveaxis(full(x, y), 0, -1), 0)
    mean = jax.vmap(lambda a, b: jax.lax.pmean(fused_ssim(a, b), "i"), axis_name="i")
    assert_same(mean(x, y)[0], fused_ssim(x, y))


_loss = functools.partial(photometric_loss, l2_weight=0.5)
FUNCTIONS = {
    "mean": fused_ssim,
    "per_image": functools.partial(fused_ssim, reduction="per_image"),
    "per_channel": functools.partial(fused_ssim, reduction="per_channel"),
    "none": functools.partial(fused_ssim, reduction="none"),
    # Of two scales, which fit.
    "scales": functools.partial(
        fused_ms_ssim, scale_weights=(0.4, 0.6), padding="same", reduction="per_image"
    ),
    "border": functools.partial(fused_ssim, padding="reflect"),
    "terms": lambda x, y, **options: jnp.stack(ssim_terms(x, y, **options)),
    # The channels of an image as slices.
    "volume": lambda x, y, **options: fused_ssim3d(
        x[..., None, :, :, :], y[..., None, :, :, :], **options
    ),
    "loss": _loss,
    "loss_per_image": functools.partial(_loss, reduction="per_image"),
}


def _weighted(x, y, function, **options):
    """A public function as a scalar that weighs all its results."""
    result = FUNCTIONS[function](x, y, **options)
    weights = jnp.cos(jnp.arange(result.size, dtype=result.dtype)).reshape(result.shape)
    return jnp.sum(weights * result)


every_function = pytest.mark.parametrize("function", FUNCTIONS)
# Of those alone the kernels are tested by op.
every_argnums = pytest.mark.parametrize(
    "argnums", [*(pytest.param(i, marks=pytest.mark.slow) for i in (0, 1)), (0, 1)]
)


@functools.cache
def gradients_of_plain_jax(reduction, data_format, padding):
    """In both images, in float64: plain JAX differentiated by JAX, without any rule of
    ours."""

    def plain(x, y):
        padded = padding == "same"
        spec = Spec(padding=(padded, padded), channels_last=data_format == "NHWC")
        result = xla.ssim_map(x, y, spec)
        spatial = spec.spatial_axes
        axes = {
            "mean": None,
            "per_image": (1, 2, 3),
            "per_channel": spatial,
            "none": (),
        }
        result = result.mean(axes[reduction])
        weights = jnp.cos(jnp.arange(result.size, dtype=result.dtype))
        return jnp.sum(weights.reshape(result.shape) * result)

    x, y = pair(2, 13, 14, 15)
    with jax.enable_x64(True):
        x, y = x.astype("float64"), y.astype("float64")
        return jax.jit(jax.grad(plain, (0, 1)))(x, y)


@pytest.mark.parametrize(
    "reduction",
    ["mean", pytest.param("per_image", marks=pytest.mark.slow), "per_channel", "none"],
)
@every_argnums
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_gradient_is_that_of_plain_jax(reduction, argnums, data_format, padding):
    options = {"padding": padding, "data_format": data_format}
    x, y = pair(2, 13, 14, 15)
    function = functools.partial(_weighted, function=reduction, **options)
    found = jax.jit(jax.grad(function, argnums))(x, y)
    expected = gradients_of_plain_jax(reduction, data_format, padding)
    if argnums in (0, 1):
        expected = expected[argnums]
    assert_same(found, expected, 5e-6)


# One of each op with a derivative: they are what an implementation is of.
ONE_OF_EACH_OP = ["mean", "none", "loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "implementation"),
    [
        *((function, "fused") for function in FUNCTIONS),
        *((function, "xla") for function in ONE_OF_EACH_OP),
    ],
)
def test_finite_differences(function, implementation):
    """First and second derivatives, forward and reverse, in both images."""
    with jax.enable_x64(True):
        x, y = pair(1, 2, 12, 11, dtype=np.float64)
        weighted = functools.partial(
            _weighted, function=function, implementation=implementation
        )
        weighted = jax.jit(weighted)
        check_grads(weighted, (x, y), order=1, atol=1e-7, rtol=1e-7, eps=1e-5)
        check_grads(weighted, (x, y), order=2, atol=1e-5, rtol=1e-5, eps=1e-5)


@every_function
@every_argnums
@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 0)], ids=str)
def test_vmap_of_gradient_and_gradient_of_vmap(function, argnums, in_axes):
    x, y = (
        a[0] if d is None else a
        for a, d in zip(pair(3, 2, *SHAPE), in_axes, strict=True)
    )
    weighted = functools.partial(_weighted, function=function)
    gradient = jax.grad(weighted, argnums)
    assert_same(jax.vmap(gradient, in_axes)(x, y), loop(gradient, in_axes, x, y))

    def total(mapped):
        return lambda a, b: mapped(weighted, in_axes, a, b).sum()

    by_vmap = total(lambda f, axes, a, b: jax.vmap(f, axes)(a, b))
    found = jax.grad(by_vmap, argnums)(x, y)
    assert_same(found, jax.grad(total(loop), argnums)(x, y))


@every_function
def test_remat_scan_and_linearize(function):
    x, y = pair(3, 2, *SHAPE)
    weighted = functools.partial(_weighted, function=function)
    expected = jax.grad(lambda x: sum(weighted(a, y[0]) for a in x))(x)

    def by_scan(x, body):
        return jax.lax.scan(lambda c, a: (c + body(a, y[0]), None), 0.0, x)[0]

    assert_same(jax.grad(by_scan)(x, weighted), expected)
    assert_same(
        jax.jit(jax.grad(by_scan), static_argnums=1)(x, jax.checkpoint(weighted)),
        expected,
    )
    _, linear = jax.linearize(lambda a: weighted(a, y[0]), x[0])
    assert_same(linear(x[1]), jnp.vdot(expected[0], x[1]), 2e-5)


@every_function
def test_forward_mode(function):
    x, y = pair(2, *SHAPE)
    tx, ty = (jnp.asarray(images.noise(x.shape, s), jnp.float32) for s in (8, 9))
    function = FUNCTIONS[function]
    primal, tangent = jax.jvp(function, (x, y), (tx, ty))
    assert_same(primal, function(x, y), 0)
    with jax.enable_x64(True):
        double = [a.astype("float64") for a in (x, y, tx, ty)]
        step = 1e-6
        up, down = (
            function(double[0] + s * double[2], double[1] + s * double[3])
            for s in (step, -step)
        )
        expected = (up - down) / (2 * step)
    assert_same(tangent, expected.astype("float32"), 1e-5)
    _, in_y = jax.jvp(lambda y: function(x, y), (y,), (ty,))
    _, in_x = jax.jvp(lambda x: function(x, y), (x,), (tx,))
    assert_same(in_x + in_y, tangent, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("function", ONE_OF_EACH_OP)
def test_hessian(function):
    weighted = functools.partial(_weighted, function=function)
    with jax.enable_x64(True):
        x, y = pair(1, 3, 4, dtype=np.float64)
        hessian = jax.jit(jax.hessian(weighted))(x, y).reshape(12, 12)
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
        step = 1e-6
        gradient = jax.jit(jax.grad(weighted))
        for i in range(12):
            e = jnp.zeros(12).at[i].set(step).reshape(x.shape)
            column = (gradient(x + e, y) - gradient(x - e, y)) / (2 * step)
            np.testing.assert_allclose(hessian[i], column.ravel(), atol=1e-6)


# The ways to a product of the Hessian in the first image with a vector.
HESSIAN_VECTOR = {
    "forward over reverse": lambda f, x, v: jax.jvp(jax.grad(f), (x,), (v,))[1],
    "reverse over reverse": lambda f, x, v: jax.grad(
        lambda x: jnp.vdot(jax.grad(f)(x), v)
    )(x),
    "reverse over forward": lambda f, x, v: jax.grad(
        lambda x: jax.jvp(f, (x,), (v,))[1]
    )(x),
}


@pytest.mark.parametrize(
    ("way", "function"),
    [
        *(("forward over reverse", function) for function in FUNCTIONS),
        *(
            pytest.param(way, function, marks=pytest.mark.slow)
            for way in ("reverse over reverse", "reverse over forward")
            for function in ONE_OF_EACH_OP
        ),
    ],
)
def test_hessian_vector_product_in_float32(way, function):
    """Against finite differences of the gradient in float64."""
    x, y = pair(2, *SHAPE)
    v = jnp.asarray(images.noise(x.shape, 7) - 0.5, jnp.float32)

    @jax.jit
    def gradient(x, y):
        return jax.grad(functools.partial(_weighted, function=function))(x, y)

    found = jax.jit(
        lambda x, v: HESSIAN_VECTOR[way](lambda x: _weighted(x, y, function), x, v)
    )(x, v)
    with jax.enable_x64(True):
        x, y, v = (a.astype("float64") for a in (x, y, v))
        step = 1e-5
        up, down = (gradient(x + s * v, y) for s in (step, -step))
        expected = (up - down) / (2 * step)
        difference = jnp.linalg.norm(found - expected)
        error = float(difference / jnp.linalg.norm(expected))
    assert error < 5e-6


@pytest.mark.parametrize(
    ("function", "op"),
    [("mean", "ssim_sum_grad"), ("none", "ssim_map_grad"), ("loss", "loss_sum_grad")],
)
def test_gradient_under_forward_mode_is_the_kernel(function, op):
    x, y = pair(2, *SHAPE)

    def both(x, v):
        gradient = jax.grad(lambda x: _weighted(x, y, function))
        return jax.jvp(gradient, (x,), (v,))

    text = jax.jit(both).lower(x, x).as_text()
    assert text.count(f"custom_call @jax_fused_ssim_{op}(") == 1


def test_vjp_of_a_sum_of_uses():
    """One image used twice, as both arguments."""
    x, y = pair(2, *SHAPE)
    found = jax.grad(lambda x: fused_ssim(x, y) + fused_ssim(y, x))(x)
    assert_same(found, 2 * jax.grad(fused_ssim)(x, y))
    found = jax.grad(lambda x: fused_ssim(x, 0.5 * x))(x)
    both = jax.grad(fused_ssim, (0, 1))(x, 0.5 * x)
    assert_same(found, both[0] + 0.5 * both[1])
