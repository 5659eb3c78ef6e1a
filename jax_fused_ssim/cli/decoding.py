"""Reads pairs of images on threads, ahead of what measures them."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jax_fused_ssim.cli.errors import ImageError
from jax_fused_ssim.cli.pairing import Pair

# Of images that are read and not yet measured.
_AHEAD_BYTES = 2**29
_MAX_THREADS = 32


class Decoded(NamedTuple):
    """A pair that can be measured: [H, W, C] of one shape, as from `reading.read`."""

    pair: Pair
    a: np.ndarray
    b: np.ndarray

    @property
    def bytes(self) -> int:
        return self.a.nbytes + self.b.nbytes

    @property
    def kind(self) -> tuple[Any, ...]:
        """What pairs of one batch have in common."""
        return self.a.shape, self.a.dtype, self.b.dtype


class Failed(NamedTuple):
    """A pair that cannot be measured, and why."""

    pair: Pair
    reason: str


def decoded(
    pairs: Sequence[Pair], read: Callable[[Path], np.ndarray]
) -> Iterator[Decoded | Failed]:
    """Every pair, in order.

    Both images of a pair are read at once, and as many pairs ahead as there are
    threads, or fewer where they are large, by the size of the pair before.
    """
    threads = min(_cores(), _MAX_THREADS)
    coming = iter(pairs)
    waiting: deque[tuple[Pair, Future[np.ndarray], Future[np.ndarray]]] = deque()
    ahead = 1
    with ThreadPoolExecutor(threads) as pool:
        while True:
            for pair in islice(coming, max(0, ahead - len(waiting))):
                waiting.append(
                    (pair, *(pool.submit(read, p) for p in (pair.a, pair.b)))
                )
            if not waiting:
                return
            found = _joined(*waiting.popleft())
            if isinstance(found, Decoded):
                ahead = max(1, min(threads, _AHEAD_BYTES // found.bytes))
            yield found


def _joined(
    pair: Pair, a: Future[np.ndarray], b: Future[np.ndarray]
) -> Decoded | Failed:
    try:
        found = Decoded(pair, a.result(), b.result())
    except ImageError as error:
        return Failed(pair, str(error))
    if found.a.shape == found.b.shape:
        return found
    a_is, b_is = (_described(image.shape) for image in (found.a, found.b))
    return Failed(pair, f"{pair.a} is {a_is}, and {pair.b} is {b_is}")


def _described(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width} x {height} pixels in {'grey' if channels == 1 else 'RGB'}"


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
