"""`photometric_loss` where the images are equal, not finite, or far apart."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from exact_loss import REAL, WEIGHTS, Exact, every_dtype, every_format
from images import noise_pair
from implementations import implementations
from reference import relative

from jax_fused_ssim import photometric_loss

# ---- Where the images are equal ------------------------------------------------------


@implementations
@every_format
@every_dtype
@pytest.mark.parametrize("data_range", [1, 255, 0.7])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_identical_images(padding, data_range, dtype, data_format, implementation):
    """The loss is exactly 0, and so is the gradient: that of |d| at 0 is 0."""
    image = data_range * images.photograph("chelsea")[:, 40:97, 60:133]
    image = reference.unplanes(image, data_format == "NHWC")
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(image, dtype)
        (value, terms), gradients = jax.value_and_grad(
            functools.partial(
                photometric_loss,
                padding=padding,
                data_range=data_range,
                data_format=data_format,
                implementation=implementation,
                return_terms=True,
                **WEIGHTS,
            ),
            (0, 1),
            has_aux=True,
        )(x, x)
    assert value == 0
    assert terms == (0, 0, 1)
    for gradient in gradients:
        assert not np.asarray(gradient).any()


@implementations
@every_format
@every_dtype
def test_equal_pixels_have_the_gradient_of_ssim_alone(
    dtype, data_format, implementation
):
    """In pictures of which a half is right. JAX's derivative of |d| at 0 is 1."""
    x = images.photograph("chelsea")[:, 40:97, 60:133]
    different = images.noise(x.shape) < 0.5
    y = np.where(different, images.noisy(x), x)
    x, y, different = (
        reference.unplanes(a, data_format == "NHWC") for a in (x, y, different)
    )
    loss = functools.partial(
        photometric_loss, data_format=data_format, implementation=implementation
    )
    with jax.enable_x64(dtype == "float64"):
        x, y = (jnp.asarray(a, dtype) for a in (x, y))
        different = np.asarray(x != y)
        assert 0.4 < different.mean() < 0.6
        for argnum in (0, 1):
            both, ssim = (
                np.asarray(jax.grad(functools.partial(loss, l1_weight=w), argnum)(x, y))
                for w in (0.8, 0)
            )
            np.testing.assert_array_equal(both[~different], ssim[~different])
            of_l1 = both.astype(float) - ssim.astype(float)
            sign = np.sign(np.asarray((x, y)[argnum] - (y, x)[argnum], float))
            # The difference of two rounded numbers.
            rounding = float(jnp.finfo(dtype).eps) * abs(ssim).max()
            np.testing.assert_allclose(
                of_l1, 0.8 / x.size * sign, rtol=0, atol=float(rounding)
            )


# ---- Values that no image should have ------------------------------------------------


