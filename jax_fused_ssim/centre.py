"""The centres of planes in plain JAX: `common/centre.h` says what they are for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jax_fused_ssim.spec import WINDOW, Spec

_SIDE = 4


def centre_of_planes(a: Array, spec: Spec) -> Array:
    """A number near the pixels of every plane, to subtract from them.

    Args:
      a: [..., H, W], or [..., H, W, C] with `spec.channels_last`; float32 or float64.
      spec: static parameters.

    Returns:
      The same with H and W of size 1. It has no derivative: SSIM does not depend on it
      but for rounding.
    """
    samples = jax.lax.stop_gradient(a)
    for axis in spec.spatial_axes:
        side = a.shape[axis]
        places = [side * (2 * k + 1) // (2 * _SIDE) for k in range(_SIDE)]
        samples = jnp.concatenate(
            [jax.lax.slice_in_dim(samples, i, i + 1, axis=axis) for i in places], axis
        )
    if _sees_only_border(a.shape, spec):
        samples = jnp.concatenate(
            [samples, jnp.zeros_like(samples)], spec.spatial_axes[0]
        )
    data_range = np.asarray(spec.data_range, a.dtype)
    middle = data_range / 2
    distance = jnp.abs(samples - middle)
    distance = jnp.where(jnp.isfinite(distance), distance, jnp.inf)
    least = jnp.min(distance, spec.spatial_axes, keepdims=True)
    # Of two that are equally near, one on each side, the larger.
    is_nearest = jnp.isfinite(distance) & (distance == least)
    nearest = jnp.max(
        jnp.where(is_nearest, samples, -jnp.inf), spec.spatial_axes, keepdims=True
    )
    nearest = jnp.where(jnp.isfinite(nearest), nearest, middle)
    away = samples - nearest
    away = jnp.where(jnp.isnan(away), -data_range, away)
    away = jnp.clip(away, -data_range, data_range)
    low = jnp.min(away, spec.spatial_axes, keepdims=True)
    high = jnp.max(away, spec.spatial_axes, keepdims=True)
    return nearest + (low + high) / 2


def _sees_only_border(shape: tuple[Any, ...], spec: Spec) -> bool:
    """Whether no window lies inside; sides that are symbolic count as large."""
    return any(
        padded and isinstance(shape[axis], int) and shape[axis] < WINDOW
        for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True)
    )
