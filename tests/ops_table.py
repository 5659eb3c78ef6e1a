"""Every op, once for each choice of gradients: the table that the tests share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

from jax_fused_ssim import fused_ssim, ops, photometric_loss
from jax_fused_ssim.spec import RADIUS, compute_dtype
from jax_fused_ssim.weighted import LossWeights

FIRST, SECOND, BOTH = (True, False), (False, True), (True, True)


@dataclasses.dataclass(frozen=True)
class Op:
    """An op, called as `op(x, y, cotangent, spec)`: all its results in a flat list.

    Attributes:
      name: of the function in `ops`, and of the custom call behind its prefix.
      wrt: the images whose gradients it gives, or None if it gives none.
    """

    name: str
    wrt: tuple[bool, bool] | None = None

    @property
    def loss(self):
        """Whether its first result is a loss."""
        return "_sum" in self.name

    @property
    def errors(self):
        """Whether the loss has errors, and its second result is the terms."""
        return "loss_sum" in self.name

    @property
    def weights(self):
        """Whether it takes weights: those that `loss_weights` makes of a cotangent."""
        return self.name.startswith("weighted")

    @property
    def cotangent(self):
        """Whether it takes a cotangent map, which the others leave alone."""
        return self.name == "ssim_map_grad"

    @property
    def images(self):
        """How many of its results are as large as an image: a map or gradients."""
        return sum(self.wrt) if self.wrt else int(self.name == "ssim_map")

    def __call__(self, x, y, cotangent, spec):
        arguments = [x, y, *[cotangent] * self.cotangent]
        if self.weights:
            arguments.append(loss_weights(cotangent, spec))
        arguments.append(spec)
        if self.wrt:
            arguments.append(self.wrt)
        return jax.tree.leaves(getattr(ops, self.name)(*arguments))

    def public(self, x, y):
        """What of the public functions is this op."""
        if self.errors:
            function = functools.partial(
                photometric_loss,
                l2_weight=0.5,
                weights=x[..., :1, :, :] if self.weights else None,
            )
        elif self.loss:
            function = fused_ssim
        else:
            function = functools.partial(fused_ssim, reduction="none")
        if not self.wrt:
            return function(x, y)
        argnums = tuple(i for i, asked in enumerate(self.wrt) if asked)
        return jax.grad(lambda x, y: (function(x, y) ** 2).sum(), argnums)(x, y)


def loss_weights(cotangent, spec):
    """Some of 0 and some of 1, of all interleaved channels together."""
    of_map = cotangent.astype(compute_dtype(cotangent.dtype))
    # No arithmetic, which jit may round otherwise.
    of_map = jnp.where(of_map < 0.1, 0, jnp.where(of_map > 0.9, 1, of_map))
    if spec.channels_last:
        of_map = of_map[..., :1]
    margins = [(0, 0)] * of_map.ndim
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        margins[axis] = (RADIUS * (not padded),) * 2
    of_errors = jnp.pad(of_map, margins, constant_values=0.4)
    scales = jnp.asarray([0.7, 1.3], of_map.dtype)
    kept = of_map.ndim - spec.spatial_ndim
    return LossWeights(of_map, of_errors, scales.reshape(*[1] * kept, 2))


OPS = {
    "ssim_sum": Op("ssim_sum"),
    "ssim_sum_grad x": Op("ssim_sum_grad", FIRST),
    "ssim_sum_grad y": Op("ssim_sum_grad", SECOND),
    "ssim_sum_grad both": Op("ssim_sum_grad", BOTH),
    "loss_sum": Op("loss_sum"),
    "loss_sum_grad x": Op("loss_sum_grad", FIRST),
    "loss_sum_grad y": Op("loss_sum_grad", SECOND),
    "loss_sum_grad both": Op("loss_sum_grad", BOTH),
    "weighted_loss_sum": Op("weighted_loss_sum"),
    "weighted_loss_sum_grad x": Op("weighted_loss_sum_grad", FIRST),
    "weighted_loss_sum_grad y": Op("weighted_loss_sum_grad", SECOND),
    "weighted_loss_sum_grad both": Op("weighted_loss_sum_grad", BOTH),
    "ssim_map": Op("ssim_map"),
    "ssim_map_grad x": Op("ssim_map_grad", FIRST),
    "ssim_map_grad y": Op("ssim_map_grad", SECOND),
    "ssim_map_grad both": Op("ssim_map_grad", BOTH),
}
every_op = pytest.mark.parametrize("op", OPS)
