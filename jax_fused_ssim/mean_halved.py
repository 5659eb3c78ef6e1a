"""The mean SSIM of images at several scales, each half as large as the one before.

Under differentiation one kernel that reads the images of a scale writes the gradient
and those of the next one; where there is no such kernel, they are read for each.
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
# What the op gives for a scale: the loss, its gradients, and both images halved.
OfScale = tuple[Array, tuple[Array, ...], tuple[Array, Array]]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def ssim_means_and_halved(
    x: Array, y: Array, mean: Mean, times: int
) -> tuple[tuple[Array, ...], Scales]:
    """`mean.ssim_mean` of images and of those halved, and both halved once more.

    Args:
      x: [..., H, W], or [..., H, W, C] with `mean.spec.channels_last`; float32 or
        float64, with sides that halve `times` times without a rest.
      y: with the sides and the dtype of x.
      mean: what is static: of whole images, "per_channel", without errors.
      times: how many means there are, at least one, and halvings.
    """
    halved = _by_image(halved_p.bind(x, y, times=times, spec=mean.spec))
    pairs = zip((x, *halved[0][:-1]), (y, *halved[1][:-1]), strict=True)
    return tuple(ssim_mean((a,), (b,), mean) for a, b in pairs), halved


@functools.partial(ssim_means_and_halved.defjvp, symbolic_zeros=True)
def _ssim_means_and_halved_jvp(
    mean: Mean, times: int, primals: Any, tangents: Any
) -> Any:
    x, y = primals
    wrt, given = ops.perturbed(tangents)
    of_scales = _sums_grads_halved(x, y, _scaled_specs(x, mean, times), wrt)
    chains = [[t, *halved_tangents(t, times, mean.spec)] for t in given]
    means, of_means = [], []
    for k, (loss, grads, _) in enumerate(of_scales):
        at_scale = [chain[k] for chain in chains]
        product = inner_product(grads, at_scale, mean.axes(x.ndim), loss.dtype)
        means.append(1 - mean.loss([loss], None, None)[0])
        of_means.append(-mean.tangent([product], None))
    scales = _scales(of_scales)
    of_asked = iter(chains)
    of_halved = tuple(
        tuple(next(of_asked)[1:])
        if asked
        else tuple(SymbolicZero(jax.typeof(a)) for a in halved)
        for asked, halved in zip(wrt, scales, strict=True)
    )
    return (tuple(means), scales), (tuple(of_means), of_halved)


def _scaled_specs(x: Array, mean: Mean, times: int) -> tuple[Spec, ...]:
    """Of every scale. The sides are numbers, so the scales hold all there is."""
    shapes = (_shape_of_scale(x.shape, k, mean.spec) for k in range(times))
    images = (jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes)
    return tuple(mean.scaled_spec(image)[0] for image in images)


def _shape_of_scale(shape: Sequence[Any], k: int, spec: Spec) -> tuple[Any, ...]:
    found = list(shape)
    for axis in spec.spatial_axes:
        found[axis] >>= k
    return tuple(found)


def _scales(of_scales: Sequence[OfScale]) -> Scales:
    first, second = zip(*[halved for *_, halved in of_scales], strict=True)
    return first, second


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _sums_grads_halved(
    x: Array, y: Array, specs: tuple[Spec, ...], wrt: Wrt
) -> tuple[OfScale, ...]:
    """`ops.ssim_sum_grad` of every scale, and both of its images halved."""
    results = sums_grads_halved_p.bind(x, y, specs=specs, wrt=wrt)
    return tuple(
        (ops.seen_by_checkify(loss), tuple(grads_halved[:-2]), tuple(grads_halved[-2:]))
        for loss, *grads_halved in _by_scale(results, specs)
    )


@_sums_grads_halved.defjvp
def _sums_grads_halved_jvp(
    specs: tuple[Spec, ...], wrt: Wrt, primals: Any, tangents: Any
) -> Any:
    of_scales = _sums_grads_halved(*primals, specs, wrt)
    pairs = [primals, *(halved for *_, halved in of_scales)]
    chains = [[t, *halved_tangents(t, len(specs), specs[0])] for t in tangents]
    of_pairs = [*zip(*chains, strict=True)]
    of_tangents = []
    for k, (spec, (loss, grads, _)) in enumerate(zip(specs, of_scales, strict=True)):
        function = functools.partial(xla.ssim_sum_grad, spec=spec, wrt=wrt)
        _, of_grads = jax.jvp(function, tuple(pairs[k]), of_pairs[k])
        of_grads = ops.of_dtypes((loss, grads), of_grads)
        of_tangents.append((*of_grads, of_pairs[k + 1]))
    return of_scales, tuple(of_tangents)


def _by_image(halved: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    times = len(halved) // 2
    return tuple(halved[:times]), tuple(halved[times:])


def _by_scale(values: Sequence[Any], specs: Sequence[Spec]) -> list[list[Any]]:
    count = len(values) // len(specs)
    return [list(values[k * count : (k + 1) * count]) for k in range(len(specs))]


def _types(x: Any, y: Any, *, specs: tuple[Spec, ...], wrt: Wrt) -> list[Any]:
    found = []
    for spec in specs:
        halved = halved_types(x, y, times=1, spec=spec)
        found += [*primitives.sum_grad_types(x, y, spec=spec, wrt=wrt), *halved]
        x, y = halved
    return found


def _in_parts(x: Array, y: Array, *, specs: tuple[Spec, ...], wrt: Wrt) -> list[Array]:
    """By the ops that there are for sums and for halved images."""
    if not specs:
        return []
    halved = halved_p.bind(x, y, times=len(specs), spec=specs[0])
    found = []
    for spec, *next_pair in zip(specs, *_by_image(halved), strict=True):
        if any(wrt):
            images, asked = _with_first_gradient(x, y, wrt)
            found += ssim_sum_grad_p.bind(*images, spec=spec, wrt=asked)
        else:
            found += ssim_sum_p.bind(x, y, spec=spec)
        x, y = next_pair
        found += next_pair
    return found


def _with_first_gradient(x: Any, y: Any, wrt: Wrt) -> tuple[tuple[Any, Any], Wrt]:
    """SSIM is symmetric: the kernels know the gradient in the first image, and both."""
    return ((y, x), (True, False)) if wrt == (False, True) else ((x, y), wrt)


def _scales_by_one_kernel(
    ctx: mlir.LoweringRuleContext, specs: tuple[Spec, ...], wrt: Wrt
) -> int:
    """How many of the first scales the kernel that halves as well takes."""
    x, y = ctx.avals_in
    spec = specs[0]
    if (
        spec.implementation == "xla"
        or not cuda.usable()
        or sum(wrt) != 1
        or not spec.window.is_compiled_in
        or spec.channels_last
        or x.dtype != "float32"
        or x.shape != y.shape
        or not all(isinstance(n, int) for n in x.shape)
        or (spec.summed and lowering.may_be_partitioned(ctx))
    ):
        return 0
    shapes = [_shape_of_scale(x.shape, k, spec) for k in range(len(specs))]
    large = [math.prod(s) >= native.LEAST_GRADIENT_PIXELS for s in shapes]
    by_fours = [s[-1] % 4 == 0 for s in shapes]
    taken = [a and b for a, b in zip(large, by_fours, strict=True)]
    return [*taken, False].index(False)


def _on_cuda(
    ctx: mlir.LoweringRuleContext,
    *args: Any,
    specs: tuple[Spec, ...],
    wrt: Wrt,
) -> Sequence[Any]:
    by_one = _scales_by_one_kernel(ctx, specs, wrt)
    types_of_scales = _by_scale(ctx.avals_out, specs)
    results: list[Any] = []
    for spec, types in zip(specs[:by_one], types_of_scales, strict=False):
        images, asked = _with_first_gradient(*args, wrt)
        loss, grad, *halved = lowering.custom_call(
            _TARGET, ctx.replace(avals_out=types), images, spec, "cuda"
        )
        args = tuple(halved if asked == wrt else reversed(halved))
        results += [loss, grad, *args]
        ctx = ctx.replace(avals_in=types[-2:])
    types = [t for types in types_of_scales[by_one:] for t in types]
    rest = _parts_rule(
        ctx.replace(avals_out=types), *args, specs=specs[by_one:], wrt=wrt
    )
    return [*results, *rest]


def _batch(
    args: Sequence[Array], dims: Sequence[int | None], **params: Any
) -> tuple[list[Array], list[int | None]]:
    first = [primitives.mapped_first(a, d) for a, d in zip(args, dims, strict=True)]
    results = sums_grads_halved_p.bind(*first, **params)
    found: list[Array] = []
    axes: list[int | None] = []
    for of_scale in _by_scale(results, params["specs"]):
        *sums, half_x, half_y = of_scale
        found += sums
        axes += [0] * len(sums)
        for half, dim in zip((half_x, half_y), dims, strict=True):
            # Of an image that is not mapped there is one.
            found.append(half[0] if dim is None else half)
            axes.append(None if dim is None else 0)
    return found, axes


def _drop_unused(used: Sequence[bool], *others: Any) -> tuple[list[bool], Any]:
    """Lets JAX drop the gradients where nobody uses them."""
    eqn = others[-1]  # From JAX 0.12 on there is another argument before it.
    if not any(used):
        return [False] * len(eqn.invars), None
    specs, asked = eqn.params["specs"], sum(eqn.params["wrt"])
    grads = [u for of_scale in _by_scale(used, specs) for u in of_scale[1:-2]]
    if asked and not any(grads):
        of_scales = _by_scale(eqn.outvars, specs)
        eqn = eqn.replace(
            outvars=[v for loss, *_, a, b in of_scales for v in (loss, a, b)],
            params={**eqn.params, "wrt": (False, False)},
        )
    return [True] * len(eqn.invars), eqn


# Of the kernel for one scale.
_TARGET = "jax_fused_ssim_ssim_sum_grad_halved"

sums_grads_halved_p = Primitive("jax_fused_ssim_ssim_sums_grads_halved")
sums_grads_halved_p.multiple_results = True
sums_grads_halved_p.def_abstract_eval(_types)
sums_grads_halved_p.def_impl(primitives.eager(sums_grads_halved_p, ("specs", "wrt")))
batching.primitive_batchers[sums_grads_halved_p] = _batch
partial_eval.dce_rules[sums_grads_halved_p] = _drop_unused
_parts_rule = mlir.lower_fun(_in_parts, multiple_results=True)
mlir.register_lowering(sums_grads_halved_p, _parts_rule)
for _platform in native.platforms_of(_TARGET):
    mlir.register_lowering(sums_grads_halved_p, _on_cuda, platform=_platform)
