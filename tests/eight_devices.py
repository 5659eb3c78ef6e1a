"""For programs that need 8 CPU devices, which take a process of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute")


def flags(count=8):
    """XLA_FLAGS for so many CPU devices, behind those that are set.

    A collective on CPU devices aborts the process when one of them keeps the others
    waiting for 40 seconds, as a busy machine may.
    """
    return (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={count} "
        "--xla_cpu_collective_call_terminate_timeout_seconds=3600"
    )


def run(name):
    """Runs a program of this folder. Returns the JSON object that it prints."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags()}
    program = Path(__file__).with_name(name)
    done = subprocess.run(
        [sys.executable, program], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def collectives(compiled):
    """How many collectives of each kind a compiled program has."""
    text = compiled.as_text()
    return {c: len(re.findall(rf"\b{c}(?:-start)?\(", text)) for c in COLLECTIVES}


def error(results, expected):
    """The largest relative error (L2) of the arrays in two trees."""
    return max(
        float(np.linalg.norm(a - b) / np.linalg.norm(b))
        for a, b in zip(
            map(np.asarray, jax.tree.leaves(results)),
            map(np.asarray, jax.tree.leaves(expected)),
            strict=True,
        )
    )
