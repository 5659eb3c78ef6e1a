"""Sums in float32 that lose nothing before their last rounding."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def split_sum(
    a: Array, axis: int | Sequence[int], bound: float, mesh_axes: Sequence[Any] = ()
) -> Array:
    """Sums along axes, in the array's dtype, with an error of about one rounding.

    Every term is split into a multiple of a quantum, coarse enough for their sum to be
    exact in any order, and a small rest. Both sums are one reduction, and so one
    all-reduce where the axes are sharded. XLA promises no order and no accuracy for a
    plain sum; over a million pixels it can lose four digits.

    Args:
      a: any shape, float32 or float64.
      axis: one axis or several, as in `jnp.sum`.
      bound: no term is larger in absolute value.
      mesh_axes: of `jax.shard_map`, to sum over too.

    Returns:
      The sums.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    sizes = [a.shape[i] for i in axes]
    # A symbolic size counts as 4096: more terms round, as in any float sum.
    terms = math.prod(n if isinstance(n, int) else 4096 for n in sizes)
    terms *= math.prod(map(jax.lax.axis_size, mesh_axes))
    bits = jnp.finfo(a.dtype).nmant + 1
    quantum = 2.0 ** (math.ceil(math.log2(max(terms, 1) * bound)) - bits)
    coarse = jax.lax.stop_gradient(jnp.round(a / quantum) * quantum)
    return _sum_of_parts(coarse, a - coarse, axes, mesh_axes)


def split_sum_of_any(
    a: Array, axes: Sequence[int], mesh_axes: Sequence[Any] = ()
) -> Array:
    """The same for terms without a bound: some thousands that are alike in size.

    What is coarse of a term are its first digits, half as many as it has.

    Args:
      a: any shape, float32 or float64. An infinite term gives an infinite sum.
      axes: to sum along.
      mesh_axes: of `jax.shard_map`, to sum over too.

    Returns:
      The sums.
    """
    return _sum_of_parts(*_parts(a), tuple(axes), mesh_axes)


def sum_over(a: Array, axes: Sequence[int], mesh_axes: Sequence[Any] = ()) -> Array:
    """`split_sum_of_any` over axes, the last one first: what is left to sum over gets
    small at once."""
    first, *others = sorted(axis % a.ndim for axis in axes)
    for axis in reversed(others):
        a = split_sum_of_any(a, (axis,))
    return split_sum_of_any(a, (first,), mesh_axes)


def split_sum_of_constants(a: Array, axes: Sequence[int]) -> Array:
    """The same without derivative, for which nothing as large as the array is written.

    Args:
      a: as in `split_sum_of_any`.
      axes: to sum along, one after the other.

    Returns:
      The sums; other axes keep their places.
    """
    a = jax.lax.stop_gradient(a)
    zero = jnp.zeros((), a.dtype)

    def add(one: tuple[Array, Array], other: tuple[Array, Array]) -> Any:
        return one[0] + other[0], one[1] + other[1]

    for axis in sorted((i % a.ndim for i in axes), reverse=True):
        a = sum(jax.lax.reduce(_parts(a), (zero, zero), add, (axis,)))
    return a


def _parts(a: Array) -> tuple[Array, Array]:
    """The first digits of numbers, and what is left of them."""
    info = jnp.finfo(a.dtype)
    coarse = jax.lax.reduce_precision(
        jax.lax.stop_gradient(a), info.nexp, (info.nmant - 1) // 2
    )
    return coarse, jnp.where(jnp.isinf(coarse), 0, a - coarse)


def _sum_of_parts(
    coarse: Array, rest: Array, axes: Sequence[int], mesh_axes: Sequence[Any]
) -> Array:
    # Not a stack: XLA may write one out before it sums.
    is_coarse = jnp.arange(2) == 0
    parts = jnp.where(is_coarse, coarse[..., None], rest[..., None])
    total = jnp.sum(parts, axis=tuple(i if i >= 0 else i - 1 for i in axes))
    if mesh_axes:
        total = jax.lax.psum(total, tuple(mesh_axes))
    return total[..., 0] + total[..., 1]
