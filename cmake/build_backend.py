"""scikit-build-core, and nvcc from PyPI where it is wanted and missing."""

import os
import shutil
from pathlib import Path

from scikit_build_core import build as _build
from scikit_build_core.build import *  # noqa: F403 (the hooks of the backend)

# The oldest 13.x: what it builds runs with every driver for CUDA 13.
_NVCC = [
    f"nvidia-{part}==13.0.*"
    for part in ("cuda-nvcc", "nvvm", "cuda-crt", "cuda-runtime", "cuda-cccl")
]


def _define(name, config_settings):
    """The value of a CMake definition given with -C, or None."""
    for key in (f"cmake.define.{name}", f"skbuild.cmake.define.{name}"):
        value = (config_settings or {}).get(key)
        if value:
            return value[-1] if isinstance(value, list) else value
    return None


def _wanted(config_settings):
    name = "JAX_FUSED_SSIM_CUDA"
    option = _define(name, config_settings) or os.environ.get(name) or "AUTO"
    return option.upper() == "ON"


def _nvcc_found(config_settings):
    # As in cuda.cmake.
    env = os.environ
    if _define("CMAKE_CUDA_COMPILER", config_settings) or env.get("CUDACXX"):
        return True
    roots = [env.get("CUDA_HOME"), env.get("CUDA_PATH"), "/usr/local/cuda"]
    return shutil.which("nvcc") is not None or any(
        Path(root, "bin", "nvcc").exists() for root in roots if root
    )


def _nvcc_requires(config_settings):
    wanted = _wanted(config_settings) and not _nvcc_found(config_settings)
    return _NVCC if wanted else []


def get_requires_for_build_wheel(config_settings=None):
    requires = _build.get_requires_for_build_wheel(config_settings)
    return requires + _nvcc_requires(config_settings)


def get_requires_for_build_editable(config_settings=None):
    requires = _build.get_requires_for_build_editable(config_settings)
    return requires + _nvcc_requires(config_settings)
