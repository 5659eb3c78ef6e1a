"""The two factors of SSIM, each with its own derivative."""

import dataclasses
from typing import Literal, NamedTuple

import jax.export
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import (
    DataFormat,
    Implementation,
    Number,
    Padding,
    Reduction,
    checked_spec,
)
from jax_fused_ssim.integer import image_dtype
from jax_fused_ssim.native import BOUNDS
from jax_fused_ssim.operands import checked_operands
from jax_fused_ssim.spec import Spec, compute_dtype
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
    data_range: Number = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    weights: ArrayLike | None = None,
    weighting: Weighting = "map",
    reduction: Reduction = "mean",
    implementation: Implementation = None,
) -> SsimTerms:
    """Luminance, and contrast and structure, whose product SSIM is at every pixel.

    Both are differentiable in both images, by a kernel each. For losses that forgive
    another exposure, and for what is built of the factors, as MS-SSIM is.

    Args:
      img1: as in `fused_ssim`, like all that follow.
      img2: as in `fused_ssim`.
      padding: as in `fused_ssim`.
      data_format: as in `fused_ssim`.
      data_range: as in `fused_ssim`.
      k1: as in `fused_ssim`; of the luminance.
      k2: as in `fused_ssim`; of contrast and structure.
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
    spec = checked_spec(
        padding,
        data_format=data_format,
        data_range=data_range,
        k1=k1,
        k2=k2,
        reduction=reduction,
        implementation=implementation,
    )
    x, y, weights, spec = checked_operands(
        (img1, img2), weights, weighting, padding, spec, reduction
    )
    dtype = image_dtype(x, y)
    luminance, contrast_structure = (
        reduced(x, y, weights, one, reduction, weighting)
        for one in (without(spec, "k2", dtype), without(spec, "k1", dtype))
    )
    return SsimTerms(luminance, contrast_structure)


def without(spec: Spec, constant: Literal["k1", "k2"], dtype: object) -> Spec:
    """With which SSIM lacks the factor of a constant: that makes it 1 without bound."""
    _, unbounded = BOUNDS[constant][compute_dtype(dtype).name]
    return dataclasses.replace(spec, **{constant: unbounded})
