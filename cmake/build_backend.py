"""scikit-build-core, and nvcc from PyPI where it is wanted and missing."""

import sys

import find_nvcc
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


def _nvcc_requires(config_settings):
    given = _define(find_nvcc.OPTION, config_settings)
    compiler = _define("CMAKE_CUDA_COMPILER", config_settings)
    if not find_nvcc.from_pypi(given, compiler):
        return []
    print(
        "The CUDA kernels are built with nvcc from PyPI: this machine has none. "
        f"{find_nvcc.OPTION}=OFF leaves them out.",
        file=sys.stderr,
    )
    return _NVCC


def get_requires_for_build_wheel(config_settings=None):
    requires = _build.get_requires_for_build_wheel(config_settings)
    return requires + _nvcc_requires(config_settings)


def get_requires_for_build_editable(config_settings=None):
    requires = _build.get_requires_for_build_editable(config_settings)
    return requires + _nvcc_requires(config_settings)
