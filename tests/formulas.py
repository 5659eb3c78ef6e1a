"""What programs compute that cannot be installed, after their publications and
documentation, by the formula in extended precision.

Images are [C, H, W] where nothing is said; values are means over channels.
"""

import numpy as np
import reference
from scipy import ndimage

VALID = (False, False)


def ssim_index(x, y, data_range=255.0):
    """Wang's ssim_index.m, of images in [0, 255]: whole windows alone."""
    return reference.ssim_map(x, y, VALID, data_range).mean()


def wang_ssim(x, y):
    """Wang's ssim.m, of images in [0, 255]: every f-th pixel of the images under a
    square of f x f, and what ssim_index.m does."""
    factor = max(1, int(np.floor(min(x.shape[1:]) / 256 + 0.5)))
    # A square of an even side is centred on the pixel before its middle, as imfilter's.
    origin = -((factor + 1) % 2)
    sampled = []
    for a in (x, y):
        planes = [
            ndimage.uniform_filter(c, factor, mode="reflect", origin=origin) for c in a
        ]
        sampled.append(np.stack(planes)[:, ::factor, ::factor])
    return ssim_index(*sampled)


def msssim(x, y):
    """Wang's msssim.m, of images in [0, 255], without its complex powers."""
    return reference.ms_ssim(x / 255.0, y / 255.0)


def matlab_ssim(x, y):
    """MATLAB's ssim of grey images: the border repeats the outermost pixel."""
    x, y = (np.pad(a, ((0, 0), (5, 5), (5, 5)), "edge") for a in (x, y))
    return ssim_index(x, y, 1.0)


def matlab_ssim_of_volume(x, y):
    """MATLAB's ssim of what has three dimensions: the window has, too."""

    def mean(a):
        for axis in range(3):
            taps = reference.window().astype(float)
            a = ndimage.correlate1d(a, taps, axis, mode="nearest")
        return a

    mu1, mu2 = mean(x), mean(y)
    s11, s22, s12 = (
        mean(x * x) - mu1**2,
        mean(y * y) - mu2**2,
        mean(x * y) - mu1 * mu2,
    )
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * s12 + c2) / (s11 + s22 + c2)
    return ((2 * mu1 * mu2 + c1) / (mu1**2 + mu2**2 + c1) * structure).mean()


def multissim(x, y):
    """MATLAB's multissim: weights are a Gaussian over the scales, the border that of
    ssim. How it halves is not said: here as Wang et al. 2003."""
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    return reference.ms_ssim(x, y, weights / weights.sum(), padding="edge")


def calculate_ssim(x, y, crop_border, test_y_channel=False):
    """BasicSR, of [H, W, C] images in [0, 255], whose channels are blue, green, red."""
    if crop_border:
        kept = slice(crop_border, -crop_border)
        x, y = x[kept, kept], y[kept, kept]
    if test_y_channel and x.shape[-1] == 3:
        of_bgr = np.array([24.966, 128.553, 65.481])
        x, y = ((a / 255 @ of_bgr + 16)[..., None] for a in (x, y))
    return ssim_index(*(np.moveaxis(a, -1, 0) for a in (x, y)))


def fastmri_ssim(gt, pred):
    """fastMRI's evaluation, of slices: all have the range of the volume."""
    options = {"data_range": gt.max(), "of": (7, None), "sample": True}
    return reference.ssim_map(gt, pred, VALID, **options).mean()


class SSIMLoss:
    """fastMRI's loss, of [N, 1, H, W] with a range each."""

    def __call__(self, x, y, data_range):
        options = {"of": (7, None), "sample": True}
        maps = [
            reference.ssim_map(a, b, VALID, data_range=each, **options)
            for a, b, each in zip(x, y, data_range, strict=True)
        ]
        return 1 - np.mean(maps)


def fused_ssim(x, y, padding="same"):
    """fused-ssim, of images in [0, 1]."""
    return reference.ssim_map(x, y, (padding == "same",) * 2).mean()
