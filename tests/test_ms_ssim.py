"""`fused_ms_ssim`. The expectation is the formula in extended precision, and what
pytorch-msssim gave."""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations
from scipy import ndimage

from jax_fused_ssim import fused_ms_ssim, fused_ssim

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
ODD_SIDES = ["symmetric", "drop", "zero"]
slow = pytest.mark.slow


def pair(height, width, channels=3):
    """A photograph, and the same blurred and noisy."""
    x = images.photograph()[:channels, 20 : 20 + height, 100 : 100 + width]
    noise = np.random.default_rng(3).standard_normal((3, height, width))[:channels]
    blurred = ndimage.gaussian_filter(x, (0, 1.5, 1.5))
    return x[None], np.clip(blurred + 0.05 * noise, 0, 1)[None]


SHAPES = [(177, 181), (201, 190), (176, 208)]
# Both layouts of a shape follow each other: they share the reference.
CASES = [
    pytest.param(SHAPES[i // 2 % 3], *case, marks=[slow] if i % 5 else [])
    for i, case in enumerate(
        itertools.product(ODD_SIDES, ["last", "first"], ["NCHW", "NHWC"])
    )
]


@functools.lru_cache(maxsize=2)
def expected(shape, **options):
    """The value, and its slopes along a direction in each image."""
    x, y = pair(*shape)
    slopes = []
    for i in (0, 1):
        ends = []
        for sign in (1, -1):
            moved = [x, y]
            moved[i] = moved[i] + sign * direction(i, x.shape)
            ends.append(reference.ms_ssim(*moved, **options).mean())
        slopes.append(float(ends[0] - ends[1]) / 2)
    return float(reference.ms_ssim(x, y, **options).mean()), slopes


def direction(i, shape):
    return 1e-5 * (np.random.default_rng(i).random(shape) - 0.5)


def in_one_layout(cases):
    """For plain JAX, which takes seconds to compile at five scales: the layouts in
    turn."""
    return [(case,) for i, case in enumerate(cases) if i % 4 in (0, 3)]


@implementations(plain=in_one_layout)
@pytest.mark.parametrize(("shape", "odd_sides", "channel_mean", "data_format"), CASES)
def test_value_and_gradients(
    shape, odd_sides, channel_mean, data_format, implementation
):
    options = {"odd_sides": odd_sides, "channel_mean": channel_mean}
    last = data_format == "NHWC"
    x, y = pair(*shape)
    with jax.enable_x64(True):

        @jax.jit
        def everything(x, y):
            loss = functools.partial(
                fused_ms_ssim,
                data_format=data_format,
                implementation=implementation,
                **options,
            )
            return jax.value_and_grad(loss, (0, 1))(x, y)

        value, grads = everything(
            reference.unplanes(x, last), reference.unplanes(y, last)
        )
        right, slopes = expected(shape, **options)
        np.testing.assert_allclose(value, right, rtol=1e-12)
        for i, (grad, slope) in enumerate(zip(grads, slopes, strict=True)):
            step = reference.unplanes(direction(i, x.shape), last)
            np.testing.assert_allclose(np.vdot(grad, step), slope, rtol=1e-6)


@implementations
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_other_precisions(data_format, dtype, implementation):
    x, y = (jnp.asarray(a, dtype) for a in pair(169, 176))
    exact = reference.ms_ssim(*(np.asarray(a).astype(reference.REAL) for a in (x, y)))
    last = data_format == "NHWC"

    def loss(x):
        options = {"data_format": data_format, "implementation": implementation}
        return 1 - fused_ms_ssim(x, jnp.asarray(reference.unplanes(y, last)), **options)

    x = jnp.asarray(reference.unplanes(x, last))
    value, grad = jax.value_and_grad(loss)(x)
    assert value.dtype == "float32"
    assert grad.dtype == dtype
    assert abs(1 - np.float64(value) - exact.mean()) < 2e-7
    wide = jax.grad(loss)(x.astype("float32"))
    eps = {"float32": 1e-5}.get(dtype, float(jnp.finfo(dtype).eps))
    # The gradients of float16 are subnormal here.
    floor = 2.0**-24 if dtype == "float16" else 0
    np.testing.assert_allclose(
        grad.astype("float32"), wide, rtol=2 * eps, atol=floor + eps * abs(wide).max()
    )


@pytest.mark.parametrize(
    ("shape", "theirs"),
    [
        ((176, 208), 0.9010856790635248),
        ((201, 190), 0.9053312673876169),
        ((255, 179), 0.9053023003198803),
    ],
)
def test_pytorch_msssim(shape, theirs):
    """Version 1.0.0 in float64: ms_ssim(x, y, data_range=1). Its window has the
    accuracy of float32."""
    with jax.enable_x64(True):
        found = fused_ms_ssim(*pair(*shape), odd_sides="zero")
    assert abs(float(found) - theirs) < 3e-6


def test_one_scale_is_ssim():
    x, y = (a.astype(np.float32) for a in pair(40, 50))
    for padding in ("same", "valid"):
        found = fused_ms_ssim(x, y, scale_weights=[1], padding=padding)
        np.testing.assert_allclose(found, fused_ssim(x, y, padding), atol=2e-7)


def test_padding_and_weights():
    """Padded, the coarsest scale may be smaller than the window."""
    x, y = pair(33, 20)
    weights = (0.5, 0.2, 0.3, 0.1)
    with jax.enable_x64(True):
        found = fused_ms_ssim(x, y, scale_weights=weights, padding="same")
    exact = reference.ms_ssim(x, y, weights, padding="same")
    np.testing.assert_allclose(found, float(exact.mean()), rtol=1e-12)


def test_units_and_integers():
    x, y = pair(165, 170)
    bytes_ = [np.round(255 * a).astype(np.uint8) for a in (x, y)]
    x, y = ((a / 255).astype(np.float32) for a in bytes_)
    one = fused_ms_ssim(x, y)
    np.testing.assert_allclose(fused_ms_ssim(*bytes_), one, atol=1e-6)
    np.testing.assert_allclose(fused_ms_ssim(x, bytes_[1]), one, atol=1e-6)
    found = fused_ms_ssim(255 * x, 255 * y, data_range=255)
    np.testing.assert_allclose(found, one, atol=1e-6)
    grad = jax.grad(fused_ms_ssim)(x, bytes_[1])
    np.testing.assert_allclose(
        grad, jax.grad(fused_ms_ssim)(x, y), atol=1e-9, rtol=1e-3
    )


x_, y_ = (a.astype(np.float32) for a in pair(176, 176))
AWKWARD = {
    "identical": (x_, x_, 1),
    "inverted": (x_, 1 - x_, 0),
    "black": (0 * x_, 0 * x_, 1),
    "black and white": (0 * x_, 0 * x_ + 1, None),
    "uncorrelated": (
        np.random.default_rng(0).random(x_.shape, np.float32),
        np.random.default_rng(1).random(x_.shape, np.float32),
        None,
    ),
    "far from zero": (x_ + 1000, y_ + 1000, None),
}


@implementations
@pytest.mark.parametrize("name", AWKWARD)
def test_finite(name, implementation):
    x, y, value = AWKWARD[name]
    for channel_mean in ("last", "first"):
        loss = functools.partial(
            fused_ms_ssim, channel_mean=channel_mean, implementation=implementation
        )
        found, grads = jax.value_and_grad(loss, (0, 1))(x, y)
        assert 0 <= found <= 1
        assert value is None or found == value
        for grad in grads:
            assert np.isfinite(grad).all()
            assert value is None or np.abs(grad).max() < 1e-8


def test_not_a_number_stays_in_its_image():
    x, y = (np.repeat(a, 2, 0) for a in (x_, y_))
    x[1, 0, 80, 80] = np.nan
    found = fused_ms_ssim(x, y, reduction="per_image")
    assert np.isnan(found).tolist() == [False, True]
    assert np.isnan(fused_ms_ssim(x, y))
    grad = jax.grad(lambda x: fused_ms_ssim(x, y, reduction="per_image")[0])(x)
    assert np.isfinite(grad[0]).all()


def test_transformations():
    x = np.stack(
        [x_[0, :2, :40, :44], y_[0, :2, 50:90, :44], 1 - x_[0, :2, 60:100, 9:53]]
    )
    y = np.clip(x + 0.1 * images.noise(x.shape, 1), 0, 1)
    with jax.enable_x64(True):
        x, y = (jnp.asarray(a, "float64") for a in (x, y))

        def loss(x, y):
            return 1 - fused_ms_ssim(x, y, scale_weights=(0.3, 0.7))

        def grads(x, y):
            return jax.value_and_grad(loss, (0, 1))(x, y)

        def close(a, b):
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-10), a, b
            )

        alone = [grads(*a) for a in zip(x, y, strict=True)]
        each = jax.tree.map(lambda *a: np.stack(a), *alone)
        close(jax.vmap(grads)(x, y), each)
        close(
            jax.jit(jax.vmap(grads, (0, None)))(x, y[0])[0], [loss(a, y[0]) for a in x]
        )
        remat = jax.value_and_grad(jax.checkpoint(loss), (0, 1))
        close(jax.lax.scan(lambda c, a: (c, remat(*a)), 0, (x, y))[1], each)
        values = fused_ms_ssim(x, y, scale_weights=(0.3, 0.7), reduction="per_image")
        close(1 - values, each[0])
        close(loss(x, y), each[0].mean())

        step = np.random.default_rng(2).random(x.shape)
        _, along = jax.jvp(lambda x: loss(x, y), (x,), (step,))
        gradient = jax.grad(loss)
        close(along, np.vdot(gradient(x, y), step))
        _, product = jax.jvp(lambda x: gradient(x, y), (x,), (step,))
        h = 1e-5
        slope = (gradient(x + h * step, y) - gradient(x - h * step, y)) / (2 * h)
        np.testing.assert_allclose(product, slope, rtol=1e-4, atol=1e-9)


