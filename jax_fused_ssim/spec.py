"""What every op is given besides its operands: static, hashable, already checked."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import DTypeLike

RADIUS = 5
WINDOW = 2 * RADIUS + 1


@dataclasses.dataclass(frozen=True)
class Spec:
    """Static parameters of an op.

    Operands are `[..., H, W]` (planes; channels are a leading dimension) or, with
    `channels_last`, `[..., H, W, C]`. Leading dimensions of the two images broadcast:
    one may have size 1 where the other has size n.

    Attributes:
      data_range: L, the difference between the largest and the smallest value that a
        pixel can have.
      k1: K1 of the formula, C1 = (K1 L)^2.
      k2: K2 of the formula, C2 = (K2 L)^2.
      padding: for H and for W, whether the image is zero padded there, so that the map
        has the image's size; otherwise the map is smaller by 10.
      channels_last: the layout.
      scale: multiplies the sums and the gradients of the sum.
      implementation: None (the kernel where there is one), "fused" (an error at
        lowering where there is none) or "xla" (plain JAX).
    """

    data_range: float = 1.0
    k1: float = 0.01
    k2: float = 0.03
    padding: tuple[bool, bool] = (True, True)
    channels_last: bool = False
    scale: float = 1.0
    implementation: str | None = None

    @property
    def spatial_ndim(self) -> int:
        """How many trailing dimensions are not leading ones."""
        return 3 if self.channels_last else 2

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """The axes of H and W, counted from the end."""
        return (-3, -2) if self.channels_last else (-2, -1)

    def attributes(self) -> dict[str, float | bool]:
        """The attributes of a custom call: common/parameters.h."""
        pad_y, pad_x = self.padding
        return {
            "data_range": float(self.data_range),
            "k1": float(self.k1),
            "k2": float(self.k2),
            "scale": float(self.scale),
            "pad_y": pad_y,
            "pad_x": pad_x,
            "channels_last": self.channels_last,
        }

    def scaled(self, scale: float) -> "Spec":
        """The same with another scale."""
        return dataclasses.replace(self, scale=scale)

    def with_padding(self, axes: Sequence[int], padded: bool) -> "Spec":
        """The same with another padding along some of the spatial axes."""
        padding = (
            padded if axis in axes else p
            for axis, p in zip(self.spatial_axes, self.padding, strict=True)
        )
        return dataclasses.replace(self, padding=tuple(padding))

    def map_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the map of images of this shape."""
        result = list(shape)
        for axis, padded in zip(self.spatial_axes, self.padding, strict=True):
            result[axis] -= 0 if padded else 2 * RADIUS
        return tuple(result)

    def plane_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what has one entry for every plane of images of this shape."""
        channels = shape[-1:] if self.channels_last else ()
        return (*shape[: len(shape) - self.spatial_ndim], *channels)


def compute_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The dtype of arithmetic, sums and gradients for images of a dtype."""
    # Not jnp.promote_types: strict promotion, which is for what users write, has none.
    return jnp.dtype("float64" if jnp.dtype(dtype) == "float64" else "float32")
