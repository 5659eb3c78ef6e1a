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

from jax_fused_ssim import weighted, xla
from jax_fused_ssim.integer import as_floats, is_integer
from jax_fused_ssim.primitives import (
    Wrt,
    loss_sum_grad_p,
    loss_sum_p,
    ssim_factor_maps_p,
    ssim_map_grad_p,
    ssim_map_p,
    ssim_map_tangent_p,
    ssim_sum_grad_p,
    ssim_sum_p,
    weighted_loss_sum_grad_p,
    weighted_loss_sum_p,
)
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.weighted import LossWeights


def _sum_to(a: Array, shape: Sequence[int]) -> Array:
    """Sums the leading dimensions in which an operand of this shape was broadcast."""
    axes = tuple(i for i, n in enumerate(shape) if n != a.shape[i])
    return jnp.sum(a, axis=axes, keepdims=True) if axes else a


def seen_by_checkify(a: Array) -> Array:
    """The array, as the result of an op of JAX: `checkify` looks for NaN in no others.

    XLA drops the multiplication.
    """
    return a * 1


def ssim_sum(x: Array, y: Array, spec: Spec) -> Array:
    """`ssim_weight * scale * sum of (1 - SSIM)`, of every plane or of several together.

    Args:
      x: [..., H, W], or [..., H, W, C] with `spec.channels_last`; float16, bfloat16,
        float32 or float64.
      y: like x. Leading dimensions broadcast.
      spec: static parameters.

    Returns:
      [...], or [..., C], without the last `spec.summed` dimensions: float32, float64
      for float64 images.
    """
    return seen_by_checkify(ssim_sum_p.bind(x, y, spec=spec)[0])


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def ssim_sum_grad(
    x: Array, y: Array, spec: Spec, wrt: Wrt = (True, False)
) -> tuple[Array, tuple[Array, ...]]:
    """`ssim_sum` and its gradients, in one pass.

    Args:
      x: as in `ssim_sum`.
      y: as in `ssim_sum`.
      spec: static parameters.
      wrt: whether the gradient in x, and that in y, is asked for; at least one is.

    Returns:
      The loss, and a tuple of the gradients asked for, with the leading dimensions of
      both images: in the images' dtype, but float32 for float16 images.
    """
    # SSIM is symmetric: the kernels know two of the three cases.
    if wrt == (False, True):
        x, y, wrt = y, x, (True, False)
    loss, *grads = ssim_sum_grad_p.bind(x, y, spec=spec, wrt=wrt)
    return seen_by_checkify(loss), tuple(grads)


@ssim_sum_grad.defjvp
def _ssim_sum_grad_jvp(spec: Spec, wrt: Wrt, primals: Any, tangents: Any) -> Any:
    results = ssim_sum_grad(*primals, spec, wrt)
    _, out_tangents = jax.jvp(
        lambda x, y: xla.ssim_sum_grad(x, y, spec, wrt), primals, tangents
    )
    return results, of_dtypes(results, out_tangents)


def loss_sum(x: Array, y: Array, spec: Spec) -> tuple[Array, Array]:
    """A loss of SSIM and errors, of every plane or of several together, and its terms.

    The loss is l1_weight, l2_weight and ssim_weight times the three terms, added up.

    Args:
      x: as in `ssim_sum`; or integers: `integer.pixels`.
      y: like x; of two images that are not integers both have one dtype.
      spec: static parameters.

    Returns:
      The loss, of the shape of `ssim_sum` (with `spec.channels_last` of all channels
      together at least), and its terms, with a last dimension of 3:
      `error_scale` times the sum of |d| and that of d^2, where
      d = (x - y) / data_range, over all pixels, or with `spec.crop` over those of the
      map; and `scale * sum of (1 - SSIM)`, which may differ from `ssim_sum` by
      rounding.
    """
    if is_integer(x):
        x, y = y, x
    loss, terms = loss_sum_p.bind(x, y, spec=_of_images(spec))
    return seen_by_checkify(loss), terms


