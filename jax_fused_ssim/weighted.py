"""A loss with weights, in plain JAX around the map: what `ops.weighted_loss_sum` is.

Where there is no kernel for it, for derivatives of the gradient, and where devices may
share the images, whose maps then come from kernels.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jax_fused_ssim import xla
from jax_fused_ssim.centre import centre_of_planes
from jax_fused_ssim.integer import image_dtype, pixels
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum_of_any, sum_over
from jax_fused_ssim.window import Window


class LossWeights(NamedTuple):
    """What pixels count for in a loss; leading dimensions broadcast.

    Attributes:
      map: for the window of every image pixel: of the images' shape, or with one
        channel for all of interleaved ones, in the dtype of the loss. What is not above
        0 counts for nothing.
      errors: the same for their errors.
      scales: [..., 3], equal where a loss is summed: what multiplies `spec.scale`, what
        multiplies `spec.error_scale`, and before these a power of two that multiplies
        the weights, with which they are within [0, 1].
      mean_scales: as `map`, what multiplies the means that the windows see. They see
        neither the border nor what has no weight in `errors` then, and what is here is
        1 / the share of the window that is left. Not of images in half precision.
        None: they see everything.
    """

    map: Array
    errors: Array
    scales: Array
    mean_scales: Array | None = None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those that there are."""
        return tuple(a for a in self if a is not None)


class Maps(NamedTuple):
    """What gives the map and its gradients: `xla.ssim_map` and `xla.ssim_map_grad`, or
    kernels that are called as these."""

    ssim_map: Callable[..., Array] = xla.ssim_map
    ssim_map_grad: Callable[..., tuple[Array, ...]] = xla.ssim_map_grad


PLAIN = Maps()


def loss_sum(
    x: Array, y: Array, weights: LossWeights, spec: Spec, maps: Maps = PLAIN
) -> tuple[Array, Array]:
    """The results of `ops.weighted_loss_sum`."""
    x, y = _seen(x, y, weights, spec)
    maps = _maps_for(weights, maps)
    return _loss_and_terms(x, y, _difference(x, y, weights, spec), weights, spec, maps)


def loss_sum_grad(
    x: Array,
    y: Array,
    weights: LossWeights,
    spec: Spec,
    wrt: tuple[bool, bool] = (True, False),
    maps: Maps = PLAIN,
) -> tuple[Array, Array, tuple[Array, ...]]:
    """The results of `ops.weighted_loss_sum_grad`."""
    x, y = _seen(x, y, weights, spec)
    maps = _maps_for(weights, maps)
    d = _difference(x, y, weights, spec)
    loss, terms = _loss_and_terms(x, y, d, weights, spec, maps)
    own = _of_images(_scales(weights, spec), spec)
    cotangent = _map_weights(weights, spec) * (spec.ssim_weight * own[..., 0])
    shape = spec.map_shape(jnp.broadcast_shapes(x.shape, y.shape))
    cotangent = jnp.broadcast_to(
        cotangent, jnp.broadcast_shapes(shape, cotangent.shape)
    )
    grads = maps.ssim_map_grad(x, y, cotangent, _of_map(spec), wrt)
    error = _error_weights(weights, spec) * own[..., 1]
    error = error / np.asarray(spec.data_range, d.dtype)
    error = error * (spec.l1_weight * jnp.sign(d) + 2 * spec.l2_weight * d)
    signs = [sign for sign, asked in zip((1, -1), wrt, strict=True) if asked]
    grads = [g + sign * error for g, sign in zip(grads, signs, strict=True)]
    return loss, terms, tuple(grads)


def _loss_and_terms(
    x: Array, y: Array, d: Array, weights: LossWeights, spec: Spec, maps: Maps
) -> tuple[Array, Array]:
    similarity = maps.ssim_map(x, y, _of_map(spec))
    of_map, errors = _map_weights(weights, spec), _error_weights(weights, spec)
    dissimilarity = jnp.where(of_map != 0, of_map * (1 - similarity), 0)
    counted = (errors * xla.absolute(d), errors * d * d, dissimilarity)
    terms = jnp.stack([_over_pixels(a, spec) for a in counted], -1)
    terms = terms * _scales(weights, spec)[..., np.array([1, 1, 0])]
    rest = spec.with_summed(spec.summed - spec.least_summed(errors=True))
    return xla.sum_terms_over_planes(terms, rest)


def _of_map(spec: Spec) -> Spec:
    """Of the map alone, whose gradients have nothing but their cotangent."""
    return spec.plain().scaled(1.0).with_summed(0)


def _scales(weights: LossWeights, spec: Spec) -> Array:
    """[..., 2]: what multiplies the weighted sums of 1 - SSIM, and those of errors."""
    own = np.asarray([spec.scale, spec.error_scale], weights.scales.dtype)
    return weights.scales[..., :2] * own


def _of_images(scales: Array, spec: Spec) -> Array:
    """With the dimensions of an image, of size 1, behind the leading ones."""
    return jnp.expand_dims(scales, range(-1 - spec.spatial_ndim, -1))


def _error_weights(weights: LossWeights, spec: Spec) -> Array:
    """Within [0, 1]."""
    return _within_one(weights.errors, weights, spec)


def _map_weights(weights: LossWeights, spec: Spec) -> Array:
    """Of the pixels of the map, within [0, 1]."""
    return _within_one(covered(weights.map, spec), weights, spec)


