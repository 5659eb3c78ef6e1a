"""SSIM of images that are cut over devices along height and width.

For use inside `jax.shard_map`, for images too large for one device, or to share the
work on one image. Neighbours exchange 5 rows or columns, and on the way back the
gradients of those; nothing is gathered.
"""

import dataclasses
import functools
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim import halo, ops
from jax_fused_ssim.arguments import (
    DataFormat,
    Implementation,
    Number,
    Padding,
    Reduction,
    checked_images,
    checked_spec,
    layout_hint,
)
from jax_fused_ssim.halo import ShardedAxis
from jax_fused_ssim.placement import placed_alike
from jax_fused_ssim.spec import WINDOW, Spec, compute_dtype
from jax_fused_ssim.sums import split_sum

# A mesh axis, or several that one image axis is cut over.
AxisName = Hashable


def fused_ssim(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Padding = "same",
    *,
    height_axis: AxisName | None = None,
    width_axis: AxisName | None = None,
    data_format: DataFormat = "NCHW",
    data_range: Number = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    reduction: Reduction = "mean",
    implementation: Implementation = None,
) -> Array:
    """`jax_fused_ssim.fused_ssim` of images whose height or width is sharded.

    To be called inside `jax.shard_map`, on the block that a device holds. Values, maps
    and gradients are those of the whole images.

        mesh = jax.make_mesh((jax.device_count(),), ("rows",))
        cut = P(None, None, "rows")
        ssim = jax.shard_map(
            functools.partial(sharded.fused_ssim, height_axis="rows"),
            mesh=mesh,
            in_specs=cut,
            out_specs=P(),
        )
        img1, img2 = jax.device_put((img1, img2), NamedSharding(mesh, cut))
        value, grad = jax.jit(jax.value_and_grad(ssim))(img1, img2)

    Every device computes the SSIM of its own pixels. One kernel runs on the block as it
    lies in memory, a second one on its ends of 15 rows: 5 of a neighbour, 10 of its
    own; two more where height and width are both sharded.

    Args:
      img1: the block of this device, Float[Array, "*batch C H W"], or "*batch H W C"
        for data_format "NHWC". Blocks are equal, as in `jax.shard_map`, and have at
        least 11 pixels along an axis that is cut.
      img2: like img1.
      padding: "same" or "valid", at the border of the whole image.
      height_axis: the mesh axis that the height is sharded over, or a tuple of them;
        None if it is not.
      width_axis: the same for the width.
      data_format: as in `jax_fused_ssim.fused_ssim`, like what follows.
      data_range: static.
      k1: static.
      k2: static.
      reduction: "mean" over the whole images of this device's batch, equal on all
        devices of the named axes (take `jax.lax.pmean` over an axis that shards the
        batch), "per_image" alike; "none" for this block's part of the map, which needs
        padding "same".
      implementation: None, "fused" or "xla".

    Returns:
      Float[Array, ""], Float[Array, "*batch"] or a block of the map, as from
      `jax_fused_ssim.fused_ssim`.

    Raises:
      TypeError: as `jax_fused_ssim.fused_ssim`.
      ValueError: as `jax_fused_ssim.fused_ssim`; no axis is named, or one twice; a
        block with fewer than 11 pixels along an axis that is cut; reduction "none" with
        padding "valid", as its rows would not be shared equally.
      NameError: a mesh axis that is not one here, as outside `jax.shard_map`.
    """
    spec = checked_spec(
        padding, data_format, data_range, k1, k2, reduction, implementation
    )
    mesh_axes = _checked_names(height_axis, width_axis)
    if reduction == "none" and padding == "valid":
        raise ValueError(
            'reduction="none" with padding="valid" has no equal blocks: the map lacks '
            "5 pixels of the first one and of the last. Leave out the outermost 5 "
            'pixels of the whole map of padding="same": the rest is the valid map.'
        )
    cut = tuple(
        ShardedAxis(axis, name, padded)
        for axis, name, padded in zip(
            spec.spatial_axes, (height_axis, width_axis), spec.padding, strict=True
        )
        if name is not None and jax.lax.axis_size(name) > 1
    )
    # Blocks have a check of their own, in place of that for "valid".
    x, y = checked_images(img1, img2, _with_padding(spec, cut, True))
    _check_blocks(x.shape, cut, spec)
    x, y = placed_alike(x, y, spec)
    xs, ys = (tuple(halo.parts(a, cut)) for a in (x, y))
    if reduction == "none":
        unpadded = _with_padding(spec, cut, False)
        maps = [ops.ssim_map(*pair, unpadded) for pair in zip(xs, ys, strict=True)]
        return halo.joined(maps, cut)
    mean = _Mean(spec, cut, mesh_axes, reduction == "per_image")
    return _mean_of_parts(xs, ys, mean)


