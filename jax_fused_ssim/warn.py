"""Warnings that name the line of the user."""

import sys
import warnings

# Between the user's line and ours.
_LIBRARIES = ("jax", "jax_fused_ssim", "contextlib", "functools")


def warn_user(message: str, category: type[Warning]) -> None:
    """Warns of what the user wrote, however many frames of JAX are in between."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back and _is_library(frame.f_globals.get("__name__", "")):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=depth + 1)


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES
