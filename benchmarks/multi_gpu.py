"""Sharded fused_ssim on two devices of one host: is it right, and how much faster?

    python -m benchmarks.multi_gpu --output benchmarks/results/two_gpus.json

Needs two GPUs, or two CPU devices to try it out (JAX_PLATFORMS=cpu and
XLA_FLAGS=--xla_force_host_platform_device_count=2, with small sizes). Writes a JSON
file and prints what misses its target.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT

# The cases of the sharding tests, and how processes of one host find each other.
sys.path.append(str(ROOT / "tests"))

# A program that uses NVLink multicast can put a host's GPUs out of service.
os.environ.setdefault("NCCL_NVLS_ENABLE", "0")

DEVICES = 2
ROUNDS = 11
IN_A_ROW = 40
# Before them. A device that comes from work has used up more of the power that it may
# take for a while, and is slower.
REST_SECONDS = 0.2
TARGETS = {"batch_speedup": 1.95, "image_time_ratio": 0.55}
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

    add("--batch", type=size, default=(16, 3, 2160, 3840), metavar="NxCxHxW")
    add("--image", type=size, default=(3, 16384, 16384), metavar="CxHxW")
    add("--steps", type=int, default=100, help="of the training (default: %(default)s)")
    add("--output", type=Path, required=True, help="the JSON file")
    return parser.parse_args()


# ---- Training, in processes of their own --------------------------------------------


def train(processes: int, steps: int) -> dict[str, Any]:
    """What examples/train_sharded.py logs with all devices shared by some processes."""
    import local_processes

    cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    with (
        tempfile.TemporaryDirectory() as folder,
        local_processes.options(processes) as each_options,
    ):
        log = Path(folder, "log.json")
        running = []
        for i, options in enumerate(each_options):
            options += ["--steps", str(steps), "--log", str(log)]
            # Or every process picks convolutions of its own, by timing them.
            flags = "--xla_gpu_deterministic_ops=true"
            env = {**os.environ, "XLA_FLAGS": flags}
            each = DEVICES // processes
            if cpu:
                env["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={each}"
            elif processes > 1:
                env["CUDA_VISIBLE_DEVICES"] = str(i)
            script = ROOT / "examples" / "train_sharded.py"
            running.append(
                subprocess.Popen(
                    [sys.executable, "-P", script, *options],
                    env=env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        local_processes.finish(running)
        return json.loads(log.read_text())


def compare_training(steps: int) -> dict[str, Any]:
    """One process with two devices, and two with one each."""
    one, two = train(1, steps), train(2, steps)
    off = max(
        abs(a - b) / abs(a) for a, b in zip(one["losses"], two["losses"], strict=True)
    )
    return {
        "steps": steps,
        "losses_differ_by": off,
        "last_loss": [one["losses"][-1], two["losses"][-1]],
        "images_per_second": {
            "1 process": one["images_per_second"],
            "2 processes": two["images_per_second"],
        },
    }


# ---- In this process ----------------------------------------------------------------


def seconds(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Median seconds of each call, which take turns; some in a row, after a rest."""
    import jax

    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, found in zip(calls, taken, strict=True):
            time.sleep(REST_SECONDS)
            jax.block_until_ready(call())  # wakes the devices
            start = time.perf_counter()
            for _ in range(IN_A_ROW):
                result = call()
            jax.block_until_ready(result)
            found.append((time.perf_counter() - start) / IN_A_ROW)
    return [statistics.median(found) for found in taken]


def sharding_cases() -> dict[str, Any]:
    """The cases of the sharding test on meshes of two devices."""
    import jax
    import sharding_program
    from jax.sharding import AxisType

    auto = (AxisType.Auto, AxisType.Auto)
    results = {}
    for shape in ((2, 1), (1, 2)):
        mesh = jax.make_mesh(shape, ("a", "b"), axis_types=auto)
        for name, case in sharding_program.CASES.items():
            results[f"{name}, mesh {shape}"] = sharding_program.run(*case, mesh)
    return results


