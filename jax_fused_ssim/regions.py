"""Which pixels weights count, in windows and beside them.

Weights keep the sizes of 1 along which they broadcast; what is computed of weights
alone skips those axes, as along them the weights are constant.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jax_fused_ssim import halo, xla
from jax_fused_ssim.mean import Mean
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.weighted import any_in_window, inner


def axes_of(weights: Array, spec: Spec) -> list[int]:
    """The spatial axes along which weights are not constant."""
    return [axis for axis in spec.spatial_axes if weights.shape[axis] != 1]


def is_cut(axis: int, mean: Mean) -> bool:
    return axis in [c.axis for c in mean.cut]


def _is_padded(axis: int, mean: Mean) -> bool:
    return mean.spec.padding[mean.spec.spatial_axes.index(axis)]


def _margins(axis: int, mean: Mean) -> tuple[int, int]:
    """How many pixels beyond a block the windows of its map see."""
    return mean.spec.window.margins(_is_padded(axis, mean) or is_cut(axis, mean))


def _padded(a: Array, axis: int, margins: tuple[int, int]) -> Array:
    widths = [(0, 0)] * a.ndim
    widths[axis] = margins
    return jnp.pad(a, widths)


def extended(a: Array, axes: Sequence[int], mean: Mean) -> Array:
    """With what the windows of the map see beyond a block: its neighbours, and zeros
    beyond the border of the image."""
    cut = [c for c in mean.cut if c.axis in axes]
    a = halo.extended(a, cut, mean.spec.window)
    for axis in axes:
        if not is_cut(axis, mean):
            a = _padded(a, axis, _margins(axis, mean))
    return a


def within(
    shape: Sequence[int],
    axis: int,
    mean: Mean,
    beyond: tuple[int, int] = (0, 0),
    border: tuple[int, int] = (0, 0),
) -> Array:
    """Which places along an axis of a block are in the whole image.

    Args:
      shape: of the block, or of its weights.
      axis: counted from the end.
      mean: what is static.
      beyond: how many places there are before the block and after it.
      border: how much of the image does not count, before and after the rest.

    Returns:
      Booleans, with all other dimensions of size 1.
    """
    size, start, whole = shape[axis], 0, shape[axis]
    for name in (c.name for c in mean.cut if c.axis == axis):
        start = lax.axis_index(name) * size
        whole = lax.axis_size(name) * size
    place = jnp.arange(-beyond[0], size + beyond[1], dtype=jnp.int32) + start
    place = jnp.expand_dims(place, [i for i in range(-len(shape), 0) if i != axis])
    return (place >= border[0]) & (place < whole - border[1])


def without_border(weights: Array, padding: Sequence[bool], mean: Mean) -> Array:
    """With zeros for the pixels of a whole image that are not in the map. Cut off, XLA
    writes the rest out before it adds it up."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded:
            border = mean.spec.window.margins(True)
            inner = within(weights.shape, axis, mean, border=border)
            weights = jnp.where(inner, weights, 0)
    return weights


def back_to_image(a: Array, image: Sequence[int], spec: Spec) -> Array:
    """Of the pixels of a map, with zeros for those of the image beside it."""
    whole = [a.shape[i] == image[i] for i in spec.spatial_axes]
    return xla._pad(a, [spec.window.margins(not of_image) for of_image in whole], spec)


def masked(
    weights: Array, padding: Sequence[bool], block: Sequence[int], mean: Mean
) -> Array:
    """Zeros where a cut block has pixels that are not in the map of the whole."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded and is_cut(axis, mean):
            border = mean.spec.window.margins(True)
            inner = within(block, axis, mean, border=border)
            weights = jnp.where(inner, weights, 0)
    return weights


def covered_by_map(
    weights: Array, padding: Sequence[bool], block: Sequence[int], mean: Mean
) -> Array:
    """Weights of the pixels of a map: fewer than the image's, but zeros for those of a
    cut block that the map of the whole lacks."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded and not is_cut(axis, mean) and weights.shape[axis] != 1:
            weights = inner(weights, axis, mean.spec.window)
    return masked(weights, padding, block, mean)


def seen_by(weights: Array, mean: Mean) -> Array:
    """Which pixels a window of the map sees whose weight is not 0."""
    axes, window = axes_of(weights, mean.spec), mean.spec.window
    cut = [c for c in mean.cut if c.axis in axes]
    there = halo.extended(weights != 0, cut, window)
    for axis in axes:
        margins = (0, 0)
        if not is_cut(axis, mean):
            margins = window.margins_of_map(_is_padded(axis, mean))
        there = any_in_window(there, axis, margins, window)
    return there


def window_means(weights: Array, mean: Mean) -> Array:
    """The mean weight that the windows of the map see; 0 where they see one of 0."""
    axes, window = axes_of(weights, mean.spec), mean.spec.window
    window_mean = extended(weights, axes, mean)
    zero = window_mean == 0
    for axis in axes:
        inside = within(weights.shape, axis, mean, beyond=_margins(axis, mean))
        zero &= inside
        one = jnp.ones((), weights.dtype)
        share = xla._windowed_sum(jnp.where(inside, one, 0), axis, window)
        # Or XLA computes the first axis again for each tap of the second.
        window_mean = lax.optimization_barrier(window_mean)
        window_mean = xla._windowed_sum(window_mean, axis, window)
        window_mean = window_mean / share
    for axis in axes:
        zero = any_in_window(zero, axis, (0, 0), window)
    return jnp.where(zero, 0, window_mean)


def copies(weights: Array, shape: Sequence[Any], mean: Mean) -> Array:
    """For how many values of this shape, of those a mean is over, a weight stands."""
    axes = mean.axes(len(shape))
    copies = math.prod(shape[i] for i in axes if weights.shape[i] == 1)
    return jnp.asarray(copies, weights.dtype)
