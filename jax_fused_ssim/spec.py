"""What every op is given besides its operands: static, hashable, already checked."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jax_fused_ssim.native import BOUNDS
from jax_fused_ssim.window import COMPILED_IN, Window


@dataclasses.dataclass(frozen=True)
class Spec:
    """Static parameters of an op.

    Operands are `[..., H, W]` (planes; channels are a leading dimension) or, with
    `channels_last`, `[..., H, W, C]`; of volumes `[..., D, H, W]` or
    `[..., D, H, W, C]`, where "image" and "plane" stand for a volume and for one
    channel of it. Leading dimensions of the two images broadcast: one may have size 1
    where the other has size n.

    Attributes:
      data_range: L, the difference between the largest and the smallest value that a
        pixel can have.
      k1: K1 of the formula, C1 = (K1 L)^2.
      k2: K2 of the formula, C2 = (K2 L)^2.
      window: what the statistics are taken under.
      volumes: whether windows have three dimensions, and images D, H and W.
      padding: for every spatial axis, whether the image is zero padded there, so that
        the map has the image's size; otherwise every window of the map lies inside.
      channels_last: the layout.
      scale: multiplies the sums of 1 - SSIM.
      error_scale: multiplies the sums of errors.
      ssim_weight: what a loss, and its gradient, has of the scaled sum of 1 - SSIM.
      l1_weight: what it has of the scaled sum of absolute errors.
      l2_weight: what it has of the scaled sum of squared errors.
      crop: for every spatial axis, whether errors are counted only where the map is.
      summed: over how many of the last dimensions of `plane_shape` a loss is summed.
      implementation: None (the kernel where there is one), "fused" (an error at
        lowering where there is none) or "xla" (plain JAX).
    """

    data_range: float = 1.0
    k1: float = 0.01
    k2: float = 0.03
    window: Window = COMPILED_IN
    volumes: bool = False
    padding: tuple[bool, ...] = (True, True)
    channels_last: bool = False
    scale: float = 1.0
    error_scale: float = 1.0
    ssim_weight: float = 1.0
    l1_weight: float = 0.0
    l2_weight: float = 0.0
    crop: tuple[bool, ...] = (False, False)
    summed: int = 0
    implementation: str | None = None

    def __post_init__(self) -> None:
        axes = len(self.spatial_axes)
        assert len(self.padding) == len(self.crop) == axes, self

    @property
    def spatial_ndim(self) -> int:
        """How many trailing dimensions are not leading ones."""
        return len(self.spatial_axes) + self.channels_last

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The axes of H and W, of volumes of D, H and W, counted from the end."""
        end = -1 if self.channels_last else 0
        return tuple(range(end - (3 if self.volumes else 2), end))

    @property
    def image_ndim(self) -> int:
        """How many trailing dimensions an image has with all of its channels."""
        return len(self.spatial_axes) + 1

    @property
    def channel_axis(self) -> int:
        """Counted from the end."""
        return -1 if self.channels_last else -self.image_ndim

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of the spatial axes, for errors."""
        return ("D", "H", "W") if self.volumes else ("H", "W")

    @property
    def layout(self) -> str:
        """The dimensions of images, for errors."""
        sides = ", ".join(self.sides)
        return f"[..., {sides}, C]" if self.channels_last else f"[..., C, {sides}]"

    def attributes(self, dtype: DTypeLike) -> dict[str, float | bool | np.ndarray]:
        """The attributes of a custom call with images of a dtype:
        common/parameters.h, and the taps of a window that is not compiled in."""
        compiled_in = self.window.is_compiled_in
        taps = [] if compiled_in else self.window.taps(compute_dtype(dtype))
        *pad_z, pad_y, pad_x = self.padding
        *_, crop_y, crop_x = self.crop
        return {
            "data_range": float(self.data_range),
            "k1": float(self.k1),
            "k2": float(self.k2),
            "scale": float(self.scale),
            "error_scale": float(self.error_scale),
            "ssim_weight": float(self.ssim_weight),
            "l1_weight": float(self.l1_weight),
            "l2_weight": float(self.l2_weight),
            "window": np.asarray(taps, np.float64),
            "pad_z": any(pad_z),
            "pad_y": pad_y,
            "pad_x": pad_x,
            "crop_y": crop_y,
            "crop_x": crop_x,
            "channels_last": self.channels_last,
            "volumes": self.volumes,
        }

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """`Window.margins` for every spatial axis."""
        return tuple(map(self.window.margins, self.padding))

    @property
    def margins_of_map(self) -> tuple[tuple[int, int], ...]:
        """`Window.margins_of_map` for every spatial axis."""
        return tuple(map(self.window.margins_of_map, self.padding))

    def of_factors(self, dtype: DTypeLike) -> tuple["Spec", "Spec"]:
        """Those with which SSIM of images of a dtype is luminance alone, and contrast
        and structure alone: the constant without bound makes the other factor 1."""
        bounds = (BOUNDS[k][compute_dtype(dtype).name] for k in ("k1", "k2"))
        (_, most_k1), (_, most_k2) = bounds
        return (
            dataclasses.replace(self, k2=most_k2),
            dataclasses.replace(self, k1=most_k1),
        )

    def scaled(self, scale: float) -> "Spec":
        """The same with another scale."""
        return dataclasses.replace(self, scale=scale)

    def with_scales(self, scale: float, error_scale: float) -> "Spec":
        """The same with other scales."""
        return dataclasses.replace(self, scale=scale, error_scale=error_scale)

    def with_summed(self, summed: int) -> "Spec":
        """The same with losses summed over other dimensions."""
        return dataclasses.replace(self, summed=summed)

    def with_weights(self, ssim: float, l1: float, l2: float) -> "Spec":
        """The same with other weights in the gradients."""
        return dataclasses.replace(self, ssim_weight=ssim, l1_weight=l1, l2_weight=l2)

    def plain(self) -> "Spec":
        """The same without errors: gradients are of 1 - SSIM."""
        whole = (False,) * len(self.crop)
        return dataclasses.replace(self.with_weights(1.0, 0.0, 0.0), crop=whole)

    def with_crop(self, axes: Sequence[int], cropped: bool) -> "Spec":
        """The same with another crop along some of the spatial axes."""
        return dataclasses.replace(self, crop=self._replaced(self.crop, axes, cropped))

    def with_padding(self, axes: Sequence[int], padded: bool) -> "Spec":
        """The same with another padding along some of the spatial axes."""
        padding = self._replaced(self.padding, axes, padded)
        return dataclasses.replace(self, padding=padding)

    def _replaced(
        self, flags: tuple[bool, ...], axes: Sequence[int], value: bool
    ) -> tuple[bool, ...]:
        return tuple(
            value if axis in axes else flag
            for axis, flag in zip(self.spatial_axes, flags, strict=True)
        )

    def error_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what errors are counted in, of images of this shape."""
        whole = tuple(not cropped for cropped in self.crop)
        padding = tuple(p or w for p, w in zip(self.padding, whole, strict=True))
        return dataclasses.replace(self, padding=padding).map_shape(shape)

    def map_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the map of images of this shape."""
        result = list(shape)
        for axis, padded in zip(self.spatial_axes, self.padding, strict=True):
            result[axis] -= 0 if padded else self.window.size - 1
        return tuple(result)

    def plane_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what has one entry for every plane of images of this shape."""
        channels = shape[-1:] if self.channels_last else ()
        return (*shape[: len(shape) - self.spatial_ndim], *channels)

    def least_summed(self, errors: bool) -> int:
        """The least that `summed` may be: interleaved errors are counted together."""
        return int(errors and self.channels_last)

    def loss_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the loss of images of this shape."""
        planes = self.plane_shape(shape)
        return planes[: len(planes) - self.summed]


def gradient_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The dtype in which an op gives gradients of images of a dtype.

    That of float16 images is float32: it may be needed times a loss scale.
    """
    dtype = jnp.dtype(dtype)
    return dtype if dtype == "bfloat16" else compute_dtype(dtype)


def compute_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The dtype of arithmetic and sums for images of a dtype."""
    # Not jnp.promote_types: strict promotion, which is for what users write, has none.
    return jnp.dtype("float64" if jnp.dtype(dtype) == "float64" else "float32")
