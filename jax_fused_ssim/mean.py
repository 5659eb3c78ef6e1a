"""Mean SSIM, and its derivative: value and gradient in one pass.

The gradient of the mean is that of the sums times the cotangent. So the derivative rule
computes both together, and the tangent is an inner product with the gradient: forward
mode works, and reverse mode is its transpose, one multiplication that XLA drops when
the cotangent is the constant 1.

What has the rule is 1 - SSIM: people train with `1 - fused_ssim(x, y)`, whose cotangent
at the mean SSIM is -1 and at 1 - SSIM is 1.

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

from jax_fused_ssim import halo, ops
from jax_fused_ssim.spec import Spec, compute_dtype
from jax_fused_ssim.sums import split_sum


class Mean(NamedTuple):
    """What is static about a mean.

    Attributes:
      spec: of the whole image; `scale` is replaced.
      per_image: one mean for every leading index instead of one for all.
      cut: the axes that are cut over devices.
      mesh_axes: the mesh axes that the mean covers.
    """

    spec: Spec
    per_image: bool
    cut: tuple[halo.ShardedAxis, ...] = ()
    mesh_axes: tuple[Any, ...] = ()

    def scaled_spec(self, interior: Array) -> tuple[Spec, Array | None]:
        """Spec of the parts, whose scale is 1 / pixels under the mean, and the factor
        that the scale cannot hold: 1 / the product of the symbolic dimensions."""
        shape = list(interior.shape[len(self.cut) :])
        for axis, name, _ in self.cut:
            shape[axis] *= jax.lax.axis_size(name)
        dims = self.spec.map_shape(tuple(shape))
        dims = dims[-3:] if self.per_image else dims
        pixels = math.prod(d for d in dims if isinstance(d, int))
        factor = None
        for d in dims:
            if not isinstance(d, int):
                inverse = 1 / jnp.asarray(d, compute_dtype(interior.dtype))
                factor = inverse if factor is None else factor * inverse
        spec = self.spec.with_padding([c.axis for c in self.cut], False)
        return spec.scaled(1 / pixels), factor

    def inside(self, values: Sequence[Array]) -> list[Array]:
        """Of one array for every part, what is inside the whole map; else zeros."""
        return [
            v
            if mask is None
            else jnp.where(jnp.expand_dims(mask, range(mask.ndim, v.ndim)), v, 0)
            for v, mask in zip(values, halo.inside(self.cut), strict=True)
        ]

    def value(self, sums: Sequence[Array], factor: Array | None) -> Array:
        """The mean of 1 - SSIM from what `ops.ssim_sum` gives for every part."""
        values, own_axes = sums[0], ()
        if self.cut:
            extra = len(self.cut)
            flat = [s.reshape(-1, *s.shape[extra:]) for s in self.inside(sums)]
            values, own_axes = jnp.concatenate(flat), (0,)
        axes = (*own_axes, -1) if self.per_image else tuple(range(values.ndim))
        total = split_sum(values, axes, bound=2, mesh_axes=self.mesh_axes)
        return jnp.minimum(total if factor is None else total * factor, 2)

    def tangent(self, products: Sequence[Array], factor: Array | None) -> Array:
        """The tangent from the inner products of every part."""
        total = products[0]
        if self.cut:
            axes = tuple(range(len(self.cut)))
            total = sum(jnp.sum(p, axis=axes) for p in self.inside(products))
        if factor is not None:
            total = total * factor
        return jax.lax.psum(total, self.mesh_axes) if self.mesh_axes else total


def ssim_mean(xs: Sequence[Array], ys: Sequence[Array], mean: Mean) -> Array:
    """Mean SSIM.

    Args:
      xs: the parts of the images, [..., C, H, W], or [..., H, W, C] with
        `mean.spec.channels_last`, behind one more dimension for every axis that is cut.
      ys: of the shapes and the dtype of xs.
      mean: what is static.

    Returns:
      A scalar, or the leading shape: float32, float64 for float64 images.
    """
    return 1 - _dissimilarity_mean(xs, ys, mean)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _dissimilarity_mean(xs: Sequence[Array], ys: Sequence[Array], mean: Mean) -> Array:
    spec, factor = mean.scaled_spec(xs[0])
    sums = [ops.ssim_sum(x, y, spec) for x, y in zip(xs, ys, strict=True)]
    return mean.value(sums, factor)


@functools.partial(_dissimilarity_mean.defjvp, symbolic_zeros=True)
def _dissimilarity_mean_jvp(
    mean: Mean, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    spec, factor = mean.scaled_spec(primals[0][0])
    # The op's gradients are those of SSIM, its sums those of 1 - SSIM.
    negative = spec.scaled(-spec.scale)
    sums, products = [], []
    for x, y, *part_tangents in zip(*primals, *tangents, strict=True):
        wrt, given = ops.perturbed(part_tangents)
        part_sums, grads = ops.ssim_sum_grad(x, y, negative, wrt)
        sums.append(-part_sums)
        axes = (-3, -2, -1) if mean.per_image else tuple(range(len(mean.cut), x.ndim))
        products.append(
            sum(
                jnp.sum(g * t.astype(g.dtype), axis=axes)
                for g, t in zip(grads, given, strict=True)
            )
        )
    return mean.value(sums, factor), mean.tangent(products, factor)
