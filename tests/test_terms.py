"""`ssim_terms`, held against the formulas in extended precision."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations

from jax_fused_ssim import SsimTerms, fused_ssim, photometric_loss, ssim_terms

PADDINGS = {"same": (True, True), "valid": (False, False)}


def factors(x, y, padding="same", **options):
    exact = reference.Similarity(x, y, PADDINGS[padding], **options)
    return exact.a1 / exact.b1, exact.a2 / exact.b2


def pair(dtype="float64"):
    """Of a photograph, darker and with noise."""
    x = images.photograph()[:2, 40:71, 100:143]
    y = np.clip(0.8 * images.noisy(x), 0, 1)
    return x.astype(dtype), y.astype(dtype)


@implementations
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_maps_means_and_gradients(data_format, padding, implementation):
    last = data_format == "NHWC"
    x, y = pair()
    options = {
        "data_format": data_format,
        "data_range": 0.7,
        "k1": 0.02,
        "k2": 0.04,
        "implementation": implementation,
    }
    exact = functools.partial(
        factors, padding=padding, data_range=0.7, k1=0.02, k2=0.04
    )
    with jax.enable_x64(True):

        @jax.jit
        def everything(x, y):
            terms = functools.partial(ssim_terms, padding=padding, **options)

            def mixed(x, y):
                luminance, contrast_structure = terms(x, y)
                return 3 * luminance - contrast_structure

            means = terms(x, y)
            return terms(x, y, reduction="none"), means, jax.grad(mixed, (0, 1))(x, y)

        maps, means, grads = everything(
            reference.unplanes(x, last), reference.unplanes(y, last)
        )
        assert isinstance(maps, SsimTerms)
        for found, mean, right in zip(maps, means, exact(x, y), strict=True):
            right = right.astype(np.float64)
            np.testing.assert_allclose(
                found, reference.unplanes(right, last), atol=1e-12
            )
            np.testing.assert_allclose(mean, right.mean(), atol=1e-12)
        for i, grad in enumerate(grads):
            step = 1e-5 * (images.noise(x.shape, i) - 0.5)
            ends = []
            for sign in (1, -1):
                moved_ = [x, y]
                moved_[i] = moved_[i] + sign * step
                luminance, contrast_structure = (a.mean() for a in exact(*moved_))
                ends.append(3 * luminance - contrast_structure)
            slope = float(ends[0] - ends[1]) / 2
            along = np.vdot(grad, reference.unplanes(step, last))
            np.testing.assert_allclose(along, slope, rtol=1e-6)


@implementations
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_other_precisions(dtype, implementation):
    x, y = (jnp.asarray(a, dtype) for a in pair())
    exact = factors(*(np.asarray(a).astype(reference.REAL) for a in (x, y)))
    found = ssim_terms(x, y, implementation=implementation)
    for mean, right in zip(found, exact, strict=True):
        assert mean.dtype == "float32"
        assert abs(np.float64(mean) - right.mean()) < 2e-7


def test_the_product_is_ssim():
    x, y = pair("float32")
    maps = ssim_terms(x, y, reduction="none")
    whole = fused_ssim(x, y, reduction="none")
    np.testing.assert_allclose(
        maps.luminance * maps.contrast_structure, whole, atol=2e-6
    )
    same = ssim_terms(x, x)
    assert same == (1, 1)


def test_another_exposure():
    """Contrast and structure do not see what is added to an image."""
    x, _ = pair("float32")
    luminance, contrast_structure = ssim_terms(x, x + 0.2, "valid")
    assert luminance < 0.98
    np.testing.assert_allclose(contrast_structure, 1, atol=1e-5)


def test_reductions_weights_and_integers():
    x, y = pair("float32")
    weights = images.noise(x.shape[-2:], 5) * (images.noise(x.shape[-2:], 6) > 0.3)
    maps = ssim_terms(x, y, reduction="none")
    for terms in (
        ssim_terms(x, y, weights=weights.astype(np.float32)),
        ssim_terms(x[None], y[None], weights=weights, reduction="per_image"),
    ):
        for mean, each in zip(terms, maps, strict=True):
            expected = (weights * each).sum() / weights.sum() / 2
            np.testing.assert_allclose(np.squeeze(mean), expected, atol=1e-6)
    for mean, each in zip(ssim_terms(x, y, reduction="per_channel"), maps, strict=True):
        np.testing.assert_allclose(mean, each.mean((-2, -1)), atol=1e-6)
    bytes_ = np.round(255 * y).astype(np.uint8)
    floats = (bytes_ / 255).astype(np.float32)
    for a, b in zip(ssim_terms(x, bytes_), ssim_terms(x, floats), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-7)


def test_not_a_number_is_in_both():
    x, y = (a.copy() for a in pair("float32"))
    x[0, 3, 3] = np.nan
    assert np.isnan(ssim_terms(x, y)).all()
    assert np.isnan(photometric_loss(x, y))
