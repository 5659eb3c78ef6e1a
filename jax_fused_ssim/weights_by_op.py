"""Means under weights by the op that takes them."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from jax_fused_ssim import ops
from jax_fused_ssim.integer import image_dtype, is_integer
from jax_fused_ssim.mean import Mean, Means, inner_product, means_of_terms
from jax_fused_ssim.regions import (
    axes_of,
    back_to_image,
    copies,
    extended,
    window_means,
    without_border,
)
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum_of_constants
from jax_fused_ssim.weighted import LossWeights, mean_scales_of

# Of the dtypes of the arithmetic: those of a number and of 1 / it.
_EXPONENTS = {"float32": (-120, 120), "float64": (-1000, 1000)}


def takes(weights: Array, mean: Mean) -> bool:
    """Whether one op can count the SSIM and the errors."""
    return (
        mean.is_whole
        and not mean.spec.volumes
        and mean.reduction != "per_channel"  # errors are of all channels together
        and len(axes_of(weights, mean.spec)) == 2
    )


def loss_mean(
    x: Array, y: Array, weights: Array, mean: Mean, weighting: str, is_mask: bool
) -> tuple[Array, Means | None]:
    """`weights.weighted_loss_mean`, whose arguments it has, where `takes` says so.

    `weights` are in the dtype of the arithmetic; `is_mask`: they were booleans.
    """
    dtype = compute_dtype(image_dtype(x, y))
    spec = mean.spec if mean.errors else mean.spec.plain()
    spec = spec.with_scales(1.0, 1.0).with_summed(mean.summed(x.shape))
    if weighting == "normalized":
        # No kernel leaves pixels out of images in half precision.
        x, y = (a if is_integer(a) else a.astype(dtype) for a in (x, y))
    unit = None if is_mask else _unit(weights, mean)
    of_loss = _loss_weights(weights, unit, x.shape, mean, weighting)
    loss, means = _loss_of_op(x, y, of_loss, spec, mean.errors)
    return loss, means if mean.errors else None


def _unit(weights: Array, mean: Mean) -> Array:
    """A power of two with which those that a mean is over are within [0, 1], and one is
    more than 1/4. It changes no digit of them."""
    weights = lax.stop_gradient(weights)
    largest = jnp.max(weights, mean.axes(weights.ndim), keepdims=True)
    _, exponent = jnp.frexp(largest)
    # Neither it nor the largest times it is subnormal.
    exponent = jnp.clip(exponent, *_EXPONENTS[weights.dtype.name])
    unit = jnp.ldexp(jnp.ones((), weights.dtype), -exponent)
    return jnp.where(jnp.isfinite(largest), unit, jnp.nan)


def _loss_weights(
    weights: Array,
    unit: Array | None,
    image: Sequence[int],
    mean: Mean,
    weighting: str,
) -> LossWeights:
    """What pixels count for in the map and in the errors, and 1 / the sums of that."""
    spec = mean.spec
    of_map, mean_scales = weights, None
    counts = jnp.maximum(weights, 0)
    windows = without_border(counts, spec.padding, mean)
    if weighting == "inside":
        windows = of_map = back_to_image(window_means(counts, mean), image, spec)
    if weighting == "normalized":
        padded = spec.with_padding(spec.spatial_axes, True)
        seen = extended(weights > 0, spec.spatial_axes, mean._replace(spec=padded))
        mean_scales = mean_scales_of(seen, spec, weights.dtype)
    whole = [p or not c for p, c in zip(spec.padding, spec.crop, strict=True)]
    counted = without_border(counts, whole, mean)
    if unit is not None:
        windows, counted = windows * unit, counted * unit
    map_total, error_total = (_op_total(a, image, mean) for a in (windows, counted))
    totals = jnp.stack([map_total, error_total], -1)
    scales = jnp.where(totals == 0, 0, 1 / jnp.where(totals == 0, 1, totals))
    shape = scales.shape[:-1]
    own = jnp.ones(shape, scales.dtype) if unit is None else unit.reshape(shape)
    scales = jnp.concatenate([scales, own[..., None]], -1)
    kept = weights.ndim - spec.spatial_ndim
    scales = jnp.expand_dims(scales, range(scales.ndim - 1, kept))
    return LossWeights(of_map, weights, scales, mean_scales)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _loss_of_op(
    x: Array, y: Array, weights: LossWeights, spec: Spec, errors: bool
) -> tuple[Array, Means]:
    """The loss with errors, or the mean of 1 - SSIM; and the means, which have no
    derivative here."""
    loss, terms = ops.weighted_loss_sum(x, y, weights, spec)
    means = means_of_terms(terms)
    return loss if errors else means.dissimilarity, means


@functools.partial(_loss_of_op.defjvp, symbolic_zeros=True)
def _loss_of_op_jvp(spec: Spec, errors: bool, primals: Any, tangents: Any) -> Any:
    x, y, weights = primals
    wrt, given = ops.perturbed(tangents[:2])
    of_weights = [t for t in tangents[2].arrays if not isinstance(t, SymbolicZero)]
    if any(wrt):
        loss, terms, grads = ops.weighted_loss_sum_grad(x, y, weights, spec, wrt)
    else:
        loss, terms = ops.weighted_loss_sum(x, y, weights, spec)
        grads = ()
    means = means_of_terms(terms)
    axes = range(-3 if loss.ndim else -x.ndim, 0)
    tangent = jnp.zeros_like(loss) + inner_product(grads, given, axes, loss.dtype)
    # Zeros, of which `constant` makes an error where a cotangent comes back to them.
    tangent = sum((0 * jnp.sum(t) for t in of_weights), tangent)
    # Depends on the tangents, so that who differentiates a mean can be told.
    of_means = Means(*[0 * tangent] * len(means))
    return (loss if errors else means.dissimilarity, means), (tangent, of_means)


def _op_total(weights: Array, image: Sequence[Any], mean: Mean) -> Array:
    """The sum of what all pixels of whole images have, without derivative."""
    total = split_sum_of_constants(weights, mean.axes(len(image)))
    return total * copies(weights, image, mean)