def _within_one(counts: Array, weights: LossWeights, spec: Spec) -> Array:
    return jnp.maximum(counts, 0) * _of_images(weights.scales, spec)[..., 2]


def covered(a: Array, spec: Spec) -> Array:
    """What the pixels of the map have of something that all pixels have."""
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        if not padded:
            a = inner(a, axis, spec.window)
    return a


def inner(a: Array, axis: int, window: Window) -> Array:
    """Without the outermost pixels, which are not in the map of unpadded images."""
    end = a.shape[axis] - window.after
    return lax.slice_in_dim(a, window.before, end, axis=axis)


def _maps_for(weights: LossWeights, maps: Maps) -> Maps:
    """These, or where windows leave pixels out those that do."""
    if weights.mean_scales is None:
        return maps
    seen, scales = weights.errors > 0, weights.mean_scales

    def similarity(x: Array, y: Array, spec: Spec) -> Array:
        x, y, there = (xla._pad(a, spec.margins, spec) for a in (x, y, seen))
        return 1 - dissimilarity_of_seen(x, y, there, covered(scales, spec), spec)

    def gradients(
        x: Array, y: Array, cotangent: Array, spec: Spec, wrt: tuple[bool, bool]
    ) -> tuple[Array, ...]:
        of_images = functools.partial(similarity, spec=spec.scaled(1.0))
        shape = jnp.broadcast_shapes(x.shape, y.shape)
        wide = [jnp.broadcast_to(a, shape) for a in (x, y)]
        _, pull_back = jax.vjp(of_images, *wide)
        grads = pull_back(-cotangent)
        return tuple(g for g, asked in zip(grads, wrt, strict=True) if asked)

    return Maps(similarity, gradients)


def dissimilarity_of_seen(
    x: Array, y: Array, seen: Array, mean_scales: Array, spec: Spec
) -> Array:
    """1 - SSIM of the windows within images, whose statistics are of the pixels seen.

    Args:
      x: with the borders of the images, whatever `spec.padding`.
      y: like x.
      seen: booleans, of which channels may share one.
      mean_scales: of the windows, 1 / the share of them that is seen.
      spec: static parameters.

    Returns:
      As many pixels as there are windows.
    """
    a = xla._sum_difference(*(filled(b, seen, spec) for b in (x, y)), spec)
    s, d = (jnp.where(seen, b, 0) for b in (a.s, a.d))
    moments = xla._windowed_mean(jnp.stack([s, d, s * s, d * d]), spec) * mean_scales
    return xla._dissimilarity(xla._terms(a, xla._Moments(*moments), spec))


def mean_scales_of(seen: Array, spec: Spec, dtype: Any) -> Array:
    """For the windows within these booleans 1 / the share of them that is seen, and 1
    where nothing is."""
    share = xla._windowed_mean(jnp.where(seen, jnp.ones((), dtype), 0), spec)
    return 1 / jnp.where(share == 0, 1, share)


def _over_pixels(a: Array, spec: Spec) -> Array:
    """For every plane, or every image of interleaved channels, the sum."""
    a = sum_over(a, spec.spatial_axes)
    return split_sum_of_any(a, (-1,)) if spec.channels_last else a


def _difference(x: Array, y: Array, weights: LossWeights, spec: Spec) -> Array:
    """d where it counts, and 0 elsewhere."""
    # Before they are subtracted: the derivative of what is infinite times 0 is not 0.
    x, y = (jnp.where(weights.errors > 0, a, 0) for a in (x, y))
    return xla._where_counted(xla.difference(x, y, spec), spec)


def _seen(x: Array, y: Array, weights: LossWeights, spec: Spec) -> tuple[Array, Array]:
    """Both images in the dtype of the loss, with pixels like their others where neither
    a window nor an error counts them."""
    dtype = compute_dtype(image_dtype(x, y))
    there = weights.errors > 0
    if weights.mean_scales is None:
        in_windows = covered(weights.map, spec) > 0
        for axis, margins in zip(spec.spatial_axes, spec.margins_of_map, strict=True):
            in_windows = any_in_window(in_windows, axis, margins, spec.window)
        there |= in_windows
    x, y = (filled(pixels(a, spec, dtype), there, spec) for a in (x, y))
    return x, y


def any_in_window(
    there: Array, axis: int, margins: tuple[int, int], window: Window
) -> Array:
    """Whether any place of a window along an axis is there. The array gets so many
    places before it and behind it first, where none is."""
    widths, sides = [(0, 0)] * there.ndim, [1] * there.ndim
    widths[axis], sides[axis] = margins, window.size
    return lax.reduce_window(
        jnp.pad(there, widths), False, lax.max, sides, [1] * there.ndim, "VALID"
    )


def filled(a: Array, keep: Array, spec: Spec) -> Array:
    """An image, with a number like its other pixels where nobody looks.

    A zero would do, but for the centre of pixels that are far from it.
    """
    known = jnp.where(keep, a, jnp.inf)
    filler = centre_of_planes((known,), spec) * np.asarray(spec.data_range, a.dtype)
    return jnp.where(keep, a, filler)


def shapes(spec: Spec, image: tuple[Any, ...], channels: Any) -> LossWeights:
    """Of weights with so many channels, the shapes behind their leading dimensions."""
    inner = image[-spec.spatial_ndim :]
    if spec.channels_last:
        inner = (*inner[:-1], channels)
    return LossWeights(inner, inner, (3,), inner)
