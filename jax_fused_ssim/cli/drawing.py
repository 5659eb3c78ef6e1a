"""Draws a pair, its map of SSIM and its errors."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jax_fused_ssim.cli.measuring import Maps

_INCHES = 5  # of the longer side of a panel
_DPI = 150


def draw(path: Path, title: str, maps: Maps) -> None:
    """Writes a picture of four panels; the maps have a colour bar each.

    Args:
      path: of the picture.
      title: above it.
      maps: what to draw. Of images what is beyond [0, 1] is drawn as 0 or 1.

    Raises:
      OSError: of a path that cannot be written.
    """
    height, width = (
        side * _INCHES / max(maps.error.shape) for side in maps.error.shape
    )
    figure = Figure((4 * (width + 0.6), height + 0.8), _DPI, layout="constrained")
    figure.suptitle(title)
    panels = dict(zip(("A", "B", "SSIM", "|A - B|"), maps, strict=True))
    for axes, (name, values) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        axes.set_title(name)
        axes.set_axis_off()
        if values.ndim == 3:
            axes.imshow(np.clip(values, 0, 1).squeeze(), "gray", vmin=0, vmax=1)
        else:
            highest = 1 if name == "SSIM" else None
            drawn = axes.imshow(values, "viridis", vmin=0, vmax=highest)
            figure.colorbar(drawn, ax=axes, shrink=0.9)
    figure.savefig(path, format="png")
