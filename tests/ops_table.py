"""Every op, once for each choice of gradients: the table that the tests share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jax_fused_ssim import fused_ssim, ops, photometric_loss, ssim_terms
from jax_fused_ssim.spec import compute_dtype
from jax_fused_ssim.weighted import LossWeights

FIRST, SECOND, BOTH = (True, False), (False, True), (True, True)


@dataclasses.dataclass(frozen=True)
class Op:
    """An op, called as `op(x, y, cotangent, spec)`: all its results in a flat list.

    Attributes:
      name: of the function in `ops`, and of the custom call behind its prefix.
      wrt: the images whose gradients it gives, or None if it gives none.
      weighting: which weights: another one for the window of a pixel than for its
        error ("inside"), or the same ("map"), or the same and windows do not see what
        has none ("normalized").
    """

    name: str
    wrt: tuple[bool, bool] | None = None
    weighting: str = "inside"

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
    def leaves_out(self):
        """Whether windows do not see what has no weight."""
        return self.weighting == "normalized"

    @property
    def cotangent(self):
        """Whether it takes a cotangent map, which the others leave alone."""
        return self.name == "ssim_map_grad"

    @property
    def factors(self):
        """Whether its results are the maps of SSIM's two factors."""
        return self.name == "ssim_factor_maps"

    @property
    def images(self):
        """How many of its results are as large as an image: maps or gradients."""
        if self.wrt:
            return sum(self.wrt)
        return 2 * self.factors + (self.name == "ssim_map")

    def __call__(self, x, y, cotangent, spec):
        if self.leaves_out:  # which images in half precision do not know
            x, y = (a.astype(compute_dtype(a.dtype)) for a in (x, y))
        arguments = [x, y, *[cotangent] * self.cotangent]
        if self.weights:
            arguments.append(loss_weights(cotangent, spec, self.weighting))
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
                weighting="normalized" if self.leaves_out else "map",
            )
        elif self.loss:
            function = fused_ssim
        elif self.factors:
            function = functools.partial(ssim_terms, reduction="none")
        else:
            function = functools.partial(fused_ssim, reduction="none")
        if not self.wrt:
            return function(x, y)
        argnums = tuple(i for i, asked in enumerate(self.wrt) if asked)
        return jax.grad(lambda x, y: (function(x, y) ** 2).sum(), argnums)(x, y)


def loss_weights(cotangent, spec, weighting):
    """Some of 0 and some of 2, of all interleaved channels together."""
    of_map = cotangent.astype(compute_dtype(cotangent.dtype))
    # No arithmetic, which jit may round otherwise.
    of_map = jnp.where(of_map < 0.1, 0, jnp.where(of_map > 0.9, 2, of_map))
    if spec.channels_last:
        of_map = of_map[..., :1]
    margins = [(0, 0)] * of_map.ndim
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        margins[axis] = spec.window.margins(not padded)
    of_errors = jnp.pad(of_map, margins, constant_values=0.4)
    of_map = jnp.pad(of_map, margins, constant_values=9)
    if weighting == "map":
        of_map = of_errors
    scales = jnp.asarray([0.7, 1.3, 0.5], of_map.dtype)
    kept = of_map.ndim - spec.spatial_ndim
    scales = scales.reshape(*[1] * kept, 3)
    if weighting != "normalized":
        return LossWeights(of_map, of_errors, scales)
    last = spec.channels_last
    seen = holes(reference.planes(np.empty(of_errors.shape), last).shape)
    # Those of whole windows, though the map of unpadded images has no others.
    of = (spec.window.size, spec.window.sigma)
    mean_scales = reference.mean_scales(seen, of=of).astype(np.dtype(of_errors.dtype))
    seen, mean_scales = (reference.unplanes(a, last) for a in (seen, mean_scales))
    of_errors = jnp.where(seen, jnp.maximum(of_errors, 0.1), 0)
    return LossWeights(of_errors, of_errors, scales, jnp.asarray(mean_scales))


@functools.cache
def holes(shape):
    """Booleans of planes: alone, in a row, and a corner of them is false."""
    *leading, y, x = np.indices(shape)
    holes = (5 * y + 3 * x + sum(leading[-1:]) + 1) % 17 == 0
    holes |= (y < shape[-2] // 3) & (x < shape[-1] // 2) & (x > 0)
    return ~holes


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
    "weighted_loss_sum_grad x one": Op("weighted_loss_sum_grad", FIRST, "map"),
    "weighted_loss_sum left out": Op("weighted_loss_sum", None, "normalized"),
    "weighted_loss_sum_grad x left out": Op(
        "weighted_loss_sum_grad", FIRST, "normalized"
    ),
    "weighted_loss_sum_grad both left out": Op(
        "weighted_loss_sum_grad", BOTH, "normalized"
    ),
    "ssim_map": Op("ssim_map"),
    "ssim_factor_maps": Op("ssim_factor_maps"),
    "ssim_map_grad x": Op("ssim_map_grad", FIRST),
    "ssim_map_grad y": Op("ssim_map_grad", SECOND),
    "ssim_map_grad both": Op("ssim_map_grad", BOTH),
}
every_op = pytest.mark.parametrize("op", OPS)
