"""Loads the extension, checks that this JAX can run it, registers its handlers."""

import functools
import re
from pathlib import Path

import jax
import jaxlib

try:
    from jax_fused_ssim import _native as extension
except ImportError as error:
    raise ImportError(
        f"jax_fused_ssim in {Path(__file__).parent} has no extension module that this "
        "Python can load. Install it with pip install . and, in a source checkout, do "
        "not run Python from the folder that holds the sources."
    ) from error

#: Names that the handlers go by in a compiled or exported program, for
#: `jax.export.DisabledSafetyCheck.custom_call`.
CUSTOM_CALL_TARGETS: tuple[str, ...] = extension.TARGETS

# Those of them that take volumes.
VOLUME_TARGETS: tuple[str, ...] = extension.VOLUME_TARGETS

# And that make a gradient of theirs faster on GPUs where derivatives have room.
VOLUME_GRADIENT_TARGETS: tuple[str, ...] = extension.VOLUME_GRADIENT_TARGETS

# 32-bit words of scratch for a plane.
SCRATCH_WORDS: int = extension.SCRATCH_WORDS

# What kernels have room for: taps along a side of a window, and halvings of an image.
MOST_TAPS: int = extension.MOST_TAPS
MOST_HALVINGS: int = extension.MOST_HALVINGS

# From so many on a GPU computes a gradient by the kernel that also halves the images.
LEAST_GRADIENT_PIXELS: int = extension.LEAST_GRADIENT_PIXELS

# What parameters must be within, by their name and the dtype of the arithmetic.
BOUNDS: dict[str, dict[str, tuple[float, float]]] = extension.BOUNDS


def derivative_words(volume: tuple[int, int, int], bytes_: int, gradients: int) -> int:
    """32-bit words that the derivatives of a plane take above `SCRATCH_WORDS`.

    Args:
      volume: D, H and W.
      bytes_: of an element.
      gradients: 1, or 2 for both at once.
    """
    return extension.derivative_words(*volume, bytes_, gradients)


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
    check_ffi_version(extension.ffi_version(), _runtime_ffi_version())
    platforms: dict[str, list[str]] = {}
    for platform, handlers in extension.registrations().items():
        for target, handler in handlers.items():
            jax.ffi.register_ffi_target(target, handler, platform=platform)
            platforms.setdefault(target, []).append(platform.lower())
    for target in platforms:
        jax.ffi.register_ffi_target_as_batch_partitionable(target)
    return {target: tuple(names) for target, names in platforms.items()}


def platforms_of(target: str) -> tuple[str, ...]:
    """The platforms ("cpu", "cuda") that have a handler for a custom call target."""
    return _register().get(target, ())
