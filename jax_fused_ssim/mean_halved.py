"""The mean SSIM of images, and the images at smaller scales.

Under differentiation one kernel that reads the images writes the gradient and both
images at half their size; where there is no such kernel, they are read for each.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir, partial_eval

from jax_fused_ssim import cuda, lowering, native, ops, primitives, xla
from jax_fused_ssim.mean import Mean, inner_product, ssim_mean
from jax_fused_ssim.primitives import Wrt, ssim_sum_grad_p, ssim_sum_p
from jax_fused_ssim.pyramid import halved_p, halved_tangents, halved_types
from jax_fused_ssim.spec import Spec

# Both images halved once, twice and so on.
Scales = tuple[tuple[Array, ...], tuple[Array, ...]]

# Of fewer pixels tiles are faster than the strips that write halved images as well.
_LEAST_PIXELS = 1 << 20


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def ssim_mean_and_halved(
    x: Array, y: Array, mean: Mean, times: int
) -> tuple[Array, Scales]:
    """`mean.ssim_mean`, and both images halved once, twice and so on.

    Args:
      x: [..., H, W], or [..., H, W, C] with `mean.spec.channels_last`; float32 or
        float64, with sides that halve `times` times without a rest.
      y: with the sides and the dtype of x.
      mean: what is static; of whole images, without errors.
      times: how often, at least once.
    """
    halved = halved_p.bind(x, y, times=times, spec=mean.spec)
    return ssim_mean((x,), (y,), mean), _by_image(halved)


@functools.partial(ssim_mean_and_halved.defjvp, symbolic_zeros=True)
def _ssim_mean_and_halved_jvp(
    mean: Mean, times: int, primals: Any, tangents: Any
) -> Any:
    x, y = primals
    spec, factor = mean.scaled_spec(x)
    wrt, given = ops.perturbed(tangents)
    loss, grads, scales = _sum_grad_halved(x, y, spec, times, wrt)
    product = inner_product(grads, given, mean.axes(x.ndim), loss.dtype)
    value, _ = mean.loss([loss], None, factor)
    of_scales = tuple(
        tuple(halved_tangents(tangent, times, spec))
        if asked
        else tuple(SymbolicZero(jax.typeof(a)) for a in halved)
        for tangent, asked, halved in zip(tangents, wrt, scales, strict=True)
    )
    return (1 - value, scales), (-mean.tangent([product], factor), of_scales)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _sum_grad_halved(
    x: Array, y: Array, spec: Spec, times: int, wrt: Wrt
) -> tuple[Array, tuple[Array, ...], Scales]:
    """`ops.ssim_sum_grad`, and both images halved."""
    loss, *rest = sum_grad_halved_p.bind(x, y, times=times, spec=spec, wrt=wrt)
    grads, halved = rest[: sum(wrt)], rest[sum(wrt) :]
    return ops.seen_by_checkify(loss), tuple(grads), _by_image(halved)


@_sum_grad_halved.defjvp
def _sum_grad_halved_jvp(
    spec: Spec, times: int, wrt: Wrt, primals: Any, tangents: Any
) -> Any:
    loss, grads, scales = _sum_grad_halved(*primals, spec, times, wrt)
    _, of_grad = jax.jvp(
        lambda x, y: xla.ssim_sum_grad(x, y, spec, wrt), primals, tangents
    )
    of_grad = ops.of_dtypes((loss, grads), of_grad)
    of_scales = tuple(tuple(halved_tangents(t, times, spec)) for t in tangents)
    return (loss, grads, scales), (*of_grad, of_scales)


def _by_image(halved: Sequence[Array]) -> Scales:
    times = len(halved) // 2
    return tuple(halved[:times]), tuple(halved[times:])


def _types(x: Any, y: Any, *, times: int, spec: Spec, wrt: Wrt) -> list[Any]:
    of_sum = primitives.sum_grad_types(x, y, spec=spec, wrt=wrt)
    return of_sum + halved_types(x, y, times=times, spec=spec)


def _in_parts(x: Array, y: Array, *, times: int, spec: Spec, wrt: Wrt) -> list[Array]:
    """By the ops that there are for the sum and for the halved images."""
    halved = halved_p.bind(x, y, times=times, spec=spec)
    if not any(wrt):
        return [*ssim_sum_p.bind(x, y, spec=spec), *halved]
    images, asked = _with_first_gradient(x, y, wrt)
    return [*ssim_sum_grad_p.bind(*images, spec=spec, wrt=asked), *halved]


def _with_first_gradient(x: Any, y: Any, wrt: Wrt) -> tuple[tuple[Any, Any], Wrt]:
    """SSIM is symmetric: the kernels know the gradient in the first image, and both."""
    return ((y, x), (True, False)) if wrt == (False, True) else ((x, y), wrt)


def _by_one_kernel(ctx: mlir.LoweringRuleContext, spec: Spec, wrt: Wrt) -> bool:
    """Whether the kernel that writes halved images as well takes them."""
    x, y = ctx.avals_in
    return (
        spec.implementation != "xla"
        and cuda.usable()
        and sum(wrt) == 1
        and spec.window.is_compiled_in
        and not spec.channels_last
        and x.dtype == "float32"
        and x.shape == y.shape
        and all(isinstance(n, int) for n in x.shape)
        and x.shape[-1] % 4 == 0
        and math.prod(x.shape) >= _LEAST_PIXELS
        and not (spec.summed and lowering.may_be_partitioned(ctx))
    )


def _on_cuda(
    ctx: mlir.LoweringRuleContext, *args: Any, times: int, spec: Spec, wrt: Wrt
) -> Sequence[Any]:
    if not _by_one_kernel(ctx, spec, wrt):
        return _parts_rule(ctx, *args, times=times, spec=spec, wrt=wrt)
    loss, grad, *halved = ctx.avals_out
    once = [halved[0], halved[times]]
    images, asked = _with_first_gradient(*args, wrt)
    loss, grad, *of_kernel = lowering.custom_call(
        sum_grad_halved_p.name, ctx.replace(avals_out=[loss, grad, *once]), images, spec
    )
    by_image = [[a] for a in of_kernel]
    if asked != wrt:
        by_image.reverse()
    if times > 1:
        rest = mlir.lower_fun(
            functools.partial(halved_p.bind, times=times - 1, spec=spec),
            multiple_results=True,
        )
        types = [*halved[1:times], *halved[times + 1 :]]
        ctx = ctx.replace(avals_in=once, avals_out=types)
        found = rest(ctx, *by_image[0], *by_image[1])
        for k, values in enumerate(_by_image(found)):
            by_image[k] += values
    return [loss, grad, *by_image[0], *by_image[1]]


def _batch(
    args: Sequence[Array], dims: Sequence[int | None], **params: Any
) -> tuple[list[Array], list[int | None]]:
    first = [primitives.mapped_first(a, d) for a, d in zip(args, dims, strict=True)]
    results = sum_grad_halved_p.bind(*first, **params)
    count, times = 1 + sum(params["wrt"]), params["times"]
    found, axes = results[:count], [0] * count
    for halved, dim in zip(_by_image(results[count:]), dims, strict=True):
        # Of an image that is not mapped there is one.
        found += halved if dim is not None else [a[0] for a in halved]
        axes += [None if dim is None else 0] * times
    return found, axes


def _drop_unused(used: Sequence[bool], *others: Any) -> tuple[list[bool], Any]:
    """Lets JAX drop the gradients where nobody uses them."""
    eqn = others[-1]  # From JAX 0.12 on there is another argument before it.
    if not any(used):
        return [False] * len(eqn.invars), None
    count = 1 + sum(eqn.params["wrt"])
    if not any(used[1:count]):
        eqn = eqn.replace(
            outvars=[eqn.outvars[0], *eqn.outvars[count:]],
            params={**eqn.params, "wrt": (False, False)},
        )
    return [True] * len(eqn.invars), eqn


sum_grad_halved_p = Primitive("jax_fused_ssim_ssim_sum_grad_halved")
sum_grad_halved_p.multiple_results = True
sum_grad_halved_p.def_abstract_eval(_types)
sum_grad_halved_p.def_impl(
    primitives.eager(sum_grad_halved_p, ("times", "spec", "wrt"))
)
batching.primitive_batchers[sum_grad_halved_p] = _batch
partial_eval.dce_rules[sum_grad_halved_p] = _drop_unused
_parts_rule = mlir.lower_fun(_in_parts, multiple_results=True)
mlir.register_lowering(sum_grad_halved_p, _parts_rule)
for _platform in native.platforms_of(sum_grad_halved_p.name):
    mlir.register_lowering(sum_grad_halved_p, _on_cuda, platform=_platform)
