"""The borders that repeat the image, held against `numpy.pad`."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations, in_pairs
from skimage.metrics import structural_similarity

from jax_fused_ssim import (
    fused_ms_ssim,
    fused_ssim,
    image_metrics,
    photometric_loss,
    sharded,
    ssim_terms,
)

MODES = ["reflect", "symmetric", "edge"]
every_mode = pytest.mark.parametrize("mode", MODES)
slow = pytest.mark.slow


def pair(shape=(2, 2, 17, 23)):
    x, noise = (images.noise(shape, seed) for seed in (1, 2))
    return x, (2 * x + noise) / 3


def padded(a, mode):
    return np.pad(a, [*[(0, 0)] * (a.ndim - 2), (5, 5), (5, 5)], mode)


@implementations
@every_mode
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_map_and_gradients(data_format, mode, implementation):
    last = data_format == "NHWC"
    x, y = pair()
    right = reference.ssim_map(padded(x, mode), padded(y, mode), (False, False))
    options = {"data_format": data_format, "implementation": implementation}
    with jax.enable_x64(True):
        full = functools.partial(fused_ssim, padding=mode, **options)

        @jax.jit
        def everything(x, y):
            return full(x, y, reduction="none"), jax.value_and_grad(full, (0, 1))(x, y)

        found, (mean, grads) = everything(
            reference.unplanes(x, last), reference.unplanes(y, last)
        )
        np.testing.assert_allclose(
            found, reference.unplanes(right.astype(float), last), atol=1e-12
        )
        np.testing.assert_allclose(mean, float(right.mean()), atol=1e-13)
        for i, grad in enumerate(grads):
            step = 1e-5 * (images.noise(x.shape, 3 + i) - 0.5)
            ends = []
            for sign in (1, -1):
                ends_of = [x, y]
                ends_of[i] = ends_of[i] + sign * step
                wide = (padded(a, mode) for a in ends_of)
                ends.append(reference.ssim_map(*wide, (False, False)).mean())
            slope = float(ends[0] - ends[1]) / 2
            along = np.vdot(grad, reference.unplanes(step, last))
            np.testing.assert_allclose(along, slope, rtol=1e-6)


@implementations(kernels=in_pairs)
@every_mode
@pytest.mark.parametrize("weighting", [None, "map", "inside", "normalized"])
@pytest.mark.parametrize("data_format", ["NCHW", pytest.param("NHWC", marks=slow)])
def test_losses(data_format, weighting, mode, implementation):
    """Errors are of the image, the SSIM as of an image padded by hand."""
    last = data_format == "NHWC"
    x, y = (a.astype(np.float32) for a in pair())
    weights = images.noise(x.shape[-2:], 5) * (images.noise(x.shape[-2:], 6) > 0.1)
    weights = weights.astype(np.float32)
    options = {"data_format": data_format, "implementation": implementation}
    of_image, of_padded = dict(options), dict(options)
    if weighting:
        of_image |= {
            "weights": reference.unplanes(weights[None], last),
            "weighting": weighting,
        }
        wide = reference.unplanes(padded(weights, mode)[None], last)
        of_padded |= {"weights": wide, "weighting": weighting}

    def loss(x, y):
        return photometric_loss(
            x, y, padding=mode, return_terms=True, l2_weight=0.3, **of_image
        )

    def by_hand(x, y):
        widths = [(0, 0), (5, 5), (5, 5)]
        widths = [(0, 0), *(widths[1:] + widths[:1] if last else widths)]
        x, y = (jnp.pad(a, widths, mode) for a in (x, y))
        return photometric_loss(
            x,
            y,
            padding="valid",
            error_region="map",
            return_terms=True,
            l2_weight=0.3,
            **of_padded,
        )

    x, y = reference.unplanes(x, last), reference.unplanes(y, last)
    found, expected = (
        jax.value_and_grad(f, has_aux=True)(x, y) for f in (loss, by_hand)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)
    metrics = image_metrics(x, y, padding=mode, **of_image)
    plain = image_metrics(x, y, **of_image)
    np.testing.assert_allclose(metrics.mae, plain.mae, rtol=1e-6)
    np.testing.assert_allclose(metrics.psnr, plain.psnr, rtol=1e-6)


def test_scikit_image():
    """Its map has the border of "symmetric"."""
    x = images.photograph("camera")[0, :70, :81]
    y = np.clip(images.noisy(x), 0, 1)
    options = {"gaussian_weights": True, "use_sample_covariance": False}
    _, full = structural_similarity(x, y, data_range=1, full=True, **options)
    with jax.enable_x64(True):
        found = fused_ssim(x[None], y[None], "symmetric", reduction="none")
    np.testing.assert_allclose(found[0], full, atol=1e-12)


@every_mode
def test_small_images(mode):
    """Smaller than what is added to them."""
    for shape in ((1, 1, 1), (1, 1, 7), (2, 3, 4)):
        x, y = pair(shape)
        right = reference.ssim_map(padded(x, mode), padded(y, mode), (False, False))
        with jax.enable_x64(True):
            found = fused_ssim(x, y, mode, reduction="none")
        np.testing.assert_allclose(found, right.astype(float), atol=1e-11)


@every_mode
def test_scales_and_terms(mode):
    x, y = pair((1, 2, 40, 44))
    with jax.enable_x64(True):
        terms = ssim_terms(x, y, mode, reduction="none")
        wide = ssim_terms(padded(x, mode), padded(y, mode), "valid", reduction="none")
        np.testing.assert_allclose(terms, wide, atol=1e-13)
        one = fused_ms_ssim(x, y, scale_weights=(1,), padding=mode)
        np.testing.assert_allclose(one, fused_ssim(x, y, mode), atol=1e-13)
        halves = [(a[..., ::2] + a[..., 1::2]) / 2 for a in (x, y)]
        halves = [(a[..., ::2, :] + a[..., 1::2, :]) / 2 for a in halves]
        two = fused_ms_ssim(x, y, scale_weights=(0, 1), padding=mode)
        of_channels = fused_ssim(*halves, mode, reduction="per_channel")
        np.testing.assert_allclose(two, of_channels.mean(), atol=1e-12)


def test_cut_images_have_no_such_border():
    x = np.zeros((1, 20, 20), np.float32)
    for function in (sharded.fused_ssim, sharded.photometric_loss):
        with pytest.raises(ValueError, match="where images are cut; got 'edge'"):
            function(x, x, padding="edge", height_axis="rows")
