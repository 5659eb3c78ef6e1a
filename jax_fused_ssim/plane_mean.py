"""The mean of 1 - SSIM over every plane, and its derivative."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jax_fused_ssim import ops
from jax_fused_ssim.mean import inner_product
from jax_fused_ssim.spec import Spec, compute_dtype


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def plane_mean(x: Array, y: Array, spec: Spec) -> Array:
    """The mean of 1 - SSIM over every plane, as `mean.ssim_mean` has it over images.

    Args:
      x: [..., C, H, W], or [..., H, W, C] with `spec.channels_last`; floats.
      y: of the shape and the dtype of x.
      spec: static parameters; `scale` and `summed` are replaced.

    Returns:
      [..., C], in float32, or float64 for float64 images.
    """
    spec, factor = _scaled(x, spec)
    return ops.ssim_sum(x, y, spec) * factor


@functools.partial(plane_mean.defjvp, symbolic_zeros=True)
def _plane_mean_jvp(spec: Spec, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, y = primals
    spec, factor = _scaled(x, spec)
    wrt, given = ops.perturbed(tangents)
    loss, grads = ops.ssim_sum_grad(x, y, spec, wrt)
    tangent = inner_product(grads, given, spec.spatial_axes, loss.dtype)
    return loss * factor, tangent * factor


def _scaled(x: Array, spec: Spec) -> tuple[Spec, Any]:
    """With 1 / pixels for a scale, and what a scale cannot hold: symbolic sizes."""
    shape = spec.map_shape(x.shape)
    sides = [shape[axis] for axis in spec.spatial_axes]
    known = math.prod(n for n in sides if isinstance(n, int))
    factor: Any = 1
    for n in sides:
        if not isinstance(n, int):
            factor = factor / jnp.asarray(n, compute_dtype(x.dtype))
    return spec.scaled(1 / known).with_summed(0), factor
