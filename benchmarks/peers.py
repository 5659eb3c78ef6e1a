"""The libraries: SSIM of each as functions of one signature, and what it can take."""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from benchmarks.cases import OPS, RADIUS, Format

FLOATS = ("float16", "bfloat16", "float32", "float64")

Function = Callable[[Any, Any, Format], Any]


@dataclasses.dataclass(frozen=True)
class Library:
    """A library, with images in [0, 1].

    Attributes:
      name: as in tables.
      distribution: its name on PyPI, for its version.
      framework: "jax", "torch" or "numpy", whose arrays it takes.
      mean: (x, y, format) to the mean of SSIM.
      map: the same to the map, or None.
      loss: (x, y, format, weights or None) to 0.8 mean |x - y| + 0.2 (1 - SSIM), where
        y may be uint8; None where it must be composed.
      ms_ssim: as mean, of MS-SSIM; None where there is none.
      mean_of_7: as mean, with a Gaussian window of 7 taps; None where it has none.
      volume_mean: as mean, of volumes; None where it takes none.
      scales: the keywords of `jax_fused_ssim.fused_ms_ssim` that give the same.
      borders: what it can do at the border, its own way first.
      layouts: what it can take, its own way first.
      dtypes: of images.
      platforms: "cpu", "gpu".
      gradients: in how many of the images.
      scratch: images of memory that it may take, guessed high, where nothing tells.
    """

    name: str
    distribution: str
    framework: str
    mean: Function
    map: Function | None = None
    loss: Callable[[Any, Any, Format, Any], Any] | None = None
    ms_ssim: Function | None = None
    mean_of_7: Function | None = None
    volume_mean: Function | None = None
    scales: dict[str, str] = dataclasses.field(default_factory=dict)
    borders: tuple[str, ...] = ("valid",)
    layouts: tuple[str, ...] = ("NCHW",)
    dtypes: tuple[str, ...] = FLOATS
    platforms: tuple[str, ...] = ("cpu", "gpu")
    gradients: int = 2
    scratch: int = 24

    @property
    def version(self) -> str | None:
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def form(self, dtype: str, layout: str, padding: str) -> Format:
        """What was asked for where the library can do it, else its own way."""
        return Format(
            dtype,
            layout if layout in self.layouts else self.layouts[0],
            padding if padding in self.borders else self.borders[0],
        )

    def why_not(self, op: str, dtype: str, platform: str) -> str | None:
        """Why it cannot do this, or None."""
        if platform not in self.platforms:
            return f"not for {platform}"
        if dtype not in self.dtypes:
            return f"not in {dtype}"
        if (OPS[op].is_map or OPS[op].is_weighted) and self.map is None:
            return "no map"
        if OPS[op].is_multiscale and self.ms_ssim is None:
            return "no MS-SSIM"
        if OPS[op].is_small and self.mean_of_7 is None:
            return "no window of 7"
        if OPS[op].is_volume and self.volume_mean is None:
            return "no volumes"
        needed = 2 if op == "value_and_grad_both" else OPS[op].differentiates
        if self.gradients < needed:
            return f"gradients in {self.gradients} of the images"
        return None


