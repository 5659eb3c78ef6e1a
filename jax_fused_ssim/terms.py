"""The two factors of SSIM, each with its own derivative."""

from typing import NamedTuple

import jax.export
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim import ops
from jax_fused_ssim.arguments import (
    DataFormat,
    Implementation,
    Number,
    Padding,
    Reduction,
    checked_spec,
)
from jax_fused_ssim.integer import image_dtype
from jax_fused_ssim.operands import checked_operands, in_own_dtype
from jax_fused_ssim.ranges import DataRange, split_range
from jax_fused_ssim.ssim import reduced
from jax_fused_ssim.weights import Weighting


class SsimTerms(NamedTuple):
    """The factors of SSIM, or their means.

    Attributes:
      luminance: of (2 mu1 mu2 + C1) / (mu1^2 + mu2^2 + C1).
      contrast_structure: of (2 s12 + C2) / (s11 + s22 + C2).
    """

    luminance: Array
    contrast_structure: Array


jax.export.register_namedtuple_serialization(
    SsimTerms, serialized_name="jax_fused_ssim.SsimTerms"
)


def ssim_terms(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Padding = "same",
    *,
    data_format: DataFormat = "NCHW",
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
) -> SsimTerms:
    """Luminance, and contrast and structure, whose product SSIM is at every pixel.

    Both are differentiable in both images. One kernel writes both maps; a mean, and a
    gradient, is a kernel for each. For losses that forgive another exposure, and for
    what is built of the factors, as MS-SSIM is.

    Args:
      img1: as in `fused_ssim`, like all that follow.
      img2: as in `fused_ssim`.
      padding: as in `fused_ssim`.
      data_format: as in `fused_ssim`.
      data_range: as in `fused_ssim`.
      k1: as in `fused_ssim`; of the luminance.
      k2: as in `fused_ssim`; of contrast and structure.
      window_size: as in `fused_ssim`.
      sigma: as in `fused_ssim`.
      sample_covariance: as in `fused_ssim`.
      weights: as in `fused_ssim`; where nothing is left both means are 1.
      weighting: as in `fused_ssim`.
      reduction: as in `fused_ssim`. The product of two means is not the mean SSIM.
      implementation: as in `fused_ssim`.

    Returns:
      Two of what `fused_ssim` returns, within [-1, 1].

    Raises:
      TypeError: as `fused_ssim`.
      ValueError: as `fused_ssim`.
      NotImplementedError: as `fused_ssim`.

    Warns:
      UserWarning: as `fused_ssim`.

    References:
      As `fused_ssim`: equations 6, and 9 times 10 with C3 = C2 / 2.
    """
    one_range, ranges = split_range(data_range)
    spec = checked_spec(
        padding,
        data_format=data_format,
        data_range=one_range,
        k1=k1,
        k2=k2,
        window_size=window_size,
        sigma=sigma,
        sample_covariance=sample_covariance,
        reduction=reduction,
        implementation=implementation,
    )
    x, y, weights, spec = checked_operands(
        (img1, img2), weights, weighting, padding, spec, reduction, ranges=ranges
    )
    if reduction == "none":
        terms = ops.ssim_factor_maps(x, y, spec)
    else:
        terms = tuple(
            reduced(x, y, weights, of_factor, reduction, weighting)
            for of_factor in spec.of_factors(image_dtype(x, y))
        )
    return SsimTerms(*(in_own_dtype(t, img1, img2, reduction, ranges) for t in terms))
