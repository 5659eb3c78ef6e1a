"""The two ends of a block, sliced off so that their gradients are added in place.

JAX transposes a slice to an image of zeros around it, and adds up those images: one
pass over the whole gradient. The transpose of this op changes the rows in question and
no others, in the buffer that the kernel has written.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def with_ends(block: Array, axis: int, length: int) -> tuple[Array, Array, Array]:
    """A block, and copies of its two ends.

    Args:
      block: any shape and dtype.
      axis: along which the ends are; counted from the end.
      length: of the ends.

    Returns:
      The block itself, its first and its last `length` entries along the axis.
    """
    block, first, last = _with_ends_p.bind(block, axis=axis, length=length)
    return block, first, last


def _sliced(block: Array, *, axis: int, length: int) -> list[Array]:
    size = block.shape[axis]
    starts = (0, size - length)
    ends = [lax.slice_in_dim(block, i, i + length, axis=axis) for i in starts]
    return [block, *ends]


def _types(block: Any, *, axis: int, length: int) -> list[Any]:
    shape = list(block.shape)
    shape[axis] = length
    end = block.update(shape=tuple(shape), weak_type=False)
    return [block.update(weak_type=False), end, end]


def _added(block: Array, first: Array, last: Array, axis: int) -> Array:
    size, length = block.shape[axis], first.shape[axis]
    # One after the other: in a short block the two overlap.
    for end, start in ((first, 0), (last, size - length)):
        here = lax.slice_in_dim(block, start, start + length, axis=axis) + end
        # Apart from the update: fused with it, XLA would write the whole block anew.
        block, here = lax.optimization_barrier((block, here))
        block = lax.dynamic_update_slice_in_dim(block, here, start, axis)
    return block


def _transpose(
    cotangents: Sequence[Any], block: Any, *, axis: int, length: int
) -> list[Any]:
    del block, length
    if all(isinstance(c, ad.Zero) for c in cotangents):
        return [None]
    return [_added(*map(ad.instantiate_zeros, cotangents), axis)]


def _batch(
    args: Sequence[Array], dims: Sequence[int], *, axis: int, length: int
) -> tuple[list[Array], list[int]]:
    (block,), (dim,) = args, dims
    mapped_first = jnp.moveaxis(block, dim, 0)
    return _with_ends_p.bind(mapped_first, axis=axis, length=length), [0, 0, 0]


_with_ends_p = Primitive("jax_fused_ssim_with_ends")
_with_ends_p.multiple_results = True
_with_ends_p.def_impl(jax.jit(_sliced, static_argnames=("axis", "length")))
_with_ends_p.def_abstract_eval(_types)
ad.deflinear2(_with_ends_p, _transpose)
batching.primitive_batchers[_with_ends_p] = _batch
mlir.register_lowering(_with_ends_p, mlir.lower_fun(_sliced, multiple_results=True))
