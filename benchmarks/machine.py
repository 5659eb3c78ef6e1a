"""Where and with what a run was made."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

from benchmarks import ROOT
from jax_fused_ssim import build_info

UNKNOWN_CACHE = 128 * 2**20
MAX_ROTATED = 2**30


def device_platform() -> str:
    """ "cpu" or "gpu"."""
    return jax.devices()[0].platform


def threads() -> int:
    """Threads that the libraries may use: NPROC, which XLA reads, or the cores."""
    return int(os.environ.get("NPROC", 0)) or usable_cores()


def usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def describe(distributions: Iterable[str]) -> dict[str, Any]:
    """Hardware, versions and commit, for the results.

    Args:
      distributions: names of packages whose versions matter.
    """
    gpu = device_platform() == "gpu"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": device_platform(),
            "device": jax.devices()[0].device_kind if gpu else cpu_model(),
            "cpu": cpu_model(),
            "cores": usable_cores(),
            "system": f"{platform.system()} {platform.machine()}",
            "driver": _nvidia("driver_version") if gpu else None,
            "cache_bytes": cache_bytes(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in distributions},
        },
        "build": {**build_info()},
        "commit": commit(),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    try:
        found = re.search(
            r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def _nvidia(query: str) -> str | None:
    return _output("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")


def _output(*command: str) -> str | None:
    """The first line that a command prints, or None if it fails."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.splitlines() or [""])[0]


def commit() -> dict[str, Any]:
    """The commit of the checkout, and whether anything but results was changed."""
    head = _output("git", "rev-parse", "HEAD")
    changed = _output(
        "git", "status", "--porcelain", "--", ".", ":!benchmarks/results", ":!README.md"
    )
    return {"hash": head, "dirty": None if changed is None else bool(changed)}


def cache_bytes() -> int:
    """The device's last cache: L2 of a GPU, all the L3 of a CPU."""
    found = _gpu_cache() if device_platform() == "gpu" else _cpu_cache()
    # Past this, images are larger than what is left in a cache shared with others.
    return min(found or UNKNOWN_CACHE, MAX_ROTATED // 2)


def _gpu_cache() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return getattr(torch.cuda.get_device_properties(0), "L2_cache_size", None)


def _cpu_cache() -> int:
    """Sum over the caches of the last level."""
    caches: dict[tuple[int, str], int] = {}
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    for index in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cache/index*"):
        try:
            level, shared, size = (
                (index / name).read_text().strip()
                for name in ("level", "shared_cpu_list", "size")
            )
        except OSError:
            continue
        caches[int(level), shared] = int(size[:-1]) * units.get(size[-1], 0)
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last)


def free_bytes() -> int | None:
    """Memory that can still be taken, or None if unknown."""
    if device_platform() == "gpu":
        stats = jax.devices()[0].memory_stats() or {}
        limit = stats.get("bytes_limit")
        return limit and limit - stats.get("bytes_in_use", 0)
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
