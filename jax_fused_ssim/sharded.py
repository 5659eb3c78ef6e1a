"""SSIM and losses of images that are cut over devices along height and width, and SSIM
of volumes that are cut along depth too.

For use inside `jax.shard_map`, for images too large for one device, or to share the
work on one image. Neighbours exchange 5 rows or columns, and on the way back the
gradients of those; nothing is gathered.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, Unpack, overload

import jax
from jax import Array
from jax.typing import ArrayLike

from jax_fused_ssim import halo, ops
from jax_fused_ssim.arguments import (
    BORDERS,
    IMAGES,
    check_keywords,
    checked_images,
    checked_spec,
    layout_hint,
)
from jax_fused_ssim.halo import ShardedAxis
from jax_fused_ssim.mean import Mean, ssim_mean
from jax_fused_ssim.operands import in_own_dtype
from jax_fused_ssim.photometric import (
    LossKeywords,
    PhotometricTerms,
    loss_of_block,
    loss_spec,
    with_terms,
)
from jax_fused_ssim.placement import placed_alike
from jax_fused_ssim.ranges import in_ranges, split_range
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.ssim import Keywords
from jax_fused_ssim.volume import VolumeKeywords
from jax_fused_ssim.weights import Weighting, checked_weights, weighted_loss_mean

# A mesh axis, or several that one image axis is cut over.
AxisName = Hashable


def fused_ssim(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Literal["same", "valid"] = "same",
    *,
    height_axis: AxisName | None = None,
    width_axis: AxisName | None = None,
    **keywords: Unpack[Keywords],
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
        least as many pixels as the window (11) along an axis that is cut.
      img2: like img1.
      padding: "same" or "valid", at the border of the whole image.
      height_axis: the mesh axis that the height is sharded over, or a tuple of them;
        None if it is not.
      width_axis: the same for the width.
      **keywords: data_format, data_range, k1, k2, window_size, sigma,
        sample_covariance, weights, weighting, reduction and implementation of
        `jax_fused_ssim.fused_ssim`; the window's size is odd. Weights are cut as the
        images, or of size 1 along an axis that is cut. The reduction "mean" is over the
        whole images of this device's batch, equal on all devices of the named axes
        (take `jax.lax.pmean` over an axis that shards the batch), "per_image" alike;
        "none" is for this block's part of the map, which needs padding "same".

    Returns:
      Float[Array, ""], Float[Array, "*batch"] or a block of the map, as from
      `jax_fused_ssim.fused_ssim`.

    Raises:
      TypeError: as `jax_fused_ssim.fused_ssim`.
      ValueError: as `jax_fused_ssim.fused_ssim`; no axis is named, or one twice; a
        block smaller than the window along an axis that is cut; a window of an even
        size; reduction "none" with padding "valid", as its rows would not be shared
        equally.
      NameError: a mesh axis that is not one here, as outside `jax.shard_map`.
    """
    check_keywords("fused_ssim", keywords, Keywords.__annotations__)
    names = {"height_axis": height_axis, "width_axis": width_axis}
    return _similarity(img1, img2, padding, names, keywords)


def fused_ssim3d(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Literal["same", "valid"] = "same",
    *,
    depth_axis: AxisName | None = None,
    height_axis: AxisName | None = None,
    width_axis: AxisName | None = None,
    **keywords: Unpack[VolumeKeywords],
) -> Array:
    """`jax_fused_ssim.fused_ssim3d` of volumes that are sharded along spatial axes.

    To be called inside `jax.shard_map`, on the block that a device holds, as
    `sharded.fused_ssim`, whose values, maps and gradients are those of the whole too.
    Neighbours exchange 5 slices along the depth.

    Args:
      img1: the block of this device, Float[Array, "*batch C D H W"], or
        "*batch D H W C" for data_format "NDHWC". Blocks are equal, and have at least as
        many pixels as the window (11) along an axis that is cut.
      img2: like img1.
      padding: as in `sharded.fused_ssim`.
      depth_axis: the mesh axis that the depth is sharded over, or a tuple of them; None
        if it is not.
      height_axis: the same for the height.
      width_axis: the same for the width.
      **keywords: those of `jax_fused_ssim.fused_ssim3d` that `sharded.fused_ssim` has,
        as there.

    Returns:
      As `sharded.fused_ssim`.

    Raises:
      TypeError: as `jax_fused_ssim.fused_ssim3d`.
      ValueError: as `sharded.fused_ssim`.
      NameError: as `sharded.fused_ssim`.
    """
    check_keywords("fused_ssim3d", keywords, VolumeKeywords.__annotations__)
    names = {
        "depth_axis": depth_axis,
        "height_axis": height_axis,
        "width_axis": width_axis,
    }
    return _similarity(
        img1, img2, padding, names, {"data_format": "NCDHW", **keywords}, volumes=True
    )


