"""What goes wrong, how it is said, and the exit status."""

import sys

PROGRAM = "jax-fused-ssim"
MEASURED, NOT_ALL_MEASURED, WRONG_USE = 0, 1, 2


class UsageError(Exception):
    """What the command was asked for cannot be done at all."""


class ImageError(Exception):
    """An image cannot be read, or a pair of images cannot be compared."""


def say(text: str) -> None:
    """A line on stderr, where reports are not."""
    print(f"{PROGRAM}: {text}", file=sys.stderr)
