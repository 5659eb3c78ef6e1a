"""What a user passes as images and weights, made what the ops and their rules take."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import IMAGES, Padding, as_array, checked_images
from jax_fused_ssim.border import with_border
from jax_fused_ssim.integer import is_integer
from jax_fused_ssim.placement import placed_alike
from jax_fused_ssim.ranges import in_ranges
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.weights import Weighting, checked_weights


def checked_operands(
    images: tuple[ArrayLike, ArrayLike],
    weights: ArrayLike | None,
    weighting: Weighting,
    padding: Padding,
    spec: Spec,
    reduction: str = "mean",
    names: tuple[str, str] = IMAGES,
    ranges: Array | None = None,
) -> tuple[Array, Array, Array | None, Spec]:
    """Images, weights and the spec: checked, placed alike, with their border.

    Args:
      images: what the user passed.
      weights: what the user passed.
      weighting: what the user passed.
      padding: what the user passed.
      spec: as from `checked_spec`.
      reduction: what the user passed.
      names: of the images, for errors.
      ranges: as from `split_range`.

    Returns:
      Both images in units of their ranges, the weights as from `checked_weights`, and
      the spec for them, as from `with_border`.
    """
    pair = placed_alike(*checked_images(*images, spec, names), spec)
    pair = in_ranges(*pair, ranges, spec)
    of_pixels = checked_weights(weights, weighting, pair, spec, reduction)
    (x, y), of_pixels, spec = with_border(pair, of_pixels, padding, spec)
    return x, y, of_pixels, spec


def in_own_dtype(
    result: Array,
    img1: ArrayLike,
    img2: ArrayLike,
    reduction: str,
    ranges: Array | None,
) -> Array:
    """A map in the dtype of the images that a user passed, where `in_ranges` gave them
    another; other results as they are."""
    if reduction != "none" or ranges is None:
        return result
    dtypes = [a.dtype for a in map(as_array, (img1, img2)) if not is_integer(a)]
    return result.astype(jnp.result_type(*dtypes)) if dtypes else result
