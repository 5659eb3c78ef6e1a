"""Images of half the size, by the mean of 2x2 pixels."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from jax_fused_ssim.spec import Spec

OddSides = Literal["symmetric", "drop", "zero"]


def halved_size(size: Any, odd_sides: OddSides) -> Any:
    """What is left of a side."""
    return size // 2 if odd_sides == "drop" else (size + 1) // 2


def scales_that_fit(size: int, least: int, most: int, odd_sides: OddSides) -> int:
    """How many scales, at most so many, have a side of the least number of pixels."""
    scales = 0
    while size >= least and scales < most:
        scales += 1
        size = halved_size(size, odd_sides)
    return scales


def halved(a: Array, odd_sides: OddSides, spec: Spec) -> Array:
    """The mean of every 2x2 pixels.

    Args:
      a: [..., H, W], or [..., H, W, C] with `spec.channels_last`.
      odd_sides: for a side of an odd number of pixels: "symmetric" repeats the last
        one, "drop" leaves it out, "zero" puts a zero before the first.
      spec: static parameters.

    Returns:
      The same with sides of `halved_size`.
    """
    for axis in spec.spatial_axes:
        a = _even(a, axis, odd_sides)
    return mean_of_squares(a, spec)


def _even(a: Array, axis: int, odd_sides: OddSides) -> Array:
    size = a.shape[axis]
    if size % 2 == 0:
        return a
    if odd_sides == "drop":
        return lax.slice_in_dim(a, 0, size - 1, axis=axis)
    widths = [(0, 0)] * a.ndim
    if odd_sides == "zero":
        widths[axis] = (1, 0)
        return jnp.pad(a, widths)
    widths[axis] = (0, 1)
    return jnp.pad(a, widths, "edge")


def _in_squares(a: Array, spec: Spec) -> Array:
    """[..., H / 2, 2, W / 2, 2], with channels behind if they are last."""
    leading = a.ndim - spec.spatial_ndim
    height, width, *channels = a.shape[leading:]
    return a.reshape(*a.shape[:leading], height // 2, 2, width // 2, 2, *channels)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def mean_of_squares(a: Array, spec: Spec) -> Array:
    """`halved` of sides that are even."""
    # By slices, which XLA fuses into one loop over what is left, as it does no sum.
    squares = _in_squares(a, spec)
    y_axis = a.ndim - spec.spatial_ndim + 1

    def part(i: int, j: int) -> Array:
        rows = lax.index_in_dim(squares, i, y_axis, keepdims=False)
        return lax.index_in_dim(rows, j, y_axis + 1, keepdims=False)

    mean = ((part(0, 0) + part(0, 1)) + (part(1, 0) + part(1, 1))) * 0.25
    # Or XLA computes this scale again with the next one, where a side is odd.
    return lax.optimization_barrier(mean)


def tangent_of_mean(tangent: Array, spec: Spec) -> Array:
    """Of `mean_of_squares`: by a sum, whose transpose is a broadcast."""
    y_axis = tangent.ndim - spec.spatial_ndim + 1
    return jnp.sum(_in_squares(tangent, spec), (y_axis, y_axis + 2)) * 0.25


@mean_of_squares.defjvp
def _mean_of_squares_jvp(spec: Spec, primals: Any, tangents: Any) -> Any:
    return mean_of_squares(*primals, spec), tangent_of_mean(*tangents, spec)
