"""The reference must itself be right: here are libraries that others wrote."""

import json
from pathlib import Path

import dm_pix
import images
import jax
import numpy as np
import pytest
import reference
from skimage.metrics import structural_similarity

from jax_fused_ssim import fused_ssim

RECORDED = Path(__file__).parent / "data" / "pytorch_msssim.json"
VALID = (False, False)


def photograph_pair():
    x = images.photograph("chelsea")
    return x, np.clip(images.noisy(x), 0, 1)


def test_scikit_image():
    x, y = photograph_pair()
    _, full = structural_similarity(
        x,
        y,
        channel_axis=0,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    ours = reference.ssim_map(x, y, VALID)
    # Away from the border, where scikit-image reflects the image.
    np.testing.assert_allclose(full[:, 5:-5, 5:-5], ours.astype(float), atol=1e-12)


def test_dm_pix():
    with jax.enable_x64(True):
        x, y = (np.moveaxis(a, 0, -1) for a in photograph_pair())
        theirs = dm_pix.ssim(x, y, max_val=1.0)
        ours = fused_ssim(x, y, "valid", data_format="NHWC")
        np.testing.assert_allclose(theirs, ours, rtol=1e-12)


def pytorch_msssim_cases():
    """Name: images as float32 in [0, 255], [N, C, H, W]."""
    x, y = photograph_pair()
    a, b = (images.noise((2, 5, 29, 31), seed) for seed in (1, 2))
    return {
        "photograph": [np.float32(255 * v[None]) for v in (x, y)],
        "noise": [np.float32(255 * v) for v in (a, b)],
    }


def pytorch_msssim_live():
    """What pytorch-msssim computes, in float64, or None where it is not installed."""
    try:
        import torch
        from pytorch_msssim import ssim
    except ImportError:
        return None
    return {
        name: ssim(
            *(torch.from_numpy(a.astype(np.float64)) for a in pair),
            data_range=255,
            size_average=False,
        ).tolist()
        for name, pair in pytorch_msssim_cases().items()
    }


@pytest.mark.slow
def test_pytorch_msssim():
    recorded = json.loads(RECORDED.read_text())
    live = pytorch_msssim_live()
    for name, (x, y) in pytorch_msssim_cases().items():
        expected = recorded[name]
        if live is not None:
            np.testing.assert_allclose(live[name], expected, atol=1e-12)
        # Its window is computed in float32, whatever the images are.
        exact = reference.ssim_map(x, y, VALID, data_range=255).mean((1, 2, 3))
        np.testing.assert_allclose(exact.astype(float), expected, atol=3e-6)
        ours = fused_ssim(x, y, "valid", data_range=255, reduction="per_image")
        np.testing.assert_allclose(ours, expected, atol=3e-6)


@pytest.mark.parametrize("padding", [(True, True), VALID, (True, False)])
def test_gradient_against_finite_differences(padding):
    x, y = (images.noise((13, 15), seed) for seed in (3, 4))
    cotangent = images.noise(reference.ssim_map(x, y, padding).shape, 5)
    step = 1e-7
    found = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        difference = reference.ssim_map(up, y, padding) - reference.ssim_map(
            down, y, padding
        )
        found[i] = (cotangent * difference).sum() / (up[i] - down[i])
    expected = reference.gradient(x, y, cotangent, padding).astype(float)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


if __name__ == "__main__":  # records the values; needs torch
    RECORDED.write_text(json.dumps(pytorch_msssim_live(), indent=1) + "\n")