def _similarity(
    img1: ArrayLike,
    img2: ArrayLike,
    padding: Literal["same", "valid"],
    names: Mapping[str, AxisName | None],
    keywords: Any,
    volumes: bool = False,
) -> Array:
    """`fused_ssim`, or with `volumes` `fused_ssim3d`; `names`: of the mesh axes, by the
    arguments that they are."""
    weights, weighting = _taken(keywords)
    _check_padding(padding)
    one_range, ranges = split_range(keywords.pop("data_range", 1.0))
    spec = checked_spec(padding, volumes=volumes, data_range=one_range, **keywords)
    reduction = keywords.get("reduction", "mean")
    mesh_axes = _checked_names(names)
    if reduction == "none" and padding == "valid":
        reach = spec.window.before
        raise ValueError(
            'reduction="none" with padding="valid" has no equal blocks: the map lacks '
            f"{reach} pixels of the first one and of the last. Leave out the outermost "
            f'{reach} pixels of the whole map of padding="same": the rest is the valid '
            "map."
        )
    cut = _cut(names, spec)
    x, y = _checked_blocks(img1, img2, cut, spec, ranges)
    weights = checked_weights(weights, weighting, (x, y), spec, reduction)
    mean = Mean(spec, reduction, cut, mesh_axes)
    if weights is not None:
        return 1 - weighted_loss_mean(x, y, weights, mean, weighting)[0]
    xs, ys = (tuple(halo.parts(a, cut, spec.window)) for a in (x, y))
    if reduction == "none":
        unpadded = spec.with_padding([c.axis for c in cut], False)
        maps = [ops.ssim_map(*pair, unpadded) for pair in zip(xs, ys, strict=True)]
        whole = halo.joined(maps, cut)
        return in_own_dtype(whole, img1, img2, reduction, ranges)
    return ssim_mean(xs, ys, mean)


@overload
def photometric_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    height_axis: AxisName | None = None,
    width_axis: AxisName | None = None,
    return_terms: Literal[False] = False,
    **keywords: Unpack[LossKeywords],
) -> Array: ...


@overload
def photometric_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    height_axis: AxisName | None = None,
    width_axis: AxisName | None = None,
    return_terms: Literal[True],
    **keywords: Unpack[LossKeywords],
) -> tuple[Array, PhotometricTerms]: ...


