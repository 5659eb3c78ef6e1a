"""The loss of Gaussian splatting, NeRF and restoration: errors and SSIM in one pass."""

import functools
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, get_args, overload

import jax
import jax.export
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim import halo, xla
from jax_fused_ssim.arguments import (
    DataFormat,
    ErrorRegion,
    Implementation,
    LossReduction,
    Number,
    Padding,
    check_reduces_images,
    checked_spec,
    checked_weight,
)
from jax_fused_ssim.constant import constant
from jax_fused_ssim.errors import error_means
from jax_fused_ssim.mean import Mean, Means, dissimilarity_mean, loss_mean
from jax_fused_ssim.operands import checked_operands
from jax_fused_ssim.ranges import DataRange, split_range
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.weights import Weighting, weighted_loss_mean

_NO_DERIVATIVE = (
    "the terms of photometric_loss have no derivative. Differentiate the loss, and "
    "return the terms beside it: jax.value_and_grad(..., has_aux=True)."
)


class PhotometricTerms(NamedTuple):
    """The terms of `photometric_loss`, without their weights and without derivative.

    Attributes:
      l1: mean of |d|.
      l2: mean of d^2.
      ssim: mean SSIM.
    """

    l1: Array
    l2: Array
    ssim: Array


jax.export.register_namedtuple_serialization(
    PhotometricTerms, serialized_name="jax_fused_ssim.PhotometricTerms"
)


class LossKeywords(TypedDict, total=False):
    """The keywords of `photometric_loss` but `return_terms`; it says what they mean."""

    ssim_weight: Number
    l1_weight: Number | None
    l2_weight: Number
    error_region: ErrorRegion
    reduction: LossReduction
    weights: ArrayLike | None
    weighting: Weighting
    padding: Padding
    data_format: DataFormat
    data_range: DataRange
    k1: Number
    k2: Number
    window_size: int
    sigma: Number | None
    sample_covariance: bool
    implementation: Implementation


@overload
def photometric_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    return_terms: Literal[False] = False,
    **keywords: Unpack[LossKeywords],
) -> Array: ...


@overload
def photometric_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    return_terms: Literal[True],
    **keywords: Unpack[LossKeywords],
) -> tuple[Array, PhotometricTerms]: ...


