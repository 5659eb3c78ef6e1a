"""The centres of planes in plain JAX: `common/centre.h` says what they are for."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jax_fused_ssim.spec import Spec

_SIDE = 4


def centre_of_planes(images: Sequence[Array], spec: Spec) -> Array:
    """A number near the pixels of every plane, in units of the range.

    Args:
      images: one image, or two whose planes are to have one centre together: planes,
        or with channels last, as `Spec` has them; float32 or float64. Leading
        dimensions broadcast.
      spec: static parameters.

    Returns:
      The same with spatial axes of size 1. It has no derivative: SSIM does not depend
      on it but for rounding.
    """
    dtype = images[0].dtype
    samples = jnp.concatenate(
        jnp.broadcast_arrays(*[_samples(a, spec) for a in images]),
        spec.spatial_axes[0],
    )
    samples = samples * np.asarray(1 / spec.data_range, dtype)
    distance = jnp.abs(samples - 0.5)
    least = jnp.min(
        jnp.where(jnp.isnan(distance), jnp.inf, distance),
        spec.spatial_axes,
        keepdims=True,
    )
    # Of two that are equally near, one on each side, the larger.
    nearest = jnp.max(
        jnp.where((distance == least) & jnp.isfinite(samples), samples, -jnp.inf),
        spec.spatial_axes,
        keepdims=True,
    )
    nearest = jnp.where(jnp.isfinite(nearest), nearest, 0.5)
    away = samples - nearest
    away = jnp.clip(jnp.where(jnp.isnan(away), -1, away), -1, 1)
    low = jnp.min(away, spec.spatial_axes, keepdims=True)
    high = jnp.max(away, spec.spatial_axes, keepdims=True)
    steps = jnp.where(high - low > 0.5, 2.0, 16.0).astype(dtype)
    return jnp.round((nearest + (low + high) / 2) * steps) / steps


def _samples(a: Array, spec: Spec) -> Array:
    samples = jax.lax.stop_gradient(a)
    for axis in spec.spatial_axes:
        side = a.shape[axis]
        places = [side * (2 * k + 1) // (2 * _SIDE) for k in range(_SIDE)]
        samples = jnp.concatenate(
            [jax.lax.slice_in_dim(samples, i, i + 1, axis=axis) for i in places], axis
        )
    if spec.volumes:
        samples = _in_all_slices(samples, spec)
    if _sees_only_border(a.shape, spec):
        samples = jnp.concatenate(
            [samples, jnp.zeros_like(samples)], spec.spatial_axes[0]
        )
    return samples


def _in_all_slices(samples: Array, spec: Spec) -> Array:
    """Of every row and column one sample: in the slices one after the other."""
    z_axis, *_ = spec.spatial_axes
    k = np.arange(_SIDE)
    here = (k[:, None, None] - k[:, None] - k) % _SIDE == 0
    here = here.reshape(*here.shape, *[1] * spec.channels_last)
    return jnp.sum(jnp.where(here, samples, 0), z_axis, keepdims=True)


def _sees_only_border(shape: tuple[Any, ...], spec: Spec) -> bool:
    """Whether no window lies inside; sides that are symbolic count as large."""
    return any(
        padded and isinstance(shape[axis], int) and shape[axis] < spec.window.size
        for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True)
    )