def _ours(name: str, implementation: str | None) -> Library:
    from jax_fused_ssim import (
        fused_ms_ssim,
        fused_ssim,
        fused_ssim3d,
        photometric_loss,
    )

    def loss(x, y, form, weights):
        return photometric_loss(
            x,
            y,
            weights=weights,
            padding=form.border,
            data_format=form.layout,
            implementation=implementation,
        )

    def ssim(x, y, form, reduction, **window):
        padding = form.border
        if padding == "reflect":
            sides = [(RADIUS, RADIUS)] * 2
            where = [(0, 0)] * 2
            widths = (
                [*where, *sides]
                if form.layout == "NCHW"
                else [where[0], *sides, where[1]]
            )
            x, y = (jnp.pad(a, widths, mode="reflect") for a in (x, y))
            padding = "valid"
        return fused_ssim(
            x,
            y,
            padding,
            data_format=form.layout,
            reduction=reduction,
            implementation=implementation,
            **window,
        )

    def ms_ssim(x, y, form, **scales):
        return fused_ms_ssim(
            x,
            y,
            padding=form.border,
            data_format=form.layout,
            implementation=implementation,
            **scales,
        )

    def volume_mean(x, y, form):
        return fused_ssim3d(
            x,
            y,
            form.border,
            data_format=form.layout.replace("H", "DH"),
            implementation=implementation,
        )

    return Library(
        name=name,
        distribution="jax_fused_ssim",
        framework="jax",
        mean=lambda x, y, form: ssim(x, y, form, "mean"),
        map=lambda x, y, form: ssim(x, y, form, "none"),
        loss=loss,
        ms_ssim=ms_ssim,
        mean_of_7=lambda x, y, form: ssim(x, y, form, "mean", window_size=7),
        volume_mean=volume_mean,
        borders=("same", "valid"),
        layouts=("NCHW", "NHWC"),
    )


def jax_fused_ssim() -> Library:
    return _ours("jax_fused_ssim", None)


def plain_jax() -> Library:
    return _ours("plain_jax", "xla")


def transposed() -> Library:
    """Ours for images with channels last, transposed by hand before and after."""
    ours = _ours("transposed", None)

    def by_hand(function, x, y, form, *others, **keywords):
        first = dataclasses.replace(form, layout="NCHW")
        x, y = (jnp.moveaxis(a, -1, 1) for a in (x, y))
        return function(x, y, first, *others, **keywords)

    return dataclasses.replace(
        ours,
        mean=lambda x, y, form: by_hand(ours.mean, x, y, form),
        map=lambda x, y, form: jnp.moveaxis(by_hand(ours.map, x, y, form), 1, -1),
        loss=lambda x, y, form, weights: by_hand(
            ours.loss, x, y, form, None if weights is None else weights[..., 0]
        ),
        ms_ssim=lambda x, y, form, **scales: by_hand(
            ours.ms_ssim, x, y, form, **scales
        ),
        mean_of_7=lambda x, y, form: by_hand(ours.mean_of_7, x, y, form),
        volume_mean=lambda x, y, form: by_hand(ours.volume_mean, x, y, form),
        layouts=("NHWC",),
    )


def dm_pix() -> Library:
    import dm_pix

    return Library(
        name="dm_pix",
        distribution="dm-pix",
        framework="jax",
        mean=lambda x, y, form: dm_pix.ssim(x, y).mean(),
        map=lambda x, y, form: dm_pix.ssim(x, y, return_map=True),
        mean_of_7=lambda x, y, form: dm_pix.ssim(x, y, filter_size=7).mean(),
        layouts=("NHWC",),
    )


def frame_analytics() -> Library:
    import frame_analytics

    return Library(
        name="frame_analytics",
        distribution="frame-analytics",
        framework="torch",
        mean=lambda x, y, form: frame_analytics.ssim(x, y, data_range=1.0),
        map=lambda x, y, form: frame_analytics.ssim(
            x, y, data_range=1.0, return_map=True
        ),
        ms_ssim=lambda x, y, form: frame_analytics.ms_ssim(x, y, data_range=1.0),
        mean_of_7=lambda x, y, form: frame_analytics.ssim(
            x, y, data_range=1.0, win_size=7
        ),
        scales={"odd_sides": "drop"},
    )


def pytorch_msssim() -> Library:
    import pytorch_msssim

    return Library(
        name="pytorch_msssim",
        distribution="pytorch-msssim",
        framework="torch",
        mean=lambda x, y, form: pytorch_msssim.ssim(x, y, data_range=1.0),
        ms_ssim=lambda x, y, form: pytorch_msssim.ms_ssim(x, y, data_range=1.0),
        mean_of_7=lambda x, y, form: pytorch_msssim.ssim(
            x, y, data_range=1.0, win_size=7
        ),
        volume_mean=lambda x, y, form: pytorch_msssim.ssim(x, y, data_range=1.0),
        scales={"odd_sides": "zero"},
    )