def photometric_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    ssim_weight: Number = 0.2,
    l1_weight: Number | None = None,
    l2_weight: Number = 0.0,
    error_region: ErrorRegion = "image",
    reduction: LossReduction = "mean",
    return_terms: bool = False,
    weights: ArrayLike | None = None,
    weighting: Weighting = "map",
    padding: Padding = "same",
    data_format: DataFormat = "NCHW",
    data_range: DataRange = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    window_size: int = 11,
    sigma: Number | None = 1.5,
    sample_covariance: bool = False,
    implementation: Implementation = None,
) -> Array | tuple[Array, PhotometricTerms]:
    """L1, L2 and D-SSIM of two images as one loss, differentiable in both.

        l1_weight mean|d| + l2_weight mean d^2 + ssim_weight (1 - mean SSIM)

    where d = (predictions - targets) / data_range. With the defaults it is
    0.8 L1 + 0.2 (1 - SSIM), the loss of 3-D Gaussian splatting. The derivative of |d|
    at 0 is 0: identical images have the loss 0 and the gradient 0.

    One kernel computes value, terms and gradient, reads each image once, and writes a
    gradient that is finished where the loss's own cotangent is 1; the second image's
    gradient is computed only where it is asked for.

    Args:
      predictions: Float[Array, "*batch C H W"], or "*batch H W C" for data_format
        "NHWC", as in `fused_ssim`.
      targets: like predictions.
      ssim_weight: of 1 - SSIM. A finite number that is not traced, like the other two.
      l1_weight: of the mean absolute error; None is 1 - ssim_weight.
      l2_weight: of the mean squared error.
      error_region: with padding "valid", the pixels whose errors are counted: "image"
        all of them, "map" those that the SSIM map has.
      reduction: "mean" over everything, "per_image" over C, H and W, or "per_channel"
        over H and W; of channels last the errors are then counted in plain JAX.
      return_terms: whether to return the terms too, for
        `jax.value_and_grad(..., has_aux=True)`.
      weights: as in `fused_ssim`. Every mean is then sum(w v) / sum(w) over the pixels
        that its term covers, so that the balance of the terms does not depend on how
        many count; where nothing is left the errors are 0 and the SSIM is 1.
      weighting: of the SSIM, as in `fused_ssim`. Errors are weighted pixel by pixel.
      padding: at the border of the SSIM map, as in `fused_ssim`.
      data_format: as in `fused_ssim`.
      data_range: as in `fused_ssim`.
      k1: as in `fused_ssim`.
      k2: as in `fused_ssim`.
      window_size: as in `fused_ssim`.
      sigma: as in `fused_ssim`.
      sample_covariance: as in `fused_ssim`.
      implementation: as in `fused_ssim`.

    Returns:
      Float[Array, ""], Float[Array, "*batch"] for "per_image", or
      Float[Array, "*batch C"] for "per_channel", in float32 (float64 for float64
      images); with return_terms a pair of that and the terms, each of the
      same shape and dtype. NaN where an image has a NaN or an infinity that counts.
      Sums of errors are exact before their last rounding up to 2^19 squared data ranges
      in some thousand pixels, and infinite beyond.

    Raises:
      TypeError: as `fused_ssim`; a weight of a term that is not one number, or is
        traced; differentiating a term.
      ValueError: as `fused_ssim`; a weight of a term that is not finite; an unknown
        error_region.
      NotImplementedError: as `fused_ssim`.

    Warns:
      UserWarning: as `fused_ssim`.

    References:
      Kerbl, Kopanas, Leimkuehler, Drettakis, "3D Gaussian Splatting for Real-Time
      Radiance Field Rendering", ACM Transactions on Graphics 42(4), 2023, equation 7.
      SSIM: as `fused_ssim`.
    """
    one_range, ranges = split_range(data_range)
    spec = loss_spec(
        ssim_weight,
        l1_weight,
        l2_weight,
        padding=padding,
        reduction=reduction,
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
    names = ("predictions", "targets")
    x, y, weights, spec = checked_operands(
        (predictions, targets),
        weights,
        weighting,
        padding,
        spec,
        names=names,
        ranges=ranges,
    )
    mean = Mean(spec, reduction, errors=True)
    loss, terms = _loss_and_terms(x, y, weights, mean, weighting)
    return (loss, terms) if return_terms else loss


def loss_spec(
    ssim_weight: Number = 0.2,
    l1_weight: Number | None = None,
    l2_weight: Number = 0.0,
    *,
    padding: Padding = "same",
    reduction: LossReduction = "mean",
    **keywords: Any,
) -> Spec:
    """The static parameters, checked: arguments and errors of `photometric_loss`."""
    check_reduces_images("a loss", reduction, get_args(LossReduction))
    ssim = checked_weight("ssim_weight", ssim_weight)
    l1 = 1 - ssim if l1_weight is None else checked_weight("l1_weight", l1_weight)
    l2 = checked_weight("l2_weight", l2_weight)
    spec = checked_spec(padding, reduction=reduction, **keywords)
    return spec.with_weights(ssim, l1, l2)


def loss_of_block(
    x: Array, y: Array, weights: Array | None, mean: Mean, weighting: Weighting
) -> tuple[Array, Means]:
    """The loss and its means, for all regions, with weights or without.

    Args:
      x: [..., C, H, W], or [..., H, W, C]; with `mean.cut` the block of this device.
      y: of the shape and the dtype of x.
      weights: as from `checked_weights`.
      mean: what is static; with errors.
      weighting: of the weights.
    """
    if weights is not None:
        loss, means = weighted_loss_mean(x, y, weights, mean, weighting)
        assert means is not None
        return loss, means
    xs, ys = (tuple(halo.parts(a, mean.cut, mean.spec.window)) for a in (x, y))
    if mean.counts_alike(x.shape):
        return loss_mean(xs, ys, mean)
    of_ssim = mean._replace(errors=False, spec=mean.spec.plain())
    dissimilarity = dissimilarity_mean(xs, ys, of_ssim)
    means = Means(*error_means(x, y, mean), dissimilarity)
    return xla.loss_of_terms(means, mean.spec), means


# As the functions of jax.numpy, one compiled program where it is called outside jit.
@functools.partial(jax.jit, static_argnums=(3, 4), inline=True)
def _loss_and_terms(
    x: Array, y: Array, weights: Array | None, mean: Mean, weighting: Weighting
) -> tuple[Array, PhotometricTerms]:
    return with_terms(*loss_of_block(x, y, weights, mean, weighting))


def with_terms(loss: Array, means: Means) -> tuple[Array, PhotometricTerms]:
    """The loss and its terms, from the loss and its means."""
    terms = PhotometricTerms(means.l1, means.l2, 1 - means.dissimilarity)
    return loss, constant(terms, _NO_DERIVATIVE)
