"""Borders that repeat the image: padded here, where no kernel knows them."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from jax_fused_ssim.arguments import BORDERS, Padding
from jax_fused_ssim.spec import Spec


def with_border(
    images: Sequence[Array], weights: Array | None, padding: Padding, spec: Spec
) -> tuple[list[Array], Array | None, Spec]:
    """Images, their weights and the spec, so that the map is that of a padded image.

    Args:
      images: [..., H, W], or [..., H, W, C] with `spec.channels_last`.
      weights: as from `checked_weights`; None where there are none.
      padding: what the user passed.
      spec: as from `checked_spec`.

    Returns:
      The same for "same" and "valid". Otherwise images and weights that are larger by
      the reach of a window each way, and a spec by which the map, and what errors are
      counted in, are the pixels that there were.
    """
    if padding not in BORDERS:
        return [*images], weights, spec
    padded = [_padded(a, padding, spec) for a in images]
    if weights is not None:
        weights = _padded(weights, padding, spec, shared=True)
    axes = spec.spatial_axes
    return padded, weights, spec.with_padding(axes, False).with_crop(axes, True)


def _padded(a: Array, mode: str, spec: Spec, shared: bool = False) -> Array:
    """`shared`: an axis of size 1 stands for all pixels along it."""
    widths = [(0, 0)] * a.ndim
    for axis in spec.spatial_axes:
        if not (shared and a.shape[axis] == 1):
            widths[axis] = spec.window.margins(True)
    return jnp.pad(a, widths, mode)
