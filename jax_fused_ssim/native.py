"""Loads the extension, checks that this JAX can run it, registers its handlers."""

import functools
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import jaxlib

try:
    from jax_fused_ssim import _native
except ImportError as error:
    raise ImportError(
        f"jax_fused_ssim in {Path(__file__).parent} has no extension module that this "
        "Python can load. Install it with pip install . and, in a source checkout, do "
        "not run Python from the folder that holds the sources."
    ) from error

# Names that the handlers go by in a compiled or exported program. Public: for
# `jax.export.DisabledSafetyCheck.custom_call`.
CUSTOM_CALL_TARGETS: tuple[str, ...] = _native.TARGETS

# 32-bit words of scratch for a plane.
SCRATCH_WORDS: int = _native.SCRATCH_WORDS

# What parameters must be within, by their name and the dtype of the arithmetic.
BOUNDS: dict[str, dict[str, tuple[float, float]]] = _native.BOUNDS


def _runtime_ffi_version() -> tuple[int, int]:
    """Version of XLA's FFI in the installed jaxlib, from the header it carries."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text()
    found = dict(
        re.findall(r"^#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", header, re.MULTILINE)
    )
    return int(found["MAJOR"]), int(found["MINOR"])


def check_ffi_version(built: tuple[int, int], runtime: tuple[int, int]) -> None:
    """Refuses a runtime that would refuse our handlers.

    XLA runs handlers that were built for its own FFI version or an older one.
    Registering a newer one breaks every JAX operation, not only ours.

    Args:
      built: (major, minor) that the extension was built for.
      runtime: (major, minor) of the installed jaxlib.

    Raises:
      ImportError: the runtime is older.
    """
    if built[0] != runtime[0] or built[1] > runtime[1]:
        raise ImportError(
            f"jax_fused_ssim was built for XLA FFI {built[0]}.{built[1]}, and the "
            f"installed jaxlib {jaxlib.__version__} has {runtime[0]}.{runtime[1]}. "
            "Install a newer JAX (pip install --upgrade jax), or build "
            "jax_fused_ssim again: pip install --force-reinstall --no-deps "
            "--no-binary jax_fused_ssim jax_fused_ssim"
        )


@functools.cache
def _register() -> dict[str, tuple[str, ...]]:
    """Registers every handler. Returns the platforms of every target."""
    check_ffi_version(_native.ffi_version(), _runtime_ffi_version())
    platforms: dict[str, list[str]] = {}
    for platform, handlers in _native.registrations().items():
        for target, handler in handlers.items():
            jax.ffi.register_ffi_target(target, handler, platform=platform)
            platforms.setdefault(target, []).append(platform.lower())
    for target in platforms:
        jax.ffi.register_ffi_target_as_batch_partitionable(target)
    return {target: tuple(names) for target, names in platforms.items()}


def platforms_of(target: str) -> tuple[str, ...]:
    """The platforms ("cpu", "cuda") that have a handler for a custom call target."""
    return _register().get(target, ())


@functools.cache
def _driver_too_old() -> str:
    """Why the CUDA kernels cannot run with this machine's driver; empty if they can."""
    driver, runtime = _native.cuda_versions()
    # 0: no driver here, and the program is being lowered for another machine.
    if driver == 0 or driver // 1000 >= runtime // 1000:
        return ""
    return (
        f"this build needs a driver for CUDA {runtime // 1000}, and the installed one "
        f"is for CUDA {driver // 1000}.{driver % 1000 // 10}. Update the NVIDIA "
        f"driver, or build jax_fused_ssim with CUDA {driver // 1000}."
    )


@functools.cache
def _warn_driver_too_old() -> None:
    warnings.warn(
        f"jax_fused_ssim falls back to plain JAX on the GPU: {_driver_too_old()}",
        RuntimeWarning,
        stacklevel=2,
    )


def usable(platform: str) -> bool:
    """Whether this machine can run the handlers of a platform. Warns once if not."""
    if platform != "cuda" or not _driver_too_old():
        return True
    _warn_driver_too_old()
    return False


def why_no_kernel() -> str:
    """A sentence for the error that says there is no kernel."""
    if "CUDA" not in _native.registrations():
        return "this build of jax_fused_ssim has kernels for CPUs only."
    return _driver_too_old() or "there are kernels for CPUs and NVIDIA GPUs only."


def build_info() -> dict[str, Any]:
    """What this build of jax_fused_ssim holds.

    Returns:
      A dictionary: `version`; `ffi_version`, (major, minor) of XLA's FFI that the
      handlers were built for; `platforms`, those with kernels, among "cpu" and "cuda";
      `cuda_version`, of the CUDA runtime inside, such as "13.0", or None;
      `cuda_architectures`, such as ("75-real", "90-real"), empty without CUDA;
      `cpu_instruction_set`, in use on this machine: "baseline", "avx2" or "avx512".
    """
    registrations = _native.registrations()
    runtime = _native.cuda_versions()[1]
    return {
        "version": _native.VERSION,
        "ffi_version": _native.ffi_version(),
        "platforms": tuple(sorted(name.lower() for name in registrations)),
        "cuda_version": f"{runtime // 1000}.{runtime % 1000 // 10}"
        if runtime
        else None,
        "cuda_architectures": tuple(
            filter(None, _native.CUDA_ARCHITECTURES.split(";"))
        ),
        "cpu_instruction_set": _native.cpu_instruction_set(),
    }
