"""Run by test_native.py in a process of its own, set up by environment variables.

Prints one JSON object: the CPU instruction set in use, a digest of what the CPU kernels
compute, and by op their largest difference from plain JAX in float64, as a fraction of
what is allowed.
"""

import dataclasses
import hashlib
import itertools
import json

import images
import jax
import jax.numpy as jnp
import numpy as np
from ops_table import BOTH, OPS

from jax_fused_ssim import build_info
from jax_fused_ssim.spec import Spec

# Images that make one task and many, the last two channels-last, one of them with more
# channels than a task takes.
SHAPES = ((1, 3), (300, 701), (7, 200, 20), (3, 60, 41, 5), (1, 40, 23, 35))
DTYPES = ("float16", "bfloat16", "float32", "float64")


def error(found, exact, wide):
    """The largest difference, as a fraction of what is allowed."""
    eps = float(jnp.finfo(found.dtype).eps)
    found, exact = (np.asarray(a, np.float64) for a in (found, exact))
    allowed = eps * np.abs(exact) + wide * np.abs(exact).max()
    return float((np.abs(found - exact) / allowed).max())


def main():
    jax.config.update("jax_enable_x64", True)
    digest = hashlib.sha256()
    ops = {name: op for name, op in OPS.items() if op.wrt in (None, BOTH)}
    errors = dict.fromkeys(ops, 0.0)
    for shape, dtype in itertools.product(SHAPES, DTYPES):
        arrays = [jnp.asarray(images.noise(shape, s), dtype) for s in (1, 2, 3)]
        last = len(shape) == 4
        double = [a.astype("float64") for a in arrays]
        wide = 1e-13 if dtype == "float64" else 4e-6
        for name, op in ops.items():
            spec = Spec(channels_last=last, l1_weight=0.8, l2_weight=0.1)
            fused = op(*arrays, dataclasses.replace(spec, implementation="fused"))
            exact = op(*double, dataclasses.replace(spec, implementation="xla"))
            for a, b in zip(fused, exact, strict=True):
                digest.update(a.tobytes())
                errors[name] = max(errors[name], error(a, b, wide))
    print(
        json.dumps(
            {
                "instruction_set": build_info()["cpu_instruction_set"],
                "digest": digest.hexdigest(),
                "errors": errors,
            }
        )
    )


if __name__ == "__main__":
    main()
