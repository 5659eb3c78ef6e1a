"""The arguments of the command, and its help."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from jax_fused_ssim.arguments import Padding
from jax_fused_ssim.cli.errors import PROGRAM, UsageError

# Those of jax_fused_ssim.conventions.
Convention = Literal[
    "basicsr",
    "dm-pix",
    "fastmri",
    "ffmpeg",
    "fused-ssim",
    "keras",
    "kornia",
    "matlab",
    "monai",
    "opencv",
    "piq",
    "pytorch-msssim",
    "scikit-image",
    "scikit-image-wang",
    "sewar",
    "tensorflow",
    "torchmetrics",
    "wang",
]
MultiScaleConvention = Literal[
    "matlab",
    "monai",
    "piq",
    "pytorch-msssim",
    "sewar",
    "tensorflow",
    "torchmetrics",
    "wang",
]
Alpha = Literal["opaque", "drop", "white", "black"]

# Lines that begin with a letter would be joined, and not broken again.
_DESCRIPTION = """\
SSIM, MS-SSIM, PSNR and MAE of two images, or of the pairs of two folders.
- MAE is in data ranges, PSNR in decibels: inf for identical images.
- MS-SSIM is missing ("-") where an image is too small for five scales.
- Means are of the pairs that have the value. Where one is nan or inf, they are.
- Computed in float32, on a GPU where JAX has one.
- Exit status: 0 if all pairs were measured, 1 if not all, 2 for wrong use.
"""


@dataclass(frozen=True)
class Arguments:
    """What the command was asked for.

    Attributes:
      a: An image, or a folder of images: PNG and TIFF of 8 and 16 bits, JPEG, BMP,
        WebP, floats of TIFF and EXR, and NumPy's .npy of [H, W], or [H, W, C] of grey
        or RGB. Palettes become RGB. The orientation in EXIF is applied.
      b: What to compare it with. Files of two folders, and of folders inside, pair by
        their path in there without extension: renders/00001.png and gt/00001.jpg. A
        file without a partner is named on stderr.
      json: Report as JSON: "pairs", "mean", "unpaired", "ambiguous" and "settings".
        What is missing is null; numbers that JSON lacks are the strings "Infinity",
        "-Infinity" and "NaN".
      csv: Report as CSV. What is missing is empty; the last line, "mean", has the
        means.
      output: Write the report to this file, not to stdout.
      map: Draw A, B, the map of SSIM and the error of every pixel, as PNG; for folders
        one picture for every pair, in a folder of this name.
      convention: Whose SSIM: the window and the border of another implementation, as in
        docs/conventions.md. Where that has MS-SSIM, that too.
      ms_convention: Whose MS-SSIM, instead of that of --convention, or of Wang where
        that has none.
      padding: The border of the map of SSIM, instead of the convention's.
      luma: Compare the luma of RGB images, by ITU-R BT.601 in studio range.
      crop_border: Leave out so many pixels on each side.
      data_range: The data range of the pixels as they are in the files, instead of 255
        for 8 bits, 65535 for 16 bits and 1 for floats.
      alpha: Of an alpha channel: "opaque" compares the colours, and refuses images that
        are transparent anywhere; "drop" compares the colours as they are stored;
        "white" and "black" lay the image over a background.
      strict: Exit with 1 where a file has no partner, too.
    """

    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")]
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")]
    json: bool = False
    csv: bool = False
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    map: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    convention: Convention = "fused-ssim"
    ms_convention: MultiScaleConvention | None = None
    padding: Padding | None = None
    luma: bool = False
    crop_border: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    data_range: Annotated[float | None, tyro.conf.arg(metavar="RANGE")] = None
    alpha: Alpha = "opaque"
    strict: bool = False

    @property
    def multi_scale(self) -> MultiScaleConvention:
        """Whose MS-SSIM it is."""
        if self.ms_convention is not None:
            return self.ms_convention
        known = get_args(MultiScaleConvention)
        return self.convention if self.convention in known else "wang"


def parsed(argv: Sequence[str]) -> Arguments:
    """The arguments, checked; exits with its help, or over what it does not know."""
    arguments = tyro.cli(
        Arguments,
        args=argv,
        prog=PROGRAM,
        description=_DESCRIPTION,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if arguments.json and arguments.csv:
        raise UsageError("--json and --csv are one or the other")
    if arguments.crop_border < 0:
        raise UsageError("--crop-border must be at least 0")
    known = arguments.data_range
    if known is not None and not (math.isfinite(known) and known > 0):
        raise UsageError("--data-range must be positive and finite")
    return arguments
