"""The primitives: their types, how they batch, lower, and lose what nobody uses.

Each op is one custom call on CPU and CUDA and plain JAX (`xla.py`) elsewhere:

  ssim_sum       the sum of 1 - SSIM, scaled: no image is written
  ssim_sum_grad  the same, and its gradient in either image or both: one pass
  loss_sum       the same and the sums of |d| and d^2, weighted and added up, and these
                 three terms
  loss_sum_grad  the same, and the gradient of the loss: one pass
  weighted_loss_sum       the same with weights, and its gradient
  weighted_loss_sum_grad
  ssim_map       the map
  ssim_factor_maps        those of its two factors, luminance first
  ssim_map_grad  gradients of a sum of (1 - SSIM) times a cotangent; recomputes, stores
                 nothing between

and ssim_map_tangent, which is plain JAX everywhere, is there to be transposed. Under
jit an op of which only a part is used becomes the op that computes that part.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import batching, partial_eval

from jax_fused_ssim import weighted, xla
from jax_fused_ssim.integer import image_dtype, is_integer
from jax_fused_ssim.lowering import InParts, register_lowerings
from jax_fused_ssim.spec import Spec, compute_dtype, gradient_dtype
from jax_fused_ssim.weighted import LossWeights

# Whether the gradient in x, and that in y, is asked for.
Wrt = tuple[bool, bool]

_STATIC = ("spec", "wrt")


def result_type(shape_of: Any, shape: Sequence[int], dtype: Any, ndim_kept: int) -> Any:
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
    if any(a.dtype != image_dtype(x, y) and not is_integer(a) for a in (x, y)):
        raise TypeError(f"images must have one dtype, got {x.dtype} and {y.dtype}")
    leading = jnp.broadcast_shapes(x.shape, y.shape)
    for aval in (x, y):
        if aval.shape == leading:
            return aval
    return x.update(shape=leading)


def _sum_types(x: Any, y: Any, *, spec: Spec) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    shape = spec.loss_shape(full.shape)
    kept = min(len(shape), full.ndim - spec.spatial_ndim)
    return [result_type(full, shape, compute_dtype(image_dtype(x, y)), kept)]


def _map_types(x: Any, y: Any, *, spec: Spec) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    kept = full.ndim - spec.spatial_ndim
    return [result_type(full, spec.map_shape(full.shape), x.dtype, kept)]


def _factor_map_types(x: Any, y: Any, *, spec: Spec) -> list[Any]:
    return _map_types(x, y, spec=spec) * 2


def _gradient_types(full: Any, dtype: Any, spec: Spec, wrt: Wrt) -> list[Any]:
    kept = full.ndim - spec.spatial_ndim
    dtype = gradient_dtype(dtype)
    return [result_type(full, full.shape, dtype, kept) for asked in wrt if asked]


def sum_grad_types(x: Any, y: Any, *, spec: Spec, wrt: Wrt) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    return _sum_types(x, y, spec=spec) + _gradient_types(full, x.dtype, spec, wrt)


def _loss_types(x: Any, y: Any, *, spec: Spec) -> list[Any]:
    if spec.summed < spec.least_summed(errors=True):
        raise TypeError("errors are counted of all interleaved channels together")
    full = _broadcast_aval(x, y, spec)
    (loss,) = _sum_types(x, y, spec=spec)
    kept = min(loss.ndim, full.ndim - spec.spatial_ndim)
    return [loss, result_type(full, (*loss.shape, 3), loss.dtype, kept)]


def _loss_grad_types(x: Any, y: Any, *, spec: Spec, wrt: Wrt) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    _check_gradients(x, y, wrt)
    grads = _gradient_types(full, image_dtype(x, y), spec, wrt)
    return _loss_types(x, y, spec=spec) + grads


def _with_leading(full: Any, operands: Sequence[Any], kept: int) -> Any:
    """The image's type with the leading dimensions of all operands together."""
    shapes = [a.shape[:kept] for a in (full, *operands)]
    leading = jnp.broadcast_shapes(*shapes)
    if leading == full.shape[:kept]:
        return full
    return full.update(shape=(*leading, *full.shape[kept:]))


def _weighted_loss_types(x: Any, y: Any, *weights: Any, spec: Spec) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    kept = full.ndim - spec.spatial_ndim
    dtype = compute_dtype(image_dtype(x, y))
    shapes = weighted.shapes(spec, full.shape, weights[0].shape[-1])
    for name, a, shape in zip(LossWeights._fields, weights, shapes, strict=False):
        if a.shape[kept:] != shape or a.dtype != dtype:
            raise TypeError(f"weights.{name} {a} does not fit images {x} and {y}")
    if (
        LossWeights(*weights).mean_scales is not None
        and image_dtype(x, y).itemsize == 2
    ):
        raise TypeError(f"half precision has no mean_scales, got {x} and {y}")
    full = _with_leading(full, weights, kept)
    return _loss_types(full.update(dtype=dtype), full.update(dtype=dtype), spec=spec)


