"""Sharded losses on the devices of one host: are they right, and how do they scale?

    python -m benchmarks.multi_gpu --output benchmarks/results/h200_two.json

Takes 1, 2, 4 and so on of the devices that there are, in one run; two at least. CPU
devices do to try it out (JAX_PLATFORMS=cpu and
XLA_FLAGS=--xla_force_host_platform_device_count=8, with small sizes). Writes a JSON
file, which docs/pictures.py draws, and prints what misses its target.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import ROOT

# The cases of the sharding tests, and how processes of one host find each other.
sys.path.append(str(ROOT / "tests"))

# A program that uses NVLink multicast can put a host's GPUs out of service.
os.environ.setdefault("NCCL_NVLS_ENABLE", "0")

# Efficiency by the number of devices.
TARGETS = {
    "batch": {"2": 0.97, "4": 0.95, "8": 0.95},
    "image by rows": {"2": 0.92, "8": 0.8},
}
# Of values and of gradients (relative L2): the order of sums over devices.
TOLERANCE = 1e-6


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.multi_gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument

    def size(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split("x")))

    add("--batch", type=size, default=(32, 3, 2160, 3840), metavar="NxCxHxW")
    add("--image", type=size, default=(3, 16384, 16384), metavar="CxHxW")
    add("--steps", type=int, default=100, help="of the training (default: %(default)s)")
    add("--output", type=Path, required=True, help="the JSON file")
    return parser.parse_args()


def devices_of_host() -> int:
    """How many there are, found out by another process: one that has seen GPUs keeps
    their memory from the training's."""
    program = "import jax; print(jax.device_count())"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return int(found.stdout)


def powers_of_two(most: int) -> list[int]:
    """2, 4 and so on."""
    return [2**k for k in range(1, most.bit_length()) if 2**k <= most]


def sharding_cases() -> dict[str, Any]:
    """The cases of the sharding test on these devices."""
    import sharding_program

    return {
        name: sharding_program.run(*case)
        for name, case in sharding_program.CASES.items()
    }


def failures(data: dict[str, Any]) -> list[str]:
    """What is wrong, or misses its target."""
    gathering = ("all-gather", "all-to-all", "collective-permute")
    found = []
    for name, case in data["sharding"].items():
        if case["error"] > TOLERANCE:
            found.append(f"{name}: off by {case['error']:.1e}")
        if "rows" not in name and any(case[c] for c in gathering):
            found.append(f"{name}: gathers")
    for name, case in data["scaling"].items():
        for count, efficiency in case["efficiency"].items():
            if max(case["difference"][count].values()) > TOLERANCE:
                found.append(f"{name}, {count}: differs by {case['difference'][count]}")
            if case["collectives"][count]["all-gather"]:
                found.append(f"{name}, {count}: gathers")
            if efficiency < TARGETS.get(name, {}).get(count, 0):
                found.append(f"{name}, {count}: an efficiency of {efficiency:.3f}")
    if data["training"]["losses_differ_by"] > 1e-4:
        found.append(f"training: losses differ by {data['training']}")
    return found


def written(data: dict[str, Any]) -> str:
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in data.items())
    return f"{{\n{lines}\n}}\n"


def main() -> int:
    args = parse_arguments()
    counts = powers_of_two(devices_of_host())
    if not counts:
        raise SystemExit("needs two devices")
    from benchmarks import multi_training

    # Before this process takes the devices.
    training = multi_training.compare(counts[-1], args.steps)

    from benchmarks import machine, scaling

    data: dict[str, Any] = machine.describe(["jax", "jaxlib", "jax_fused_ssim"])
    data |= {"targets": TARGETS, "training": training}
    data["sharding"] = sharding_cases()
    data["scaling"] = {
        name: scaling.measured(case, counts)
        for name, case in scaling.cases(args.batch, args.image).items()
    }
    data["failures"] = failures(data)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(written(data))
    for name in ("training", "scaling", "failures"):
        print(name, json.dumps(data[name]))
    return int(bool(data["failures"]))


if __name__ == "__main__":
    sys.exit(main())