@implementations
@every_format
@pytest.mark.parametrize("reduction", ["mean", "per_image"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_not_a_number(value, reduction, data_format, implementation):
    """Never finite, and only where it is. (Gradients: test_properties.py.)"""
    pair = noise_pair((3, 2, 14, 15))
    for k in (0, 1):
        dirty = [a.copy() for a in pair]
        dirty[k][1, 1, 3, 4] = value
        results = [
            jax.tree.leaves(
                photometric_loss(
                    *(reference.unplanes(a, data_format == "NHWC") for a in images_),
                    reduction=reduction,
                    data_format=data_format,
                    implementation=implementation,
                    return_terms=True,
                    **WEIGHTS,
                )
            )
            for images_ in (pair, dirty)
        ]
        for clean, found in zip(*results, strict=True):
            if reduction == "mean":
                assert not np.isfinite(found)
            else:
                assert np.isfinite(found).tolist() == [True, False, True]
                np.testing.assert_allclose(found[::2], clean[::2], rtol=2e-7)


def bright(ranges):
    """Predictions that miss the target by that many data ranges everywhere."""
    x, y = noise_pair((1, 2, 96, 131))
    return np.float32(y + ranges * (x - 0.5)), y


def one_bright_pixel(ranges):
    x, y = noise_pair((1, 2, 96, 131))
    x[0, 1, 50, 60] = ranges
    return x, y


@implementations
@every_format
@pytest.mark.parametrize(
    ("make", "ranges"),
    [(bright, r) for r in (3, 30, 60, 1e3, 1e4)]
    + [(one_bright_pixel, r) for r in (30, 255, 700, 1e3, 1e4, 1e6)],
)
def test_high_dynamic_range(make, ranges, data_format, implementation):
    """Errors are right, or infinite beyond the limit that is documented; and gradients
    are right whatever the value."""
    x, y = make(ranges)
    weights = {"ssim_weight": 0.2, "l1_weight": 0.8, "l2_weight": 0.1}
    exact = Exact(x, y, **weights)
    last = data_format == "NHWC"
    (_, terms), gradient = jax.value_and_grad(
        functools.partial(
            photometric_loss,
            data_format=data_format,
            implementation=implementation,
            return_terms=True,
            **weights,
        ),
        has_aux=True,
    )(*(reference.unplanes(a, last) for a in (x, y)))
    within = float(exact.terms.l2[0] * x.size) < 2**19 and abs(x - y).max() < 256
    for found, right in zip(terms[:2], exact.terms[:2], strict=True):
        if within or implementation == "xla" or np.isfinite(found):
            np.testing.assert_allclose(found, float(right[0]), rtol=1e-6)
        else:
            assert found == np.inf
    assert abs(REAL(terms.ssim) - exact.terms.ssim[0]) < 1e-6
    gradient = reference.planes(np.asarray(gradient), last)
    assert relative(gradient, exact.gradients[0]) < 1e-5


@implementations
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
def test_small_errors(size, implementation):
    """Of an image that is nearly right, as at the end of a fit. On a GPU an error is
    known to half of a quantum of 2^-22 data ranges."""
    x, y = noise_pair((1, 2, 96, 131))
    x = np.float32(y + size * (x - 0.5))
    exact = Exact(x, y).terms
    _, terms = photometric_loss(x, y, implementation=implementation, return_terms=True)
    np.testing.assert_allclose(terms.l1, float(exact.l1[0]), rtol=2e-7, atol=2**-23)
    off = 2**-22 * float(exact.l1[0]) + 2**-46
    np.testing.assert_allclose(terms.l2, float(exact.l2[0]), rtol=5e-7, atol=off)


@every_format
def test_an_image_alone_and_in_a_batch(data_format):
    """The same bits, however large the errors of the others are."""
    x, y = noise_pair((5, 16, 13, 17))  # channels enough for their sum to round
    x = y + np.float32([1e-3, 0.3, 40, 1, 1e-5])[:, None, None, None] * (x - 0.5)
    x, y = (reference.unplanes(a, data_format == "NHWC") for a in (x, y))
    loss = functools.partial(
        photometric_loss, reduction="per_image", data_format=data_format, **WEIGHTS
    )

    def everything(x, y):
        losses, pull_back, terms = jax.vjp(
            lambda x, y: loss(x, y, return_terms=True), x, y, has_aux=True
        )
        return losses, terms, pull_back(jnp.ones_like(losses))

    batch = everything(x, y)
    for i in range(len(x)):
        alone = everything(x[i : i + 1], y[i : i + 1])
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(batch), strict=True):
            np.testing.assert_array_equal(a[0], b[i])


def test_gradient_of_half_precision_does_not_underflow():
    """A weight over many pixels is smaller than float16's least number; a scaled loss,
    as in mixed-precision training, must still see it."""
    x, y = noise_pair((3, 500, 700), "float16")
    found = jax.grad(lambda a: 2.0**15 * photometric_loss(a, y))(x)
    expected = jax.grad(photometric_loss)(x.astype(np.float32), y.astype(np.float32))
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(found, 2.0**15 * expected, rtol=1e-3, atol=6e-8)
    assert np.isfinite(jax.grad(photometric_loss)(x, y)).all()
