"""The public function: validates, chooses the layout, reduces."""

import functools
import math
import numbers
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim import ops
from jax_fused_ssim.spec import WINDOW, Spec

_ACCEPTED = {
    "padding": ("same", "valid"),
    "data_format": ("NCHW", "NHWC"),
    "reduction": ("mean", "per_image", "none"),
    "implementation": (None, "fused", "xla"),
}
_DTYPES = ("bfloat16", "float16", "float32", "float64")


def fused_ssim(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Literal["same", "valid"] = "same",
    train: bool = True,
    *,
    data_format: Literal["NCHW", "NHWC"] = "NCHW",
    data_range: float = 1.0,
    k1: float = 0.01,
    k2: float = 0.03,
    reduction: Literal["mean", "per_image", "none"] = "mean",
    implementation: Literal["fused", "xla"] | None = None,
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
      img1: [..., C, H, W], or [..., H, W, C] for data_format "NHWC", with any number of
        leading batch dimensions; float16, bfloat16, float32 or float64.
      img2: like img1. Two dtypes are promoted to a common one.
      padding: "same" pads with zeros, the map has the image's size; "valid" keeps the
        pixels whose window lies inside the image, the map is smaller by 10 each way.
      train: False asserts that no gradient is wanted: differentiating is an error.
        Inference does not need it.
      data_format: "NCHW" (channels first) or "NHWC" (channels last). Neither is
        transposed.
      data_range: L, the difference between the largest and the smallest possible value:
        1 for images in [0, 1], 255 for images in [0, 255]. Static.
      k1: K1 of the formula. Static.
      k2: K2 of the formula. Static.
      reduction: "mean" over everything, "per_image" for a mean over C, H and W, "none"
        for the map.
      implementation: None uses the fused kernel where there is one (CPU, NVIDIA GPUs)
        and plain JAX elsewhere; "fused" is an error where there is none; "xla" is plain
        JAX.

    Returns:
      A scalar for "mean" and the batch shape for "per_image", in float32 (float64 for
      float64 images), within [-1, 1]; for "none" the map in the images' dtype. NaN
      where a window reaches a NaN or an infinity.

    Raises:
      TypeError: images that are not of a real floating-point dtype; data_range, k1 or
        k2 that is not a number; differentiating with train=False.
      ValueError: fewer than 3 dimensions, shapes that differ, an empty dimension,
        "valid" with a side under 11; data_range, k1 or k2 that is not positive and
        finite; an unknown padding, data_format, reduction or implementation.
      NotImplementedError: implementation "fused" lowered for a platform without kernel.

    References:
      Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility
      to structural similarity", IEEE Transactions on Image Processing 13(4), 2004.
    """
    given = {
        "padding": padding,
        "data_format": data_format,
        "reduction": reduction,
        "implementation": implementation,
    }
    for name, value in given.items():
        _check_choice(name, value)
    padded = padding == "same"
    spec = Spec(
        data_range=_positive("data_range", data_range),
        k1=_positive("k1", k1),
        k2=_positive("k2", k2),
        padding=(padded, padded),
        channels_last=data_format == "NHWC",
        implementation=implementation,
    )
    x, y = _images(img1, img2, spec)
    if not train:
        return _forward_only(x, y, spec, reduction)
    return _reduced(x, y, spec, reduction)


def _reduced(x: Array, y: Array, spec: Spec, reduction: str) -> Array:
    if reduction == "none":
        return ops.ssim_map(x, y, spec)
    return ops.ssim_mean(x, y, spec, reduction == "per_image")


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


def _check_choice(name: str, value: Any) -> None:
    accepted = _ACCEPTED[name]
    if not (value is None or isinstance(value, str)) or value not in accepted:
        options = ", ".join(map(repr, accepted))
        raise ValueError(f"{name} must be one of {options}; got {value!r}")


def _positive(name: str, value: Any) -> float:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{name} is static and cannot be traced; got {value}")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} must be a real number; got {value!r} of type "
            f"{type(value).__name__}"
        )
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite; got {value!r}")
    return float(value)


def _images(img1: ArrayLike, img2: ArrayLike, spec: Spec) -> tuple[Array, Array]:
    """The checked images as arrays of one dtype."""
    x, y = jnp.asarray(img1), jnp.asarray(img2)
    for name, a in (("img1", x), ("img2", y)):
        if a.dtype.name not in _DTYPES:
            hint = (
                "; convert it, and set data_range to the largest value"
                if jnp.issubdtype(a.dtype, jnp.integer)
                else ""
            )
            raise TypeError(
                f"{name} must have one of the dtypes {', '.join(_DTYPES)}; "
                f"got {a.dtype.name}{hint}"
            )
    layout = "[..., H, W, C]" if spec.channels_last else "[..., C, H, W]"
    if x.shape != y.shape:
        raise ValueError(
            f"img1 and img2 must have one shape; got {x.shape} and {y.shape}"
        )
    if x.ndim < 3:
        raise ValueError(f"images must be {layout}; got {x.ndim} dimensions: {x.shape}")
    if any(isinstance(d, int) and d == 0 for d in x.shape):
        raise ValueError(f"images must have no empty dimension; got {x.shape}")
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        side = x.shape[axis]
        if not padded and isinstance(side, int) and side < WINDOW:
            raise ValueError(
                f'padding="valid" needs H and W of at least {WINDOW}; got '
                f'{layout} = {x.shape}. Use padding="same".'
            )
    dtype = jnp.promote_types(x.dtype, y.dtype)
    return x.astype(dtype), y.astype(dtype)
