"""Whose numbers which arguments give.

Implementations of SSIM differ in the window, in what they do at the border, in whether
covariances are those of a sample, and in what they average. Each constant here is the
set of keywords with which ours gives what another one gives, where its own arguments
are left as they are:

    fused_ssim(x, y, **conventions.SCIKIT_IMAGE)
    fused_ms_ssim(x, y, **conventions.MS_PYTORCH_MSSSIM)

Those of one scale are keywords of `photometric_loss`, `image_metrics` and `ssim_terms`
too. They cannot be changed; `conventions.KORNIA | {"padding": "valid"}` is another one.

Layout, reduction and data range are not part of them: pass the range that you would
pass to the library. OPENCV and BASICSR have one, as those have it built in.

docs/conventions.md has a table of how near each one comes, which the tests hold, and
what no arguments reproduce.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict, TypeVar, cast

from jax_fused_ssim.arguments import Number, Padding
from jax_fused_ssim.halving import OddSides
from jax_fused_ssim.ms_ssim import ChannelMean
from jax_fused_ssim.preparation import crop_border, downsampled, luma

__all__ = [
    "BASICSR",
    "DM_PIX",
    "FASTMRI",
    "FFMPEG",
    "FUSED_SSIM",
    "KERAS",
    "KORNIA",
    "MATLAB",
    "MONAI",
    "MS_MATLAB",
    "MS_MONAI",
    "MS_PIQ",
    "MS_PYTORCH_MSSSIM",
    "MS_SEWAR",
    "MS_TENSORFLOW",
    "MS_TORCHMETRICS",
    "MS_WANG",
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
    "ConventionWithConstant",
    "ConventionWithRange",
    "ConventionWithWindow",
    "MultiScaleConvention",
    "MultiScaleConventionWithWeights",
    "crop_border",
    "downsampled",
    "luma",
]


class Convention(TypedDict):
    """Keywords of `fused_ssim`, where the window is the usual one."""

    padding: Padding


class ConventionWithRange(Convention):
    """Keywords of `fused_ssim`, where the data range is fixed."""

    data_range: float


class ConventionWithWindow(Convention):
    """Keywords of `fused_ssim`, where the window is another one."""

    window_size: int
    sigma: Number | None
    sample_covariance: bool


class ConventionWithConstant(ConventionWithWindow):
    """Keywords of `fused_ssim`, where a constant of the formula is another one too."""

    k1: float


class MultiScaleConvention(TypedDict):
    """Keywords of `fused_ms_ssim`."""

    odd_sides: OddSides
    channel_mean: ChannelMean


class MultiScaleConventionWithWeights(MultiScaleConvention):
    """Keywords of `fused_ms_ssim`, where weights and border are others."""

    scale_weights: tuple[float, ...]
    padding: Padding


T = TypeVar("T", bound=Mapping[str, object])


def _fixed(convention: T) -> T:
    """What nobody changes by accident; to a type checker it is the dict that it was."""
    return cast(T, MappingProxyType(convention))


# Of windows that lie inside the image, 11 pixels wide with a sigma of 1.5.

#: Wang et al. 2004, of their ssim_index.m. Their newer ssim.m first takes the images
#: through `downsampled(..., centred=True)`.
WANG = _fixed(Convention(padding="valid"))
TENSORFLOW = WANG
KERAS = WANG
DM_PIX = WANG
#: Where nothing is said its range is 255, and ours 1.
PYTORCH_MSSSIM = WANG
MONAI = WANG
#: Behind `downsampled`, unless it is told downsample=False.
PIQ = WANG
#: structural_similarity(..., gaussian_weights=True, sigma=1.5,
#: use_sample_covariance=False).
SCIKIT_IMAGE_WANG = WANG
#: Of images in [0, 255], behind `crop_border`, and `luma` where test_y_channel=True.
BASICSR = _fixed(ConventionWithRange(padding="valid", data_range=255.0))

# Of uniform windows that lie inside the image.

SCIKIT_IMAGE = _fixed(
    ConventionWithWindow(
        padding="valid", window_size=7, sigma=None, sample_covariance=True
    )
)
#: With the largest value of the target volume for data_range; the slices of a volume
#: are its channels, or a batch of images with one channel.
FASTMRI = SCIKIT_IMAGE
SEWAR = _fixed(
    ConventionWithWindow(
        padding="valid", window_size=11, sigma=None, sample_covariance=False
    )
)
#: Of every fourth window, by way of the map: [..., ::4, ::4]. Where it has sums over
#: the 64 pixels of a window its C1 is 64 times that of means, instead of 64^2 times.
FFMPEG = _fixed(
    ConventionWithConstant(
        padding="valid", window_size=8, sigma=None, sample_covariance=True, k1=0.01 / 8
    )
)

# Of every pixel of the image, under the window of 11 pixels.

FUSED_SSIM = _fixed(Convention(padding="same"))
#: Where nothing is said its range is that of the pixels, the larger of max - min, and
#: ours 1.
TORCHMETRICS = _fixed(Convention(padding="reflect"))
#: With window_size=11, as it has no default.
KORNIA = _fixed(Convention(padding="reflect"))
#: Its constants are those of 8 bits, whatever the images.
OPENCV = _fixed(ConventionWithRange(padding="reflect", data_range=255.0))
#: Of grey images: ssim() takes those with three channels for volumes.
MATLAB = _fixed(Convention(padding="edge"))

# Of five scales.

#: Wang et al. 2003, of their msssim.m.
MS_WANG = _fixed(MultiScaleConvention(odd_sides="symmetric", channel_mean="last"))
MS_TENSORFLOW = MS_WANG
#: Where sides are multiples of 16.
MS_PIQ = MS_WANG
MS_PYTORCH_MSSSIM = _fixed(MultiScaleConvention(odd_sides="zero", channel_mean="last"))
MS_MONAI = _fixed(MultiScaleConvention(odd_sides="drop", channel_mean="first"))
#: But for the border of its coarsest scale.
MS_TORCHMETRICS = MS_MONAI
#: But for where the squares lie that it halves by.
MS_SEWAR = _fixed(MultiScaleConvention(odd_sides="symmetric", channel_mean="first"))
# multissim(): the weights of its documentation, a Gaussian of sigma 1; the border of
# ssim(), as its maps have the size of their images.
_GAUSSIAN = [math.exp(-0.5 * scale**2) for scale in range(-2, 3)]
MS_MATLAB = _fixed(
    MultiScaleConventionWithWeights(
        scale_weights=tuple(weight / sum(_GAUSSIAN) for weight in _GAUSSIAN),
        odd_sides="symmetric",
        channel_mean="last",
        padding="edge",
    )
)