def draw(shape: Sequence[int], sharding: Any) -> list[Any]:
    import jax

    def pair():
        a, b = jax.random.uniform(jax.random.key(0), (2, *shape))
        return a, 0.8 * a + 0.2 * b

    return jax.jit(pair, out_shardings=sharding)()


def one_and_two(
    shape: Sequence[int], cut: Any, mesh: Any, sharded: Callable, whole: Callable
) -> dict[str, Any]:
    """Times 1 - SSIM and its gradient on two devices, and on each of them.

    Args:
      shape: of the images.
      cut: how the two devices share them.
      mesh: of the two devices.
      sharded: SSIM of what is cut.
      whole: SSIM on one device.
    """
    import jax
    from eight_devices import collectives
    from jax.sharding import NamedSharding, SingleDeviceSharding

    from benchmarks.programs import difference

    on_two = draw(shape, NamedSharding(mesh, cut))
    first, second = map(SingleDeviceSharding, mesh.devices.flat)
    on_one, on_other = (jax.device_put(on_two, device) for device in (first, second))

    def step(ssim):
        return jax.jit(jax.value_and_grad(lambda x, y: 1 - ssim(x, y)))

    two = step(sharded).lower(*on_two).compile()
    one = step(whole)
    off = difference(jax.device_put(two(*on_two), first), one(*on_one))
    took = seconds([lambda: one(*on_one), lambda: one(*on_other), lambda: two(*on_two)])
    names = ("1 device", "the other", "2 devices")
    return {
        "shape": list(shape),
        "milliseconds": {name: 1e3 * t for name, t in zip(names, took, strict=True)},
        "time_ratio": took[2] / took[0],
        "difference": off,
        "collectives": collectives(two),
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
    for name in ("batch", "image"):
        case = data[name]
        if max(case["difference"].values()) > TOLERANCE:
            found.append(f"{name}: differs by {case['difference']}")
        if case["collectives"]["all-gather"]:
            found.append(f"{name}: gathers")
    if 1 / data["batch"]["time_ratio"] < TARGETS["batch_speedup"]:
        found.append(f"batch: {1 / data['batch']['time_ratio']:.2f} times faster")
    if data["image"]["time_ratio"] > TARGETS["image_time_ratio"]:
        found.append(f"image: {data['image']['time_ratio']:.3f} of the time")
    if data["training"]["losses_differ_by"] > 1e-4:
        found.append(f"training: losses differ by {data['training']}")
    return found


def main() -> int:
    args = parse_arguments()
    training = compare_training(args.steps)  # before this process takes the devices

    import jax
    from jax.sharding import AxisType, PartitionSpec

    from benchmarks import machine
    from jax_fused_ssim import fused_ssim, sharded

    if jax.device_count() != DEVICES:
        raise SystemExit(f"needs {DEVICES} devices, and finds {jax.device_count()}")
    data: dict[str, Any] = machine.describe(["jax", "jaxlib", "jax_fused_ssim"])
    data |= {"targets": TARGETS, "training": training, "sharding": sharding_cases()}

    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((DEVICES,), ("devices",), axis_types=auto)
    cut = PartitionSpec("devices")
    data["batch"] = one_and_two(args.batch, cut, mesh, fused_ssim, fused_ssim)

    rows = PartitionSpec(None, "devices")
    by_rows = jax.shard_map(
        functools.partial(sharded.fused_ssim, height_axis="devices"),
        mesh=mesh,
        in_specs=rows,
        out_specs=PartitionSpec(),
    )
    data["image"] = one_and_two(args.image, rows, mesh, by_rows, fused_ssim)

    data["failures"] = failures(data)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in data.items())
    args.output.write_text(f"{{\n{lines}\n}}\n")
    for name in ("training", "batch", "image", "failures"):
        print(name, json.dumps(data[name]))
    return int(bool(data["failures"]))


if __name__ == "__main__":
    sys.exit(main())
