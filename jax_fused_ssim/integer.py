"""Integer images: value / (2^bits - 1) * data_range, as `common/integer.h` has it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from jax_fused_ssim.spec import Spec, compute_dtype

_BITS = {"uint8": 8, "uint16": 16}
DTYPES = tuple(_BITS)


def is_integer(a: Any) -> bool:
    """Whether an image's pixels, or those of its type, are integers."""
    return jnp.dtype(a.dtype).name in _BITS


def image_dtype(x: Any, y: Any) -> jnp.dtype:
    """The floating-point dtype of two images, or of their types: float32 where both are
    integers; where neither is, both have one."""
    if is_integer(x) and is_integer(y):
        return jnp.dtype("float32")
    return jnp.dtype(y.dtype if is_integer(x) else x.dtype)


def pixels(a: Array, spec: Spec, dtype: DTypeLike) -> Array:
    """An image in a dtype: floats as they are, integers in units of the data range."""
    if not is_integer(a):
        return a.astype(dtype)
    high, low = _scale(_BITS[a.dtype.name], spec.data_range, np.dtype(dtype))
    a = a.astype(dtype)
    return a * high + a * low


def as_floats(x: Array, y: Array, spec: Spec) -> tuple[Array, Array]:
    """Both images in their floating-point dtype, where an op knows no integers."""
    dtype = image_dtype(x, y)
    wide = compute_dtype(dtype)
    x, y = (pixels(a, spec, wide).astype(dtype) if is_integer(a) else a for a in (x, y))
    return x, y


def _scale(
    bits: int, data_range: float, dtype: np.dtype[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of the scale, the first of which is exact times any integer."""
    most = 2**bits - 1
    dropped = 53 - (int(np.finfo(dtype).nmant) + 1 - bits)
    pattern = np.float64(data_range / most).view(np.uint64)
    high = float((pattern & ~np.uint64(2**dropped - 1)).view(np.float64))
    low = (data_range - high * most) / most
    return np.asarray(high, dtype), np.asarray(low, dtype)
