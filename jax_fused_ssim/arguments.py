"""Checks what users pass, and turns it into what the ops take."""

import math
import numbers
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.spec import WINDOW, Spec

Padding = Literal["same", "valid"]
DataFormat = Literal["NCHW", "NHWC"]
Reduction = Literal["mean", "per_image", "none"]
Implementation = Literal["fused", "xla"] | None

_ACCEPTED = {
    "padding": ("same", "valid"),
    "data_format": ("NCHW", "NHWC"),
    "reduction": ("mean", "per_image", "none"),
    "implementation": (None, "fused", "xla"),
}
_DTYPES = ("bfloat16", "float16", "float32", "float64")


def checked_spec(
    padding: Padding,
    data_format: DataFormat,
    data_range: float,
    k1: float,
    k2: float,
    reduction: Reduction,
    implementation: Implementation,
) -> Spec:
    """The static parameters, checked: the arguments and errors of `fused_ssim`."""
    given = {
        "padding": padding,
        "data_format": data_format,
        "reduction": reduction,
        "implementation": implementation,
    }
    for name, value in given.items():
        _check_choice(name, value)
    padded = padding == "same"
    return Spec(
        data_range=_positive("data_range", data_range),
        k1=_positive("k1", k1),
        k2=_positive("k2", k2),
        padding=(padded, padded),
        channels_last=data_format == "NHWC",
        implementation=implementation,
    )


def checked_images(img1: ArrayLike, img2: ArrayLike, spec: Spec) -> tuple[Array, Array]:
    """The images as arrays of one dtype, checked: the errors of `fused_ssim`."""
    x, y = jnp.asarray(img1), jnp.asarray(img2)
    for name, a in (("img1", x), ("img2", y)):
        if a.dtype.name not in _DTYPES:
            hint = (
                "; convert it, and set data_range to the largest value"
                if jnp.issubdtype(a.dtype, jnp.integer)
                else ""
            )
            raise TypeError(
                f"{name} must have one of the dtypes {', '.join(_DTYPES)}; "
                f"got {a.dtype.name}{hint}"
            )
    layout = "[..., H, W, C]" if spec.channels_last else "[..., C, H, W]"
    if x.shape != y.shape:
        raise ValueError(
            f"img1 and img2 must have one shape; got {x.shape} and {y.shape}"
        )
    if x.ndim < 3:
        raise ValueError(f"images must be {layout}; got {x.ndim} dimensions: {x.shape}")
    if any(isinstance(d, int) and d == 0 for d in x.shape):
        raise ValueError(f"images must have no empty dimension; got {x.shape}")
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        side = x.shape[axis]
        if not padded and isinstance(side, int) and side < WINDOW:
            raise ValueError(
                f'padding="valid" needs H and W of at least {WINDOW}; got '
                f'{layout} = {x.shape}. Use padding="same".'
            )
    dtype = jnp.promote_types(x.dtype, y.dtype)
    return x.astype(dtype), y.astype(dtype)


def _check_choice(name: str, value: Any) -> None:
    accepted = _ACCEPTED[name]
    if not (value is None or isinstance(value, str)) or value not in accepted:
        options = ", ".join(map(repr, accepted))
        raise ValueError(f"{name} must be one of {options}; got {value!r}")


def _positive(name: str, value: Any) -> float:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{name} is static and cannot be traced; got {value}")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} must be a real number; got {value!r} of type "
            f"{type(value).__name__}"
        )
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite; got {value!r}")
    return float(value)
