"""The window that statistics are taken under: its taps, and how far it reaches."""

import dataclasses

import numpy as np
from jax.typing import DTypeLike


@dataclasses.dataclass(frozen=True)
class Window:
    """A separable square window that sums to 1.

    It is centred on the pixel (size - 1) // 2 after its first one: that of an even size
    reaches one pixel further behind it than before it.

    Attributes:
      size: of a side, in pixels.
      sigma: standard deviation of a Gaussian in pixels; None: uniform.
    """

    size: int = 11
    sigma: float | None = 1.5

    @property
    def before(self) -> int:
        """How many pixels lie before the one it is centred on."""
        return (self.size - 1) // 2

    @property
    def after(self) -> int:
        """How many pixels lie behind it."""
        return self.size // 2

    @property
    def is_compiled_in(self) -> bool:
        """Whether it is the one whose taps the fastest kernels have in their code."""
        return self == COMPILED_IN

    def margins(self, padded: bool) -> tuple[int, int]:
        """How many pixels beyond an image the windows of its map see, on each side."""
        return (self.before, self.after) if padded else (0, 0)

    def margins_of_map(self, padded: bool) -> tuple[int, int]:
        """How much to put around a map for the mirrored windows in it to be those that
        lead back to the pixels of the image."""
        before, after = self.margins(padded)
        return self.size - 1 - before, self.size - 1 - after

    def taps(self, dtype: DTypeLike) -> np.ndarray:
        """In one dimension, as numbers of this dtype."""
        from_centre = np.arange(self.size) - (self.size - 1) / 2
        taps = np.ones(self.size)
        if self.sigma is not None:
            # Relative to the largest, which a narrow one of even size has off its
            # centre.
            square = from_centre**2 - np.min(from_centre**2)
            taps = np.exp(-square / (2 * self.sigma**2))
        taps = (taps / taps.sum()).astype(dtype)
        # The outermost take up what rounding leaves, and the middle what they leave: a
        # constant has no false variance.
        taps[[0, -1]] += (1 - taps.sum(dtype=np.float64)) / 2
        if self.size % 2:
            taps[self.before] += 1 - taps.sum(dtype=np.float64)
        return taps


COMPILED_IN = Window()