def _weighted_loss_grad_types(
    x: Any, y: Any, *weights: Any, spec: Spec, wrt: Wrt
) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    _check_gradients(x, y, wrt)
    full = _with_leading(full, weights, full.ndim - spec.spatial_ndim)
    grads = _gradient_types(full, image_dtype(x, y), spec, wrt)
    return _weighted_loss_types(x, y, *weights, spec=spec) + grads


def _check_gradients(x: Any, y: Any, wrt: Wrt) -> None:
    if any(asked and is_integer(a) for a, asked in zip((x, y), wrt, strict=True)):
        raise TypeError(f"integer images have no gradient, got {x} and {y}")


def _map_grad_types(
    x: Any, y: Any, cotangent: Any, *, spec: Spec, wrt: Wrt
) -> list[Any]:
    full = _broadcast_aval(x, y, spec)
    kept = full.ndim - spec.spatial_ndim
    if (
        cotangent.shape[kept:] != spec.map_shape(full.shape)[kept:]
        or cotangent.dtype != x.dtype
    ):
        raise TypeError(f"cotangent {cotangent} does not fit images {x} and {y}")
    full = _with_leading(full, [cotangent], kept)
    return _gradient_types(full, x.dtype, spec, wrt)


def _map_tangent_types(
    x: Any, y: Any, *tangents: Any, spec: Spec, wrt: Wrt
) -> list[Any]:
    del tangents, wrt
    return _map_types(x, y, spec=spec)


def mapped_first(a: Array, dim: int | None) -> Array:
    """The mapped axis as one more leading dimension; of size 1 where there is none."""
    return jnp.expand_dims(a, 0) if dim is None else jnp.moveaxis(a, dim, 0)


def _batch(
    primitive: Primitive,
    args: Sequence[Array],
    dims: Sequence[int | None],
    **params: Any,
) -> tuple[list[Array], list[int]]:
    """Batching rule. Operands broadcast, and so are not copied when not mapped, but for
    those of the tangent, which is plain JAX."""
    sizes = [a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None]
    args = [mapped_first(a, d) for a, d in zip(args, dims, strict=True)]
    if primitive is ssim_map_tangent_p:
        args = [jnp.broadcast_to(a, (sizes[0], *a.shape[1:])) for a in args]
    results = primitive.bind(*args, **params)
    return results, [0] * len(results)


def eager(
    primitive: Primitive, static: Sequence[str] = _STATIC
) -> Callable[..., list[Array]]:
    """What a primitive does outside jit: compiles itself."""

    def bind(*args: Array, **params: Any) -> list[Array]:
        return primitive.bind(*args, **params)

    bind.__name__ = bind.__qualname__ = primitive.name
    # Under jax_debug_nans a compiled function that made a NaN is run again without jit,
    # which would come back here without end. JAX marks its own primitives in this way.
    bind._apply_primitive = True
    compiled = jax.jit(bind, static_argnames=static)

    def impl(*args: Array, **params: Any) -> list[Array]:
        with jax.disable_jit(False):
            return compiled(*args, **params)

    return impl


