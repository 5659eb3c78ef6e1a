"""The ops as functions of arrays, and how they differentiate.

The gradient of a sum of SSIM does not depend on the cotangent but for a factor, so
`ssim_sum_grad` gives both at once and mean.py multiplies. The map has a tangent that
JAX transposes: forward mode is plain JAX, reverse mode the kernel `ssim_map_grad`.
Second derivatives are those of plain JAX.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from jax_fused_ssim import xla
from jax_fused_ssim.primitives import (
    Wrt,
    ssim_map_grad_p,
    ssim_map_p,
    ssim_map_tangent_p,
    ssim_sum_grad_p,
    ssim_sum_p,
)
from jax_fused_ssim.spec import Spec


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
    # SSIM is symmetric: the kernels know two of the three cases.
    if wrt == (False, True):
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
      cotangent: of the shape and dtype of the map. Leading dimensions broadcast.
      spec: static parameters; `scale` has no effect.
      wrt: as in `ssim_sum_grad`.

    Returns:
      A tuple of the gradients asked for, float32 (float64 for float64 images).
    """
    if wrt == (False, True):
        x, y, wrt = y, x, (True, False)
    grads = ssim_map_grad_p.bind(x, y, cotangent, spec=spec.scaled(1.0), wrt=wrt)
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
