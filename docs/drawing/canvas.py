"""A figure laid out in whole pixels: photographs are drawn without resampling."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

# Dots for an inch of 96 CSS pixels: shown at half its size, a picture is sharp on
# screens of either density. Font sizes are in points of 1/72 inch.
DPI = 192
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.edgecolor": "#57606a",
    "text.color": "#1f2328",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
OURS, OTHERS, MARK = "#1f6feb", "#afb8c1", "#d1242f"
SSIM = {"cmap": "viridis", "vmin": 0, "vmax": 1}
GRADIENT = {"cmap": "magma"}
MARGIN = 24
LINE = 34  # the height of a line of text
LARGEST = 400_000  # bytes of a picture


class Picture(NamedTuple):
    """What one function draws, and what the page says of it."""

    figure: Figure
    title: str
    alt: str
    text: str  # Markdown, whose numbers are those that were computed


class Canvas:
    """Draws at pixels from the left and the top.

    Attributes:
      figure: of width x height pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        bottom = self.height - top - height
        place = [left / self.width, bottom / self.height]
        size = [width / self.width, height / self.height]
        return self.figure.add_axes((*place, *size))

    def image(
        self, left: int, top: int, pixels: Any, scale: int = 1, **options: Any
    ) -> AxesImage:
        """An image whose pixels become squares of scale x scale."""
        height, width = np.shape(pixels)[:2]
        axes = self.axes(left, top, scale * width, scale * height)
        axes.set_axis_off()
        return axes.imshow(pixels, interpolation="nearest", aspect="auto", **options)

    def text(self, left: int, top: int, *lines: str, **options: Any) -> None:
        """Lines below each other, the first one in bold."""
        for i, line in enumerate(lines):
            self.figure.text(
                left / self.width,
                1 - (top + i * LINE) / self.height,
                line,
                verticalalignment="top",
                **{"weight": "bold" if i == 0 else "normal", **options},
            )

    def colour_bar(
        self, shown: AxesImage, left: int, top: int, height: int, label: str
    ) -> Colorbar:
        """A vertical bar for what an image shows."""
        bar = self.figure.colorbar(shown, cax=self.axes(left, top, 20, height))
        bar.outline.set_visible(False)
        bar.set_label(label)
        return bar


def outline(axes: Axes, corner: Sequence[int], size: int) -> None:
    """Marks a square of an image, (row, column) its first pixel."""
    row, column = corner
    axes.add_patch(
        Rectangle((column - 0.5, row - 0.5), size, size, fill=False, edgecolor=MARK)
    )


def bare(axes: Axes) -> None:
    """Leaves bars and their labels alone."""
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def png(figure: Figure) -> bytes:
    """The figure as a PNG without a date; of 256 colours where it would be large."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=figure.dpi)
    image = Image.open(drawn).convert("RGB")
    found = _packed(image)
    return found if len(found) <= LARGEST else _packed(_of_few_colours(image))


def _packed(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _of_few_colours(image: Image.Image) -> Image.Image:
    """256 colours, with room for those of the maps, which are rarer than others."""
    shown = [np.asarray(image)]
    for name in (SSIM["cmap"], GRADIENT["cmap"]):
        ramp = mpl.colormaps[name](np.linspace(0, 1, image.width), bytes=True)
        shape = (image.height // 20, image.width, 3)
        shown.append(np.broadcast_to(ramp[:, :3], shape))
    colours = Image.fromarray(np.concatenate(shown)).quantize(256)
    found = image.quantize(palette=colours, dither=Image.Dither.NONE)
    palette = found.getpalette()
    background = found.getpixel((0, 0))  # which is to stay white
    palette[3 * background : 3 * background + 3] = 255, 255, 255
    found.putpalette(palette)
    return found
