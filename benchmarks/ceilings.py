"""What the device can do at best: bytes copied and multiply-adds, measured by JAX."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

CHAINS, LENGTH = 8, 64


def measure(platform: str, seconds: float = 1.0) -> dict[str, float]:
    """Measures the ceilings.

    Args:
      platform: "cpu" or "gpu".
      seconds: for each measurement, about.

    Returns:
      `copy_bytes_per_s`, read and written; `fma_per_s`, float32 multiply-adds, the
      better of arithmetic in registers and a matrix product.
    """
    gpu = platform == "gpu"
    arithmetic = [
        _register_fma(2**24 if gpu else 2**18, seconds),
        _matmul_fma(8192 if gpu else 1024, seconds),
    ]
    return {
        "copy_bytes_per_s": _copy(2**30 if gpu else 2**28, seconds),
        "fma_per_s": max(arithmetic),
    }


def _best(step: Callable[[], Any], seconds: float) -> float:
    """The least seconds a step takes, of batches queued without waiting in between."""
    jax.block_until_ready(step())
    start = time.perf_counter()
    jax.block_until_ready(step())
    once = time.perf_counter() - start
    batch = max(1, min(100, int(seconds / 5 / once)))
    best, end = once, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(batch):
            result = step()
        jax.block_until_ready(result)
        best = min(best, (time.perf_counter() - start) / batch)
    return best


def _copy(size: int, seconds: float) -> float:
    source = jax.random.uniform(jax.random.key(0), (size // 4,))
    target = jnp.zeros_like(source)

    # The old target is donated: it is written again, and no fresh memory is mapped.
    @functools.partial(jax.jit, donate_argnums=1, keep_unused=True)
    def copy(source, target):
        return source + 0.5

    def step():
        nonlocal target
        target = copy(source, target)
        return target

    return 2 * source.nbytes / _best(step, seconds)


def _register_fma(size: int, seconds: float) -> float:
    """Independent chains of multiply-adds on every element."""

    @jax.jit
    def chains(x, a, b):
        values = [x + k for k in range(CHAINS)]
        for _ in range(LENGTH):
            values = [v * a + b for v in values]
        return sum(values)

    x = jax.random.uniform(jax.random.key(0), (size,))
    a, b = jnp.float32(0.999), jnp.float32(0.001)
    return size * CHAINS * LENGTH / _best(lambda: chains(x, a, b), seconds)


def _matmul_fma(side: int, seconds: float) -> float:
    a, b = jax.random.uniform(jax.random.key(0), (2, side, side))
    product = jax.jit(functools.partial(jnp.matmul, precision="highest"))
    return side**3 / _best(lambda: product(a, b), seconds)
