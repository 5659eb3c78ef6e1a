"""Data ranges that differ from image to image, or are computed: plain JAX divides the
images by them, and the ops see images of range 1."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jax_fused_ssim.arguments import Number
from jax_fused_ssim.constant import constant
from jax_fused_ssim.integer import image_dtype, is_integer
from jax_fused_ssim.placement import placed_like
from jax_fused_ssim.spec import Spec, compute_dtype

# A number, or an array with a number for every image.
DataRange = Number

_NO_DERIVATIVE = (
    "data_range has no derivative. To differentiate in it, divide the images by it "
    "yourself, fused_ssim(x / L, y / L), and leave data_range at 1."
)


def split_range(data_range: Any) -> tuple[Number, Array | None]:
    """What a spec takes for data_range, and what `in_ranges` takes.

    Args:
      data_range: what the user passed.

    Returns:
      The number and None; for an array that is traced, or has dimensions, 1 and the
      array.

    Raises:
      TypeError: an array whose numbers are not real.
      ValueError: an array, not traced, with a number that is not positive and finite.
    """
    traced = isinstance(data_range, jax.core.Tracer)
    if not traced and np.ndim(data_range) == 0:
        return data_range, None
    ranges = jnp.asarray(data_range)
    if not any(jnp.issubdtype(ranges.dtype, d) for d in (jnp.integer, jnp.floating)):
        raise TypeError(
            f"data_range must be a real number, or an array of such; got an array of "
            f"{ranges.dtype.name}"
        )
    if not traced:
        numbers = np.asarray(ranges, np.float64)
        if not np.all(np.isfinite(numbers) & (numbers > 0)):
            raise ValueError(f"data_range must be positive and finite; got {numbers}")
    return 1.0, ranges


def in_ranges(
    x: Array, y: Array, ranges: Array | None, spec: Spec
) -> tuple[Array, Array]:
    """Both images in units of their ranges.

    Args:
      x: `spec.layout`; integers are in units of a range as they are.
      y: like x.
      ranges: as from `split_range`, to broadcast to the batch; None leaves the images
        alone.
      spec: static parameters.

    Returns:
      The images, in the dtype of the arithmetic: half precision has no digits to lose.

    Raises:
      ValueError: ranges do not broadcast to the batch.
    """
    if ranges is None:
        return x, y
    batch = x.shape[: -spec.image_ndim]
    sizes = [1] * (len(batch) - ranges.ndim) + [*ranges.shape]
    if len(sizes) != len(batch) or any(
        n not in (1, whole) for n, whole in zip(sizes, batch, strict=True)
    ):
        raise ValueError(
            "data_range must be a number, or an array that broadcasts to the batch "
            f"dimensions {batch} of images of shape {x.shape}; got an array of shape "
            f"{ranges.shape}"
        )
    dtype = compute_dtype(image_dtype(x, y))
    of_images = ranges.astype(dtype).reshape(*sizes, *[1] * spec.image_ndim)
    of_images = constant(placed_like(of_images, x, spec), _NO_DERIVATIVE)
    x, y = (a if is_integer(a) else a.astype(dtype) / of_images for a in (x, y))
    return x, y
