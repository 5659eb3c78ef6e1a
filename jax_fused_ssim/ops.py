"""The ops: primitives, how they batch, differentiate and lower, and the mean over them.

Each op is one custom call on CPU and CUDA and plain JAX (`xla.py`) elsewhere:

  ssim_sum       per plane, scale * sum of (1 - SSIM): no image is written
  ssim_sum_grad  the same, and scale * d(sum of SSIM) in either image or both: one pass
  ssim_map       the map
  ssim_map_grad  gradients of sum(cotangent * SSIM); recomputes, stores nothing between

The gradient of a mean of SSIM does not depend on the cotangent but for a factor, so its
derivative rule computes value and gradient together, and the tangent is an inner
product with the gradient: forward mode works, and reverse mode is its transpose, one
multiplication that XLA drops when the cotangent is the constant 1. Under jit an op of
which only a part is used becomes the op that computes that part.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, partial_eval

from jax_fused_ssim import xla
from jax_fused_ssim.lowering import register_lowerings
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum

Wrt = tuple[bool, bool]

_STATIC = ("spec", "wrt")


def _result(shape_of: Any, shape: Sequence[int], dtype: Any, ndim_kept: int) -> Any:
    """An output's type: `shape_of`'s, sharding included, with another shape and dtype.

    Args:
      shape_of: the type of the operand that has every leading dimension.
      shape: of the output.
      dtype: of the output.
      ndim_kept: how many leading dimensions keep their sharding; the others have none.
    """
    sharding = shape_of.sharding
    kept = tuple(sharding.spec)[:ndim_kept]
    spec = jax.sharding.PartitionSpec(*kept, *(None,) * (len(shape) - ndim_kept))
    return shape_of.update(
        shape=tuple(shape),
        dtype=jnp.dtype(dtype),
        weak_type=False,
        sharding=sharding.update(spec=spec),
    )


def _broadcast_aval(x: Any, y: Any, spec: Spec) -> Any:
    """The type of the image whose leading dimensions are those of the results."""
    if (
        x.ndim != y.ndim
        or x.shape[-spec.spatial_ndim :] != y.shape[-spec.spatial_ndim :]
    ):
        raise TypeError(f"images do not fit each other: {x} and {y}")
    if x.dtype != y.dtype:
        raise TypeError(f"images must have one dtype, got {x.dtype} and {y.dtype}")
    leading = jnp.broadcast_shapes(x.shape, y.shape)
    for aval in (x, y):
        if aval.shape == leading:
            return aval
    return x.update(shape=leading)


def _sum_types(x: Any, y: Any, *, spec: Spec) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    kept = full.ndim - spec.spatial_ndim
    shape = spec.plane_shape(full.shape)
    return [_result(full, shape, compute_dtype(x.dtype), kept)]


def _map_types(x: Any, y: Any, *, spec: Spec) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    kept = full.ndim - spec.spatial_ndim
    return [_result(full, spec.map_shape(full.shape), x.dtype, kept)]


def _gradient_types(full: Any, spec: Spec, wrt: Wrt) -> list[Any]:
    kept = full.ndim - spec.spatial_ndim
    dtype = compute_dtype(full.dtype)
    return [_result(full, full.shape, dtype, kept) for asked in wrt if asked]


def _sum_grad_types(x: Any, y: Any, *, spec: Spec, wrt: Wrt) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    return _sum_types(x, y, spec=spec) + _gradient_types(full, spec, wrt)


def _map_grad_types(
    x: Any, y: Any, cotangent: Any, *, spec: Spec, wrt: Wrt
) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    leading = cotangent.shape[: cotangent.ndim - spec.spatial_ndim]
    expected = (*leading, *spec.map_shape(full.shape)[len(leading) :])
    if cotangent.shape != expected or cotangent.dtype != x.dtype:
        raise TypeError(f"cotangent {cotangent} does not fit images {x} and {y}")
    if leading != full.shape[: len(leading)]:
        full = full.update(shape=(*leading, *full.shape[len(leading) :]))
    return _gradient_types(full, spec, wrt)


def _map_tangent_types(
    x: Any, y: Any, *tangents: Any, spec: Spec, wrt: Wrt
) -> list[Any]:
    del tangents, wrt
    return _map_types(x, y, spec=spec)


def _batch_sizes(args: Sequence[Array], dims: Sequence[int | None]) -> int:
    return next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)


def _mapped_first(a: Array, dim: int | None) -> Array:
    """The mapped axis as one more leading dimension; of size 1 where there is none."""
    return jnp.expand_dims(a, 0) if dim is None else jnp.moveaxis(a, dim, 0)


def _batch(
    primitive: Primitive,
    args: Sequence[Array],
    dims: Sequence[int | None],
    **params: Any,
) -> tuple[list[Array], list[int]]:
    """Batching rule. The images broadcast, and so are not copied when not mapped; what
    follows them, a cotangent or tangents, is."""
    size = _batch_sizes(args, dims)
    args = [_mapped_first(a, d) for a, d in zip(args, dims, strict=True)]
    if len(args) > 2:
        images, others = args[:2], args[2:]
        others = [jnp.broadcast_to(a, (size, *a.shape[1:])) for a in others]
        if primitive is ssim_map_tangent_p:
            images = [jnp.broadcast_to(a, (size, *a.shape[1:])) for a in images]
        args = [*images, *others]
    results = primitive.bind(*args, **params)
    return results, [0] * len(results)


def _eager(primitive: Primitive) -> Callable[..., list[Array]]:
    """What a primitive does outside jit: compiles itself."""

    def bind(*args: Array, **params: Any) -> list[Array]:
        return primitive.bind(*args, **params)

    bind.__name__ = bind.__qualname__ = primitive.name
    # Under jax_debug_nans a compiled function that made a NaN is run again without jit,
    # which would come back here without end. JAX marks its own primitives in this way.
    bind._apply_primitive = True
    compiled = jax.jit(bind, static_argnames=_STATIC)

    def impl(*args: Array, **params: Any) -> list[Array]:
        with jax.disable_jit(False):
            return compiled(*args, **params)

    return impl


def _op(
    name: str, types: Callable[..., list[Any]], plain: Callable[..., Any]
) -> Primitive:
    """A primitive by its name, its types and its plain JAX version."""
    primitive = Primitive(f"jax_fused_ssim_{name}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(types)
    primitive.def_impl(_eager(primitive))
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    register_lowerings(primitive, plain)
    return primitive


def _plain_sum_grad(x: Array, y: Array, *, spec: Spec, wrt: Wrt) -> list[Array]:
    sums, grads = xla.ssim_sum_grad(x, y, spec, wrt)
    return [sums, *grads]


def _plain_map_grad(
    x: Array, y: Array, cotangent: Array, *, spec: Spec, wrt: Wrt
) -> list[Array]:
    return list(xla.ssim_map_grad(x, y, cotangent, spec, wrt))


ssim_sum_p = _op(
    "ssim_sum", _sum_types, lambda x, y, *, spec: [xla.ssim_sum(x, y, spec)]
)
ssim_sum_grad_p = _op("ssim_sum_grad", _sum_grad_types, _plain_sum_grad)
ssim_map_p = _op(
    "ssim_map", _map_types, lambda x, y, *, spec: [xla.ssim_map(x, y, spec)]
)
ssim_map_grad_p = _op("ssim_map_grad", _map_grad_types, _plain_map_grad)
ssim_map_tangent_p = _op(
    "ssim_map_tangent",
    _map_tangent_types,
    lambda *args, spec, wrt: [xla.ssim_map_tangent(*args, spec=spec, wrt=wrt)],
)


def _live_part(value: Primitive | None, used: Sequence[bool], eqn: Any) -> Any:
    """The equation that computes what is used of an op's results.

    Args:
      value: the op that computes the first result alone; None if all results are
        gradients.
      used: which results are; one is at least.
      eqn: the equation of the op.
    """
    count = 0 if value is None else 1  # of the results before the gradients
    if all(used[count:]):
        return eqn
    if not any(used[count:]):
        params = {"spec": eqn.params["spec"]}
        return eqn.replace(primitive=value, outvars=eqn.outvars[:1], params=params)
    # One gradient of two: SSIM is symmetric, and the kernels know only the first.
    (x, y, *cotangent), first = eqn.invars, used[count]
    return eqn.replace(
        invars=[x, y, *cotangent] if first else [y, x, *cotangent],
        outvars=[*eqn.outvars[:count], eqn.outvars[count if first else -1]],
        params={**eqn.params, "wrt": (True, False)},
    )


def _drop_unused(primitive: Primitive, value: Primitive | None = None) -> None:
    """Lets JAX drop gradients that nobody uses, as those of a metric beside a loss.

    XLA cannot: to it a custom call is all or nothing.

    Args:
      primitive: an op with gradients.
      value: as in `_live_part`.
    """

    def rule(used: Sequence[bool], *others: Any) -> tuple[list[bool], Any]:
        eqn = others[-1]  # From JAX 0.12 on there is another argument before it.
        live = _live_part(value, used, eqn) if any(used) else None
        return [live is not None] * len(eqn.invars), live

    partial_eval.dce_rules[primitive] = rule


_drop_unused(ssim_sum_grad_p, value=ssim_sum_p)
_drop_unused(ssim_map_grad_p)


def _sum_to(a: Array, shape: Sequence[int]) -> Array:
    """Sums the leading dimensions in which an operand of this shape was broadcast."""
    axes = tuple(i for i, n in enumerate(shape) if n != a.shape[i])
    return jnp.sum(a, axis=axes, keepdims=True) if axes else a


def _seen_by_checkify(a: Array) -> Array:
    """The array, as the result of an op of JAX: `checkify` looks for NaN in no others.

    XLA drops the multiplication. A mean needs none: an op of JAX ends it.
    """
    return a * 1


def ssim_sum(x: Array, y: Array, spec: Spec) -> Array:
    """For every plane, `scale * sum of (1 - SSIM)`.

    Args:
      x: [..., H, W], or [..., H, W, C] with `spec.channels_last`; float16, bfloat16,
        float32 or float64.
      y: like x. Leading dimensions broadcast.
      spec: static parameters.

    Returns:
      [...], or [..., C]: float32, float64 for float64 images.
    """
    return ssim_sum_p.bind(x, y, spec=spec)[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def ssim_sum_grad(
    x: Array, y: Array, spec: Spec, wrt: Wrt = (True, False)
) -> tuple[Array, tuple[Array, ...]]:
    """`ssim_sum` and the gradients of `scale * sum of SSIM`, in one pass.

    Args:
      x: as in `ssim_sum`.
      y: as in `ssim_sum`.
      spec: static parameters.
      wrt: whether the gradient in x, and that in y, is asked for; at least one is.

    Returns:
      The sums, and a tuple of the gradients asked for, float32 (float64 for float64
      images), with the leading dimensions of the results.
    """
    if wrt == (
        False,
        True,
    ):  # SSIM is symmetric: the kernels know two of the three cases
        x, y, wrt = y, x, (True, False)
    sums, *grads = ssim_sum_grad_p.bind(x, y, spec=spec, wrt=wrt)
    return sums, tuple(grads)


@ssim_sum_grad.defjvp
def _ssim_sum_grad_jvp(spec: Spec, wrt: Wrt, primals: Any, tangents: Any) -> Any:
    _, out_tangents = jax.jvp(
        lambda x, y: xla.ssim_sum_grad(x, y, spec, wrt), primals, tangents
    )
    return ssim_sum_grad(*primals, spec, wrt), out_tangents


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def ssim_map_grad(
    x: Array, y: Array, cotangent: Array, spec: Spec, wrt: Wrt = (True, False)
) -> tuple[Array, ...]:
    """Gradients of `sum(cotangent * SSIM)`.

    Args:
      x: as in `ssim_sum`.
      y: as in `ssim_sum`.
      cotangent: of the shape and dtype of the map.
      spec: static parameters; `scale` has no effect.
      wrt: as in `ssim_sum_grad`.

    Returns:
      A tuple of the gradients asked for, float32 (float64 for float64 images).
    """
    if wrt == (False, True):
        x, y, wrt = y, x, (True, False)
    grads = ssim_map_grad_p.bind(x, y, cotangent, spec=spec, wrt=wrt)
    return tuple(map(_seen_by_checkify, grads))


@ssim_map_grad.defjvp
def _ssim_map_grad_jvp(spec: Spec, wrt: Wrt, primals: Any, tangents: Any) -> Any:
    _, out_tangents = jax.jvp(
        lambda x, y, cotangent: xla.ssim_map_grad(x, y, cotangent, spec, wrt),
        primals,
        tangents,
    )
    return ssim_map_grad(*primals, spec, wrt), out_tangents


def _ssim_map_tangent_jvp(
    primals: Sequence[Array], tangents: Sequence[Any], *, spec: Spec, wrt: Wrt
) -> tuple[list[Array], list[Array]]:
    tangents = [
        ad.instantiate_zeros(t) if isinstance(t, ad.Zero) else t for t in tangents
    ]
    _, out_tangent = jax.jvp(
        functools.partial(xla.ssim_map_tangent, spec=spec, wrt=wrt),
        tuple(primals),
        tuple(tangents),
    )
    return ssim_map_tangent_p.bind(*primals, spec=spec, wrt=wrt), [out_tangent]


def _ssim_map_tangent_transpose(
    cotangents: Sequence[Any], x: Array, y: Array, *tangents: Any, spec: Spec, wrt: Wrt
) -> list[Any]:
    (cotangent,) = cotangents
    if isinstance(cotangent, ad.Zero):
        return [None] * (2 + len(tangents))
    grads = ssim_map_grad(x, y, cotangent, spec, wrt)
    return [None, None] + [
        _sum_to(grad, t.aval.shape).astype(t.aval.dtype)
        for grad, t in zip(grads, tangents, strict=True)
    ]


ad.primitive_jvps[ssim_map_tangent_p] = _ssim_map_tangent_jvp
ad.primitive_transposes[ssim_map_tangent_p] = _ssim_map_tangent_transpose


def perturbed(tangents: Sequence[Any]) -> tuple[Wrt, list[Array]]:
    """Which images have a tangent, and those tangents."""
    wrt = tuple(not isinstance(t, SymbolicZero) for t in tangents)
    return wrt, [t for t, asked in zip(tangents, wrt, strict=True) if asked]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def ssim_map(x: Array, y: Array, spec: Spec) -> Array:
    """SSIM of every pixel.

    Args:
      x: as in `ssim_sum`.
      y: as in `ssim_sum`.
      spec: static parameters; `scale` has no effect.

    Returns:
      The map in the images' dtype: of their shape, smaller by 10 along the spatial axes
      that are not padded.
    """
    return _seen_by_checkify(ssim_map_p.bind(x, y, spec=spec)[0])


@functools.partial(ssim_map.defjvp, symbolic_zeros=True)
def _ssim_map_jvp(spec: Spec, primals: Any, tangents: Any) -> tuple[Array, Array]:
    wrt, given = perturbed(tangents)
    (tangent,) = ssim_map_tangent_p.bind(*primals, *given, spec=spec, wrt=wrt)
    return ssim_map(*primals, spec), _seen_by_checkify(tangent)


def _mean_axes(ndim: int, per_image: bool) -> tuple[int, ...]:
    """The axes of the sums (of images with `ndim` dimensions) that a mean covers."""
    return (-1,) if per_image else tuple(range(ndim - 2))


def mean_count(
    shape: Sequence[int], spec: Spec, per_image: bool
) -> tuple[int, list[Any]]:
    """Map pixels under a mean: the product of the static dimensions, and the others."""
    dims = spec.map_shape(tuple(shape))
    dims = dims[-3:] if per_image else dims
    static = [d for d in dims if isinstance(d, int)]
    return math.prod(static), [d for d in dims if not isinstance(d, int)]


def mean_factor(symbolic: Sequence[Any], dtype: Any) -> Array | None:
    """What `scale` cannot hold: 1 / the product of the symbolic dimensions."""
    factor = None
    for d in symbolic:
        inverse = 1 / jnp.asarray(d, dtype)
        factor = inverse if factor is None else factor * inverse
    return factor


def _mean_from_sums(
    sums: Array, ndim: int, per_image: bool, factor: Array | None
) -> Array:
    total = split_sum(sums, _mean_axes(ndim, per_image), bound=2)
    if factor is not None:
        total = total * factor
    return 1 - jnp.minimum(total, 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def ssim_mean(x: Array, y: Array, spec: Spec, per_image: bool) -> Array:
    """Mean SSIM.

    Args:
      x: [..., C, H, W], or [..., H, W, C] with `spec.channels_last`.
      y: of the shape and dtype of x.
      spec: static parameters; `scale` is replaced.
      per_image: one mean for every leading index instead of one for all.

    Returns:
      A scalar, or the leading shape: float32, float64 for float64 images.
    """
    static, symbolic = mean_count(x.shape, spec, per_image)
    sums = ssim_sum(x, y, spec.scaled(1 / static))
    return _mean_from_sums(sums, x.ndim, per_image, mean_factor(symbolic, sums.dtype))


@functools.partial(ssim_mean.defjvp, symbolic_zeros=True)
def _ssim_mean_jvp(
    spec: Spec, per_image: bool, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    x, y = primals
    wrt, given = perturbed(tangents)
    static, symbolic = mean_count(x.shape, spec, per_image)
    sums, grads = ssim_sum_grad(x, y, spec.scaled(1 / static), wrt)
    axes = (-3, -2, -1) if per_image else None
    tangent = sum(
        jnp.sum(grad * t.astype(grad.dtype), axis=axes)
        for grad, t in zip(grads, given, strict=True)
    )
    factor = mean_factor(symbolic, sums.dtype)
    if factor is not None:
        tangent = tangent * factor
    return _mean_from_sums(sums, x.ndim, per_image, factor), tangent
