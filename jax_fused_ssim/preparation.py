"""What some conventions do to images before they compare them, in plain JAX."""

import math
from typing import get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import DataFormat, as_array, check_choice
from jax_fused_ssim.spec import Spec

# ITU-R BT.601: of red, green and blue in luma.
_BT601 = (0.299, 0.587, 0.114)
# In studio range black is 16 of 255 and white 235.
_BLACK, _SPAN = 16 / 255, 219 / 255


def luma(
    images: ArrayLike,
    *,
    data_format: DataFormat = "NCHW",
    data_range: float = 1.0,
    full_range: bool = False,
) -> Array:
    """The luma Y' of RGB images, by ITU-R BT.601.

    Args:
      images: Float[Array, "*batch 3 H W"], or "*batch H W 3" for data_format "NHWC":
        red, green, blue, from 0 for black to data_range for white.
      data_format: "NCHW" or "NHWC".
      data_range: of the pixels.
      full_range: False for luma from 16/255 to 235/255 of the data range, as MATLAB's
        rgb2ycbcr and those who follow it have it, BasicSR among them; True for luma
        from 0 to all of it.

    Returns:
      As images, with one channel.

    Raises:
      TypeError: images that are not floating point.
      ValueError: images of other than three channels; an unknown data_format.

    References:
      Recommendation ITU-R BT.601-7, sections 2.5.1 and 2.5.3.
    """
    array, spec = _floats(images, data_format)
    axis = -1 if spec.channels_last else -3
    if array.ndim < 3 or array.shape[axis] != 3:
        raise ValueError(f"luma is of images with three channels; got {array.shape}")
    red, green, blue = jnp.split(array, 3, axis)
    r, g, b = _BT601
    full = r * red + g * green + b * blue
    if full_range:
        return full
    return _SPAN * full + _BLACK * data_range


def crop_border(
    images: ArrayLike, border: int, *, data_format: DataFormat = "NCHW"
) -> Array:
    """Images without their outermost pixels, as super-resolution is measured.

    Args:
      images: [*batch, C, H, W], or [*batch, H, W, C] for data_format "NHWC"; any dtype.
      border: how many pixels to leave out on each side.
      data_format: "NCHW" or "NHWC".

    Returns:
      As images, with H and W smaller by 2 * border.

    Raises:
      ValueError: a border under 0, or one that leaves nothing; an unknown data_format.
    """
    array, spec = as_array(images), _spec(data_format)
    if border < 0 or any(array.shape[a] <= 2 * border for a in spec.spatial_axes):
        raise ValueError(f"no border of {border} pixels in images of {array.shape}")
    for axis in spec.spatial_axes:
        end = array.shape[axis] - border
        array = jax.lax.slice_in_dim(array, border, end, axis=axis)
    return array


def downsampled(
    images: ArrayLike, *, data_format: DataFormat = "NCHW", centred: bool = False
) -> Array:
    """Images averaged down to sides of some 256 pixels, the scale that SSIM is for.

    The factor is max(1, round(min(H, W) / 256)); each pixel of the result is the mean
    of factor x factor pixels.

    Args:
      images: Float[Array, "*batch C H W"], or "*batch H W C" for data_format "NHWC".
      data_format: "NCHW" or "NHWC".
      centred: False for the mean of blocks side by side, without those that the image
        does not fill, and halves rounded to even, as piq has it; True for squares
        centred on every factor-th pixel from the first one on, of an image mirrored at
        its border, and halves rounded up, as Wang's ssim.m has it.

    Returns:
      As images, with smaller sides; the images themselves for sides under 384.

    Raises:
      TypeError: images that are not floating point.
      ValueError: an unknown data_format.

    References:
      Z. Wang, ssim.m, https://ece.uwaterloo.ca/~z70wang/research/ssim.
    """
    array, spec = _floats(images, data_format)
    exact = min(array.shape[a] for a in spec.spatial_axes) / 256
    factor = max(1, math.floor(exact + 0.5) if centred else round(exact))
    for axis in spec.spatial_axes:
        size = array.shape[axis]
        count = -(-size // factor) if centred else size // factor
        if centred:
            # The square of an even factor reaches one pixel further behind its centre.
            widths = [(0, 0)] * array.ndim
            widths[axis] = ((factor - 1) // 2, factor)
            array = jnp.pad(array, widths, "symmetric")
        array = jax.lax.slice_in_dim(array, 0, count * factor, axis=axis)
        shape = array.shape
        first = axis % array.ndim
        blocks = array.reshape(*shape[:first], count, factor, *shape[first + 1 :])
        array = jnp.mean(blocks, first + 1)
    return array


def _spec(data_format: DataFormat) -> Spec:
    check_choice("data_format", data_format, get_args(DataFormat))
    return Spec(channels_last=data_format == "NHWC")


def _floats(images: ArrayLike, data_format: DataFormat) -> tuple[Array, Spec]:
    array, spec = as_array(images), _spec(data_format)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"images must be floating point; got {array.dtype.name}. Divide integers "
            "by their largest value."
        )
    return array, spec