def photometric_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    height_axis: AxisName | None = None,
    width_axis: AxisName | None = None,
    return_terms: bool = False,
    **keywords: Unpack[LossKeywords],
) -> Array | tuple[Array, PhotometricTerms]:
    """`jax_fused_ssim.photometric_loss` of images whose height or width is sharded.

    To be called inside `jax.shard_map`, on the block that a device holds, as
    `sharded.fused_ssim`. Losses, terms and gradients are those of the whole images.

    Args:
      predictions: the block of this device, as in `sharded.fused_ssim`.
      targets: like predictions.
      height_axis: as in `sharded.fused_ssim`.
      width_axis: as in `sharded.fused_ssim`.
      return_terms: as in `jax_fused_ssim.photometric_loss`.
      **keywords: those of `jax_fused_ssim.photometric_loss`. Weights are cut as the
        images, or have the size 1 along an axis that is cut. The reduction "mean" is
        over the whole images of this device's batch, as in `sharded.fused_ssim`.

    Returns:
      As `jax_fused_ssim.photometric_loss`, equal on all devices of the named axes.

    Raises:
      TypeError: as `jax_fused_ssim.photometric_loss`.
      ValueError: as `jax_fused_ssim.photometric_loss`; no axis is named, or one twice;
        a block smaller than the window along an axis that is cut; a window of an even
        size.
      NameError: a mesh axis that is not one here, as outside `jax.shard_map`.
    """
    check_keywords("photometric_loss", keywords, LossKeywords.__annotations__)
    weights, weighting = _taken(keywords)
    _check_padding(keywords.get("padding", "same"))
    one_range, ranges = split_range(keywords.pop("data_range", 1.0))
    spec = loss_spec(data_range=one_range, **keywords)
    axes = {"height_axis": height_axis, "width_axis": width_axis}
    mesh_axes = _checked_names(axes)
    cut = _cut(axes, spec)
    names = ("predictions", "targets")
    x, y = _checked_blocks(predictions, targets, cut, spec, ranges, names)
    weights = checked_weights(weights, weighting, (x, y), spec)
    reduction = keywords.get("reduction", "mean")
    mean = Mean(spec, reduction, cut, mesh_axes, errors=True)
    loss, terms = with_terms(*loss_of_block(x, y, weights, mean, weighting))
    return (loss, terms) if return_terms else loss


def _check_padding(padding: Any) -> None:
    if isinstance(padding, str) and padding in BORDERS:
        raise ValueError(
            f'padding must be "same" or "valid" where images are cut; got {padding!r}'
        )


def _taken(keywords: Any) -> tuple[ArrayLike | None, Weighting]:
    """Weights and weighting, no longer among the keywords."""
    return keywords.pop("weights", None), keywords.pop("weighting", "map")


def _cut(names: Mapping[str, AxisName | None], spec: Spec) -> tuple[ShardedAxis, ...]:
    """The axes that more than one device shares."""
    return tuple(
        ShardedAxis(axis, name, padded)
        for axis, name, padded in zip(
            spec.spatial_axes, names.values(), spec.padding, strict=True
        )
        if name is not None and jax.lax.axis_size(name) > 1
    )


def _checked_blocks(
    x: ArrayLike,
    y: ArrayLike,
    cut: Sequence[ShardedAxis],
    spec: Spec,
    ranges: Array | None,
    names: tuple[str, str] = IMAGES,
) -> tuple[Array, Array]:
    """`checked_images` of the blocks of a device, placed alike, in their ranges."""
    # Blocks have a check of their own, in place of that for "valid".
    of_block = spec.with_padding([c.axis for c in cut], True)
    x, y = checked_images(x, y, of_block, names)
    _check_blocks(x.shape, cut, spec)
    return in_ranges(*placed_alike(x, y, spec), ranges, spec)


def _checked_names(names: Mapping[str, AxisName | None]) -> tuple[Any, ...]:
    """The mesh axes, those in a tuple taken apart."""
    flat: list[Any] = []
    for name in names.values():
        flat += name if isinstance(name, tuple) else [name] if name is not None else []
    if not flat or len(set(flat)) < len(flat):
        raise ValueError(
            f"{' and '.join(names)} must name different mesh axes, and one of them at "
            f"least; got {' and '.join(map(repr, names.values()))}"
        )
    return tuple(flat)


def _check_blocks(shape: Sequence[int], cut: Sequence[ShardedAxis], spec: Spec) -> None:
    window = spec.window.size
    if cut and window % 2 == 0:
        raise ValueError(f"window_size must be odd where images are cut; got {window}")
    for axis, name, _ in cut:
        if shape[axis] < window:
            raise ValueError(
                f"an image cut over mesh axis {name!r} needs blocks of at least "
                f"{window} pixels along it; got {shape[axis]} in a block of shape "
                f"{tuple(shape)}. {layout_hint(shape, spec)}Use fewer devices along "
                "that axis."
            )