Z = np.zeros((2, 3, 176, 176), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "odd_sides must be one of .*'even'", {"odd_sides": "even"}),
        (ValueError, "channel_mean must be one of", {"channel_mean": None}),
        (ValueError, "one scale at least", {"scale_weights": ()}),
        (
            ValueError,
            r"scale_weights\[1\] must be finite",
            {"scale_weights": (1, np.inf)},
        ),
        (
            TypeError,
            r"scale_weights\[0\] must be a real number",
            {"scale_weights": "ab"},
        ),
        (TypeError, "a sequence of numbers", {"scale_weights": 1.0}),
        (ValueError, "MS-SSIM has no more", {"reduction": "none"}),
        (ValueError, "6 scales.*176 x 176.*5 fit", {"scale_weights": [1] * 6}),
        (
            ValueError,
            "10 scales.*8 fit.*1 pix",
            {"scale_weights": [1] * 10, "padding": "same", "odd_sides": "drop"},
        ),
    ],
)
def test_errors(error, message, options):
    with pytest.raises(error, match=message):
        fused_ms_ssim(Z, Z, **options)


def test_the_least_sides():
    for odd_sides, least in {"symmetric": 161, "zero": 161, "drop": 176}.items():
        small = np.zeros((1, least, least), np.float32)
        assert fused_ms_ssim(small, small, odd_sides=odd_sides) == 1
        with pytest.raises(ValueError, match="4 fit"):
            fused_ms_ssim(small[:, 1:], small[:, 1:], odd_sides=odd_sides)
