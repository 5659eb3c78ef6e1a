"""Measures pairs of images, in batches of one shape."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jax_fused_ssim import conventions, fused_ms_ssim, fused_ssim, image_metrics
from jax_fused_ssim.cli.arguments import Arguments
from jax_fused_ssim.cli.decoding import Decoded, Failed
from jax_fused_ssim.cli.pairing import Pair
from jax_fused_ssim.halving import scales_that_fit
from jax_fused_ssim.integer import pixels
from jax_fused_ssim.spec import Spec

_MAX_PAIRS = 16
_BATCH_BYTES = 2**26
_SCALES = 5


class Scores(NamedTuple):
    """What is measured of a pair, with None for what an image is too small for."""

    ssim: float
    ms_ssim: float | None
    psnr: float
    mae: float


class Measured(NamedTuple):
    """A pair and its scores."""

    pair: Pair
    scores: Scores


class Maps(NamedTuple):
    """What of a pair is drawn.

    Attributes:
      a: [H, W, C] in data ranges, as it is compared.
      b: as a.
      ssim: [H', W'], the mean of all channels.
      error: [H, W], the mean of |a - b| of all channels, in data ranges.
    """

    a: np.ndarray
    b: np.ndarray
    ssim: np.ndarray
    error: np.ndarray


class Metrics:
    """The metrics that the arguments ask for, of images with a data range of 1."""

    def __init__(self, arguments: Arguments) -> None:
        self._luma, self._border = arguments.luma, arguments.crop_border
        self._ssim = keywords_of(arguments.convention)
        if arguments.padding is not None:
            self._ssim["padding"] = arguments.padding
        self._ms_ssim = keywords_of(f"ms-{arguments.multi_scale}")
        self._scores = jax.jit(self._of_batch)
        self._maps = jax.jit(self._of_pair)

    def scores(self, a: np.ndarray, b: np.ndarray) -> list[Scores]:
        """Of every image.

        Args:
          a: [N, H, W, C], as from `reading.read`.
          b: as a, but for the dtype.

        Raises:
          ValueError: images that are too small for the window, or for the border to be
            cropped; grey images where luma is asked for.
        """
        found = jax.device_get(self._scores(a, b))
        columns = [
            [None] * len(a) if values is None else values.tolist() for values in found
        ]
        return [Scores(*row) for row in zip(*columns, strict=True)]

    def maps(self, a: np.ndarray, b: np.ndarray) -> Maps:
        """Of one pair, [H, W, C]."""
        return Maps(*jax.device_get(self._maps(a, b)))

    def _prepared(self, images: Array) -> Array:
        if self._border:
            images = conventions.crop_border(images, self._border, data_format="NHWC")
        return conventions.luma(images, data_format="NHWC") if self._luma else images

    def _of_batch(self, a: Array, b: Array) -> tuple[Array | None, ...]:
        a, b = self._prepared(a), self._prepared(b)
        metrics = image_metrics(a, b, data_format="NHWC", **self._ssim)
        scales = None
        if self._has_scales(a.shape):
            scales = fused_ms_ssim(
                a, b, data_format="NHWC", reduction="per_image", **self._ms_ssim
            )
        return Scores(metrics.ssim, scales, metrics.psnr, metrics.mae)

    def _has_scales(self, shape: Sequence[int]) -> bool:
        unpadded = self._ms_ssim.get("padding", "valid") == "valid"
        least = Spec.window.size if unpadded else 1
        odd_sides = self._ms_ssim["odd_sides"]
        return all(
            scales_that_fit(side, least, _SCALES, odd_sides) == _SCALES
            for side in shape[1:3]
        )

    def _of_pair(self, a: Array, b: Array) -> Maps:
        a, b = self._prepared(a), self._prepared(b)
        ssim = fused_ssim(a, b, data_format="NHWC", reduction="none", **self._ssim)
        a, b = (pixels(image, Spec(), ssim.dtype) for image in (a, b))
        return Maps(a, b, jnp.mean(ssim, -1), jnp.mean(jnp.abs(a - b), -1))


def measured(
    pairs: Iterable[Decoded | Failed],
    metrics: Metrics,
    then: Callable[[Decoded], None] | None = None,
) -> Iterator[Measured | Failed]:
    """Scores, or the reason why there are none, of every pair, in order.

    Args:
      pairs: to be measured.
      metrics: what is measured.
      then: called with a pair that has been measured, while it is in memory.
    """
    for batch in _batches(pairs):
        if isinstance(batch, Failed):
            yield batch
            continue
        try:
            scores = metrics.scores(*_stacked(batch))
        except ValueError as error:
            for each in batch:
                yield Failed(each.pair, f"{each.pair.a} and {each.pair.b}: {error}")
            continue
        for each, of_pair in zip(batch, scores, strict=False):
            if then is not None:
                then(each)
            yield Measured(each.pair, of_pair)


def _batches(pairs: Iterable[Decoded | Failed]) -> Iterator[list[Decoded] | Failed]:
    """Neighbours of one shape and dtype together, as many as a batch may have."""
    batch: list[Decoded] = []
    for each in pairs:
        if batch and (isinstance(each, Failed) or each.kind != batch[0].kind):
            yield batch
            batch = []
        if isinstance(each, Failed):
            yield each
            continue
        batch.append(each)
        fit = max(1, min(_MAX_PAIRS, _BATCH_BYTES // each.bytes))
        if len(batch) == 1 << (fit.bit_length() - 1):
            yield batch
            batch = []
    if batch:
        yield batch


def _stacked(batch: Sequence[Decoded]) -> list[np.ndarray]:
    """Both images of all pairs, the last pair repeated up to a power of two, so that
    few numbers of images are compiled for."""
    count = 1 << (len(batch) - 1).bit_length()
    whole = [*batch, *[batch[-1]] * (count - len(batch))]
    return [
        np.stack(images) for images in zip(*((e.a, e.b) for e in whole), strict=True)
    ]


def keywords_of(convention: str) -> dict[str, Any]:
    """Those of `jax_fused_ssim.conventions`, but for the data range: here that is 1."""
    name = convention.upper().replace("-", "_")
    found = dict(getattr(conventions, name))
    found.pop("data_range", None)
    return found
