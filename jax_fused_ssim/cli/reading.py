"""Reads an image as the metrics take it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import OpenImageIO as oiio

from jax_fused_ssim.cli.arguments import Alpha
from jax_fused_ssim.cli.errors import ImageError

EXTENSIONS = frozenset(
    (".bmp", ".exr", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")
)
_BACKGROUNDS = {"white": 1.0, "black": 0.0}


class _Stored(NamedTuple):
    """An image as it is in its file.

    Attributes:
      colours: [H, W, 1] or [H, W, 3].
      alpha: [H, W, 1], or None.
      associated: whether the colours are multiplied by alpha.
      orientation: of EXIF.
    """

    colours: np.ndarray
    alpha: np.ndarray | None = None
    associated: bool = False
    orientation: int = 1


def read(path: Path, alpha: Alpha, data_range: float | None) -> np.ndarray:
    """An image for the metrics, with a data range of 1.

    Args:
      path: of the file.
      alpha: what to do with an alpha channel.
      data_range: of the pixels in the file; None is that of their dtype.

    Returns:
      [H, W, 1] or [H, W, 3] in uint8 or uint16, which stand for value / (2^bits - 1),
      or in float32.

    Raises:
      ImageError: what cannot be read, is no image, or has more in it than one; an alpha
        channel that is not opaque where it must be.
    """
    stored = _of_numpy(path) if path.suffix.lower() == ".npy" else _of_file(path)
    if stored.colours.size == 0:
        raise ImageError(f"{path} has no pixels")
    colours = _in_range(stored.colours, path, data_range)
    if stored.alpha is not None and alpha != "drop":
        opacity = _fraction(stored.alpha)
        if alpha in _BACKGROUNDS:
            colours = _fraction(colours)
            if not stored.associated:
                colours = opacity * colours
            colours = colours + (1 - opacity) * _BACKGROUNDS[alpha]
        elif not np.all(opacity == 1):
            raise ImageError(
                f"{path} is transparent in places; --alpha white, black or drop says "
                "what to compare"
            )
    return _upright(colours, stored.orientation)


def _of_numpy(path: Path) -> _Stored:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from None
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[-1] <= 4:
        raise ImageError(
            f"{path} has the shape {array.shape}, not [H, W], or [H, W, C] of grey or "
            "RGB with or without alpha"
        )
    colours = array[..., : 1 if array.shape[-1] < 3 else 3]
    has_alpha = array.shape[-1] in (2, 4)
    return _Stored(colours, array[..., -1:] if has_alpha else None)


def _of_file(path: Path) -> _Stored:
    wanted = oiio.ImageSpec()
    wanted["oiio:UnassociatedAlpha"] = 1
    opened = oiio.ImageInput.open(str(path), wanted)
    if opened is None:
        raise ImageError(f"{path} cannot be read: {_one_line(oiio.geterror())}")
    try:
        spec = opened.spec()
        pixels = opened.read_image(spec.format)
        if pixels is None:
            raise ImageError(f"{path} cannot be read: {_one_line(opened.geterror())}")
        if opened.seek_subimage(1, 0):
            raise ImageError(f"{path} has more images than one")
    finally:
        opened.close()
    whole = (0, 0, spec.full_width, spec.full_height)
    if (spec.x - spec.full_x, spec.y - spec.full_y, spec.width, spec.height) != whole:
        raise ImageError(f"{path} has pixels in a part of its display window alone")
    names = list(spec.channelnames)
    if {"R", "G", "B"} <= set(names):
        taken = [names.index(name) for name in "RGB"]
    elif len(names) == 1 or names == ["Y", "A"]:
        taken = [0]
    else:
        raise ImageError(
            f"{path} has the channels {', '.join(names)}: neither grey nor RGB"
        )
    opacity = spec.alpha_channel
    return _Stored(
        pixels[..., taken] if len(names) > len(taken) else pixels,
        None if opacity < 0 else pixels[..., opacity : opacity + 1],
        spec.get_int_attribute("oiio:UnassociatedAlpha") != 1,
        spec.get_int_attribute("Orientation", 1),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _in_range(colours: np.ndarray, path: Path, data_range: float | None) -> np.ndarray:
    """Colours as they are, or as floats in units of a data range."""
    integers = colours.dtype in (np.uint8, np.uint16)
    if not integers and colours.dtype.kind != "f":
        raise ImageError(
            f"{path} has pixels of {colours.dtype}; read are 8 and 16 bits and floats"
        )
    if data_range is None:
        return colours if integers else colours.astype(np.float32, copy=False)
    return (colours / np.float32(data_range)).astype(np.float32, copy=False)


def _fraction(pixels: np.ndarray) -> np.ndarray:
    """Floats in units of the data range of their dtype."""
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32, copy=False)
    return pixels / np.float32(np.iinfo(pixels.dtype).max)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned as the orientation of EXIF, 1 to 8, says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
