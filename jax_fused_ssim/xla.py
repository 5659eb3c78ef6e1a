"""The ops in plain JAX: where there is no kernel, for derivatives of the gradient, and
as an oracle in tests.

The formula is that of `common/formula.h`, which derives it: SSIM (Wang, Bovik, Sheikh,
Simoncelli, IEEE TIP 13(4), 2004) written for the sum and the difference of the images.
Every function here can be differentiated any number of times, in both modes.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jax_fused_ssim.centre import centre_of_planes
from jax_fused_ssim.integer import image_dtype, pixels
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum, split_sum_of_any, sum_over
from jax_fused_ssim.window import Window


def _windowed_sum(a: Array, axis: int, window: Window) -> Array:
    """Windowed sum along one axis, which gets shorter by the window but for a pixel.
    The windows are symmetric: mirrored they are the same."""
    last = window.size - 1
    size = a.shape[axis] - last
    total = None
    taps = window.taps(a.dtype)
    # From the outside in: the partial sums, and so their rounding, stay small longest.
    for i in range(window.size):
        k = last - i // 2 if i % 2 else i // 2
        term = lax.slice_in_dim(a, k, k + size, axis=axis) * taps[k]
        total = term if total is None else total + term
    return total


def _pad(a: Array, margins: Sequence[tuple[int, int]], spec: Spec) -> Array:
    widths = [(0, 0)] * a.ndim
    for axis, both in zip(spec.spatial_axes, margins, strict=True):
        widths[axis] = both
    return jnp.pad(a, widths)


def _windowed_mean(a: Array, spec: Spec) -> Array:
    first, *others = spec.spatial_axes
    a = _windowed_sum(a, first, spec.window)
    for axis in others:
        # Or XLA inlines a pass into the next one, which computes it again for each tap.
        a = _windowed_sum(lax.optimization_barrier(a), axis, spec.window)
    return a


def _at_least_zero(a: Array) -> Array:
    """max(a, 0) in value, with the derivative of a."""
    return a + lax.stop_gradient(jnp.where(a < 0, -a, 0))


class _SumDifference(NamedTuple):
    """Of the centred images, and of their centres."""

    s: Array
    d: Array
    cs: Array
    cd: Array


class _Moments(NamedTuple):
    s: Array
    d: Array
    ss: Array
    dd: Array


def _sum_difference(
    x: Array, y: Array, spec: Spec, errors: bool = False
) -> _SumDifference:
    dtype = compute_dtype(image_dtype(x, y))
    x, y = (pixels(a, spec, dtype) for a in (x, y))
    if errors:
        # With one centre what is equal has no difference.
        cx = cy = centre_of_planes((x, y), spec)
    else:
        cx, cy = (centre_of_planes((a,), spec) for a in (x, y))
    data_range = np.asarray(spec.data_range, dtype)
    inv_range = np.asarray(1 / spec.data_range, dtype)
    difference = x - y
    x, y = x - cx * data_range, y - cy * data_range
    if not errors:
        difference = x - y
    return _SumDifference((x + y) * inv_range, difference * inv_range, cx + cy, cx - cy)


def _moments(a: _SumDifference, spec: Spec) -> _Moments:
    # The padding is zeros of the images, not of what is left without the centres.
    s, d = (_padded(a.s, -a.cs, spec), _padded(a.d, -a.cd, spec))
    return _Moments(*_windowed_mean(jnp.stack([s, d, s * s, d * d]), spec))


def _padded(a: Array, value: Array, spec: Spec) -> Array:
    """Padded where the images are, each plane with its own value."""
    for axis, margins in zip(spec.spatial_axes, spec.margins, strict=True):
        if any(margins):
            shapes = ([*a.shape], [*a.shape])
            for shape, margin in zip(shapes, margins, strict=True):
                shape[axis] = margin
            before, after = (jnp.broadcast_to(value, shape) for shape in shapes)
            a = jnp.concatenate([before, a, after], axis)
    return a


class _Terms(NamedTuple):
    ms: Array
    md: Array
    r2: Array
    mr: Array
    u: Array
    w: Array
    e: Array


def _terms(a: _SumDifference, m: _Moments, spec: Spec) -> _Terms:
    ms, md = m.s + a.cs, m.d + a.cd
    vs = m.ss - m.s * m.s
    vd = m.dd - m.d * m.d
    r1 = 1 / (ms * ms + (md * md + 2 * spec.k1**2))
    r2 = 1 / (_at_least_zero(vs + vd) + 2 * spec.k2**2)
    mr = md * r1
    w = vd * r2
    return _Terms(ms, md, r2, mr, md * mr, w, 1 - 2 * w)


def _dissimilarity(t: _Terms) -> Array:
    """1 - SSIM, its value within [0, 2] whatever the rounding."""
    exact = 2 * (t.u * t.e + t.w)
    return exact + lax.stop_gradient(jnp.clip(exact, 0, 2) - exact)


def _scaled_sum(dissimilarity: Array, spec: Spec) -> Array:
    # The scale in two parts: rounded alone it would be wrong for every pixel alike.
    scale = np.asarray(spec.scale, dissimilarity.dtype)
    rest = np.asarray(spec.scale - float(scale), dissimilarity.dtype)
    scaled = dissimilarity * scale + dissimilarity * rest
    bound = 2 * abs(spec.scale)
    # The last axis first: those before it keep their places.
    for axis in sorted((i % scaled.ndim for i in spec.spatial_axes), reverse=True):
        terms = _terms_in(scaled.shape, [axis])
        scaled = split_sum(scaled, axis, bound)
        bound *= terms
    return scaled


def _terms_in(shape: Sequence[Any], axes: Sequence[int]) -> int:
    """How many terms a sum along axes has; a symbolic size counts as 4096."""
    sizes = [shape[axis] for axis in axes]
    return math.prod(n if isinstance(n, int) else 4096 for n in sizes)


def _where_counted(d: Array, spec: Spec) -> Array:
    """d of the pixels whose errors are counted; 0 elsewhere."""
    inside = None
    for axis, cropped, padded in zip(
        spec.spatial_axes, spec.crop, spec.padding, strict=True
    ):
        if cropped and not padded:
            size = d.shape[axis]
            shape = [size if i == axis % d.ndim else 1 for i in range(d.ndim)]
            place = jnp.arange(size).reshape(shape)
            first, end = spec.window.before, size - spec.window.after
            here = (place >= first) & (place < end)
            inside = here if inside is None else inside & here
    return d if inside is None else jnp.where(inside, d, 0)


def difference(x: Array, y: Array, spec: Spec) -> Array:
    """d, in float32, or float64 for float64 images."""
    dtype = compute_dtype(image_dtype(x, y))
    x, y = (pixels(a, spec, dtype) for a in (x, y))
    return (x - y) * np.asarray(1 / spec.data_range, dtype)


def absolute(d: Array) -> Array:
    """|d|, with the derivative 0 where d is 0."""
    return jnp.where(d == 0, 0, jnp.abs(d))


def _errors(d: Array, spec: Spec) -> Array:
    """For every plane, error_scale * sum of |d| and of d^2."""
    d = _where_counted(d, spec)
    sums = [sum_over(e, spec.spatial_axes) for e in (absolute(d), d * d)]
    return jnp.stack(sums, -1) * np.asarray(spec.error_scale, d.dtype)


def loss_of_terms(terms: Sequence[Array], spec: Spec) -> Array:
    """|d|, d^2 and 1 - SSIM, summed or in the mean, times their weights, added up."""
    weights = (spec.l1_weight, spec.l2_weight, spec.ssim_weight)
    # A term without weight may be infinite.
    weighted = [w * t for w, t in zip(weights, terms, strict=True) if w != 0]
    return sum(weighted, jnp.zeros_like(terms[-1]))


def sum_over_planes(losses: Array, spec: Spec, map_shape: Sequence[Any]) -> Array:
    """The loss of `ops.ssim_sum` from that of every plane.

    Args:
      losses: one for every plane.
      spec: static parameters; its `summed` is of these planes.
      map_shape: of the maps.
    """
    if not spec.summed:
        return losses
    axes = tuple(range(-spec.summed, 0))
    bound = 2 * abs(spec.ssim_weight * spec.scale)
    bound *= _terms_in(map_shape, spec.spatial_axes)
    return split_sum(losses, axes, bound) if bound else jnp.sum(losses, axes)


def sum_terms_over_planes(terms: Array, spec: Spec) -> tuple[Array, Array]:
    """The results of `ops.loss_sum` from the terms of every plane or image."""
    if spec.summed:
        terms = split_sum_of_any(terms, range(-1 - spec.summed, -1))
    return loss_of_terms([terms[..., i] for i in range(3)], spec), terms


def _loss(dissimilarity: Array, spec: Spec) -> Array:
    sums = _scaled_sum(dissimilarity, spec) * spec.ssim_weight
    return sum_over_planes(sums, spec, dissimilarity.shape)


def _loss_and_terms(dissimilarity: Array, d: Array, spec: Spec) -> tuple[Array, Array]:
    sums = _scaled_sum(dissimilarity, spec)
    terms = jnp.concatenate([_errors(d, spec), sums[..., None]], -1)
    return sum_terms_over_planes(terms, spec)


def _gradients(
    a: _SumDifference,
    m: _Moments,
    t: _Terms,
    cotangent: Array | None,
    wrt: tuple[bool, bool],
    spec: Spec,
    errors: bool = False,
) -> tuple[Array, ...]:
    """Gradients of ssim_weight * scale * sum(cotangent * (1 - SSIM)), and of what else
    the loss counts: common/measure.h."""
    pr = (1 - 2 * t.u) * t.r2
    ss = pr * t.w
    dd = ss - pr
    maps = jnp.stack(
        [
            t.e * t.mr * t.mr * t.ms - m.s * ss,
            t.e * t.mr * (t.u - 1) - m.d * dd,
            ss,
            dd,
        ]
    )
    if cotangent is not None:
        maps = maps * cotangent.astype(maps.dtype)[None]
    maps = _windowed_mean(_pad(maps, spec.margins_of_map, spec), spec)
    p = maps[0] + a.s * maps[2]
    q = maps[1] + a.d * maps[3]
    factor = -4 * spec.ssim_weight * spec.scale / spec.data_range
    grads = [(p + q) * factor, (p - q) * factor]
    if errors:
        error = _error_gradient(a.d, spec)
        grads = [grads[0] + error, grads[1] - error]
    return tuple(grad for grad, asked in zip(grads, wrt, strict=True) if asked)


def _error_gradient(d: Array, spec: Spec) -> Array:
    """What the errors add to the gradient in x, and take from that in y."""
    d = _where_counted(d, spec)
    factor = spec.error_scale / spec.data_range
    return factor * (spec.l1_weight * jnp.sign(d) + 2 * spec.l2_weight * d)


def ssim_sum(x: Array, y: Array, spec: Spec) -> Array:
    """Plain JAX version of `ops.ssim_sum`."""
    a = _sum_difference(x, y, spec)
    t = _terms(a, _moments(a, spec), spec)
    return _loss(_dissimilarity(t), spec)


def ssim_sum_grad(
    x: Array, y: Array, spec: Spec, wrt: tuple[bool, bool] = (True, False)
) -> tuple[Array, tuple[Array, ...]]:
    """Plain JAX version of `ops.ssim_sum_grad`."""
    a = _sum_difference(x, y, spec)
    m = _moments(a, spec)
    t = _terms(a, m, spec)
    return _loss(_dissimilarity(t), spec), _gradients(a, m, t, None, wrt, spec)


def loss_sum(x: Array, y: Array, spec: Spec) -> tuple[Array, Array]:
    """Plain JAX version of `ops.loss_sum`."""
    a = _sum_difference(x, y, spec, errors=True)
    t = _terms(a, _moments(a, spec), spec)
    return _loss_and_terms(_dissimilarity(t), a.d, spec)


def loss_sum_grad(
    x: Array, y: Array, spec: Spec, wrt: tuple[bool, bool] = (True, False)
) -> tuple[Array, Array, tuple[Array, ...]]:
    """Plain JAX version of `ops.loss_sum_grad`."""
    a = _sum_difference(x, y, spec, errors=True)
    m = _moments(a, spec)
    t = _terms(a, m, spec)
    loss, terms = _loss_and_terms(_dissimilarity(t), a.d, spec)
    return loss, terms, _gradients(a, m, t, None, wrt, spec, errors=True)


def ssim_map(x: Array, y: Array, spec: Spec) -> Array:
    """Plain JAX version of `ops.ssim_map`."""
    a = _sum_difference(x, y, spec)
    t = _terms(a, _moments(a, spec), spec)
    return (1 - _dissimilarity(t)).astype(x.dtype)


def ssim_map_grad(
    x: Array,
    y: Array,
    cotangent: Array,
    spec: Spec,
    wrt: tuple[bool, bool] = (True, False),
) -> tuple[Array, ...]:
    """Plain JAX version of `ops.ssim_map_grad`."""
    a = _sum_difference(x, y, spec)
    m = _moments(a, spec)
    return _gradients(a, m, _terms(a, m, spec), cotangent, wrt, spec)


def ssim_map_tangent(
    x: Array,
    y: Array,
    *tangents: Array,
    spec: Spec,
    wrt: tuple[bool, bool] = (True, False),
) -> Array:
    """Plain JAX version of `ops.ssim_map_tangent`."""
    given = iter(tangents)
    both = [
        next(given) if asked else jnp.zeros_like(a)
        for a, asked in zip((x, y), wrt, strict=True)
    ]
    return jax.jvp(lambda x, y: ssim_map(x, y, spec), (x, y), tuple(both))[1]
