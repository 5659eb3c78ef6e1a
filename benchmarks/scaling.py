"""Losses with their gradient on one device and on several, timed in turns."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from eight_devices import collectives
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.machine import device_platform
from benchmarks.programs import difference
from jax_fused_ssim import fused_ssim, photometric_loss, sharded

ROUNDS = 11
IN_A_ROW = 40
# Before them. A device that comes from work has used up more of the power that it may
# take for a while, and is slower.
REST_SECONDS = 0.2


class Case(NamedTuple):
    """A loss of two arrays, and how devices share them.

    Attributes:
      shape: of both.
      whole: the loss on one device.
      cut: of the mesh axes "a" and "b", those that each dimension is cut over.
      shared: from a mesh the loss of what is cut.
      mesh_shape: of "a" and "b", from the number of devices.
    """

    shape: tuple[int, ...]
    whole: Callable[[Array, Array], Array]
    cut: PartitionSpec
    shared: Callable[[Mesh], Callable[[Array, Array], Array]]
    mesh_shape: Callable[[int], tuple[int, int]] = lambda count: (count, 1)


def cases(batch: tuple[int, ...], image: tuple[int, ...]) -> dict[str, Case]:
    """By name: a batch [N, C, H, W], and one image [C, H, W] too large for a device."""
    by_image = PartitionSpec("a")
    rows = PartitionSpec(None, "a")
    rows_and_columns = PartitionSpec(None, "a", "b")
    return {
        "batch": Case(batch, _dissimilarity, by_image, lambda _: _dissimilarity),
        "batch, loss with weights": Case(
            batch, _weighted, by_image, lambda _: _weighted
        ),
        "image by rows": Case(
            image,
            _dissimilarity,
            rows,
            functools.partial(_of_blocks, cut=rows, height_axis="a"),
        ),
        "image by rows and columns": Case(
            image,
            _dissimilarity,
            rows_and_columns,
            functools.partial(
                _of_blocks, cut=rows_and_columns, height_axis="a", width_axis="b"
            ),
            lambda count: (max(count // 2, 1), min(count, 2)),
        ),
    }


def _dissimilarity(x: Array, y: Array) -> Array:
    return 1 - fused_ssim(x, y)


def _weighted(x: Array, y: Array) -> Array:
    weights = jnp.linspace(0, 1, x.shape[-1]) * jnp.ones((x.shape[-2], 1))
    return photometric_loss(x, y, weights=weights)


def _of_blocks(
    mesh: Mesh, cut: PartitionSpec, **axes: str
) -> Callable[[Array, Array], Array]:
    def loss(x: Array, y: Array) -> Array:
        return 1 - sharded.fused_ssim(x, y, **axes)

    return jax.shard_map(loss, mesh=mesh, in_specs=cut, out_specs=PartitionSpec())


def measured(case: Case, counts: Sequence[int]) -> dict[str, Any]:
    """Times it on the first device, the last, and each number of devices.

    Args:
      case: what to time.
      counts: numbers of devices above 1.

    Returns:
      Milliseconds, efficiency (the time on one device by that on n, by n), how far
      value and gradients are from those of one device, and collectives, by the number
      of devices.
    """
    devices = jax.devices()[: max(counts)]
    one = jax.jit(jax.value_and_grad(case.whole))
    images = _drawn(case.shape, devices[0])
    expected = one(*images)
    on_last = jax.device_put(images, devices[-1])
    calls = {
        "1": functools.partial(one, *images),
        "1, the last": functools.partial(one, *on_last),
    }
    off, exchanges = {}, {}
    for count in counts:
        shape = case.mesh_shape(count)
        mesh = jax.make_mesh(
            shape,
            ("a", "b"),
            axis_types=(AxisType.Auto,) * 2,
            devices=devices[:count],
        )
        pair = jax.device_put(images, NamedSharding(mesh, case.cut))
        step = jax.jit(jax.value_and_grad(case.shared(mesh)))
        program = step.lower(*pair).compile()
        found = jax.device_put(program(*pair), devices[0])
        off[str(count)] = difference(found, expected)
        exchanges[str(count)] = collectives(program)
        calls[str(count)] = functools.partial(program, *pair)
    took = dict(zip(calls, _seconds(list(calls.values())), strict=True))
    return {
        "shape": list(case.shape),
        "milliseconds": {name: 1e3 * t for name, t in took.items()},
        "efficiency": {str(n): took["1"] / took[str(n)] / n for n in counts},
        "difference": off,
        "collectives": exchanges,
    }


def _drawn(shape: Sequence[int], device: Any) -> list[Array]:
    def pair() -> tuple[Array, Array]:
        a, b = jax.random.uniform(jax.random.key(0), (2, *shape))
        return a, 0.8 * a + 0.2 * b

    sharding = jax.sharding.SingleDeviceSharding(device)
    return list(jax.jit(pair, out_shardings=sharding)())


def _seconds(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Median seconds of each call, which take turns; some in a row, after a rest."""
    # Programs that wait in a row for CPU devices can keep each other from a collective.
    in_a_row = IN_A_ROW if device_platform() == "gpu" else 1
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, found in zip(calls, taken, strict=True):
            time.sleep(REST_SECONDS)
            jax.block_until_ready(call())  # wakes the devices
            start = time.perf_counter()
            for _ in range(in_a_row):
                result = call()
            jax.block_until_ready(result)
            found.append((time.perf_counter() - start) / in_a_row)
    return [statistics.median(found) for found in taken]
