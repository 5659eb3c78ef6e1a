"""Draws the pictures of docs/pictures, and writes docs/pictures.md with their numbers.

make pictures
"""

import functools
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

FOLDER = Path(__file__).parent
# Last, so that what is installed comes before what the checkout has beside it.
sys.path.append(str(FOLDER.parent))

from drawing import degradations, devices, hero, speed, splats, weightings  # noqa: E402
from drawing.canvas import STYLE, Picture, png  # noqa: E402

# By their paths from this folder, in the order of the page.
PICTURES: dict[str, Callable[[], Picture]] = {
    "pictures/hero.png": hero.draw,
    "pictures/degradations.png": degradations.draw,
    "pictures/splats.png": splats.draw,
    "pictures/weightings.png": weightings.draw,
    "speed_h100.png": functools.partial(
        speed.draw, "h100", "Time per pixel against size"
    ),
    "pictures/speed_losses.png": functools.partial(
        speed.draw, "h100_losses", "The same of losses"
    ),
    "pictures/speed_ms_ssim.png": functools.partial(
        speed.draw, "h100_ms_ssim", "The same of MS-SSIM and of another window"
    ),
    "pictures/speed_volumes.png": functools.partial(
        speed.draw, "h100_volumes", "The same of volumes"
    ),
    "pictures/devices.png": functools.partial(devices.draw, "h200_two"),
}

PAGE = "pictures.md"
HEAD = """\
<!-- Written by docs/pictures.py: make pictures. -->
# Pictures

Every number here is computed, or read from `benchmarks/results`, by the program that
draws the pictures: `make pictures`.
"""


def drawn(name: str) -> tuple[Picture, bytes]:
    """A picture, and its PNG."""
    with mpl.rc_context(STYLE):
        picture = PICTURES[name]()
        return picture, png(picture.figure)


def wrapped(block: str) -> str:
    """A paragraph, or an item of a list."""
    return textwrap.fill(
        " ".join(block.split()),
        width=88,
        subsequent_indent="  " * block.startswith("- "),
        break_long_words=False,
        break_on_hyphens=False,
    )


def section(name: str, picture: Picture) -> str:
    """The part of the page about a picture."""
    text = "\n\n".join(
        "\n".join(map(wrapped, re.split(r"\n(?=- )", paragraph)))
        for paragraph in picture.text.split("\n\n")
    )
    return f"\n## {picture.title}\n\n![{picture.alt}]({name})\n\n{text}\n"


def main() -> None:
    page = HEAD
    for name in PICTURES:
        picture, data = drawn(name)
        (FOLDER / name).write_bytes(data)
        page += section(name, picture)
        print(f"wrote docs/{name}, {len(data) / 1e3:.0f} KB")
    (FOLDER / PAGE).write_text(page)


if __name__ == "__main__":
    main()
