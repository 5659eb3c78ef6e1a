"""Means under weights: which pixels count, and for how much.

`weighted_loss_mean` is to weighted images what `mean.loss_mean` is to others. What
windows and errors count for is found in plain JAX, and one op takes it from there. What
that does not know is plain JAX around the map: statistics that leave pixels out, cut
images, and weights that are constant along an axis.

Weights keep the sizes of 1 along which they broadcast, so that nothing of the images'
size is made of a mask that they share. What is computed of weights alone skips those
axes: along them the weights are constant.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jax_fused_ssim import halo, ops, xla
from jax_fused_ssim.arguments import as_array, check_choice
from jax_fused_ssim.constant import constant
from jax_fused_ssim.errors import sum_over
from jax_fused_ssim.integer import image_dtype, is_integer, pixels
from jax_fused_ssim.mean import Mean, Means, inner_product, means_of_terms
from jax_fused_ssim.placement import placed_like
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum_of_constants
from jax_fused_ssim.weighted import (
    LossWeights,
    any_in_window,
    dissimilarity_of_seen,
    filled,
    inner,
    mean_scales_of,
)

Weighting = Literal["map", "inside", "normalized"]

_DTYPES = ("bool", "bfloat16", "float16", "float32", "float64")
# Of the dtypes of the arithmetic: those of a number and of 1 / it.
_EXPONENTS = {"float32": (-120, 120), "float64": (-1000, 1000)}
_NO_DERIVATIVE = (
    "weights have no derivative. To differentiate in them, weigh the map yourself: "
    'fused_ssim(..., reduction="none") without weights.'
)


def checked_weights(
    weights: ArrayLike | None,
    weighting: Weighting,
    images: tuple[Array, Array],
    spec: Spec,
    reduction: str = "mean",
) -> Array | None:
    """Weights as the functions here take them, checked: the errors of `fused_ssim`.

    Args:
      weights: what the user passed.
      weighting: what the user passed.
      images: the two, checked and placed.
      spec: static parameters.
      reduction: what the user passed.

    Returns:
      The weights as booleans or in the dtype of the arithmetic, with as many dimensions
      as the image, each of its size or of size 1; None where there are none. What is
      below 0 counts for nothing.
    """
    check_choice("weighting", weighting, get_args(Weighting))
    if weights is None:
        return None
    if reduction == "none":
        raise ValueError(
            'reduction="none" takes no weights: multiply the map that it gives by them.'
        )
    array = as_array(weights)
    if array.dtype.name not in _DTYPES:
        raise TypeError(
            f"weights must have one of the dtypes {', '.join(_DTYPES)}; got "
            f"{array.dtype.name}"
        )
    image, _ = images
    _check_shape(array.shape, image.shape, spec)
    if array.dtype != bool:
        array = array.astype(compute_dtype(image_dtype(*images)))
    array = jnp.expand_dims(array, range(image.ndim - array.ndim))
    return constant(placed_like(array, image, spec), _NO_DERIVATIVE)


def _check_shape(shape: Sequence[int], image: Sequence[int], spec: Spec) -> None:
    pairs = zip(reversed(shape), reversed(image), strict=False)
    fits = len(shape) <= len(image) and all(n in (1, whole) for n, whole in pairs)
    channel = len(image) - 1 if spec.channels_last else len(image) - 3
    mask = [n for i, n in enumerate(image) if i != channel]
    of_mask = len(shape) >= 2 and list(shape) == mask[-len(shape) :]
    # [H, W] may by chance have the sizes of [W, C], and is what is meant.
    if fits and not (of_mask and spec.channels_last and len(shape) == 2):
        return
    shapes, way_out = (
        ("[H, W, 1] or [H, W, C]", "mask[..., None]")
        if spec.channels_last
        else ("[H, W], [1, H, W] or [C, H, W]", "mask[..., None, :, :]")
    )
    hint = f" Of a mask without channels take {way_out}." if of_mask else ""
    raise ValueError(
        f"weights must broadcast to the images, of shape {tuple(image)}: {shapes}, "
        f"behind batch dimensions of the images or 1, or none; got {tuple(shape)}."
        f"{hint}"
    )


def weighted_loss_mean(
    x: Array, y: Array, weights: Array, mean: Mean, weighting: Weighting
) -> tuple[Array, Means | None]:
    """The weighted mean of 1 - SSIM, or a loss of all weighted means.

    Args:
      x: [..., C, H, W], or [..., H, W, C]; with `mean.cut` the block of this device.
      y: of the shape and the dtype of x.
      weights: as from `checked_weights`.
      mean: what is static.
      weighting: which windows count, and what they see.

    Returns:
      As `mean.loss_mean`. A mean of nothing is 0.
    """
    dtype = compute_dtype(image_dtype(x, y))
    is_mask, weights = weights.dtype == bool, weights.astype(dtype)
    if _has_op(weights, mean, weighting):
        spec = mean.spec if mean.errors else mean.spec.plain()
        spec = spec.with_scales(1.0, 1.0).with_summed(mean.summed(x.shape))
        if weighting == "normalized":
            # No kernel leaves pixels out of images in half precision.
            x, y = (a if is_integer(a) else a.astype(dtype) for a in (x, y))
        unit = None if is_mask else _unit(weights, mean)
        of_loss = _loss_weights(weights, unit, x.shape, mean, weighting)
        loss, means = _loss_of_op(x, y, of_loss, spec, mean.errors)
        return loss, means if mean.errors else None
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


def _has_op(weights: Array, mean: Mean, weighting: Weighting) -> bool:
    """Whether one op can count the SSIM and the errors."""
    return (
        mean.is_whole
        and mean.reduction != "per_channel"  # errors are of all channels together
        and len(_axes_of(weights, mean.spec)) == 2
    )


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
    weighting: Weighting,
) -> LossWeights:
    """What pixels count for in the map and in the errors, and 1 / the sums of that."""
    spec = mean.spec
    of_map, mean_scales = weights, None
    counts = jnp.maximum(weights, 0)
    windows = _without_border(counts, spec.padding, mean)
    if weighting == "inside":
        windows = of_map = _back_to_image(_window_means(counts, mean), image, spec)
    if weighting == "normalized":
        padded = spec.with_padding(spec.spatial_axes, True)
        seen = _extended(weights > 0, spec.spatial_axes, mean._replace(spec=padded))
        mean_scales = mean_scales_of(seen, spec, weights.dtype)
    whole = [p or not c for p, c in zip(spec.padding, spec.crop, strict=True)]
    counted = _without_border(counts, whole, mean)
    if unit is not None:
        windows, counted = windows * unit, counted * unit
    map_total, error_total = (_op_total(a, image, mean) for a in (windows, counted))
    totals = jnp.stack([map_total, error_total], -1)
    scales = jnp.where(totals == 0, 0, 1 / jnp.where(totals == 0, 1, totals))
    own = jnp.ones((), scales.dtype) if unit is None else unit
    own = own.reshape(scales.shape[:-1])
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


def _map(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM of the images as they are, and what it counts for."""
    weights = _covered(weights, mean.spec.padding, x.shape, mean)
    # A kernel multiplies its derivatives by the weights, and 0 * NaN is NaN.
    seen = _seen_by(weights, mean)
    x, y = (filled(a, seen, mean.spec) for a in (x, y))
    return _dissimilarities(x, y, mean), weights


