"""What some conventions do to images before they compare them, in plain JAX."""

import math
import operator
from typing import Any, SupportsIndex

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import (
    DataFormat,
    Number,
    as_array,
    checked_spec,
    layout_hint,
)
from jax_fused_ssim.integer import is_integer, pixels
from jax_fused_ssim.spec import Spec, compute_dtype

# ITU-R BT.601: of red, green and blue in luma.
_BT601 = (0.299, 0.587, 0.114)
# In studio range black is 16 of 255 and white 235.
_BLACK, _SPAN = 16 / 255, 219 / 255
# Of the shorter side, in pixels, which SSIM is for.
_SIDE = 256


def luma(
    images: ArrayLike,
    *,
    data_format: DataFormat = "NCHW",
    data_range: Number = 1.0,
    full_range: bool = False,
) -> Array:
    """The luma Y' of RGB images, by ITU-R BT.601.

    Args:
      images: Float[Array, "*batch 3 H W"], or "*batch H W 3" for data_format "NHWC":
        red, green, blue, from 0 for black to data_range for white; or UInt8 or UInt16,
        which stand for value / (2^bits - 1) * data_range.
      data_format: "NCHW" or "NHWC".
      data_range: of the pixels; a number that is not traced.
      full_range: False for luma from 16/255 to 235/255 of the data range, as MATLAB's
        rgb2ycbcr and those who follow it have it, BasicSR among them; True for luma
        from 0 to all of it.

    Returns:
      As images, with one channel and the same data range; float32 for integers.

    Raises:
      TypeError: images that are neither floats nor of these integers; a data_range that
        is not one number.
      ValueError: fewer than 3 dimensions, or other than three channels; a data_range
        that is not positive; an unknown data_format.

    References:
      Recommendation ITU-R BT.601-7, sections 2.5.1 and 2.5.3.
    """
    spec = checked_spec("same", data_format=data_format, data_range=data_range)
    array, dtype = _floats(images, spec)
    if array.shape[spec.channel_axis] != 3:
        hint = layout_hint(array.shape, spec)
        raise ValueError(
            f"luma is of images with three channels; got {spec.layout} = "
            f"{array.shape}. {hint}".rstrip()
        )
    red, green, blue = jnp.split(array, 3, spec.channel_axis)
    r, g, b = _BT601
    of_white = r * red + g * green + b * blue
    if not full_range:
        of_white = _SPAN * of_white + _BLACK * spec.data_range
    return of_white.astype(dtype)


def crop_border(
    images: ArrayLike, border: SupportsIndex, *, data_format: DataFormat = "NCHW"
) -> Array:
    """Images without their outermost pixels, as super-resolution is measured.

    Args:
      images: Shaped[Array, "*batch C H W"], or "*batch H W C" for data_format "NHWC".
      border: how many pixels to leave out on each side; an int.
      data_format: "NCHW" or "NHWC".

    Returns:
      As images, with H and W smaller by 2 * border.

    Raises:
      TypeError: a border that is not an integer, or traced.
      ValueError: fewer than 3 dimensions; a border below 0, or one that leaves nothing;
        an unknown data_format.
    """
    spec = checked_spec("same", data_format=data_format)
    array, width = _checked(images, spec), _count("border", border)
    if width < 0 or any(array.shape[a] <= 2 * width for a in spec.spatial_axes):
        raise ValueError(
            f"border must be at least 0 and leave a pixel; got {width} for "
            f"{spec.layout} = {array.shape}"
        )
    for axis in spec.spatial_axes:
        array = lax.slice_in_dim(array, width, array.shape[axis] - width, axis=axis)
    return array


def downsampled(
    images: ArrayLike,
    *,
    factor: SupportsIndex | None = None,
    data_format: DataFormat = "NCHW",
    centred: bool = False,
) -> Array:
    """Images averaged down to a shorter side of some 256 pixels, which SSIM is for.

    Each pixel of the result is the mean of factor x factor pixels.

    Args:
      images: Float[Array, "*batch C H W"], or "*batch H W C" for data_format "NHWC"; or
        UInt8 or UInt16, which stand for value / (2^bits - 1).
      factor: an int; None is max(1, round(min(H, W) / 256)).
      data_format: "NCHW" or "NHWC".
      centred: which pixels those are. False for squares side by side, without those
        that the image does not fill, and for halves rounded to even, as piq has it.
        True for squares centred on every factor-th pixel from the first one on, of an
        image mirrored at its border ("symmetric"), and for halves rounded up, as Wang's
        ssim.m has it; one of an even side reaches a pixel further behind its centre.

    Returns:
      As images, with sides of floor(side / factor), or ceil(side / factor) where
      centred; float32 for integers.

    Raises:
      TypeError: images that are neither floats nor of these integers; a factor that is
        not an integer, or traced.
      ValueError: fewer than 3 dimensions; a factor below 1, or larger than a side; an
        unknown data_format.

    References:
      Z. Wang, ssim.m, https://ece.uwaterloo.ca/~z70wang/research/ssim.
    """
    spec = checked_spec("same", data_format=data_format)
    array, dtype = _floats(images, spec)
    shortest = min(array.shape[axis] for axis in spec.spatial_axes)
    if factor is None:
        exact = shortest / _SIDE
        side = max(1, math.floor(exact + 0.5) if centred else round(exact))
    else:
        side = _count("factor", factor)
    if not 1 <= side <= shortest:
        raise ValueError(
            f"factor must be within [1, {shortest}]; got {side} for {spec.layout} = "
            f"{array.shape}"
        )
    for axis in spec.spatial_axes:
        count = array.shape[axis] // side
        if centred:
            count = -(-array.shape[axis] // side)
            widths = [(0, 0)] * array.ndim
            widths[axis] = ((side - 1) // 2, side // 2)
            array = jnp.pad(array, widths, "symmetric")
        array = _means(array, axis, side, count)
    return array.astype(dtype)


def _means(array: Array, axis: int, side: int, count: int) -> Array:
    """Of as many pixels along an axis, one behind the other, `count` times."""
    array = lax.slice_in_dim(array, 0, count * side, axis=axis)
    first = axis % array.ndim
    shape = (*array.shape[:first], count, side, *array.shape[first + 1 :])
    return jnp.mean(array.reshape(shape), first + 1)


def _count(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} is static and must be an int; got {value!r} of type "
            f"{type(value).__name__}"
        ) from None


def _checked(images: ArrayLike, spec: Spec) -> Array:
    array = as_array(images)
    if array.ndim < 3:
        raise ValueError(f"images must be {spec.layout}; got {array.shape}")
    return array


def _floats(images: ArrayLike, spec: Spec) -> tuple[Array, Any]:
    """The images in the dtype of the arithmetic, and the dtype of a result."""
    array = _checked(images, spec)
    if is_integer(array):
        dtype = jnp.dtype("float32")
    elif jnp.issubdtype(array.dtype, jnp.floating):
        dtype = array.dtype
    else:
        raise TypeError(
            "images must be floats, uint8 or uint16; got " + array.dtype.name
        )
    return pixels(array, spec, compute_dtype(dtype)), dtype
