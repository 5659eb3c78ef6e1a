"""Means under weights in plain JAX around the map, where no op takes the weights."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jax_fused_ssim import halo, ops, xla
from jax_fused_ssim.integer import image_dtype, pixels
from jax_fused_ssim.mean import Mean, Means
from jax_fused_ssim.regions import (
    copies,
    covered_by_map,
    extended,
    is_cut,
    masked,
    seen_by,
    window_means,
)
from jax_fused_ssim.spec import compute_dtype
from jax_fused_ssim.sums import sum_over
from jax_fused_ssim.weighted import (
    dissimilarity_of_seen,
    filled,
    inner,
    mean_scales_of,
)


def loss_mean(
    x: Array, y: Array, weights: Array, mean: Mean, weighting: str
) -> tuple[Array, Means | None]:
    """`weights.weighted_loss_mean`, whose arguments it has, of weights in the dtype of
    the arithmetic."""
    dtype = compute_dtype(image_dtype(x, y))
    weights = jnp.maximum(weights, 0)
    # Half precision would round the map before it is weighted.
    x, y = (pixels(a, mean.spec, dtype) for a in (x, y))
    plain = mean._replace(spec=mean.spec.plain())
    of_weighting = {"map": _map, "inside": _inside, "normalized": _normalized}
    exact = _weighted_mean(*of_weighting[weighting](x, y, weights, plain), mean)
    # Rounding must not lead out of the bounds of SSIM.
    dissimilarity = exact + lax.stop_gradient(jnp.clip(exact, 0, 2) - exact)
    if not mean.errors:
        return dissimilarity, None
    means = Means(*_weighted_errors(x, y, weights, mean), dissimilarity)
    return xla.loss_of_terms(means, mean.spec), means


def _map(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM of the images as they are, and what it counts for."""
    weights = covered_by_map(weights, mean.spec.padding, x.shape, mean)
    # A kernel multiplies its derivatives by the weights, and 0 * NaN is NaN.
    seen = seen_by(weights, mean)
    x, y = (filled(a, seen, mean.spec) for a in (x, y))
    return _dissimilarities(x, y, mean), weights


def _inside(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM, and the windows' mean weights; 0 for those that see a weight of 0."""
    counted = masked(window_means(weights, mean), mean.spec.padding, x.shape, mean)
    x, y = (filled(a, weights != 0, mean.spec) for a in (x, y))
    return _dissimilarities(x, y, mean), counted


def _normalized(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM whose statistics are of the pixels of weight > 0, and their weights."""
    spec = mean.spec
    axes = spec.spatial_axes
    shape = list(weights.shape)
    for axis in axes:  # The border takes part in the statistics of constant weights.
        shape[axis] = x.shape[axis]
    weights = jnp.broadcast_to(jnp.where(weights > 0, weights, 0), shape)
    counted = covered_by_map(weights, spec.padding, x.shape, mean)
    x, y = (jnp.where(weights > 0, a, 0) for a in (x, y))
    x, y, wide = (extended(a, axes, mean) for a in (x, y, weights))
    mean_scales = mean_scales_of(wide > 0, spec, x.dtype)
    return dissimilarity_of_seen(x, y, wide > 0, mean_scales, spec), counted


def _weighted_errors(
    x: Array, y: Array, weights: Array, mean: Mean
) -> tuple[Array, Array]:
    """The weighted means of |d| and of d^2."""
    spec = mean.spec
    whole = [p or not c for p, c in zip(spec.padding, spec.crop, strict=True)]
    # Before they are subtracted: the derivative of what is infinite times 0 is not 0.
    d = xla.difference(*(jnp.where(weights != 0, a, 0) for a in (x, y)), spec)
    for axis, uncropped in zip(spec.spatial_axes, whole, strict=True):
        if not uncropped and not is_cut(axis, mean):
            d = inner(d, axis, spec.window)
    weights = covered_by_map(weights, whole, x.shape, mean)
    l1, l2 = (_weighted_mean(e, weights, mean) for e in (xla.absolute(d), d * d))
    return l1, l2


def _total(weights: Array, shape: Sequence[Any], mean: Mean) -> Array:
    """The sum of weights over what a mean of values of this shape is over."""
    total = sum_over(weights, mean.axes(len(shape)), mean.mesh_axes)
    return total * copies(weights, shape, mean)


def _weighted_mean(values: Array, weights: Array, mean: Mean) -> Array:
    """sum(weights * values) / sum(weights), 0 for 0 / 0; values of weight 0 are
    ignored."""
    values = jnp.where(weights != 0, values, 0)
    total = sum_over(weights * values, mean.axes(values.ndim), mean.mesh_axes)
    whole = _total(weights, values.shape, mean)
    return jnp.where(whole == 0, 0, total / jnp.where(whole == 0, 1, whole))


def _dissimilarities(x: Array, y: Array, mean: Mean) -> Array:
    """1 - SSIM of every pixel of the map; of a cut block, of all of its pixels."""
    spec = mean.spec.with_padding([c.axis for c in mean.cut], False)
    parts = zip(*(halo.parts(a, mean.cut, spec.window) for a in (x, y)), strict=True)
    return 1 - halo.joined([ops.ssim_map(*p, spec) for p in parts], mean.cut)
