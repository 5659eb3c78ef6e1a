"""Run by test_native.py in a process of its own, set up by environment variables.

Without an argument it prints a digest of what the CPU kernels compute; with `exact
FILE` it writes what plain JAX does in float64; with `compare FILE` it prints one JSON
object: the CPU instruction set in use, and by op the largest difference from that file,
as a fraction of what is allowed.
"""

import functools
import hashlib
import itertools
import json
import sys

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
# Likewise, the last one channels-last.
VOLUMES = ((1, 2, 3), (70, 81, 90), (40, 30, 23, 3))
DTYPES = ("float16", "bfloat16", "float32", "float64")


def error(found, exact, wide):
    """The largest difference, as a fraction of what is allowed."""
    eps = float(jnp.finfo(found.dtype).eps)
    found, exact = (np.asarray(a, np.float64) for a in (found, exact))
    allowed = eps * np.abs(exact) + wide * np.abs(exact).max()
    return float((np.abs(found - exact) / allowed).max())


@functools.partial(jax.jit, static_argnums=3)
def every_op(x, y, cotangent, spec):
    return {
        name: op(x, y, cotangent, spec)
        for name, op in OPS.items()
        if op.wrt in (None, BOTH) and not (spec.volumes and (op.errors or op.factors))
    }


def results(implementation):
    """(dtype, op, one of its results) of every case."""
    for shape, dtype in itertools.product((*SHAPES, *VOLUMES), DTYPES):
        arrays = [jnp.asarray(images.noise(shape, s), dtype) for s in (1, 2, 3)]
        if implementation == "xla":
            arrays = [a.astype("float64") for a in arrays]
        axes = 3 if shape in VOLUMES else 2
        spec = Spec(
            volumes=axes == 3,
            padding=(True,) * axes,
            crop=(False,) * axes,
            channels_last=len(shape) == 4,
            l1_weight=0.8,
            l2_weight=0.1,
            implementation=implementation,
        )
        for name, of_op in every_op(*arrays, spec).items():
            for result in of_op:
                yield dtype, name, np.asarray(result)


def compare(exact):
    """The largest error of each op; `exact` holds results in the order of `results`."""
    errors = {}
    for (dtype, op, a), b in zip(results("fused"), exact, strict=True):
        wide = 1e-13 if dtype == "float64" else 4e-6
        # Unlike max, it keeps NaN.
        errors[op] = float(np.maximum(errors.get(op, 0.0), error(a, b, wide)))
    return errors


def main(command="digest", file=None):
    jax.config.update("jax_enable_x64", True)
    if command == "exact":
        np.savez(file, *(exact for _, _, exact in results("xla")))
        return
    if command == "compare":
        with np.load(file) as exact:
            errors = compare([exact[name] for name in exact.files])
        found = build_info()["cpu_instruction_set"]
        print(json.dumps({"instruction_set": found, "errors": errors}))
        return
    digest = hashlib.sha256()
    for _, _, result in results("fused"):
        digest.update(result.tobytes())
    print(digest.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
