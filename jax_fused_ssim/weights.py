"""Means under weights: checks them, and chooses what computes the means.

What windows and errors count for is found in plain JAX (`regions.py`), and one op takes
it from there (`weights_by_op.py`). What that does not know is plain JAX around the map
(`weights_by_map.py`): cut images, weights that are constant along an axis, and means of
each channel.

Weights keep the sizes of 1 along which they broadcast, so that nothing of the images'
size is made of a mask that they share.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim import weights_by_map, weights_by_op
from jax_fused_ssim.arguments import as_array, check_choice
from jax_fused_ssim.constant import constant
from jax_fused_ssim.integer import image_dtype
from jax_fused_ssim.mean import Mean, Means
from jax_fused_ssim.placement import placed_like
from jax_fused_ssim.spec import Spec, compute_dtype

Weighting = Literal["map", "inside", "normalized"]

_DTYPES = ("bool", "bfloat16", "float16", "float32", "float64")
_NO_DERIVATIVE = (
    "weights have no derivative. To differentiate in them, weigh the map yourself: "
    'fused_ssim(..., reduction="none") without weights.'
)


def checked_weights(
    weights: ArrayLike | None,
    weighting: Weighting,
    images: tuple[Array, Array],
    spec: Spec,
    reduction: str = "mean",
) -> Array | None:
    """Weights as the functions here take them, checked: the errors of `fused_ssim`.

    Args:
      weights: what the user passed.
      weighting: what the user passed.
      images: the two, checked and placed.
      spec: static parameters.
      reduction: what the user passed.

    Returns:
      The weights as booleans or in the dtype of the arithmetic, with as many dimensions
      as the image, each of its size or of size 1; None where there are none. What is
      below 0 counts for nothing.
    """
    check_choice("weighting", weighting, get_args(Weighting))
    if weights is None:
        return None
    if reduction == "none":
        raise ValueError(
            'reduction="none" takes no weights: multiply the map that it gives by them.'
        )
    array = as_array(weights)
    if array.dtype.name not in _DTYPES:
        raise TypeError(
            f"weights must have one of the dtypes {', '.join(_DTYPES)}; got "
            f"{array.dtype.name}"
        )
    image, _ = images
    _check_shape(array.shape, image.shape, spec)
    if array.dtype != bool:
        array = array.astype(compute_dtype(image_dtype(*images)))
    array = jnp.expand_dims(array, range(image.ndim - array.ndim))
    return constant(placed_like(array, image, spec), _NO_DERIVATIVE)


def _check_shape(shape: Sequence[int], image: Sequence[int], spec: Spec) -> None:
    pairs = zip(reversed(shape), reversed(image), strict=False)
    fits = len(shape) <= len(image) and all(n in (1, whole) for n, whole in pairs)
    channel = len(image) + spec.channel_axis
    mask = [n for i, n in enumerate(image) if i != channel]
    axes = len(spec.spatial_axes)
    of_mask = len(shape) >= axes and list(shape) == mask[-len(shape) :]
    # [H, W] may by chance have the sizes of [W, C], and is what is meant.
    if fits and not (of_mask and spec.channels_last and len(shape) == axes):
        return
    sides = ", ".join(spec.sides)
    shapes, way_out = (
        (f"[{sides}, 1] or [{sides}, C]", "mask[..., None]")
        if spec.channels_last
        else (
            f"[{sides}], [1, {sides}] or [C, {sides}]",
            f"mask[..., None{', :' * axes}]",
        )
    )
    hint = f" Of a mask without channels take {way_out}." if of_mask else ""
    raise ValueError(
        f"weights must broadcast to the images, of shape {tuple(image)}: {shapes}, "
        f"behind batch dimensions of the images or 1, or none; got {tuple(shape)}."
        f"{hint}"
    )


def weighted_loss_mean(
    x: Array, y: Array, weights: Array, mean: Mean, weighting: Weighting
) -> tuple[Array, Means | None]:
    """The weighted mean of 1 - SSIM, or a loss of all weighted means.

    Args:
      x: [..., C, H, W], or [..., H, W, C]; with `mean.cut` the block of this device.
      y: of the shape and the dtype of x.
      weights: as from `checked_weights`.
      mean: what is static.
      weighting: which windows count, and what they see.

    Returns:
      As `mean.loss_mean`. A mean of nothing is 0.
    """
    dtype = compute_dtype(image_dtype(x, y))
    is_mask, weights = weights.dtype == bool, weights.astype(dtype)
    if weights_by_op.takes(weights, mean):
        return weights_by_op.loss_mean(x, y, weights, mean, weighting, is_mask)
    return weights_by_map.loss_mean(x, y, weights, mean, weighting)
