"""Whether this machine can run the CUDA kernels of this build, and if not, why."""

import functools
import re
from importlib import metadata

from jax_fused_ssim.native import extension
from jax_fused_ssim.warn import warn_user

# JAX takes one of them, and which is not ours to know.
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")


def version(number: int) -> str:
    """Of CUDA, from 1000 * major + 10 * minor."""
    return f"{number // 1000}.{number % 1000 // 10}"


def architectures() -> tuple[str, ...]:
    """What the kernels were compiled for, as CMake names it."""
    return tuple(filter(None, extension.CUDA_ARCHITECTURES.split(";")))


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether a GPU of a compute capability runs what was compiled for an architecture.

    Args:
      architecture: "90-real" is machine code, "90-virtual" PTX, "90" both; "90a" is
        for this compute capability alone, "120f" for those of its family.
      capability: (major, minor).
    """
    parts = re.fullmatch(r"(\d+)(\d)([a-z]?)(-real|-virtual)?", architecture)
    if parts is None:
        return True  # a name for several, such as "all-major"
    major, minor, letter, kind = parts.groups()
    built = int(major), int(minor)
    if letter == "a":
        return built == capability
    newer = built <= capability
    if letter or kind == "-real":
        return newer and built[0] == capability[0]
    return newer


@functools.cache
def why_not() -> str:
    """Why this machine cannot run the kernels; empty where it can, and where it has no
    GPU and the program is lowered for another machine."""
    if "CUDA" not in extension.registrations():
        return "this build of jax_fused_ssim has kernels for CPUs only."
    driver, runtime = extension.cuda_versions()
    if driver and driver // 1000 < runtime // 1000:
        return (
            f"this build needs a driver for CUDA {runtime // 1000}, and the installed "
            f"one is for CUDA {version(driver)}. Update the NVIDIA driver, or install "
            f"jax_fused_ssim built by CUDA {driver // 1000}."
        )
    for capability in extension.compute_capabilities():
        if not any(runs_on(built, capability) for built in architectures()):
            return (
                f"this build has kernels for {', '.join(architectures())}, and a GPU "
                f"here has compute capability {'{}.{}'.format(*capability)}. Build "
                "jax_fused_ssim on this machine with CUDAARCHS=native, or hide the GPU "
                "with CUDA_VISIBLE_DEVICES."
            )
    return ""


@functools.cache
def _several_plugins() -> str:
    found = []
    for name in _PLUGINS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if len(found) < 2:
        return ""
    return f"{' and '.join(found)} are installed, of which JAX loads one. Remove one."


@functools.cache
def _warn_once(message: str) -> None:
    warn_user(message, RuntimeWarning)


def usable() -> bool:
    """Whether this machine can run the kernels. Warns once if not, and of what may be
    the reason that JAX sees no GPU."""
    if plugins := _several_plugins():
        _warn_once(plugins)
    if reason := why_not():
        _warn_once(f"jax_fused_ssim falls back to plain JAX on the GPU: {reason}")
    return not reason
