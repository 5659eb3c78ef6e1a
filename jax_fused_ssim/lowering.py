"""How an op becomes a custom call on CPU and CUDA, and plain JAX elsewhere."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.interpreters.mlir import ir

from jax_fused_ssim import cuda, native
from jax_fused_ssim.info import why_no_kernel
from jax_fused_ssim.integer import image_dtype, is_integer
from jax_fused_ssim.spec import Spec

# The gradient of larger volumes is made without derivatives in memory.
_MOST_DERIVATIVE_BYTES = 1 << 31


class InParts(NamedTuple):
    """How an op is made of others, where that is needed or faster.

    Attributes:
      wanted: of the platform, whether devices may share the images, the types of the
        operands and the parameters, whether the op is made so.
      function: the same by other ops, given the primitive before its arguments.
    """

    wanted: Callable[..., bool]
    function: Callable[..., Any]


def register_lowerings(
    primitive: Primitive, plain: Callable[..., Any], in_parts: Sequence[InParts]
) -> None:
    """Registers the lowerings of an op for every platform.

    Args:
      primitive: the op. Its custom call target has the same name; an op that has none
        is plain JAX everywhere.
      plain: the same in plain JAX.
      in_parts: how else it may be made; the first that is wanted counts.
    """
    plain_rule = mlir.lower_fun(plain, multiple_results=True)
    platforms = native.platforms_of(primitive.name)
    if not platforms:
        mlir.register_lowering(primitive, plain_rule)
        return

    def elsewhere(
        ctx: mlir.LoweringRuleContext,
        *args: Any,
        spec: Spec,
        what: str | None = None,
        **kw: Any,
    ) -> Any:
        """`what` there is no kernel for, if not for the platform."""
        if spec.implementation == "fused":
            what = what or f"{', '.join(_platforms(ctx))}: {why_no_kernel()}"
            raise NotImplementedError(
                f'implementation="fused" needs a kernel, and there is none for {what} '
                "Use implementation=None to fall back to plain JAX."
            )
        return plain_rule(ctx, *args, spec=spec, **kw)

    mlir.register_lowering(primitive, elsewhere)
    for platform in platforms:

        def fused(
            ctx: mlir.LoweringRuleContext,
            *args: Any,
            spec: Spec,
            platform: str = platform,
            **kw: Any,
        ) -> Any:
            if spec.implementation == "xla":
                return plain_rule(ctx, *args, spec=spec, **kw)
            if platform == "cuda" and not cuda.usable():
                return elsewhere(ctx, *args, spec=spec, **kw)
            if spec.volumes and primitive.name not in native.VOLUME_TARGETS:
                what = "errors, weights or factors of volumes."
                return elsewhere(ctx, *args, spec=spec, what=what, **kw)
            if spec.window.size > native.MOST_TAPS:
                what = f"windows of more than {native.MOST_TAPS} pixels a side."
                return elsewhere(ctx, *args, spec=spec, what=what, **kw)
            if _needs_wide_images(ctx.avals_in, spec):
                wide = functools.partial(_in_float32, primitive, ctx.avals_out)
                rule = mlir.lower_fun(wide, multiple_results=True)
                return rule(ctx, *args, spec=spec, **kw)
            shared = may_be_partitioned(ctx)
            for parts in in_parts:
                if parts.wanted(platform, shared, ctx.avals_in, spec=spec, **kw):
                    of_others = functools.partial(parts.function, primitive)
                    rule = mlir.lower_fun(of_others, multiple_results=True)
                    return rule(ctx, *args, spec=spec, **kw)
            return custom_call(primitive.name, ctx, args, spec, platform)

        mlir.register_lowering(primitive, fused, platform=platform)


def _needs_wide_images(avals_in: Sequence[Any], spec: Spec) -> bool:
    """Whether images are of half precision, and the kernels read no such."""
    reads_halves = spec.window.is_compiled_in and not spec.volumes
    return not reads_halves and image_dtype(*avals_in[:2]).itemsize == 2


def _in_float32(
    primitive: Primitive, avals_out: Sequence[Any], *args: Any, **kw: Any
) -> list[Any]:
    """What an op gives, by way of images in float32."""
    wide = [a if is_integer(a) else a.astype(jnp.float32) for a in args]
    results = primitive.bind(*wide, **kw)
    return [r.astype(a.dtype) for r, a in zip(results, avals_out, strict=True)]


def _platforms(ctx: mlir.LoweringRuleContext) -> Sequence[str]:
    return ctx.platforms or ctx.module_context.platforms


def custom_call(
    name: str,
    ctx: mlir.LoweringRuleContext,
    args: Sequence[Any],
    spec: Spec,
    platform: str,
) -> Sequence[Any]:
    partitioned = may_be_partitioned(ctx)
    if partitioned:
        ctx, args = _without_broadcast(ctx, args, spec)
    batch = _leading_ndim(ctx.avals_in, spec)
    image = ctx.avals_in[0].shape[batch:]
    planes = spec.plane_shape((*_leading_shape(ctx.avals_in, spec), *image))
    words = native.SCRATCH_WORDS
    if platform == "cuda" and name in native.VOLUME_GRADIENT_TARGETS and spec.volumes:
        ndim = len(planes) + len(spec.spatial_axes)
        gradients = sum(a.ndim == ndim for a in ctx.avals_out)
        words += _derivative_words(ctx.avals_in[0], planes, spec, gradients)
    scratch = ShapedArray((*planes, words), np.dtype("uint32"))
    avals_out = [*ctx.avals_out, scratch]
    attributes = None
    if partitioned:
        attributes = partitioning_attributes(ctx.avals_in, avals_out, spec)
    rule = jax.ffi.ffi_lowering(name, extra_attributes=attributes)
    results = rule(
        ctx.replace(avals_out=avals_out),
        *args,
        **spec.attributes(image_dtype(*ctx.avals_in[:2])),
    )
    return results[:-1]


def _derivative_words(
    image: Any, planes: Sequence[Any], spec: Spec, gradients: int
) -> int:
    """32-bit words of scratch that a plane has for derivatives."""
    volume = tuple(image.shape[axis] for axis in spec.spatial_axes)
    if not all(isinstance(n, int) for n in (*planes, *volume)):
        return 0
    # Only kernels in float32 make both gradients at once.
    for maps_of in range(gradients if image.dtype == np.float32 else 1, 0, -1):
        words = native.derivative_words(volume, image.dtype.itemsize, maps_of)
        if 4 * words * math.prod(planes) <= _MOST_DERIVATIVE_BYTES:
            return words
    return 0


def _leading_ndim(avals_in: Sequence[Any], spec: Spec) -> int:
    """How many leading dimensions operands have."""
    return len(avals_in[0].shape) - spec.spatial_ndim


def _leading_shape(avals_in: Sequence[Any], spec: Spec) -> tuple[int, ...]:
    """The leading dimensions of all operands together."""
    batch = _leading_ndim(avals_in, spec)
    return jnp.broadcast_shapes(*[aval.shape[:batch] for aval in avals_in])


def may_be_partitioned(ctx: mlir.LoweringRuleContext) -> bool:
    """Whether XLA may cut this call's leading dimensions over devices."""
    if getattr(ctx.module_context.lowering_parameters, "for_export", False):
        return True
    axes = ctx.module_context.axis_context
    if isinstance(axes, mlir.SPMDAxisContext):
        return set(axes.manual_axes) != set(axes.mesh.axis_names)
    return getattr(axes, "num_devices", None) != 1