def _of_images(spec: Spec) -> Spec:
    return spec.with_summed(max(spec.summed, spec.least_summed(errors=True)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def loss_sum_grad(
    x: Array, y: Array, spec: Spec, wrt: Wrt = (True, False)
) -> tuple[Array, Array, tuple[Array, ...]]:
    """`loss_sum` and the gradients of the loss, in one pass.

    Args:
      x: as in `loss_sum`.
      y: as in `loss_sum`.
      spec: static parameters.
      wrt: as in `ssim_sum_grad`; integers have no gradient.

    Returns:
      The two results of `loss_sum`, and a tuple of the gradients asked for, as from
      `ssim_sum_grad`. The derivative of |d| at 0 is 0.
    """
    if wrt == (False, True):
        x, y, wrt = y, x, (True, False)
    loss, terms, *grads = loss_sum_grad_p.bind(x, y, spec=_of_images(spec), wrt=wrt)
    return seen_by_checkify(loss), terms, tuple(grads)


@loss_sum_grad.defjvp
def _loss_sum_grad_jvp(spec: Spec, wrt: Wrt, primals: Any, tangents: Any) -> Any:
    results = loss_sum_grad(*primals, spec, wrt)
    _, out_tangents = jax.jvp(
        lambda x, y: xla.loss_sum_grad(x, y, _of_images(spec), wrt), primals, tangents
    )
    return results, of_dtypes(results, out_tangents)


def weighted_loss_sum(
    x: Array, y: Array, weights: LossWeights, spec: Spec
) -> tuple[Array, Array]:
    """`loss_sum` with pixels that count for more or less.

    Args:
      x: as in `loss_sum`.
      y: as in `loss_sum`.
      weights: of all pixels. Under a weight of 0 nothing is seen, a NaN neither.
      spec: static parameters.

    Returns:
      As `loss_sum`.
    """
    if is_integer(x):
        x, y = y, x
    loss, terms = weighted_loss_sum_p.bind(x, y, *weights.arrays, spec=_of_images(spec))
    return seen_by_checkify(loss), terms


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def weighted_loss_sum_grad(
    x: Array,
    y: Array,
    weights: LossWeights,
    spec: Spec,
    wrt: Wrt = (True, False),
) -> tuple[Array, Array, tuple[Array, ...]]:
    """`weighted_loss_sum` and the gradients of the loss, in one pass.

    Args:
      x: as in `weighted_loss_sum`.
      y: as in `weighted_loss_sum`.
      weights: as in `weighted_loss_sum`; without derivative.
      spec: static parameters.
      wrt: as in `loss_sum_grad`.

    Returns:
      As `loss_sum_grad`.
    """
    if wrt == (False, True):
        x, y, wrt = y, x, (True, False)
    loss, terms, *grads = weighted_loss_sum_grad_p.bind(
        x, y, *weights.arrays, spec=_of_images(spec), wrt=wrt
    )
    return seen_by_checkify(loss), terms, tuple(grads)


@weighted_loss_sum_grad.defjvp
def _weighted_loss_sum_grad_jvp(
    spec: Spec, wrt: Wrt, primals: Any, tangents: Any
) -> Any:
    x, y, weights = primals
    results = weighted_loss_sum_grad(*primals, spec, wrt)
    _, out_tangents = jax.jvp(
        lambda x, y: weighted.loss_sum_grad(x, y, weights, _of_images(spec), wrt),
        (x, y),
        tangents[:2],
    )
    return results, of_dtypes(results, out_tangents)


def of_dtypes(results: Any, tangents: Any) -> Any:
    """Tangents in the dtypes of what they are tangents of."""
    return jax.tree.map(lambda r, t: t.astype(r.dtype), results, tangents)


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
      A tuple of the gradients asked for, as from `ssim_sum_grad`.
    """
    if wrt == (False, True):
        x, y, wrt = y, x, (True, False)
    spec = _of_similarity(spec)
    grads = ssim_map_grad_p.bind(x, y, cotangent, spec=spec, wrt=wrt)
    return tuple(map(seen_by_checkify, grads))


def _of_similarity(spec: Spec) -> Spec:
    """With which gradients of 1 - SSIM are those of SSIM."""
    return spec.scaled(-1.0)


@ssim_map_grad.defjvp
def _ssim_map_grad_jvp(spec: Spec, wrt: Wrt, primals: Any, tangents: Any) -> Any:
    results = ssim_map_grad(*primals, spec, wrt)
    _, out_tangents = jax.jvp(
        lambda *a: xla.ssim_map_grad(*a, _of_similarity(spec), wrt), primals, tangents
    )
    return results, of_dtypes(results, out_tangents)


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
    wrt = tuple(
        not isinstance(t, SymbolicZero) and t.dtype != jax.dtypes.float0
        for t in tangents
    )
    return wrt, [t for t, asked in zip(tangents, wrt, strict=True) if asked]


def ssim_map(x: Array, y: Array, spec: Spec) -> Array:
    """SSIM of every pixel.

    Args:
      x: as in `loss_sum`; integers become floats before the op.
      y: as in `loss_sum`.
      spec: static parameters; `scale` has no effect.

    Returns:
      The map in the images' dtype: of their shape, smaller by 10 along the spatial axes
      that are not padded.
    """
    return _ssim_map(*as_floats(x, y, spec), spec)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _ssim_map(x: Array, y: Array, spec: Spec) -> Array:
    return seen_by_checkify(ssim_map_p.bind(x, y, spec=spec)[0])


@functools.partial(_ssim_map.defjvp, symbolic_zeros=True)
def _ssim_map_jvp(spec: Spec, primals: Any, tangents: Any) -> tuple[Array, Array]:
    wrt, given = perturbed(tangents)
    (tangent,) = ssim_map_tangent_p.bind(*primals, *given, spec=spec, wrt=wrt)
    return _ssim_map(*primals, spec), seen_by_checkify(tangent)


def ssim_factor_maps(x: Array, y: Array, spec: Spec) -> tuple[Array, Array]:
    """The two factors of SSIM of every pixel.

    Args:
      x: as in `ssim_map`.
      y: as in `ssim_map`.
      spec: static parameters; `scale` has no effect.

    Returns:
      Luminance, and contrast and structure, each as from `ssim_map`.
    """
    return _ssim_factor_maps(*as_floats(x, y, spec), spec)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _ssim_factor_maps(x: Array, y: Array, spec: Spec) -> tuple[Array, Array]:
    luminance, contrast_structure = ssim_factor_maps_p.bind(x, y, spec=spec)
    return seen_by_checkify(luminance), seen_by_checkify(contrast_structure)


@functools.partial(_ssim_factor_maps.defjvp, symbolic_zeros=True)
def _ssim_factor_maps_jvp(spec: Spec, primals: Any, tangents: Any) -> Any:
    wrt, given = perturbed(tangents)
    luminance, contrast_structure = (
        seen_by_checkify(
            ssim_map_tangent_p.bind(*primals, *given, spec=of_factor, wrt=wrt)[0]
        )
        for of_factor in spec.of_factors(primals[0].dtype)
    )
    return _ssim_factor_maps(*primals, spec), (luminance, contrast_structure)
