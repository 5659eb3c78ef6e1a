"""Which nvcc builds the CUDA kernels, if any does.

build_backend.py asks before the build, to fetch one that is missing. cuda.cmake asks
then, by running this as a program.
"""

import ctypes
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

OPTION = "JAX_FUSED_SSIM_CUDA"
TOOLKIT = "/usr/local/cuda"
# The driver, as programs load it; under WSL it may not be where they look.
DRIVERS = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")


def option(given: str | None) -> str:
    """AUTO, ON or OFF: as given to the build, else as the environment says."""
    return (given or os.environ.get(OPTION) or "AUTO").upper()


def named(compiler: str | None) -> str | None:
    """What the build or the environment names as nvcc."""
    return compiler or os.environ.get("CUDACXX") or None


def on_this_machine(compiler: str | None) -> str | None:
    """The path of nvcc, if there is one."""
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), TOOLKIT]
    places = [os.environ.get("PATH", os.defpath)]
    places += [os.path.join(root, "bin") for root in roots if root]
    return shutil.which(named(compiler) or "nvcc", path=os.pathsep.join(places))


def has_driver() -> bool:
    """Whether programs find an NVIDIA driver here. Nothing of it is called."""
    for library in DRIVERS:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def from_pypi(given: str | None, compiler: str | None) -> bool:
    """Whether nvcc is to come from PyPI."""
    if named(compiler) or on_this_machine(compiler):
        return False
    wanted = option(given)
    return wanted == "ON" or (wanted == "AUTO" and has_driver())


def wheels() -> Path | None:
    """The toolkit that the wheels of PyPI make, if they are installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        if Path(folder, "cu13", "bin", "nvcc").exists():
            return Path(folder, "cu13")
    return None


def answer(given: str, compiler: str) -> dict[str, str]:
    """What cuda.cmake wants to know; empty where there is none."""
    nvcc, root = on_this_machine(compiler), None
    missing = from_pypi(given, compiler)
    if missing:
        root = wheels()
        nvcc = root and str(root / "bin" / "nvcc")
    return {
        "option": option(given),
        "named": named(compiler) or "",
        "nvcc": nvcc or "",
        "wheels": str(root or ""),
        "missing": "from PyPI" if missing else "",
    }


if __name__ == "__main__":
    print(json.dumps(answer(*sys.argv[1:])))