def _inside(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM, and the windows' mean weights; 0 for those that see a weight of 0."""
    counted = _masked(_window_means(weights, mean), mean.spec.padding, x.shape, mean)
    x, y = (filled(a, weights != 0, mean.spec) for a in (x, y))
    return _dissimilarities(x, y, mean), counted


def _window_means(weights: Array, mean: Mean) -> Array:
    """The mean weight that the windows of the map see; 0 where they see one of 0."""
    axes, window = _axes_of(weights, mean.spec), mean.spec.window
    window_mean = _extended(weights, axes, mean)
    zero = window_mean == 0
    for axis in axes:
        within = _within(weights.shape, axis, mean, beyond=_margins(axis, mean))
        zero &= within
        one = jnp.ones((), weights.dtype)
        share = xla._windowed_sum(jnp.where(within, one, 0), axis, window)
        # Or XLA computes the first axis again for each tap of the second.
        window_mean = lax.optimization_barrier(window_mean)
        window_mean = xla._windowed_sum(window_mean, axis, window)
        window_mean = window_mean / share
    for axis in axes:
        zero = any_in_window(zero, axis, (0, 0), window)
    return jnp.where(zero, 0, window_mean)


def _normalized(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM whose statistics are of the pixels of weight > 0, and their weights."""
    spec = mean.spec
    axes = spec.spatial_axes
    shape = list(weights.shape)
    for axis in axes:  # The border takes part in the statistics of constant weights.
        shape[axis] = x.shape[axis]
    weights = jnp.broadcast_to(jnp.where(weights > 0, weights, 0), shape)
    counted = _covered(weights, spec.padding, x.shape, mean)
    x, y = (jnp.where(weights > 0, a, 0) for a in (x, y))
    x, y, wide = (_extended(a, axes, mean) for a in (x, y, weights))
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
        if not uncropped and not _is_cut(axis, mean):
            d = inner(d, axis, spec.window)
    weights = _covered(weights, whole, x.shape, mean)
    l1, l2 = (_weighted_mean(e, weights, mean) for e in (xla.absolute(d), d * d))
    return l1, l2


def _total(weights: Array, shape: Sequence[Any], mean: Mean) -> Array:
    """The sum of weights over what a mean of values of this shape is over."""
    total = sum_over(weights, mean.axes(len(shape)), mean.mesh_axes)
    return total * _copies(weights, shape, mean)


def _op_total(weights: Array, image: Sequence[Any], mean: Mean) -> Array:
    """The sum of what all pixels of whole images have, without derivative."""
    total = split_sum_of_constants(weights, mean.axes(len(image)))
    return total * _copies(weights, image, mean)


def _copies(weights: Array, shape: Sequence[Any], mean: Mean) -> Array:
    """For how many values of this shape, of those a mean is over, a weight stands."""
    axes = mean.axes(len(shape))
    copies = math.prod(shape[i] for i in axes if weights.shape[i] == 1)
    return jnp.asarray(copies, weights.dtype)


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


def _axes_of(weights: Array, spec: Spec) -> list[int]:
    """The spatial axes along which weights are not constant."""
    return [axis for axis in spec.spatial_axes if weights.shape[axis] != 1]


def _is_cut(axis: int, mean: Mean) -> bool:
    return axis in [c.axis for c in mean.cut]


def _margins(axis: int, mean: Mean) -> tuple[int, int]:
    """How many pixels beyond a block the windows of its map see."""
    padded = mean.spec.padding[mean.spec.spatial_axes.index(axis)]
    return mean.spec.window.margins(padded or _is_cut(axis, mean))


def _padded(a: Array, axis: int, margins: tuple[int, int]) -> Array:
    widths = [(0, 0)] * a.ndim
    widths[axis] = margins
    return jnp.pad(a, widths)


def _extended(a: Array, axes: Sequence[int], mean: Mean) -> Array:
    """With what the windows of the map see beyond a block: its neighbours, and zeros
    beyond the border of the image."""
    cut = [c for c in mean.cut if c.axis in axes]
    a = halo.extended(a, cut, mean.spec.window)
    for axis in axes:
        if not _is_cut(axis, mean):
            a = _padded(a, axis, _margins(axis, mean))
    return a


def _within(
    shape: Sequence[int],
    axis: int,
    mean: Mean,
    beyond: tuple[int, int] = (0, 0),
    border: tuple[int, int] = (0, 0),
) -> Array:
    """Which places along an axis of a block are in the whole image.

    Args:
      shape: of the block, or of its weights.
      axis: counted from the end.
      mean: what is static.
      beyond: how many places there are before the block and after it.
      border: how much of the image does not count, before and after the rest.

    Returns:
      Booleans, with all other dimensions of size 1.
    """
    size, start, whole = shape[axis], 0, shape[axis]
    for name in (c.name for c in mean.cut if c.axis == axis):
        start = lax.axis_index(name) * size
        whole = lax.axis_size(name) * size
    place = jnp.arange(-beyond[0], size + beyond[1], dtype=jnp.int32) + start
    place = jnp.expand_dims(place, [i for i in range(-len(shape), 0) if i != axis])
    return (place >= border[0]) & (place < whole - border[1])


def _without_border(weights: Array, padding: Sequence[bool], mean: Mean) -> Array:
    """With zeros for the pixels of a whole image that are not in the map. Cut off, XLA
    writes the rest out before it adds it up."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded:
            border = mean.spec.window.margins(True)
            inner = _within(weights.shape, axis, mean, border=border)
            weights = jnp.where(inner, weights, 0)
    return weights


def _back_to_image(a: Array, image: Sequence[int], spec: Spec) -> Array:
    """Of the pixels of a map, with zeros for those of the image beside it."""
    whole = [a.shape[i] == image[i] for i in spec.spatial_axes]
    return xla._pad(a, [spec.window.margins(not of_image) for of_image in whole], spec)


def _masked(
    weights: Array, padding: Sequence[bool], block: Sequence[int], mean: Mean
) -> Array:
    """Zeros where a cut block has pixels that are not in the map of the whole."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded and _is_cut(axis, mean):
            border = mean.spec.window.margins(True)
            inner = _within(block, axis, mean, border=border)
            weights = jnp.where(inner, weights, 0)
    return weights


def _covered(
    weights: Array, padding: Sequence[bool], block: Sequence[int], mean: Mean
) -> Array:
    """Weights of the pixels of a map: fewer than the image's, but zeros for those of a
    cut block that the map of the whole lacks."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded and not _is_cut(axis, mean) and weights.shape[axis] != 1:
            weights = inner(weights, axis, mean.spec.window)
    return _masked(weights, padding, block, mean)


def _seen_by(weights: Array, mean: Mean) -> Array:
    """Which pixels a window of the map sees whose weight is not 0."""
    axes, window = _axes_of(weights, mean.spec), mean.spec.window
    cut = [c for c in mean.cut if c.axis in axes]
    there = halo.extended(weights != 0, cut, window)
    for axis in axes:
        margins = (0, 0)
        if not _is_cut(axis, mean):
            padded = mean.spec.padding[mean.spec.spatial_axes.index(axis)]
            margins = window.margins_of_map(padded)
        there = any_in_window(there, axis, margins, window)
    return there
