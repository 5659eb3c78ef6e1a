"""Means under weights: which pixels count, and for how much.

Plain JAX around the ops. `weighted_loss_mean` is to weighted images what
`mean.loss_mean` is to others, and what a kernel that reads weights replaces.

Weights keep the sizes of 1 along which they broadcast, so that nothing of the images'
size is made of a mask that they share. What is computed of weights alone skips those
axes: along them the weights are constant.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jax_fused_ssim import halo, ops, xla
from jax_fused_ssim.centre import centre_of_planes
from jax_fused_ssim.constant import constant
from jax_fused_ssim.errors import difference, sum_of_last
from jax_fused_ssim.integer import image_dtype, pixels
from jax_fused_ssim.mean import Mean, Means
from jax_fused_ssim.placement import placed_like
from jax_fused_ssim.spec import RADIUS, WINDOW, Spec, compute_dtype

Weighting = Literal["map", "inside", "normalized"]

_DTYPES = ("bool", "bfloat16", "float16", "float32", "float64")
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
      The weights in the dtype of the arithmetic, with as many dimensions as the image,
      each of its size or of size 1; None where there are none.
    """
    if not isinstance(weighting, str) or weighting not in get_args(Weighting):
        options = ", ".join(map(repr, get_args(Weighting)))
        raise ValueError(f"weighting must be one of {options}; got {weighting!r}")
    if weights is None:
        return None
    if reduction == "none":
        raise ValueError(
            'reduction="none" takes no weights: multiply the map that it gives by them.'
        )
    dtype = getattr(weights, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        weights = np.asarray(weights).astype(dtype.newbyteorder("="))
    array = jnp.asarray(weights)
    if array.dtype.name not in _DTYPES:
        raise TypeError(
            f"weights must have one of the dtypes {', '.join(_DTYPES)}; got "
            f"{array.dtype.name}"
        )
    image, _ = images
    _check_shape(array.shape, image.shape, spec)
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
      As `mean.loss_mean`, with means that have a derivative. A mean of nothing is 0.
    """
    # Half precision would round the map before it is weighted.
    dtype = compute_dtype(image_dtype(x, y))
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
    weights = _covered(weights, mean.spec.padding, x.shape, mean)
    # A kernel multiplies its derivatives by the weights, and 0 * NaN is NaN.
    seen = _seen_by(weights, mean)
    x, y = (_filled(a, seen, mean.spec) for a in (x, y))
    return _dissimilarities(x, y, mean), weights


def _inside(x: Array, y: Array, weights: Array, mean: Mean) -> tuple[Array, Array]:
    """1 - SSIM, and the windows' mean weights; 0 for those that see a weight of 0."""
    axes = _axes_of(weights, mean.spec)
    window_mean = _extended(weights, axes, mean)
    zero = window_mean == 0
    for axis in axes:
        within = _within(weights.shape, axis, mean, beyond=_margin(axis, mean))
        zero &= within
        share = xla._windowed_sum(jnp.where(within, 1, jnp.zeros((), x.dtype)), axis)
        # Or XLA computes the first axis again for each tap of the second.
        window_mean = xla._windowed_sum(lax.optimization_barrier(window_mean), axis)
        window_mean = window_mean / share
    counted = jnp.where(_any_in_window(zero, axes), 0, window_mean)
    counted = _masked(counted, mean.spec.padding, x.shape, mean)
    x, y = (_filled(a, weights != 0, mean.spec) for a in (x, y))
    return _dissimilarities(x, y, mean), counted


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
    there = wide > 0
    a = xla._sum_difference(*(_filled(b, there, spec) for b in (x, y)), spec)
    s, d = (jnp.where(there, b, 0) for b in (a.s, a.d))
    share = xla._windowed_mean(jnp.where(there, 1, jnp.zeros((), s.dtype)), spec)
    moments = xla._windowed_mean(jnp.stack([s, d, s * s, d * d]), spec)
    moments = moments / jnp.where(share == 0, 1, share)[None]
    terms = xla._terms(a, xla._Moments(*moments), spec)
    return xla._dissimilarity(terms), counted


def _weighted_errors(
    x: Array, y: Array, weights: Array, mean: Mean
) -> tuple[Array, Array]:
    """The weighted means of |d| and of d^2."""
    spec = mean.spec
    whole = [p or not c for p, c in zip(spec.padding, spec.crop, strict=True)]
    # Before they are subtracted: the derivative of what is infinite times 0 is not 0.
    d = difference(*(jnp.where(weights != 0, a, 0) for a in (x, y)), spec)
    for axis, uncropped in zip(spec.spatial_axes, whole, strict=True):
        if not uncropped and not _is_cut(axis, mean):
            d = _inner(d, axis)
    weights = _covered(weights, whole, x.shape, mean)
    l1, l2 = (_weighted_mean(e, weights, mean) for e in (xla.absolute(d), d * d))
    return l1, l2


def _weighted_mean(values: Array, weights: Array, mean: Mean) -> Array:
    """sum(weights * values) / sum(weights), 0 for 0 / 0; values of weight 0 are
    ignored."""
    ndim = 3 if mean.per_image else values.ndim
    values = jnp.where(weights != 0, values, 0)
    total = sum_of_last(weights * values, ndim, mean.mesh_axes)
    copies = math.prod(
        values.shape[i] for i in range(-ndim, 0) if weights.shape[i] == 1
    )
    whole = sum_of_last(weights, ndim, mean.mesh_axes)
    whole = whole * jnp.asarray(copies, whole.dtype)
    return jnp.where(whole == 0, 0, total / jnp.where(whole == 0, 1, whole))


def _dissimilarities(x: Array, y: Array, mean: Mean) -> Array:
    """1 - SSIM of every pixel of the map; of a cut block, of all of its pixels."""
    spec = mean.spec.with_padding([c.axis for c in mean.cut], False)
    parts = zip(*(halo.parts(a, mean.cut) for a in (x, y)), strict=True)
    return 1 - halo.joined([ops.ssim_map(*p, spec) for p in parts], mean.cut)


def _filled(a: Array, keep: Array, spec: Spec) -> Array:
    """An image, with a number like its other pixels where nobody looks.

    A zero would do, but for the centre of pixels that are far from it.
    """
    known = jnp.where(keep, a, jnp.inf)
    filler = centre_of_planes((known,), spec) * np.asarray(spec.data_range, a.dtype)
    return jnp.where(keep, a, filler)


def _axes_of(weights: Array, spec: Spec) -> list[int]:
    """The spatial axes along which weights are not constant."""
    return [axis for axis in spec.spatial_axes if weights.shape[axis] != 1]


def _is_cut(axis: int, mean: Mean) -> bool:
    return axis in [c.axis for c in mean.cut]


def _margin(axis: int, mean: Mean) -> int:
    """How many pixels beyond a block the windows of its map see."""
    padded = mean.spec.padding[mean.spec.spatial_axes.index(axis)]
    return RADIUS if padded or _is_cut(axis, mean) else 0


def _padded(a: Array, axis: int, amount: int) -> Array:
    widths = [(0, 0)] * a.ndim
    widths[axis] = (amount, amount)
    return jnp.pad(a, widths)


def _extended(a: Array, axes: Sequence[int], mean: Mean) -> Array:
    """With what the windows of the map see beyond a block: its neighbours, and zeros
    beyond the border of the image."""
    a = halo.extended(a, [c for c in mean.cut if c.axis in axes])
    for axis in axes:
        if not _is_cut(axis, mean):
            a = _padded(a, axis, _margin(axis, mean))
    return a


def _within(
    shape: Sequence[int], axis: int, mean: Mean, beyond: int = 0, border: int = 0
) -> Array:
    """Which places along an axis of a block are in the whole image.

    Args:
      shape: of the block, or of its weights.
      axis: counted from the end.
      mean: what is static.
      beyond: how many places there are before the block and after it.
      border: how much of the image does not count, at each side.

    Returns:
      Booleans, with all other dimensions of size 1.
    """
    size, start, whole = shape[axis], 0, shape[axis]
    for name in (c.name for c in mean.cut if c.axis == axis):
        start = lax.axis_index(name) * size
        whole = lax.axis_size(name) * size
    place = jnp.arange(-beyond, size + beyond, dtype=jnp.int32) + start
    place = jnp.expand_dims(place, [i for i in range(-len(shape), 0) if i != axis])
    return (place >= border) & (place < whole - border)


def _inner(a: Array, axis: int) -> Array:
    """Without the outermost pixels, which are not in the map of unpadded images."""
    return lax.slice_in_dim(a, RADIUS, a.shape[axis] - RADIUS, axis=axis)


def _masked(
    weights: Array, padding: Sequence[bool], block: Sequence[int], mean: Mean
) -> Array:
    """Zeros where a cut block has pixels that are not in the map of the whole."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded and _is_cut(axis, mean):
            inner = _within(block, axis, mean, border=RADIUS)
            weights = jnp.where(inner, weights, 0)
    return weights


def _covered(
    weights: Array, padding: Sequence[bool], block: Sequence[int], mean: Mean
) -> Array:
    """Weights of the pixels of a map: fewer than the image's, but zeros for those of a
    cut block that the map of the whole lacks."""
    for axis, padded in zip(mean.spec.spatial_axes, padding, strict=True):
        if not padded and not _is_cut(axis, mean) and weights.shape[axis] != 1:
            weights = _inner(weights, axis)
    return _masked(weights, padding, block, mean)


def _any_in_window(there: Array, axes: Sequence[int]) -> Array:
    """Whether any place of a window is there; smaller than what is given by 10."""
    for axis in axes:
        window = [1] * there.ndim
        window[axis] = WINDOW
        there = lax.reduce_window(
            there, False, lax.max, window, [1] * there.ndim, "VALID"
        )
    return there


def _seen_by(weights: Array, mean: Mean) -> Array:
    """Which pixels a window of the map sees whose weight is not 0."""
    axes = _axes_of(weights, mean.spec)
    there = halo.extended(weights != 0, [c for c in mean.cut if c.axis in axes])
    for axis in axes:
        if not _is_cut(axis, mean):
            there = _padded(there, axis, 2 * RADIUS - _margin(axis, mean))
    return _any_in_window(there, axes)
