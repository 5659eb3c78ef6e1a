"""Means of |d| and d^2 in plain JAX, where no kernel counts them with the SSIM."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from jax_fused_ssim import xla
from jax_fused_ssim.mean import Mean
from jax_fused_ssim.sums import sum_over


def error_means(x: Array, y: Array, mean: Mean) -> tuple[Array, Array]:
    """The means of |d| and of d^2, d = (x - y) / data_range, over whole images.

    Args:
      x: [..., C, H, W], or [..., H, W, C]; with `mean.cut` the block of this device.
      y: of the shape and the dtype of x.
      mean: what is static.

    Returns:
      Two scalars, or two arrays of the leading shape. The derivative of |d| at 0 is 0.
    """
    d = xla.difference(x, y, mean.spec)
    axes = mean.axes(x.ndim)
    count = math.prod(x.shape[axis] for axis in axes)
    count *= math.prod(jax.lax.axis_size(name) for _, name, _ in mean.cut)
    l1, l2 = (
        sum_over(e, axes, mean.mesh_axes) / jnp.asarray(count, d.dtype)
        for e in (xla.absolute(d), d * d)
    )
    return l1, l2
