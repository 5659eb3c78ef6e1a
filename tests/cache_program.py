"""Run by test_runtime.py more than once, with a cache directory and a file that holds
`fused_ssim` exported.

Prints one JSON object: how often the persistent compilation cache was hit and missed,
and the largest difference of value and gradient between what was exported and ours.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export, monitoring

from jax_fused_ssim import fused_ssim

EVENTS = "/jax/compilation_cache/cache_"


def main() -> None:
    directory, file = sys.argv[1:]
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    x = jnp.linspace(0, 1, 3 * 12 * 13).reshape(1, 3, 12, 13)
    y = jnp.sin(x)
    jax.block_until_ready((x, y))
    found = {"hits": 0, "misses": 0}

    def count(event: str, **_) -> None:
        if event.startswith(EVENTS):
            found[event.removeprefix(EVENTS)] += 1

    monitoring.register_event_listener(count)
    value, grad = jax.jit(jax.value_and_grad(fused_ssim))(x, y)
    counted = dict(found)
    loaded = export.deserialize(bytearray(Path(file).read_bytes()))
    again = jax.value_and_grad(loaded.call)(x, y)
    difference = max(
        float(jnp.abs(a - b).max()) for a, b in zip(again, (value, grad), strict=True)
    )
    json.dump({**counted, "difference": difference}, sys.stdout)


if __name__ == "__main__":
    main()
