"""The training of examples/train_sharded.py, by one process and by one a device."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import local_processes

from benchmarks import ROOT


def compare(devices: int, steps: int) -> dict[str, Any]:
    """What both log, and how far their losses are from each other."""
    one, each = _logged(1, devices, steps), _logged(devices, devices, steps)
    pairs = zip(one["losses"], each["losses"], strict=True)
    return {
        "steps": steps,
        "losses_differ_by": max(abs(a - b) / abs(a) for a, b in pairs),
        "last_loss": [one["losses"][-1], each["losses"][-1]],
        "images_per_second": {
            "one process": one["images_per_second"],
            "one a device": each["images_per_second"],
        },
    }


def _logged(processes: int, devices: int, steps: int) -> dict[str, Any]:
    """What the example logs with all devices shared by some processes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        local_processes.options(processes) as each_options,
    ):
        log = Path(folder, "log.json")
        running = []
        for i, options in enumerate(each_options):
            options += ["--steps", str(steps), "--log", str(log)]
            script = ROOT / "examples" / "train_sharded.py"
            running.append(
                subprocess.Popen(
                    [sys.executable, "-P", script, *options],
                    env={**os.environ, **_environment(i, processes, devices)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        local_processes.finish(running)
        return json.loads(log.read_text())


def _environment(process: int, processes: int, devices: int) -> dict[str, str]:
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        count = devices // processes
        return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
    # Or every process picks convolutions of its own, by timing them.
    own = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
    if processes > 1:
        own["CUDA_VISIBLE_DEVICES"] = str(process)
    return own
