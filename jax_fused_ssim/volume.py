"""SSIM of volumes: `fused_ssim` with one spatial axis more."""

from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import (
    Implementation,
    Number,
    Padding,
    Reduction,
    VolumeFormat,
)
from jax_fused_ssim.ranges import DataRange
from jax_fused_ssim.ssim import CommonKeywords, similarity
from jax_fused_ssim.weights import Weighting


class VolumeKeywords(CommonKeywords, total=False):
    """The keywords of `fused_ssim3d`, for functions that have the same."""

    data_format: VolumeFormat


def fused_ssim3d(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Padding = "same",
    train: bool = True,
    *,
    data_format: VolumeFormat = "NCDHW",
    data_range: DataRange = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    window_size: int = 11,
    sigma: Number | None = 1.5,
    sample_covariance: bool = False,
    weights: ArrayLike | None = None,
    weighting: Weighting = "map",
    reduction: Reduction = "mean",
    implementation: Implementation = None,
) -> Array:
    """Structural similarity (SSIM) of two volumes, differentiable in both.

    As `fused_ssim`, with windows of three dimensions: an 11x11x11 Gaussian of sigma 1.5
    unless another is asked for. For CT and MR images, microscopy, fields on a grid, and
    video where time is a dimension like the others.

    One slice is no image: "same" pads with zeros in front of it and behind it, which
    the windows count. For the SSIM of slices, take `fused_ssim` of them.

    Args:
      img1: Float[Array, "*batch C D H W"], or "*batch D H W C" for data_format "NDHWC",
        with any number of batch dimensions, none too; float16, bfloat16, float32 or
        float64, in any byte order; or UInt8 or UInt16, which stand for
        value / (2^bits - 1) * data_range. Half precision and integers become float32
        first, which is a copy.
      img2: like img1. Two dtypes are promoted to a common one, as JAX promotes them.
      padding: as in `fused_ssim`, along depth, height and width.
      train: as in `fused_ssim`.
      data_format: "NCDHW" (channels first) or "NDHWC" (channels last). Neither is
        transposed.
      data_range: as in `fused_ssim`; an array may have a range for every volume.
      k1: as in `fused_ssim`.
      k2: as in `fused_ssim`.
      window_size: as in `fused_ssim`, of all three sides.
      sigma: as in `fused_ssim`.
      sample_covariance: as in `fused_ssim`, with n = window_size^3.
      weights: as in `fused_ssim`: [D, H, W], [1, D, H, W] or [C, D, H, W] for "NCDHW",
        [D, H, W, 1] or [D, H, W, C] for "NDHWC", behind batch dimensions of the
        volumes' sizes or 1, or none. They are multiplied to the map, which is written
        then.
      weighting: as in `fused_ssim`; "normalized" is plain JAX.
      reduction: "mean" over everything, "per_image" for a mean over C, D, H and W,
        "per_channel" over D, H and W, "none" for the map.
      implementation: as in `fused_ssim`.

    Returns:
      Float[Array, ""] for "mean", Float[Array, "*batch"] for "per_image" and
      Float[Array, "*batch C"] for "per_channel", in float32 (float64 for float64
      volumes), within [-1, 1]; for "none" the map in the volumes' dtype, Float[Array,
      "*batch C D H W"], or "*batch C D-10 H-10 W-10" for "valid" and 11 pixels, with C
      last for "NDHWC". NaN where a window reaches a NaN or an infinity.

    Raises:
      TypeError: as `fused_ssim`.
      ValueError: as `fused_ssim`; fewer than 4 dimensions.
      NotImplementedError: as `fused_ssim`.

    Warns:
      UserWarning: as `fused_ssim`.

    References:
      As `fused_ssim`. With sample_covariance, sigma None and a window of 7 it is
      scikit-image's `structural_similarity` of arrays of three dimensions.
    """
    return similarity(
        img1,
        img2,
        padding,
        train,
        volumes=True,
        data_format=data_format,
        data_range=data_range,
        k1=k1,
        k2=k2,
        window_size=window_size,
        sigma=sigma,
        sample_covariance=sample_covariance,
        weights=weights,
        weighting=weighting,
        reduction=reduction,
        implementation=implementation,
    )
