"""Data ranges of their own for every image, and such that are computed."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from implementations import implementations

from jax_fused_ssim import (
    fused_ms_ssim,
    fused_ssim,
    image_metrics,
    photometric_loss,
    ssim_terms,
)

FUNCTIONS = [
    fused_ssim,
    photometric_loss,
    image_metrics,
    ssim_terms,
    functools.partial(fused_ms_ssim, scale_weights=(0.5, 0.5)),
]
every_function = pytest.mark.parametrize(
    "function", FUNCTIONS, ids=lambda f: getattr(f, "__name__", "fused_ms_ssim")
)
RANGES = np.float32([0.5, 3.0, 255.0])


def pair(shape=(3, 2, 24, 26)):
    x, noise = (images.noise(shape, seed).astype(np.float32) for seed in (1, 2))
    return x, (2 * x + noise) / 3


def times(a, ranges):
    return a * ranges.reshape(*ranges.shape, 1, 1, 1)


def assert_close(found, expected, rtol=2e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)


@every_function
def test_a_range_an_image(function):
    """f(a x, a y, a L) = f(x, y, L), each image with its own a."""
    x, y = pair()
    per_image = functools.partial(function, reduction="per_image")
    if function is image_metrics:
        per_image = function
    expected = per_image(x, y)
    wide = times(x, RANGES), times(y, RANGES)
    assert_close(per_image(*wide, data_range=RANGES), expected)
    traced = jax.jit(lambda x, y, r: per_image(x, y, data_range=r))
    assert_close(traced(*wide, RANGES), expected)
    each = jax.vmap(lambda x, y, r: function(x, y, data_range=r))
    assert_close(each(*wide, RANGES), expected)


@every_function
def test_one_range_for_all(function):
    """Traced, or with dimensions of size 1, as the number itself."""
    x, y = (255 * a for a in pair())
    expected = function(x, y, data_range=255)
    traced = jax.jit(lambda r: function(x, y, data_range=r))
    assert_close(traced(255.0), expected)
    assert_close(traced(255), expected)
    assert_close(function(x, y, data_range=np.full(1, 255)), expected)


@implementations
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradient(dtype, data_format, implementation):
    """That of each image divided by its range, in the dtype of the image."""
    x, y = (jnp.asarray(a, dtype) for a in pair((2, 3, 2, 20, 22)))
    ranges = np.float32([[0.5, 2.0, 64.0], [1.0, 4.0, 8.0]])  # exact in any dtype
    if data_format == "NHWC":
        x, y = (jnp.moveaxis(a, -3, -1) for a in (x, y))
    options = {"data_format": data_format, "implementation": implementation}
    loss = functools.partial(photometric_loss, **options)
    found, grad = jax.value_and_grad(loss)(
        *(times(a, jnp.asarray(ranges, dtype)) for a in (x, y)), data_range=ranges
    )
    # Half precision is divided in float32, and its gradient rounded from there.
    x, y = (a.astype(jnp.float32) for a in (x, y))
    expected, of_ones = jax.value_and_grad(loss)(x, y)
    assert grad.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    rtol = 1e-5 if dtype == "float32" else float(jnp.finfo(dtype).eps)
    grad = times(np.asarray(grad, np.float32), ranges)
    # The gradient of float16 is small beside its smallest number.
    atol = 64 * 2.0**-24 if dtype == "float16" else 1e-9
    np.testing.assert_allclose(grad, of_ones, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_maps_have_the_dtype_of_the_images(dtype):
    x, y = (jnp.asarray(a, dtype) for a in pair())
    found = fused_ssim(x, y, data_range=RANGES, reduction="none")
    assert found.dtype == dtype
    terms = ssim_terms(x, y, data_range=RANGES, reduction="none")
    assert {a.dtype for a in terms} == {found.dtype}


def test_integers_are_in_units_of_any_range():
    x, y = pair()
    as_bytes = np.round(255 * y).astype(np.uint8)
    found = photometric_loss(times(x, RANGES), as_bytes, data_range=RANGES)
    np.testing.assert_allclose(found, photometric_loss(x, as_bytes), rtol=1e-6)


def test_range_of_the_volume():
    """As those who reconstruct images from measurements take it."""
    x, y = pair((4, 1, 24, 24))

    @jax.jit
    def metric(x, y):
        return fused_ssim(x, y, "valid", data_range=y.max(), window_size=7, sigma=None)

    expected = fused_ssim(
        x, y, "valid", data_range=float(y.max()), window_size=7, sigma=None
    )
    np.testing.assert_allclose(metric(x, y), expected, rtol=1e-6)


def test_a_range_that_is_nothing_shows():
    """Traced, nobody can refuse it."""
    x, y = pair()
    found = jax.jit(lambda r: fused_ssim(x, y, data_range=r, reduction="per_image"))(
        np.float32([1, 0, np.nan])
    )
    assert np.isfinite(found[0])
    assert np.isnan(found[1:]).all()


@every_function
def test_errors(function):
    x, y = pair()
    call = functools.partial(function, x, y)
    message = r"broadcasts to the batch dimensions \(3,\).*got an array of shape \(2,\)"
    with pytest.raises(ValueError, match=message):
        call(data_range=np.ones(2))
    with pytest.raises(ValueError, match=r"got an array of shape \(3, 1\)"):
        call(data_range=np.ones((3, 1)))
    for wrong in ([1, 0, 1], [1, -1, 1], [1, np.nan, 1], [1, np.inf, 1]):
        with pytest.raises(ValueError, match="positive and finite; got"):
            call(data_range=np.float32(wrong))
    for wrong in (np.ones(3, bool), np.ones(3, complex)):
        with pytest.raises(TypeError, match="must be a real number, or an array of"):
            call(data_range=wrong)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f is not image_metrics])
def test_no_derivative(function):
    x, y = pair()

    def of_range(r):
        return sum(map(jnp.sum, jax.tree.leaves(function(x, y, data_range=r))))

    with pytest.raises(TypeError, match=r"divide the images.*\(x / L, y / L\)"):
        jax.grad(of_range)(RANGES)
