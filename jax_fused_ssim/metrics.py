"""SSIM, PSNR, MAE and MSE of a batch, for evaluation."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import (
    DataFormat,
    ErrorRegion,
    Implementation,
    Number,
    Padding,
    check_choice,
    checked_spec,
)
from jax_fused_ssim.constant import no_tangent
from jax_fused_ssim.mean import Mean
from jax_fused_ssim.operands import checked_operands
from jax_fused_ssim.photometric import loss_of_block
from jax_fused_ssim.ranges import DataRange, split_range
from jax_fused_ssim.weights import Weighting

_NO_DERIVATIVE = (
    "image_metrics is for evaluation and has no derivative. Train with "
    "photometric_loss or fused_ssim, or use jax.lax.stop_gradient."
)


class ImageMetrics(NamedTuple):
    """What `image_metrics` gives for every image.

    Attributes:
      ssim: mean SSIM, within [-1, 1].
      psnr: peak signal-to-noise ratio in decibels, -10 log10(mse); infinite for
        identical images.
      mae: mean of |d|, in data ranges.
      mse: mean of d^2, in squared data ranges.
    """

    ssim: Array
    psnr: Array
    mae: Array
    mse: Array


jax.export.register_namedtuple_serialization(
    ImageMetrics, serialized_name="jax_fused_ssim.ImageMetrics"
)


def image_metrics(
    img1: ArrayLike,
    img2: ArrayLike,
    *,
    padding: Padding = "same",
    error_region: ErrorRegion = "image",
    weights: ArrayLike | None = None,
    weighting: Weighting = "map",
    reduction: Literal["per_image", "per_channel"] = "per_image",
    data_format: DataFormat = "NCHW",
    data_range: DataRange = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    window_size: int = 11,
    sigma: Number | None = 1.5,
    sample_covariance: bool = False,
    implementation: Implementation = None,
) -> ImageMetrics:
    """SSIM, PSNR, mean absolute and mean squared error of every image, in one pass.

    With d = (img1 - img2) / data_range, so that none depends on the unit of the pixels:
    PSNR is 10 log10(data_range^2 / mean((img1 - img2)^2)).

    Args:
      img1: as in `fused_ssim`.
      img2: as in `fused_ssim`.
      padding: at the border of the SSIM map, as in `fused_ssim`.
      error_region: as in `photometric_loss`.
      weights: as in `photometric_loss`; for an image without weight PSNR is infinite.
      weighting: as in `fused_ssim`.
      reduction: "per_image" over C, H and W, or "per_channel" over H and W.
      data_format: as in `fused_ssim`.
      data_range: as in `fused_ssim`.
      k1: as in `fused_ssim`.
      k2: as in `fused_ssim`.
      window_size: as in `fused_ssim`.
      sigma: as in `fused_ssim`.
      sample_covariance: as in `fused_ssim`.
      implementation: as in `fused_ssim`.

    Returns:
      Four of Float[Array, "*batch"], or "*batch C" for "per_channel", in float32
      (float64 for float64 images).

    Raises:
      TypeError: as `fused_ssim`; differentiating: train with `photometric_loss`.
      ValueError: as `fused_ssim`; an unknown error_region or reduction.
      NotImplementedError: as `fused_ssim`.

    Warns:
      UserWarning: as `fused_ssim`.
    """
    one_range, ranges = split_range(data_range)
    check_choice("reduction", reduction, ("per_image", "per_channel"))
    spec = checked_spec(
        padding,
        error_region=error_region,
        data_format=data_format,
        data_range=one_range,
        k1=k1,
        k2=k2,
        window_size=window_size,
        sigma=sigma,
        sample_covariance=sample_covariance,
        implementation=implementation,
    )
    x, y, weights, spec = checked_operands(
        (img1, img2), weights, weighting, padding, spec, ranges=ranges
    )
    mean = Mean(spec, reduction, errors=True)
    return _metrics(x, y, weights, mean, weighting)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
@functools.partial(jax.jit, static_argnums=(3, 4), inline=True)
def _metrics(
    x: Array, y: Array, weights: Array | None, mean: Mean, weighting: Weighting
) -> ImageMetrics:
    _, (mae, mse, dissimilarity) = loss_of_block(x, y, weights, mean, weighting)
    return ImageMetrics(1 - dissimilarity, -10 * jnp.log10(mse), mae, mse)


@_metrics.defjvp
def _metrics_jvp(
    mean: Mean, weighting: Weighting, primals: Any, tangents: Any
) -> tuple[ImageMetrics, ImageMetrics]:
    metrics = _metrics(*primals, mean, weighting)
    given = [t for t in jax.tree.leaves(tangents) if t.dtype != jax.dtypes.float0]
    of_images = sum(jnp.sum(t, mean.axes(t.ndim)) for t in given)
    tangent = jnp.zeros_like(metrics.ssim) + of_images.astype(metrics.ssim.dtype)
    tangent = no_tangent(tangent, _NO_DERIVATIVE)
    return metrics, ImageMetrics(*[tangent] * len(metrics))
