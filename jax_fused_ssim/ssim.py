"""The public function: validates, chooses the layout, reduces."""

import functools
from typing import Any, TypedDict

import jax
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
from jax_fused_ssim.mean import Mean, ssim_mean
from jax_fused_ssim.operands import checked_operands, in_own_dtype
from jax_fused_ssim.ranges import DataRange, split_range
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.weights import Weighting, weighted_loss_mean


class CommonKeywords(TypedDict, total=False):
    """The keywords that `fused_ssim` and `fused_ssim3d` share."""

    data_range: DataRange
    k1: Number
    k2: Number
    window_size: int
    sigma: Number | None
    sample_covariance: bool
    weights: ArrayLike | None
    weighting: Weighting
    reduction: Reduction
    implementation: Implementation


class Keywords(CommonKeywords, total=False):
    """The keywords of `fused_ssim`, which says what they mean, for functions that have
    the same."""

    data_format: DataFormat


def fused_ssim(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Padding = "same",
    train: bool = True,
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
) -> Array:
    """Structural similarity (SSIM) of two images, differentiable in both.

    With a window that sums to 1, an 11x11 Gaussian of sigma 1.5 unless another is
    asked for, and the means, variances and covariance of each channel taken under it,

        SSIM = (2 mu1 mu2 + C1)(2 s12 + C2) / ((mu1^2 + mu2^2 + C1)(s11 + s22 + C2))

    where C1 = (k1 L)^2, C2 = (k2 L)^2 and L is the data range. 1 means identical.

    Without differentiation nothing but the result is computed. Under differentiation
    one kernel computes the value and the gradient of the mean in one pass; the second
    image's gradient is computed only where it is asked for.

    Args:
      img1: Float[Array, "*batch C H W"], or "*batch H W C" for data_format "NHWC", with
        any number of batch dimensions, none too; float16, bfloat16, float32 or float64,
        in any byte order.
      img2: like img1. Two dtypes are promoted to a common one, as JAX promotes them.
      padding: "same" pads with zeros, the map has the image's size; "valid" keeps the
        pixels whose window lies inside the image, the map is smaller by
        window_size - 1 each way.
        "reflect", "symmetric" and "edge" pad as `numpy.pad` does by these names, and so
        copy the images; weights are padded alike.
      train: False asserts that no gradient is wanted: differentiating is an error.
        Inference does not need it.
      data_format: "NCHW" (channels first) or "NHWC" (channels last). Neither is
        transposed.
      data_range: L, the difference between the largest and the smallest possible value:
        1 for images in [0, 1], 255 for images in [0, 255]. A number, or an array of one
        that is not traced: static, within [1e-25, 1e25] ([1e-250, 1e250] for float64
        images). Or an array that broadcasts to the batch dimensions, one range an
        image, traced or not: the images are then divided by it first, which is a copy.
      k1: K1 of the formula. Static. Within [1e-8, 1e8]; [1e-70, 1e70] for float64.
      k2: K2 of the formula. As k1.
      window_size: of a side of the window, in pixels; from 2 on, even sizes too, whose
        window reaches one pixel further behind its centre than before it. Up to 11
        there are kernels, for half precision by way of float32 copies; a larger window
        is plain JAX. The fastest kernels have the default window compiled in.
      sigma: standard deviation of the Gaussian in pixels; None for a uniform window.
      sample_covariance: True multiplies variances and covariance by n / (n - 1), with
        n = window_size^2, as for samples of independent pixels.
      weights: w >= 0, of float or bool, for means sum(w SSIM) / sum(w) over the pixels
        of the map. They broadcast to the images by NumPy's rules: [H, W], [1, H, W] or
        [C, H, W] for "NCHW", [H, W, 1] or [H, W, C] for "NHWC", behind batch dimensions
        of the images' sizes or 1, or none. Axes that are shared are not copied. Pixels
        of weight 0 take no part, even if they are NaN; where nothing is left the mean
        is 1 and its gradient 0.
      weighting: what a weight of 0 does to the windows around it; without weights it
        has no effect. "map": nothing, they see every pixel of the images. Take it for
        weights that say how much a pixel matters, and for images that are good
        everywhere; a NaN under weight 0 still spoils windows of other weights.
        "inside": they do not count, only those that see no weight of 0 (what lies
        beyond the border is none), each with the windowed mean of the weights inside
        the image for its weight. Take it for pixels that hold nothing, where SSIM is to
        be that of whole windows; regions narrower than a window vanish. "normalized":
        their statistics are of the other pixels alone: with m = 1 where w > 0 and 0
        elsewhere and beyond the border, each windowed mean E[v] becomes E[m v] / E[m].
        Take it for pixels that hold nothing, and regions of any shape.
      reduction: "mean" over everything, "per_image" for a mean over C, H and W,
        "per_channel" over H and W, "none" for the map.
      implementation: None uses the fused kernel where there is one (CPU, NVIDIA GPUs)
        and plain JAX elsewhere; "fused" is an error where there is none; "xla" is plain
        JAX.

    Returns:
      Float[Array, ""] for "mean", Float[Array, "*batch"] for "per_image" and
      Float[Array, "*batch C"] for "per_channel", in float32 (float64 for float64
      images), within [-1, 1]; for "none" the map in the images'
      dtype, Float[Array, "*batch C H W"], or "*batch C H-10 W-10" for "valid" and 11
      pixels, with C last for "NHWC". NaN where a window reaches a NaN or an infinity.

    Raises:
      TypeError: images that are not of a real floating-point dtype; data_range
        that is not real numbers; k1, k2, window_size or sigma that is not one number,
        or traced; weights that are neither float nor bool; differentiating with
        train=False, in data_range, or in the weights: use reduction="none" and weigh
        the map.
      ValueError: fewer than 3 dimensions, shapes that differ, an empty dimension,
        "valid" with a side smaller than the window; data_range, k1 or k2 out of bounds;
        a window_size that is not a whole number or under 2; a sigma that is not
        positive and finite; weights that do not broadcast to the images, or with
        reduction "none": multiply the map by them; an unknown padding, data_format,
        weighting, reduction or implementation.
      NotImplementedError: implementation "fused" lowered for a platform, or for a
        window, without kernel.

    Warns:
      UserWarning: a shape that looks like the other data_format, as one that ends in 3.

    References:
      Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility
      to structural similarity", IEEE Transactions on Image Processing 13(4), 2004.
    """
    return similarity(
        img1,
        img2,
        padding,
        train,
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


def similarity(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Padding,
    train: bool,
    *,
    volumes: bool = False,
    data_range: DataRange,
    weights: ArrayLike | None,
    weighting: Weighting,
    reduction: Reduction,
    **of_spec: Any,
) -> Array:
    """`fused_ssim`, or with `volumes` `fused_ssim3d`, whose arguments it has."""
    one_range, ranges = split_range(data_range)
    spec = checked_spec(
        padding, volumes=volumes, data_range=one_range, reduction=reduction, **of_spec
    )
    x, y, weights, spec = checked_operands(
        (img1, img2), weights, weighting, padding, spec, reduction, ranges=ranges
    )
    function = reduced if train else _forward_only
    found = function(x, y, weights, spec, reduction, weighting)
    return in_own_dtype(found, img1, img2, reduction, ranges)


# As the functions of jax.numpy, one compiled program where it is called outside jit.
@functools.partial(jax.jit, static_argnums=(3, 4, 5), inline=True)
def reduced(
    x: Array,
    y: Array,
    weights: Array | None,
    spec: Spec,
    reduction: str,
    weighting: Weighting,
) -> Array:
    """`fused_ssim` of what was checked."""
    if reduction == "none":
        return ops.ssim_map(x, y, spec)
    mean = Mean(spec, reduction)
    if weights is None:
        return ssim_mean((x,), (y,), mean)
    dissimilarity, _ = weighted_loss_mean(x, y, weights, mean, weighting)
    return 1 - dissimilarity


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _forward_only(x: Array, y: Array, weights: Array | None, *static: Any) -> Array:
    return reduced(x, y, weights, *static)


def _forward_only_fwd(
    x: Array, y: Array, weights: Array | None, *static: Any
) -> tuple[Array, None]:
    return reduced(x, y, weights, *static), None


def _forward_only_bwd(*static_residuals_cotangent: Any) -> Any:
    raise TypeError(
        "The SSIM was called with train=False and its result is being differentiated. "
        "Use train=True, or jax.lax.stop_gradient if no gradient is wanted through it."
    )


# It raises only where a cotangent arrives: a metric next to a loss is no error.
_forward_only.defvjp(_forward_only_fwd, _forward_only_bwd)
