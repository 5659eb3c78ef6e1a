"""Cuts the block of a sharded image into parts whose windows a device can see.

Along a sharded axis the windows of a block's outermost map pixels, 5 of them for a
window of 11, reach into its neighbours. The block is therefore cut into its *interior*,
the block itself without padding, and its two *ends*: 5 pixels of a neighbour and 10 of
its own, which make the 5 map pixels that the interior leaves out on that side. Together
they make every map pixel of the block once. The interior is the block as it lies in
memory: nothing of the size of the image is copied to attach the halo.

Every axis cut adds one leading dimension: of size 1 to the interior, of size 2 to the
ends. With two sharded axes there are four parts, the corners among them.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jax_fused_ssim.ends import with_ends
from jax_fused_ssim.window import Window


class ShardedAxis(NamedTuple):
    """A spatial axis that is cut over devices in equal blocks.

    Attributes:
      axis: counted from the end.
      name: the mesh axis, or several, as `jax.lax.ppermute` takes it.
      padded: whether the whole image is zero padded there.
    """

    axis: int
    name: Any
    padded: bool


def parts(block: Array, sharded: Sequence[ShardedAxis], window: Window) -> list[Array]:
    """The parts of a block, after one exchange with each neighbour along each axis.

    Args:
      block: at least as many pixels as the window along every sharded axis.
      sharded: the axes to cut.
      window: of an odd size, so that both ends are of one shape.

    Returns:
      2 ** len(sharded) arrays, interior before ends, the first axis slowest. Beyond the
      border of the whole image there are zeros.
    """
    if not sharded:
        return [block]
    (axis, name, _), *rest = sharded
    reach = window.before
    block, first, last = with_ends(block, axis, 2 * reach)
    before, after = _exchanged(
        lax.slice_in_dim(first, 0, reach, axis=axis),
        lax.slice_in_dim(last, reach, 2 * reach, axis=axis),
        name,
    )
    # First the exchange, then the kernel of the interior. On a GPU that kernel takes
    # every multiprocessor: started on one device it would keep the other waiting in the
    # exchange, which itself would hold multiprocessors there.
    block, before, after = lax.optimization_barrier((block, before, after))
    first = jnp.concatenate([before, first], axis)
    last = jnp.concatenate([last, after], axis)
    ends = jnp.stack([first, last])
    return [*parts(block[None], rest, window), *parts(ends, rest, window)]


def extended(block: Array, sharded: Sequence[ShardedAxis], window: Window) -> Array:
    """A block with as many pixels of its neighbours at each side along every sharded
    axis as windows of an odd size reach.

    A copy, for what is computed in plain JAX. Beyond the border of the whole image
    there are zeros.
    """
    reach = window.before
    for axis, name, _ in sharded:
        size = block.shape[axis]
        before, after = _exchanged(
            lax.slice_in_dim(block, 0, reach, axis=axis),
            lax.slice_in_dim(block, size - reach, size, axis=axis),
            name,
        )
        block = jnp.concatenate([before, block, after], axis)
    return block


def _exchanged(first: Array, last: Array, name: Any) -> tuple[Array, Array]:
    """The last pixels of the block before and the first of the one after.

    Beyond the border of the whole image there are zeros.
    """
    count = lax.axis_size(name)
    if count == 2:
        # Each has one neighbour, and hears from it while it sends.
        index = lax.axis_index(name)
        got = lax.ppermute(jnp.where(index == 0, last, first), name, [(0, 1), (1, 0)])
        return jnp.where(index == 1, got, 0), jnp.where(index == 0, got, 0)
    # A device that nobody sends to receives zeros.
    before = lax.ppermute(last, name, [(i, i + 1) for i in range(count - 1)])
    after = lax.ppermute(first, name, [(i + 1, i) for i in range(count - 1)])
    return before, after


def inside(sharded: Sequence[ShardedAxis]) -> list[Array | None]:
    """For every part, which of its entries lie in the map of the whole image.

    Without padding the map begins inside the image: the outer end of the first and of
    the last block has no part in it.

    Returns:
      For every part, booleans over its new leading dimensions (some of size 1); None
      where all of it does.
    """
    count = len(sharded)
    masks = []
    for is_end in itertools.product((False, True), repeat=count):
        mask = None
        for i, (end, (_, name, padded)) in enumerate(zip(is_end, sharded, strict=True)):
            if end and not padded:
                index = lax.axis_index(name)
                ends = jnp.stack([index > 0, index < lax.axis_size(name) - 1])
                # What was cut last leads.
                shape = [2 if count - 1 - i == k else 1 for k in range(count)]
                ends = ends.reshape(shape)
                mask = ends if mask is None else mask & ends
        masks.append(mask)
    return masks


def joined(maps: Sequence[Array], sharded: Sequence[ShardedAxis]) -> Array:
    """The map of the block from the maps of its parts."""
    if not sharded:
        return maps[0]
    (axis, *_), *rest = sharded
    half = len(maps) // 2
    interior, ends = joined(maps[:half], rest), joined(maps[half:], rest)
    return jnp.concatenate([ends[0], interior[0], ends[1]], axis)
