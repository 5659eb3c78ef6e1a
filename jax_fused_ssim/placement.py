"""Brings two images to one placement, as their types state it.

Under a mesh with explicit axes the type of an array carries its sharding, and inside
`jax.shard_map` the mesh axes along which it varies. Two operands of one op must agree.
They are brought together outside the ops' derivative rules, so that JAX transposes it:
the cotangent of an image comes back with that image's own sharding, summed over the
devices that share it.
"""

from typing import Any

import jax
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from jax_fused_ssim.spec import Spec


def placed_alike(x: Array, y: Array, spec: Spec) -> tuple[Array, Array]:
    """The two images with one sharding of their leading dimensions.

    Args:
      x: [..., H, W], or [..., H, W, C] with `spec.channels_last`.
      y: of the shape of x.
      spec: static parameters.

    Returns:
      The images. A leading dimension is sharded as in x, or as in y where x is not
      sharded along it; the other dimensions are not sharded, as every op needs them
      whole. Under automatic axes, and without a mesh, nothing changes.
    """
    together = _varying(x) | _varying(y)
    x, y = (_vary(a, together) for a in (x, y))
    target = _common_sharding(x, y, spec)
    if target is None:
        return x, y
    return _reshard(x, target), _reshard(y, target)


def placed_like(weights: Array, image: Array, spec: Spec) -> Array:
    """Weights with the sharding of an image that `placed_alike` gave.

    Args:
      weights: of as many dimensions as the image, some of size 1.
      image: [..., H, W], or [..., H, W, C] with `spec.channels_last`.
      spec: static parameters.

    Returns:
      The weights, sharded as the image along the dimensions that they share with it.
    """
    weights = _vary(weights, _varying(image))
    meshes = [jax.typeof(a).sharding.mesh for a in (image, weights)]
    mesh = next((m for m in meshes if not m.empty), None)
    if mesh is None:
        return weights
    dims = _dims(jax.typeof(image).sharding, image.ndim)
    leading = [
        axes or None if size != 1 else None
        for axes, size in zip(dims, weights.shape, strict=True)
    ][: image.ndim - spec.spatial_ndim]
    if not any(leading) and not any(_dims(jax.typeof(weights).sharding, weights.ndim)):
        return weights
    whole = (None,) * spec.spatial_ndim
    return _reshard(weights, NamedSharding(mesh, PartitionSpec(*leading, *whole)))


def _varying(a: Array) -> frozenset[Any]:
    """The mesh axes of `jax.shard_map` along which an array varies."""
    aval = jax.typeof(a)
    kind = getattr(aval, "manual_axis_type", None)  # JAX 0.10 and later
    return frozenset(aval.vma if kind is None else kind.varying)


def _vary(a: Array, axes: frozenset[Any]) -> Array:
    missing = tuple(sorted(axes - _varying(a), key=str))
    return jax.lax.pcast(a, missing, to="varying") if missing else a


def _dims(sharding: NamedSharding, ndim: int) -> list[tuple[Any, ...]]:
    """For every dimension, the explicit mesh axes that it is sharded over."""
    entries = [*sharding.spec, *[None] * ndim][:ndim]
    return [() if e is None else e if isinstance(e, tuple) else (e,) for e in entries]


def _common_sharding(x: Array, y: Array, spec: Spec) -> NamedSharding | None:
    """What both are to have; None where no type carries a sharding."""
    shardings = [jax.typeof(a).sharding for a in (x, y)]
    dims = [_dims(s, x.ndim) for s in shardings]
    if not any(axes for per_dim in dims for axes in per_dim):
        return None
    batch = x.ndim - spec.spatial_ndim
    used = {name for axes in dims[0][:batch] for name in axes}
    leading = [
        in_x or (in_y if used.isdisjoint(in_y) else ())
        for in_x, in_y in zip(*(d[:batch] for d in dims), strict=True)
    ]
    mesh = next(s.mesh for s in shardings if not s.mesh.empty)
    return NamedSharding(
        mesh,
        PartitionSpec(
            *(axes or None for axes in leading), *(None,) * spec.spatial_ndim
        ),
    )


def _reshard(a: Array, target: NamedSharding) -> Array:
    sharding = jax.typeof(a).sharding
    if not sharding.mesh.empty and _dims(sharding, a.ndim) == _dims(target, a.ndim):
        return a
    return jax.sharding.reshard(a, target)