def torchmetrics() -> Library:
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        structural_similarity_index_measure,
    )

    def full(x, y, form):
        _, ssim_map = structural_similarity_index_measure(
            x, y, data_range=1.0, return_full_image=True
        )
        return ssim_map

    return Library(
        name="torchmetrics",
        distribution="torchmetrics",
        framework="torch",
        mean=lambda x, y, form: structural_similarity_index_measure(
            x, y, data_range=1.0
        ),
        map=full,
        ms_ssim=lambda x, y, form: multiscale_structural_similarity_index_measure(
            x, y, data_range=1.0
        ),
        scales={"odd_sides": "drop", "channel_mean": "first"},
        borders=("reflect",),
        scratch=48,
    )


def fused_ssim() -> Library:
    import fused_ssim

    def mean(x, y, form):
        return fused_ssim.fused_ssim(x, y, padding=form.border, train=x.requires_grad)

    def volume_mean(x, y, form):
        return fused_ssim.fused_ssim3d(x, y, padding=form.border, train=x.requires_grad)

    return Library(
        name="fused_ssim",
        distribution="fused-ssim",
        framework="torch",
        mean=mean,
        # Newer than its last release.
        volume_mean=volume_mean if hasattr(fused_ssim, "fused_ssim3d") else None,
        borders=("same", "valid"),
        dtypes=("float32",),
        platforms=("gpu",),
        gradients=1,
    )


def scikit_image() -> Library:
    import numpy as np
    from skimage.metrics import structural_similarity

    def full(x, y, form):
        """One map an image; where the window leaves the image, it is cut off."""
        axis = 0 if form.layout == "NCHW" else -1
        maps = [
            structural_similarity(
                a,
                b,
                channel_axis=axis,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                full=True,
            )[1]
            for a, b in zip(x, y, strict=True)
        ]
        cut = slice(RADIUS, -RADIUS)
        index = (..., cut, cut) if axis == 0 else (..., cut, cut, slice(None))
        return np.stack(maps)[index]

    def mean(x, y, form):
        axis = 0 if form.layout == "NCHW" else -1
        return np.mean(
            [
                structural_similarity(
                    a,
                    b,
                    channel_axis=axis,
                    data_range=1.0,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
                for a, b in zip(x, y, strict=True)
            ]
        )

    return Library(
        name="scikit_image",
        distribution="scikit-image",
        framework="numpy",
        mean=mean,
        map=full,
        layouts=("NCHW", "NHWC"),
        dtypes=("float32", "float64"),
        platforms=("cpu",),
        gradients=0,
    )


OURS = "jax_fused_ssim"

LIBRARIES: dict[str, Callable[[], Library]] = {
    f.__name__: f
    for f in (
        jax_fused_ssim,
        plain_jax,
        transposed,
        dm_pix,
        frame_analytics,
        pytorch_msssim,
        torchmetrics,
        fused_ssim,
        scikit_image,
    )
}


# Those to compare with wherever the images' channels are.
USUAL = tuple(name for name in LIBRARIES if name != transposed.__name__)


def load(names: list[str], platform: str) -> tuple[list[Library], dict[str, str]]:
    """Imports libraries.

    Args:
      names: of LIBRARIES.
      platform: of the run, "cpu" or "gpu".

    Returns:
      Those that can be used, and for every other one why not.
    """
    found, absent = [], {}
    for name in names:
        try:
            library = LIBRARIES[name]()
        # An extension built for another PyTorch raises whatever it likes.
        except Exception as error:
            absent[name] = f"cannot be imported: {_line(error)}"
            continue
        if platform == "gpu" and library.framework == "torch":
            import torch

            if not torch.cuda.is_available():
                absent[name] = "this PyTorch has no CUDA"
                continue
        found.append(library)
    return found, absent


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
