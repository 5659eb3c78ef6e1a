"""Whose numbers which arguments give.

Implementations of SSIM differ in the window, in what they do at the border, in whether
covariances are those of a sample, and in what they average. Each constant here is the
set of keywords with which ours gives what another one gives, where its own arguments
are left as they are:

    fused_ssim(x, y, **conventions.SCIKIT_IMAGE)
    fused_ms_ssim(x, y, **conventions.MS_PYTORCH_MSSSIM)

Data ranges are not part of them, but where a library has its own built in: pass the one
that you would pass to the library. docs/conventions.md has a table of how near each one
comes, which the tests hold, and what no arguments reproduce.
"""

from typing import TypedDict

from jax_fused_ssim.arguments import Number, Padding
from jax_fused_ssim.halving import OddSides
from jax_fused_ssim.ms_ssim import ChannelMean
from jax_fused_ssim.preparation import crop_border, downsampled, luma

__all__ = [
    "BASICSR",
    "DM_PIX",
    "FASTMRI",
    "FUSED_SSIM",
    "KERAS",
    "KORNIA",
    "MATLAB",
    "MONAI",
    "MS_MATLAB",
    "MS_MONAI",
    "MS_PYTORCH_MSSSIM",
    "MS_TENSORFLOW",
    "OPENCV",
    "PIQ",
    "PYTORCH_MSSSIM",
    "SCIKIT_IMAGE",
    "SCIKIT_IMAGE_WANG",
    "SEWAR",
    "TENSORFLOW",
    "TORCHMETRICS",
    "WANG",
    "Convention",
    "ConventionWithRange",
    "MultiScaleConvention",
    "crop_border",
    "downsampled",
    "luma",
]


class Convention(TypedDict, total=False):
    """Keywords of `fused_ssim` that a convention sets."""

    padding: Padding
    window_size: int
    sigma: Number | None
    sample_covariance: bool


class ConventionWithRange(Convention):
    """The same with the data range that a library has built in."""

    data_range: float


class MultiScaleConvention(TypedDict, total=False):
    """Keywords of `fused_ms_ssim` that a convention sets."""

    scale_weights: tuple[float, ...]
    odd_sides: OddSides
    channel_mean: ChannelMean


# What the window of 11 pixels, sigma 1.5, lies inside of.
_INSIDE: Convention = {"padding": "valid"}

# Wang et al. 2004, of their ssim_index.m; their newer ssim.m first takes the images
# through `downsampled(..., centred=True)`.
WANG: Convention = {**_INSIDE}
TENSORFLOW: Convention = {**_INSIDE}
KERAS: Convention = {**_INSIDE}
# But for what it clamps: docs/conventions.md.
DM_PIX: Convention = {**_INSIDE}
PYTORCH_MSSSIM: Convention = {**_INSIDE}
# Behind `downsampled`, unless told downsample=False.
PIQ: Convention = {**_INSIDE}
MONAI: Convention = {**_INSIDE}
# Of images within [0, 255], behind `crop_border`, and `luma` where it is told to test
# the Y channel.
BASICSR: ConventionWithRange = {**_INSIDE, "data_range": 255.0}
# structural_similarity(..., gaussian_weights=True, use_sample_covariance=False).
SCIKIT_IMAGE_WANG: Convention = {**_INSIDE}
SCIKIT_IMAGE: Convention = {
    "padding": "valid",
    "window_size": 7,
    "sigma": None,
    "sample_covariance": True,
}
# With the largest value of the target volume for data_range; the mean is over all of
# its slices.
FASTMRI: Convention = {**SCIKIT_IMAGE}
SEWAR: Convention = {"padding": "valid", "window_size": 11, "sigma": None}
FUSED_SSIM: Convention = {"padding": "same"}
TORCHMETRICS: Convention = {"padding": "reflect"}
# With window_size=11, as it has no default.
KORNIA: Convention = {"padding": "reflect"}
# Its constants are those of 8 bits, whatever the images.
OPENCV: ConventionWithRange = {"padding": "reflect", "data_range": 255.0}
# Of grey images: ssim() takes those with three channels for volumes.
MATLAB: Convention = {"padding": "edge"}

MS_TENSORFLOW: MultiScaleConvention = {"odd_sides": "symmetric", "channel_mean": "last"}
MS_PYTORCH_MSSSIM: MultiScaleConvention = {
    "odd_sides": "zero",
    "channel_mean": "last",
}
MS_MONAI: MultiScaleConvention = {"odd_sides": "drop", "channel_mean": "first"}
# multissim(): the weights alone, as its documentation does not say how it halves.
MS_MATLAB: MultiScaleConvention = {
    "scale_weights": (0.0545, 0.2442, 0.4026, 0.2442, 0.0545)
}
