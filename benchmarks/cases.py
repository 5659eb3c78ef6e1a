"""What is timed: operations, sizes, and the images."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

RADIUS = 5
# Of images that a run rotates: small ones by the thousand take long to make.
MOST_PAIRS = 512

SIZES = (
    (1, 3, 256, 256),
    (64, 3, 256, 256),
    (5, 1, 1000, 1000),
    (1, 3, 1080, 1920),
    (5, 5, 1080, 1920),
    (8, 3, 2160, 3840),
)
# Of volumes.
VOLUME_SIZES = ((1, 1, 128, 256, 256), (2, 1, 64, 512, 512), (4, 3, 16, 128, 128))


@dataclasses.dataclass(frozen=True)
class Op:
    """An operation, and the least that it takes as it is written down.

    Gradients are those of 1 - SSIM, which is what people train with, or of a loss:
    0.8 mean |x - y| + 0.2 (1 - SSIM).

    Attributes:
      images: images read and written, each one once; one of bytes counts as if the
        others were float32.
      fma: multiply-adds a pixel. A separable convolution with 11 taps is 22; there are
        four of them for the value, three more for one gradient and four for both. Of
        volumes it is 33.
      differentiates: whether it needs a gradient.
      is_map: whether it writes the map.
      is_weighted: whether pixels count so much, one weight for all images' channels.
      of_bytes: whether the second image is uint8.
      is_multiscale: whether it is 1 - MS-SSIM of five scales, which have 4 / 3 of the
        pixels of the first.
      is_small: whether windows have 7 taps, and not 11.
      is_volume: whether it is of volumes.
    """

    images: float
    fma: int
    differentiates: bool = False
    is_map: bool = False
    is_weighted: bool = False
    of_bytes: bool = False
    is_multiscale: bool = False
    is_small: bool = False
    is_volume: bool = False

    def is_of(self, size: tuple[int, ...]) -> bool:
        """Whether it is an operation on images, or volumes, of this size."""
        return (len(size) == 5) == self.is_volume


OPS = {
    "value": Op(images=2, fma=88),
    "value_and_grad": Op(images=3, fma=154, differentiates=True),
    "value_and_grad_both": Op(images=4, fma=176, differentiates=True),
    "loss_and_grad": Op(images=3, fma=154, differentiates=True),
    "loss_and_grad_uint8": Op(images=2.25, fma=154, differentiates=True, of_bytes=True),
    "weighted_loss_and_grad": Op(
        images=3, fma=154, differentiates=True, is_weighted=True
    ),
    "ms_ssim_and_grad": Op(images=4, fma=205, differentiates=True, is_multiscale=True),
    "window_7_and_grad": Op(images=3, fma=98, differentiates=True, is_small=True),
    "map": Op(images=3, fma=88, is_map=True),
    "map_and_vjp": Op(images=5, fma=154, differentiates=True, is_map=True),
    "volume": Op(images=2, fma=132, is_volume=True),
    "volume_and_grad": Op(images=3, fma=231, differentiates=True, is_volume=True),
}


@dataclasses.dataclass(frozen=True)
class Format:
    """How a library takes images, and what it does at their border.

    Attributes:
      dtype: of the images.
      layout: "NCHW" or "NHWC", which of volumes are "NCDHW" and "NDHWC".
      border: "same" (zeros), "valid", or "reflect" (a map of the image's size).
    """

    dtype: str
    layout: str
    border: str


def pixels(size: tuple[int, ...]) -> int:
    """Pixels of one image of the pair, each channel counted."""
    return math.prod(size)


def bytes_moved(op: str, size: tuple[int, ...], dtype: str) -> int:
    """The fewest bytes that an operation must move through memory."""
    return int(OPS[op].images * pixels(size) * jnp.dtype(dtype).itemsize)


class Images:
    """As many pairs of images as it takes for none to be found in the cache.

    Attributes:
      size: (N, C, H, W).
      count: how many pairs.
    """

    def __init__(self, size: tuple[int, ...], dtype: str, cache: int) -> None:
        self.size, self.dtype = size, dtype
        pair = bytes_moved("value", size, dtype)
        self.count = min(max(1, math.ceil(2 * cache / pair)), MOST_PAIRS)
        self.bytes = self.count * pair

        @jax.jit
        def draw(key):
            a, b = jax.random.uniform(key, (2, *size), "float32")
            return a.astype(dtype), (0.8 * a + 0.2 * b).astype(dtype)

        first = draw(jax.random.key(0))
        shifted = jax.jit(lambda pair, i: [jnp.roll(a, i, -1) for a in pair])
        rest = [tuple(shifted(first, i)) for i in range(1, self.count)]
        self._pairs = {"NCHW": [first, *rest]}
        self._cotangents: dict[tuple[str, str], list[jax.Array]] = {}
        self._bytes: dict[str, list[jax.Array]] = {}

    def pairs(self, layout: str) -> list[tuple[jax.Array, jax.Array]]:
        """The pairs, as JAX arrays; made once for each layout."""
        if layout not in self._pairs:
            self._pairs[layout] = [
                tuple(jnp.moveaxis(a, 1, -1) for a in pair)
                for pair in self._pairs["NCHW"]
            ]
        return self._pairs[layout]

    def cotangents(self, layout: str, border: str) -> list[jax.Array]:
        """A cotangent of the map for every pair; made once."""
        if (layout, border) in self._cotangents:
            return self._cotangents[layout, border]
        cut = slice(RADIUS, -RADIUS) if border == "valid" else slice(None)
        index = (..., cut, cut) if layout == "NCHW" else (..., cut, cut, slice(None))
        # A copy: where nothing is cut it would be the image itself, and in the cache.
        made = [jnp.array(y[index], copy=True) for _, y in self.pairs(layout)]
        self._cotangents[layout, border] = made
        return made

    def second_as_bytes(self, layout: str) -> list[jax.Array]:
        """The second image of every pair as uint8; made once."""
        if layout not in self._bytes:
            as_bytes = jax.jit(lambda a: jnp.round(255 * a).astype(jnp.uint8))
            self._bytes[layout] = [as_bytes(y) for _, y in self.pairs(layout)]
        return self._bytes[layout]

    @functools.cached_property
    def weights(self) -> jax.Array:
        """A weight for every pixel, [H, W], of which a third is 0."""
        drawn = jax.random.uniform(jax.random.key(1), self.size[-2:], "float32")
        return jnp.maximum(1.5 * drawn - 0.5, 0)

    def arguments(self, op: str, form: Format) -> list[tuple[jax.Array, ...]]:
        """The arguments of an operation, once for every pair."""
        pairs = self.pairs(form.layout)
        if OPS[op].of_bytes:
            seconds = self.second_as_bytes(form.layout)
            return [(x, y) for (x, _), y in zip(pairs, seconds, strict=True)]
        if OPS[op].is_weighted:
            weights = self.weights
            weights = weights[..., None] if form.layout == "NHWC" else weights
            return [(*pair, weights) for pair in pairs]
        if not (OPS[op].is_map and OPS[op].differentiates):
            return pairs
        cotangents = self.cotangents(form.layout, form.border)
        return [(*pair, c) for pair, c in zip(pairs, cotangents, strict=True)]