def _checked_names(*names: AxisName | None) -> tuple[Any, ...]:
    """The mesh axes, those in a tuple taken apart."""
    flat: list[Any] = []
    for name in names:
        flat += name if isinstance(name, tuple) else [name] if name is not None else []
    if not flat or len(set(flat)) < len(flat):
        raise ValueError(
            "height_axis and width_axis must name different mesh axes, and one of them "
            f"at least; got {names[0]!r} and {names[1]!r}"
        )
    return tuple(flat)


def _with_padding(spec: Spec, cut: Sequence[ShardedAxis], padded: bool) -> Spec:
    """The same with another padding along the axes that are cut."""
    axes = [c.axis for c in cut]
    padding = (
        padded if axis in axes else p
        for axis, p in zip(spec.spatial_axes, spec.padding, strict=True)
    )
    return dataclasses.replace(spec, padding=tuple(padding))


def _check_blocks(shape: Sequence[int], cut: Sequence[ShardedAxis], spec: Spec) -> None:
    for axis, name, _ in cut:
        if shape[axis] < WINDOW:
            raise ValueError(
                f"an image cut over mesh axis {name!r} needs blocks of at least "
                f"{WINDOW} pixels along it; got {shape[axis]} in a block of shape "
                f"{tuple(shape)}. {layout_hint(shape, spec)}Use fewer devices along "
                "that axis."
            )


class _Mean(NamedTuple):
    """A mean over parts: what is static.

    Attributes:
      spec: of the whole image.
      cut: the axes that are cut.
      mesh_axes: the mesh axes that the mean covers.
      per_image: one mean for every leading index of the block.
    """

    spec: Spec
    cut: tuple[ShardedAxis, ...]
    mesh_axes: tuple[Any, ...]
    per_image: bool

    def scaled_spec(self, interior: Array) -> tuple[Spec, Array | None]:
        """Spec of the parts, with 1 / pixels under the mean for its scale, and the
        factor that the scale cannot hold."""
        whole = list(interior.shape[len(self.cut) :])
        for axis, name, _ in self.cut:
            whole[axis] *= jax.lax.axis_size(name)
        static, symbolic = ops.mean_count(whole, self.spec, self.per_image)
        factor = ops.mean_factor(symbolic, compute_dtype(interior.dtype))
        return _with_padding(self.spec, self.cut, False).scaled(1 / static), factor

    def inside(self, values: Sequence[Array]) -> list[Array]:
        """Of one array for every part, what is inside the whole map; else zeros."""
        return [
            v
            if mask is None
            else jnp.where(jnp.expand_dims(mask, range(mask.ndim, v.ndim)), v, 0)
            for v, mask in zip(values, halo.inside(self.cut), strict=True)
        ]

    def value(self, sums: Sequence[Array], factor: Array | None) -> Array:
        """The mean from what `ops.ssim_sum` gives for every part."""
        extra = len(self.cut)
        flat = [s.reshape(-1, *s.shape[extra:]) for s in self.inside(sums)]
        values = jnp.concatenate(flat)
        axes = (0, -1) if self.per_image else tuple(range(values.ndim))
        total = split_sum(values, axes, bound=2, mesh_axes=self.mesh_axes)
        return 1 - jnp.minimum(total if factor is None else total * factor, 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _mean_of_parts(xs: tuple[Array, ...], ys: tuple[Array, ...], mean: _Mean) -> Array:
    """Mean SSIM of the whole images from the parts of all blocks."""
    spec, factor = mean.scaled_spec(xs[0])
    sums = [ops.ssim_sum(x, y, spec) for x, y in zip(xs, ys, strict=True)]
    return mean.value(sums, factor)


@functools.partial(_mean_of_parts.defjvp, symbolic_zeros=True)
def _mean_of_parts_jvp(mean: _Mean, primals: Any, tangents: Any) -> tuple[Array, Array]:
    spec, factor = mean.scaled_spec(primals[0][0])
    sums, products = [], []
    for x, y, *part_tangents in zip(*primals, *tangents, strict=True):
        wrt, given = ops.perturbed(part_tangents)
        part_sums, grads = ops.ssim_sum_grad(x, y, spec, wrt)
        sums.append(part_sums)
        axes = (-3, -2, -1) if mean.per_image else tuple(range(len(mean.cut), x.ndim))
        products.append(
            sum(
                jnp.sum(g * t.astype(g.dtype), axis=axes)
                for g, t in zip(grads, given, strict=True)
            )
        )
    tangent = sum(
        jnp.sum(p, axis=tuple(range(len(mean.cut)))) for p in mean.inside(products)
    )
    if factor is not None:
        tangent = tangent * factor
    return mean.value(sums, factor), jax.lax.psum(tangent, mean.mesh_axes)
