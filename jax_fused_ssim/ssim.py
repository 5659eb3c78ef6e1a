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
    checked_images,
    checked_spec,
)
from jax_fused_ssim.mean import Mean, ssim_mean
from jax_fused_ssim.placement import placed_alike
from jax_fused_ssim.spec import Spec


class Keywords(TypedDict, total=False):
    """The keywords of `fused_ssim`, which says what they mean, for functions that have
    the same."""

    data_format: DataFormat
    data_range: Number
    k1: Number
    k2: Number
    reduction: Reduction
    implementation: Implementation


def fused_ssim(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Padding = "same",
    train: bool = True,
    *,
    data_format: DataFormat = "NCHW",
    data_range: Number = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    reduction: Reduction = "mean",
    implementation: Implementation = None,
) -> Array:
    """Structural similarity (SSIM) of two images, differentiable in both.

    With an 11x11 Gaussian window of sigma 1.5 that sums to 1, and the means, variances
    and covariance of each channel taken under it,

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
        pixels whose window lies inside the image, the map is smaller by 10 each way.
      train: False asserts that no gradient is wanted: differentiating is an error.
        Inference does not need it.
      data_format: "NCHW" (channels first) or "NHWC" (channels last). Neither is
        transposed.
      data_range: L, the difference between the largest and the smallest possible value:
        1 for images in [0, 1], 255 for images in [0, 255]. Static, like k1 and k2: a
        number, or an array of one that is not traced. Within [1e-25, 1e25];
        [1e-250, 1e250] for float64 images.
      k1: K1 of the formula. Static. Within [1e-8, 1e8]; [1e-70, 1e70] for float64.
      k2: K2 of the formula. As k1.
      reduction: "mean" over everything, "per_image" for a mean over C, H and W, "none"
        for the map.
      implementation: None uses the fused kernel where there is one (CPU, NVIDIA GPUs)
        and plain JAX elsewhere; "fused" is an error where there is none; "xla" is plain
        JAX.

    Returns:
      Float[Array, ""] for "mean" and Float[Array, "*batch"] for "per_image", in float32
      (float64 for float64 images), within [-1, 1]; for "none" the map in the images'
      dtype, Float[Array, "*batch C H W"], or "*batch C H-10 W-10" for "valid", with C
      last for "NHWC". NaN where a window reaches a NaN or an infinity.

    Raises:
      TypeError: images that are not of a real floating-point dtype; data_range, k1 or
        k2 that is not one number, or traced; differentiating with train=False.
      ValueError: fewer than 3 dimensions, shapes that differ, an empty dimension,
        "valid" with a side under 11; data_range, k1 or k2 out of bounds; an unknown
        padding, data_format, reduction or implementation.
      NotImplementedError: implementation "fused" lowered for a platform without kernel.

    Warns:
      UserWarning: a shape that looks like the other data_format, as one that ends in 3.

    References:
      Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility
      to structural similarity", IEEE Transactions on Image Processing 13(4), 2004.
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
    x, y = placed_alike(*checked_images(img1, img2, spec), spec)
    if not train:
        return _forward_only(x, y, spec, reduction)
    return _reduced(x, y, spec, reduction)


# As the functions of jax.numpy, one compiled program where it is called outside jit.
@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _reduced(x: Array, y: Array, spec: Spec, reduction: str) -> Array:
    if reduction == "none":
        return ops.ssim_map(x, y, spec)
    return ssim_mean((x,), (y,), Mean(spec, reduction == "per_image"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _forward_only(x: Array, y: Array, spec: Spec, reduction: str) -> Array:
    return _reduced(x, y, spec, reduction)


def _forward_only_fwd(x: Array, y: Array, spec: Spec, reduction: str) -> Any:
    return _reduced(x, y, spec, reduction), None


def _forward_only_bwd(
    spec: Spec, reduction: str, residuals: None, cotangent: Any
) -> Any:
    raise TypeError(
        "fused_ssim was called with train=False and its result is being "
        "differentiated. Use train=True, or jax.lax.stop_gradient if no gradient is "
        "wanted through it."
    )


# It raises only where a cotangent arrives: a metric next to a loss is no error.
_forward_only.defvjp(_forward_only_fwd, _forward_only_bwd)
