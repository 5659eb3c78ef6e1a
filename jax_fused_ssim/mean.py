"""Means over images, and their derivative: value and gradient in one pass.

The gradient of a mean is that of the sums times the cotangent. So the derivative rule
computes both together, and the tangent is an inner product with the gradient: forward
mode works, and reverse mode is its transpose, one multiplication that XLA drops when
the cotangent is the constant 1.

What has the rule is the mean of 1 - SSIM, or a loss that has it and the errors for
terms: people train with `1 - fused_ssim(x, y)`, whose cotangent at the mean SSIM is -1
and at 1 - SSIM is 1.

A mean is over parts: of images that are cut over devices those of `halo.parts`,
otherwise the one image.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jax_fused_ssim import halo, ops, xla
from jax_fused_ssim.integer import as_floats, image_dtype, is_integer
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum, split_sum_of_any


class Means(NamedTuple):
    """The means that a loss is made of: scalars, or of the leading shape.

    Attributes:
      l1: of |d|, where d = (x - y) / data_range.
      l2: of d^2.
      dissimilarity: of 1 - SSIM.
    """

    l1: Array
    l2: Array
    dissimilarity: Array


class Mean(NamedTuple):
    """What is static about a mean.

    Attributes:
      spec: of the whole image; `scale` and `error_scale` are replaced.
      reduction: "mean" is one mean for all, "per_image" one for every leading index,
        "per_channel" one for every plane.
      cut: the axes that are cut over devices.
      mesh_axes: the mesh axes that the mean covers.
      errors: whether errors are counted, and their means wanted.
    """

    spec: Spec
    reduction: str
    cut: tuple[halo.ShardedAxis, ...] = ()
    mesh_axes: tuple[Any, ...] = ()
    errors: bool = False

    def counts_alike(self, shape: Sequence[Any]) -> bool:
        """Whether one kernel can count errors and SSIM of images of this shape.

        Parts of a block make each pixel of the map once; the factor that a kernel's
        scales cannot hold is one for both; and errors of interleaved channels are
        counted together.
        """
        if self.is_by_interleaved_channel:
            return False
        where_cut = [c.axis for c in self.cut]
        return all(
            padded
            or cropped
            or (axis not in where_cut and isinstance(shape[axis], int))
            for axis, padded, cropped in zip(
                self.spec.spatial_axes, self.spec.padding, self.spec.crop, strict=True
            )
        )

    @property
    def is_by_interleaved_channel(self) -> bool:
        """Whether interleaved channels have means of their own."""
        return self.reduction == "per_channel" and self.spec.channels_last

    def scaled_spec(self, interior: Array) -> tuple[Spec, Array | None]:
        """Spec of the parts, whose scales are 1 / pixels under the mean, and the factor
        that the scales cannot hold: 1 / the product of the symbolic dimensions."""
        shape = list(interior.shape[len(self.cut) :])
        for axis, name, _ in self.cut:
            shape[axis] *= jax.lax.axis_size(name)
        dims = self._counted(self.spec.map_shape(tuple(shape)))
        error_dims = self._counted(self.spec.error_shape(tuple(shape)))
        dtype = compute_dtype(image_dtype(interior, interior))
        factor = None
        for d in dims:
            if not isinstance(d, int):
                inverse = 1 / jnp.asarray(d, dtype)
                factor = inverse if factor is None else factor * inverse
        spec = self.spec.with_scales(1 / _product(dims), 1 / _product(error_dims))
        where_cut = [c.axis for c in self.cut]
        spec = spec.with_padding(where_cut, False).with_crop(where_cut, True)
        return spec.with_summed(self.summed(interior.shape)), factor

    def summed(self, shape: Sequence[Any]) -> int:
        """`Spec.summed` of the mean of images, or parts, of this shape."""
        # Of channels first, the channels are images to an op.
        planes = self.spec.plane_shape(tuple(shape))
        every = len(planes) - len(self.cut)
        return {"per_channel": 0, "per_image": 1}.get(self.reduction, every)

    def axes(self, ndim: int) -> tuple[int, ...]:
        """The axes, counted from the end, that a mean of images is over."""
        if self.reduction == "per_channel":
            return self.spec.spatial_axes
        per_image = self.reduction == "per_image"
        return tuple(range(-self.spec.image_ndim if per_image else -ndim, 0))

    def _counted(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(shape[axis] for axis in self.axes(len(shape)))

    def inside(self, values: Sequence[Array]) -> list[Array]:
        """Of one array for every part, what is inside the whole map; else zeros."""
        return [
            v
            if mask is None
            else jnp.where(jnp.expand_dims(mask, range(mask.ndim, v.ndim)), v, 0)
            for v, mask in zip(values, halo.inside(self.cut), strict=True)
        ]

    def loss(
        self,
        losses: Sequence[Array],
        terms: Sequence[Array] | None,
        factor: Array | None,
    ) -> tuple[Array, Means | None]:
        """The loss and its means from what an op gives for every part."""
        if not self.errors:
            return self._dissimilarity(losses, factor), None
        assert terms is not None
        whole = terms[0]
        if not self.is_whole:
            values, own_axes = self._joined(terms)
            from_end = [i - values.ndim for i in own_axes]
            whole = split_sum_of_any(values, from_end, self.mesh_axes)
        if factor is not None:
            whole = whole * factor
        means = means_of_terms(whole)
        if self.is_whole and factor is None:
            return losses[0], means
        return xla.loss_of_terms(means, self.spec), means

    def _dissimilarity(self, sums: Sequence[Array], factor: Array | None) -> Array:
        """The mean of 1 - SSIM from what `ops.ssim_sum` gives for every part."""
        total = sums[0]
        if not self.is_whole:
            values, own_axes = self._joined(sums)
            total = split_sum(values, own_axes, bound=2, mesh_axes=self.mesh_axes)
        return jnp.minimum(total if factor is None else total * factor, 2)

    @property
    def is_whole(self) -> bool:
        """Whether an op sees all that a mean is over."""
        return not self.cut and not self.mesh_axes

    def _joined(self, values: Sequence[Array]) -> tuple[Array, tuple[int, ...]]:
        """What every part has, as one array, and the axis of the parts in it."""
        if not self.cut:
            return values[0], ()
        extra = len(self.cut)
        flat = [v.reshape(-1, *v.shape[extra:]) for v in self.inside(values)]
        return jnp.concatenate(flat), (0,)

    def tangent(self, products: Sequence[Array], factor: Array | None) -> Array:
        """The tangent from the inner products of every part."""
        total = products[0]
        if self.cut:
            axes = tuple(range(len(self.cut)))
            total = sum(jnp.sum(p, axis=axes) for p in self.inside(products))
        if factor is not None:
            total = total * factor
        return jax.lax.psum(total, self.mesh_axes) if self.mesh_axes else total


def _product(dims: Sequence[Any]) -> int:
    """Of those dimensions that are not symbolic."""
    return math.prod(d for d in dims if isinstance(d, int))


def means_of_terms(terms: Array) -> Means:
    """The means from the terms of an op, [..., 3]."""
    l1, l2, dissimilarity = (terms[..., i] for i in range(3))
    # Rounding must not lead out of the bounds of SSIM.
    return Means(l1, l2, jnp.minimum(dissimilarity, 2))


def inner_product(
    grads: Sequence[Array], tangents: Sequence[Array], axes: Sequence[int], dtype: Any
) -> Array:
    """The sum over axes of gradients times tangents, in a dtype."""
    return sum(
        jnp.sum(g.astype(dtype) * t.astype(dtype), axis=tuple(axes))
        for g, t in zip(grads, tangents, strict=True)
    )


def ssim_mean(xs: Sequence[Array], ys: Sequence[Array], mean: Mean) -> Array:
    """Mean SSIM.

    Args:
      xs: the parts of the images, [..., C, H, W], or [..., H, W, C] with
        `mean.spec.channels_last`, behind one more dimension for every axis that is cut.
      ys: of the shapes and the dtype of xs.
      mean: what is static; without errors.

    Returns:
      A scalar, or the leading shape, and per channel behind it that of the channels:
      float32, float64 for float64 images.
    """
    return 1 - dissimilarity_mean(xs, ys, mean)


def dissimilarity_mean(xs: Sequence[Array], ys: Sequence[Array], mean: Mean) -> Array:
    """1 - `ssim_mean`, whose arguments it has."""
    if mean.is_by_interleaved_channel or mean.spec.volumes:
        # The op that knows integers counts interleaved channels together, and knows no
        # volumes.
        pairs = [as_floats(*pair, mean.spec) for pair in zip(xs, ys, strict=True)]
        xs, ys = zip(*pairs, strict=True)
    loss, _ = loss_mean(xs, ys, mean)
    return loss


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def loss_mean(
    xs: Sequence[Array], ys: Sequence[Array], mean: Mean
) -> tuple[Array, Means | None]:
    """The mean of 1 - SSIM, or a loss of all means.

    Args:
      xs: as in `ssim_mean`.
      ys: as in `ssim_mean`.
      mean: what is static.

    Returns:
      The mean of 1 - SSIM and None; or with errors the means times the weights in
      `mean.spec`, added up, and these means, which have no derivative here.
    """
    spec, factor = mean.scaled_spec(xs[0])
    pairs = list(zip(xs, ys, strict=True))
    if not _by_loss_op(xs, ys, mean):
        return mean.loss([ops.ssim_sum(x, y, spec) for x, y in pairs], None, factor)
    losses, terms = zip(*[ops.loss_sum(x, y, spec) for x, y in pairs], strict=True)
    return mean.loss(losses, terms, factor)


def _by_loss_op(xs: Sequence[Array], ys: Sequence[Array], mean: Mean) -> bool:
    """Whether the op that counts errors is taken, which alone knows integers."""
    return mean.errors or is_integer(xs[0]) or is_integer(ys[0])


@functools.partial(loss_mean.defjvp, symbolic_zeros=True)
def _loss_mean_jvp(mean: Mean, primals: Any, tangents: Any) -> Any:
    spec, factor = mean.scaled_spec(primals[0][0])
    by_loss_op = _by_loss_op(*primals, mean)
    losses, terms, products = [], [], []
    for x, y, *part_tangents in zip(*primals, *tangents, strict=True):
        wrt, given = ops.perturbed(part_tangents)
        if by_loss_op:
            loss, part_terms, grads = ops.loss_sum_grad(x, y, spec, wrt)
            terms.append(part_terms)
        else:
            loss, grads = ops.ssim_sum_grad(x, y, spec, wrt)
        losses.append(loss)
        axes = mean.axes(x.ndim - len(mean.cut))
        products.append(inner_product(grads, given, axes, loss.dtype))
    tangent = mean.tangent(products, factor)
    value, means = mean.loss(losses, terms, factor)
    if means is None:
        return (value, None), (tangent, None)
    # Depends on the tangents, so that who differentiates a mean can be told.
    return (value, means), (tangent, Means(*[0 * tangent] * len(means)))