def _without_broadcast(
    ctx: mlir.LoweringRuleContext, args: Sequence[Any], spec: Spec
) -> tuple[mlir.LoweringRuleContext, Sequence[Any]]:
    """Gives every operand the leading dimensions of all together.

    XLA cuts the leading dimensions of all operands alike: one of size 1, which the
    kernel would read again for every entry, would be cut into itself and padding.
    """
    batch = _leading_ndim(ctx.avals_in, spec)
    leading = _leading_shape(ctx.avals_in, spec)
    shapes = [(*leading, *aval.shape[batch:]) for aval in ctx.avals_in]
    if all(a.shape == s for a, s in zip(ctx.avals_in, shapes, strict=True)):
        return ctx, args
    avals = [a.update(shape=s) for a, s in zip(ctx.avals_in, shapes, strict=True)]
    rule = mlir.lower_fun(
        lambda *a: [jnp.broadcast_to(v, s) for v, s in zip(a, shapes, strict=True)],
        multiple_results=True,
    )
    values = rule(ctx.replace(avals_out=avals), *args)
    return ctx.replace(avals_in=avals), values


def partitioning_attributes(
    avals_in: Sequence[Any],
    avals_out: Sequence[Any],
    spec: Spec,
) -> dict[str, ir.Attribute] | None:
    """Attributes by which XLA runs the call on shards of the leading dimensions.

    The protocol is that of JAX's own batched linear algebra: `num_batch_dims` for the
    partitioner, a rule for Shardy's propagation. None when a dimension is symbolic.
    """
    shapes = [aval.shape for aval in (*avals_in, *avals_out)]
    if not all(isinstance(d, int) for shape in shapes for d in shape):
        return None
    batch = _leading_ndim(avals_in, spec)
    rule = _sharding_rule(shapes, len(avals_in), batch)
    return {
        "mhlo.frontend_attributes": mlir.ir_attribute({"num_batch_dims": str(batch)}),
        "sdy.sharding_rule": ir.Attribute.parse(rule),
    }


def _sharding_rule(shapes: Sequence[Sequence[int]], operands: int, batch: int) -> str:
    """Leading dimensions share factors, unless broadcast; all others have their own."""
    sizes: list[int] = []

    def factor(size: int) -> int:
        sizes.append(size)
        return len(sizes) - 1

    leading = [factor(max(shape[i] for shape in shapes)) for i in range(batch)]

    def dims(shape: Sequence[int]) -> str:
        names = [
            leading[i] if i < batch and size == sizes[leading[i]] else factor(size)
            for i, size in enumerate(shape)
        ]
        return "[" + ", ".join(map(_factor_name, names)) + "]"

    texts = [dims(shape) for shape in shapes]
    ins, outs = ", ".join(texts[:operands]), ", ".join(texts[operands:])
    named = ", ".join(f"{_factor_name(i)}={size}" for i, size in enumerate(sizes))
    return f"#sdy.op_sharding_rule<({ins})->({outs}) {{{named}}}, custom>"


def _factor_name(index: int) -> str:
    letters = "ijklmnopqrstuvwxyz"
    return letters[index] if index < len(letters) else f"z_{index - len(letters) + 1}"
