"""Multi-scale SSIM: validates, halves the images, multiplies what the scales give."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim.arguments import (
    BORDERS,
    DataFormat,
    Implementation,
    Number,
    Padding,
    check_choice,
    check_reduces_images,
    checked_images,
    checked_spec,
    checked_weight,
)
from jax_fused_ssim.border import with_border
from jax_fused_ssim.halving import OddSides, scales_that_fit
from jax_fused_ssim.integer import as_floats
from jax_fused_ssim.mean import Mean, ssim_mean
from jax_fused_ssim.mean_halved import ssim_means_and_halved
from jax_fused_ssim.placement import placed_alike
from jax_fused_ssim.pyramid import even_halvings, smaller_scales
from jax_fused_ssim.ranges import DataRange, in_ranges, split_range
from jax_fused_ssim.spec import Spec, compute_dtype

ChannelMean = Literal["last", "first"]
# Of Wang, Simoncelli and Bovik, from the finest scale to the coarsest.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class _Scales(NamedTuple):
    """What is static about the product of scales."""

    weights: tuple[float, ...]
    odd_sides: OddSides
    channel_mean: ChannelMean
    per_image: bool


def fused_ms_ssim(
    img1: ArrayLike,
    img2: ArrayLike,
    *,
    scale_weights: Sequence[Number] = _SCALE_WEIGHTS,
    odd_sides: OddSides = "symmetric",
    channel_mean: ChannelMean = "last",
    padding: Padding = "valid",
    data_format: DataFormat = "NCHW",
    data_range: DataRange = 1.0,
    k1: Number = 0.01,
    k2: Number = 0.03,
    window_size: int = 11,
    sigma: Number | None = 1.5,
    sample_covariance: bool = False,
    reduction: Literal["mean", "per_image"] = "mean",
    implementation: Implementation = None,
) -> Array:
    """Multi-scale structural similarity (MS-SSIM), differentiable in both images.

    The images are halved by the mean of 2x2 pixels from scale to scale. With the
    windowed statistics of `fused_ssim`, a scale but the coarsest gives the mean of its
    contrast and structure, cs = (2 s12 + C2) / (s11 + s22 + C2), the coarsest that of
    its SSIM, and

        MS-SSIM = product over scales of mean^weight.

    A mean at or below 0 makes the product 0, and its gradient 0.

    Args:
      img1: as in `fused_ssim`. Integers become floats first.
      img2: as in `fused_ssim`.
      scale_weights: the exponents, from the finest scale to the coarsest; as many
        scales as these. Finite numbers that are not traced.
      odd_sides: what halves a side of an odd number of pixels. "symmetric" repeats the
        last one (Wang et al., TensorFlow); "drop" leaves it out (torchmetrics);
        "zero" puts a zero before the first, which counts (pytorch-msssim).
      channel_mean: "last" multiplies the scales of every channel, and takes the mean of
        the products (Wang et al., TensorFlow, pytorch-msssim); "first" multiplies the
        means over all channels of an image (torchmetrics, MONAI).
      padding: as in `fused_ssim`, at every scale.
      data_format: as in `fused_ssim`.
      data_range: as in `fused_ssim`.
      k1: as in `fused_ssim`.
      k2: as in `fused_ssim`.
      window_size: as in `fused_ssim`.
      sigma: as in `fused_ssim`.
      sample_covariance: as in `fused_ssim`.
      reduction: "mean" over the batch, or "per_image" for a value of every image.
      implementation: as in `fused_ssim`.

    Returns:
      Float[Array, ""], or Float[Array, "*batch"] for "per_image", in float32 (float64
      for float64 images), within [0, 1]; NaN where an image has a NaN or an infinity
      that a window sees.

    Raises:
      TypeError: as `fused_ssim`; a weight of a scale that is not one number, or traced.
      ValueError: as `fused_ssim`; no scale, or a weight that is not finite; images too
        small for so many scales; an unknown odd_sides or channel_mean.
      NotImplementedError: as `fused_ssim`.

    Warns:
      UserWarning: as `fused_ssim`.

    References:
      Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality
      assessment", Asilomar Conference on Signals, Systems and Computers, 2003.
    """
    check_reduces_images("MS-SSIM", reduction)
    one_range, ranges = split_range(data_range)
    spec = checked_spec(
        padding,
        data_format=data_format,
        data_range=one_range,
        k1=k1,
        k2=k2,
        window_size=window_size,
        sigma=sigma,
        sample_covariance=sample_covariance,
        reduction=reduction,
        implementation=implementation,
    )
    weights = _checked_weights(scale_weights)
    check_choice("odd_sides", odd_sides, get_args(OddSides))
    check_choice("channel_mean", channel_mean, get_args(ChannelMean))
    x, y = placed_alike(*checked_images(img1, img2, spec), spec)
    x, y = in_ranges(x, y, ranges, spec)
    _check_size(x.shape, len(weights), odd_sides, spec)
    scales = _Scales(weights, odd_sides, channel_mean, reduction == "per_image")
    return _ms_ssim(x, y, spec, padding, scales)


def _checked_weights(scale_weights: Sequence[Number]) -> tuple[float, ...]:
    try:
        given = tuple(scale_weights)
    except TypeError:
        raise TypeError(
            f"scale_weights must be a sequence of numbers; got {scale_weights!r}"
        ) from None
    if not given:
        raise ValueError("scale_weights must have a number for one scale at least")
    return tuple(
        checked_weight(f"scale_weights[{i}]", weight) for i, weight in enumerate(given)
    )


def _check_size(
    shape: Sequence[Any], count: int, odd_sides: OddSides, spec: Spec
) -> None:
    """Whether the coarsest scale has a pixel, and unpadded a window."""
    fits = count
    for axis, padded in zip(spec.spatial_axes, spec.padding, strict=True):
        least = 1 if padded else spec.window.size
        if isinstance(shape[axis], int):
            fits = min(fits, scales_that_fit(shape[axis], least, count, odd_sides))
    if fits < count:
        sides = " x ".join(str(shape[axis]) for axis in spec.spatial_axes)
        raise ValueError(
            f"{count} scales of images of {sides} pixels: {fits} fit, as the coarsest "
            f"must have {least} pixels a side. Pass fewer scale_weights"
            + ("." if all(spec.padding) else ', or padding="same".')
        )


# As the functions of jax.numpy, one compiled program where it is called outside jit.
@functools.partial(jax.jit, static_argnums=(2, 3, 4), inline=True)
def _ms_ssim(
    x: Array, y: Array, spec: Spec, padding: Padding, scales: _Scales
) -> Array:
    x, y = as_floats(x, y, spec)
    wide = compute_dtype(x.dtype)
    _, of_structure = spec.of_factors(wide)
    means, pairs = [], [(x, y)]
    times = even_halvings(x.shape, len(scales.weights) - 1, spec)
    if times and x.dtype == wide and padding not in BORDERS:
        mean = Mean(of_structure, "per_channel")
        found, halved = ssim_means_and_halved(x, y, mean, times)
        means += found
        pairs = [(halved[0][-1], halved[1][-1])]
    # Halved pixels have more digits than half precision.
    pairs += smaller_scales(
        *(a.astype(wide) for a in pairs[-1]),
        len(scales.weights) - len(means) - len(pairs),
        scales.odd_sides,
        spec,
    )
    for i, pair in enumerate(pairs):
        of_scale = spec if i == len(pairs) - 1 else of_structure
        (wide_x, wide_y), _, of_scale = with_border(pair, None, padding, of_scale)
        mean = Mean(of_scale, "per_channel")
        means.append(ssim_mean((wide_x,), (wide_y,), mean))
    if scales.channel_mean == "first":
        means = [jnp.mean(m, -1, keepdims=True) for m in means]
    of_planes = _product_of_powers(jnp.stack(means, -1), scales.weights)
    return jnp.mean(of_planes, -1 if scales.per_image else None)


def _product_of_powers(bases: Array, exponents: Sequence[float]) -> Array:
    """Over the last axis; 0 with the derivative 0 where a base is at or below 0."""
    dead = bases <= 0  # as a NaN is not
    powers = jnp.log(jnp.where(dead, 1, bases)) * jnp.asarray(exponents, bases.dtype)
    return jnp.where(jnp.any(dead, -1), 0, jnp.exp(jnp.sum(powers, -1)))
