"""Two images at every scale, several by one launch where there is a kernel."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_fused_ssim import cuda, lowering, native, primitives
from jax_fused_ssim.halving import OddSides, halved, mean_of_squares, tangent_of_mean
from jax_fused_ssim.spec import Spec


def smaller_scales(
    x: Array, y: Array, count: int, odd_sides: OddSides, spec: Spec
) -> list[tuple[Array, Array]]:
    """Both images halved once, twice and so on.

    Args:
      x: [..., H, W], or [..., H, W, C] with `spec.channels_last`; float32 or float64.
      y: with the sides and the dtype of x.
      count: how often.
      odd_sides: as in `halved`.
      spec: static parameters.
    """
    scales: list[tuple[Array, Array]] = []
    while len(scales) < count:
        times = even_halvings(x.shape, count - len(scales), spec)
        if times:
            found = halved_p.bind(x, y, times=times, spec=spec)
            scales += zip(found[:times], found[times:], strict=True)
        else:
            scales.append((halved(x, odd_sides, spec), halved(y, odd_sides, spec)))
        x, y = scales[-1]
    return scales


def even_halvings(shape: Sequence[Any], count: int, spec: Spec) -> int:
    """How often, up to `count`, one op halves images of this shape without a rest."""
    most = min(count, native.MOST_HALVINGS)
    sides = [shape[axis] for axis in spec.spatial_axes]
    times = 0
    while (
        times < most
        and all(isinstance(n, int) for n in sides)
        and not any(n >> times & 1 for n in sides)
    ):
        times += 1
    return times


def halved_types(x: Any, y: Any, *, times: int, spec: Spec) -> list[Any]:
    """Of x halved once, twice and so on, then of y."""
    results = []
    for image in (x, y):
        shape = list(image.shape)
        for _ in range(times):
            for axis in spec.spatial_axes:
                shape[axis] //= 2
            kept = image.ndim - spec.spatial_ndim
            results.append(primitives.result_type(image, shape, image.dtype, kept))
    return results


def _plain(x: Array, y: Array, *, times: int, spec: Spec) -> list[Array]:
    results = []
    for image in (x, y):
        for _ in range(times):
            image = mean_of_squares(image, spec)
            results.append(image)
    return results


def _fused(
    ctx: mlir.LoweringRuleContext, *args: Any, times: int, spec: Spec
) -> Sequence[Any]:
    partitioned = lowering.may_be_partitioned(ctx)
    alike = ctx.avals_in[0].shape == ctx.avals_in[1].shape
    # Interleaved channels are read faster by XLA's loops.
    if (
        spec.implementation == "xla"
        or spec.channels_last
        or not cuda.usable()
        or (partitioned and not alike)
    ):
        return _plain_rule(ctx, *args, times=times, spec=spec)
    attributes = None
    if partitioned:
        attributes = lowering.partitioning_attributes(ctx.avals_in, ctx.avals_out, spec)
    rule = jax.ffi.ffi_lowering(halved_p.name, extra_attributes=attributes)
    return rule(ctx, *args)


def _jvp(
    primals: Sequence[Array], tangents: Sequence[Any], *, times: int, spec: Spec
) -> tuple[list[Array], list[Any]]:
    results = halved_p.bind(*primals, times=times, spec=spec)
    found: list[Any] = []
    for i, tangent in enumerate(tangents):
        if isinstance(tangent, ad.Zero):
            zeros = results[i * times : (i + 1) * times]
            found += [ad.Zero(jax.typeof(r)) for r in zeros]
        else:
            found += halved_tangents(tangent, times, spec)
    return results, found


def halved_tangents(tangent: Array, times: int, spec: Spec) -> list[Array]:
    """Of an image halved once, twice and so on."""
    found = []
    for _ in range(times):
        tangent = tangent_of_mean(tangent, spec)
        found.append(tangent)
    return found


def _batch(
    args: Sequence[Array], dims: Sequence[int | None], *, times: int, spec: Spec
) -> tuple[list[Array], list[int | None]]:
    first = [
        a if d is None else primitives.mapped_first(a, d)
        for a, d in zip(args, dims, strict=True)
    ]
    results = halved_p.bind(*first, times=times, spec=spec)
    return results, [None if d is None else 0 for d in dims for _ in range(times)]


halved_p = Primitive("jax_fused_ssim_halved")
halved_p.multiple_results = True
halved_p.def_abstract_eval(halved_types)
halved_p.def_impl(primitives.eager(halved_p, ("times", "spec")))
ad.primitive_jvps[halved_p] = _jvp
batching.primitive_batchers[halved_p] = _batch
_plain_rule = mlir.lower_fun(_plain, multiple_results=True)
mlir.register_lowering(halved_p, _plain_rule)
for _platform in native.platforms_of(halved_p.name):
    mlir.register_lowering(halved_p, _fused, platform=_platform)