def _op(
    name: str,
    types: Callable[..., list[Any]],
    plain: Callable[..., Any],
    *in_parts: InParts,
) -> Primitive:
    """A primitive by its name, its types, its plain JAX version, and how it may be made
    of other ops."""
    primitive = Primitive(f"jax_fused_ssim_{name}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(types)
    primitive.def_impl(eager(primitive))
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    register_lowerings(primitive, plain, in_parts)
    return primitive


def _by_plane(errors: bool = False) -> InParts:
    """An op with a loss that is summed over planes, by one that is not: where devices
    may share the planes."""

    def wanted(
        platform: str, shared: bool, avals: Sequence[Any], *, spec: Spec, **params: Any
    ) -> bool:
        del platform, avals, params
        return shared and spec.summed > spec.least_summed(errors)

    def function(
        primitive: Primitive, *args: Array, spec: Spec, **params: Any
    ) -> list[Array]:
        own = spec.with_summed(spec.least_summed(errors))
        rest = spec.with_summed(spec.summed - own.summed)
        loss, *others = primitive.bind(*args, spec=own, **params)
        if errors:
            terms, *grads = others
            return [*xla.sum_terms_over_planes(terms, rest), *grads]
        map_shape = spec.map_shape(args[0].shape)
        return [xla.sum_over_planes(loss, rest, map_shape), *others]

    return InParts(wanted, function)


def _as_gradients(grads: Sequence[Array], x: Array) -> list[Array]:
    return [g.astype(gradient_dtype(x.dtype)) for g in grads]


def _plain_sum_grad(x: Array, y: Array, *, spec: Spec, wrt: Wrt) -> list[Array]:
    loss, grads = xla.ssim_sum_grad(x, y, spec, wrt)
    return [loss, *_as_gradients(grads, x)]


def _plain_loss_grad(x: Array, y: Array, *, spec: Spec, wrt: Wrt) -> list[Array]:
    loss, terms, grads = xla.loss_sum_grad(x, y, spec, wrt)
    return [loss, terms, *_as_gradients(grads, y if is_integer(x) else x)]


def _plain_map_grad(
    x: Array, y: Array, cotangent: Array, *, spec: Spec, wrt: Wrt
) -> list[Array]:
    return _as_gradients(xla.ssim_map_grad(x, y, cotangent, spec, wrt), x)


def _map_is_faster(
    platform: str,
    shared: bool,
    avals: Sequence[Any],
    *,
    spec: Spec,
    wrt: Wrt = (False, False),
) -> bool:
    """Whether a large loss is faster by the ops of the map: on a GPU all but the kernel
    that marches down strips, which is for one gradient of aligned float32 images whose
    channels share their weights. The map does not leave pixels out; of a window that is
    given it is no faster."""
    del shared
    x, y, of_map, *weights = avals
    leaves_out = LossWeights(of_map, *weights).mean_scales is not None
    if leaves_out or not spec.window.is_compiled_in:
        return False
    shape = jnp.broadcast_shapes(x.shape, y.shape)
    if platform != "cuda" or not all(isinstance(n, int) for n in shape):
        return False
    width = shape[spec.spatial_axes[1]]
    marches = (
        wrt == (True, False)
        and x.dtype == "float32"
        and y.dtype in ("float32", "uint8")
        and width % 4 == 0
        and (not spec.channels_last or of_map.shape[-1] == 1)
    )
    return not marches and math.prod(shape) >= 1 << 20


def _weighted_loss(
    x: Array,
    y: Array,
    *weights: Array,
    spec: Spec,
    wrt: Wrt | None = None,
    maps: weighted.Maps = weighted.PLAIN,
) -> list[Array]:
    """A loss with weights around the map; `wrt` is None where no gradient is asked."""
    of_loss = LossWeights(*weights)
    if wrt is None:
        return list(weighted.loss_sum(x, y, of_loss, spec, maps))
    loss, terms, grads = weighted.loss_sum_grad(x, y, of_loss, spec, wrt, maps)
    return [loss, terms, *_as_gradients(grads, y if is_integer(x) else x)]


_MAPS_OF_KERNELS = weighted.Maps(
    lambda x, y, spec: ssim_map_p.bind(x, y, spec=spec)[0],
    lambda x, y, cotangent, spec, wrt: tuple(
        ssim_map_grad_p.bind(x, y, cotangent, spec=spec, wrt=wrt)
    ),
)


def _around_the_map(primitive: Primitive, *args: Array, **params: Any) -> list[Array]:
    del primitive
    return _weighted_loss(*args, maps=_MAPS_OF_KERNELS, **params)


ssim_sum_p = _op(
    "ssim_sum",
    _sum_types,
    lambda x, y, *, spec: [xla.ssim_sum(x, y, spec)],
    _by_plane(),
)
ssim_sum_grad_p = _op("ssim_sum_grad", sum_grad_types, _plain_sum_grad, _by_plane())
loss_sum_p = _op(
    "loss_sum",
    _loss_types,
    lambda x, y, *, spec: list(xla.loss_sum(x, y, spec)),
    _by_plane(errors=True),
)
loss_sum_grad_p = _op(
    "loss_sum_grad",
    _loss_grad_types,
    _plain_loss_grad,
    _by_plane(errors=True),
)
weighted_loss_sum_p = _op(
    "weighted_loss_sum",
    _weighted_loss_types,
    _weighted_loss,
    _by_plane(errors=True),
    InParts(_map_is_faster, _around_the_map),
)
weighted_loss_sum_grad_p = _op(
    "weighted_loss_sum_grad",
    _weighted_loss_grad_types,
    _weighted_loss,
    _by_plane(errors=True),
    InParts(_map_is_faster, _around_the_map),
)
ssim_map_p = _op(
    "ssim_map", _map_types, lambda x, y, *, spec: [xla.ssim_map(x, y, spec)]
)
ssim_factor_maps_p = _op(
    "ssim_factor_maps",
    _factor_map_types,
    lambda x, y, *, spec: [xla.ssim_map(x, y, s) for s in spec.of_factors(x.dtype)],
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
      value: the op that computes the results before the gradients alone; None if all
        results are gradients.
      used: which results are; one is at least.
      eqn: the equation of the op.
    """
    count = len(used) - sum(eqn.params["wrt"])  # of the results before the gradients
    if all(used[count:]):
        return eqn
    if not any(used[count:]):
        params = {"spec": eqn.params["spec"]}
        return eqn.replace(primitive=value, outvars=eqn.outvars[:count], params=params)
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
_drop_unused(loss_sum_grad_p, value=loss_sum_p)
_drop_unused(weighted_loss_sum_grad_p, value=weighted_loss_sum_p)
_drop_unused(ssim_map_grad_p)


def _one_factor(used: Sequence[bool], *others: Any) -> tuple[list[bool], Any]:
    """The equation that computes what is used of both maps."""
    eqn = others[-1]
    count = sum(used)
    if count == 1:
        one = list(used).index(True)
        of_factors = eqn.params["spec"].of_factors(eqn.invars[0].aval.dtype)
        eqn = eqn.replace(
            primitive=ssim_map_p,
            outvars=[eqn.outvars[one]],
            params={"spec": of_factors[one]},
        )
    return [count > 0] * len(eqn.invars), eqn if count else None


partial_eval.dce_rules[ssim_factor_maps_p] = _one_factor
