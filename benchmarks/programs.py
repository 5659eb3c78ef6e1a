"""An operation of a library as something to call and to time.

Every program rotates over the same images: a call never finds the ones of the call
before in the cache. Arrays go from JAX to the other frameworks without a copy.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from benchmarks.cases import OPS, RADIUS, Format, Images
from benchmarks.peers import Library

# A loop takes about this long: longer than to start the next one, which happens
# meanwhile.
LOOP_SECONDS = 0.02
# An iteration of it takes about this long at least, so that counting does not count.
ITERATION_SECONDS = 0.002
# A call that takes longer is timed alone: its overhead does not count either.
LONG_CALL = 0.2
MAX_UNROLL = 64
# PyTorch's calls are queued for about this long.
QUEUE_SECONDS = 0.03


class Program:
    """An operation of a library on rotating images.

    Attributes:
      count: how many sets of arguments there are.
      scratch: bytes of memory that a call takes above its arguments, as far as can be
        told before it runs.
    """

    count: int
    scratch: int | None = None

    def call(self, i: int) -> Any:
        """What a user writes, on the i-th arguments; may return before it is done."""
        raise NotImplementedError

    def wait(self, result: Any) -> None:
        """Returns when a result is there."""

    def as_jax(self, result: Any) -> Any:
        """A result as JAX arrays."""
        raise NotImplementedError

    def memory(self) -> int | None:
        """Peak memory of a call above its arguments, in bytes; None if unknown."""
        return None

    def many(self, seconds: float, budget: float) -> Callable[[], float] | None:
        """A way to run the operation many times without a user's overhead.

        Args:
          seconds: what one call takes.
          budget: seconds that preparing it may take, about.

        Returns:
          A function that does so and returns seconds for each time, or None. Seconds
          may be a difference of two times, which noise can turn negative.
        """
        return None


class JaxProgram(Program):
    def __init__(self, library: Library, op: str, form: Format, images: Images) -> None:
        self._function = _jax_function(library, op, form)
        self._arguments = images.arguments(op, form)
        self.count = images.count
        start = time.perf_counter()
        lowered = jax.jit(self._function).lower(*self._arguments[0])
        self._compiled = lowered.compile()
        self._compile_seconds = time.perf_counter() - start
        self.scratch = self.memory()

    def call(self, i):
        return self._compiled(*self._arguments[i])

    def wait(self, result):
        jax.block_until_ready(result)

    def as_jax(self, result):
        return result

    def memory(self):
        # A running device's peak cannot be set back, so this is XLA's own account.
        analysis = self._compiled.memory_analysis()
        if analysis is None:
            return None
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes

    def many(self, seconds, budget):
        if seconds > LONG_CALL:
            return None
        seconds = min(seconds, self._unwaited(math.ceil(LOOP_SECONDS / seconds)))
        affordable = int(budget / max(self._compile_seconds, 1e-3))
        wanted = max(self.count, math.ceil(ITERATION_SECONDS / seconds))
        unroll = max(1, min(wanted, MAX_UNROLL, affordable))
        trips = max(1, min(1000, round(LOOP_SECONDS / (seconds * unroll))))
        arguments = [self._arguments[i % self.count] for i in range(unroll)]
        results = [self._compiled(*a) for a in arguments]
        loop = functools.partial(_loop, self._function, trips)
        compiled = jax.jit(loop, donate_argnums=1).lower(arguments, results).compile()

        def loops(count: int) -> float:
            nonlocal results
            start = time.perf_counter()
            for _ in range(count):
                results = compiled(arguments, results)
            jax.block_until_ready(results)
            return time.perf_counter() - start

        more = max(2, round(LOOP_SECONDS / loops(1)))

        def run() -> float:
            loops(1)  # wakes what the library before, or a rest, has put to sleep
            # Starting the first takes as much as a millisecond, in both alike.
            one = loops(1)
            return (loops(1 + more) - one) / (more * trips * unroll)

        return run

    def _unwaited(self, count: int) -> float:
        """Seconds for each of so many calls that do not wait for one another."""
        start = time.perf_counter()
        for i in range(count):
            result = self.call(i % self.count)
        self.wait(result)
        return (time.perf_counter() - start) / count


def _loop(
    function: Callable[..., Any],
    trips: int,
    arguments: Sequence[tuple[jax.Array, ...]],
    results: Sequence[Any],
) -> Sequence[Any]:
    """Applies a function to each of the arguments in turn, `trips` times over.

    Nothing is copied: the arguments are read where they are, and every result is
    written where the one before it was (the caller donates them). The barriers make
    every call wait for the one before it and keep XLA from moving calls, which compute
    the same each time, out of the loop. The layouts keep it from moving transposes out:
    it may choose those of a loop's arrays.
    """

    def body(_, carry):
        token, _ = carry
        new = []
        for args in arguments:
            *args, token = lax.optimization_barrier((*args, token))
            result = jax.tree.map(_row_major, function(*map(_row_major, args)))
            result, token = lax.optimization_barrier((result, token))
            new.append(result)
        return token, new

    return lax.fori_loop(0, trips, body, (jnp.int32(0), list(results)))[1]


def _row_major(a: jax.Array) -> jax.Array:
    return with_layout_constraint(a, Layout(tuple(range(a.ndim)))) if a.ndim else a


def _jax_function(
    library: Library, op: str, form: Format, **scales: str
) -> Callable[..., Any]:
    """`scales`: what MS-SSIM is to do as another library does."""

    def mean(x, y):
        return library.mean(x, y, form)

    def loss(x, y):
        return 1 - mean(x, y)

    def ms_loss(x, y):
        return 1 - library.ms_ssim(x, y, form, **scales)

    def loss_of_7(x, y):
        return 1 - library.mean_of_7(x, y, form)

    def volume_mean(x, y):
        return library.volume_mean(x, y, form)

    def volume_loss(x, y):
        return 1 - volume_mean(x, y)

    def photometric(x, y, weights=None):
        if library.loss is not None and form.border != "reflect":
            return library.loss(x, y, form, weights)
        y = y.astype(x.dtype) / 255 if y.dtype == jnp.uint8 else y
        if weights is None:
            return 0.8 * jnp.mean(jnp.abs(x - y)) + 0.2 * (1 - mean(x, y))
        similarity = ssim_map(x, y)
        of_map = _cropped(weights, similarity, form)
        l1, ssim = (
            jnp.sum(w * v) / jnp.sum(jnp.broadcast_to(w, v.shape))
            for w, v in ((weights, jnp.abs(x - y)), (of_map, similarity))
        )
        return 0.8 * l1 + 0.2 * (1 - ssim)

    def ssim_map(x, y):
        return library.map(x, y, form)

    def map_and_vjp(x, y, cotangent):
        value, pull_back = jax.vjp(lambda x: ssim_map(x, y), x)
        return value, pull_back(cotangent)[0]

    return {
        "value": mean,
        "value_and_grad": jax.value_and_grad(loss),
        "value_and_grad_both": jax.value_and_grad(loss, (0, 1)),
        "loss_and_grad": jax.value_and_grad(photometric),
        "loss_and_grad_uint8": jax.value_and_grad(photometric),
        "weighted_loss_and_grad": jax.value_and_grad(photometric),
        "ms_ssim_and_grad": jax.value_and_grad(ms_loss),
        "window_7_and_grad": jax.value_and_grad(loss_of_7),
        "map": ssim_map,
        "map_and_vjp": map_and_vjp,
        "volume": volume_mean,
        "volume_and_grad": jax.value_and_grad(volume_loss),
    }[op]


def _cropped(weights: Any, similarity: Any, form: Format) -> Any:
    """The weights of the pixels that a map has."""
    height = weights.shape[0]
    if similarity.shape[-2 if form.layout == "NCHW" else -3] == height:
        return weights
    return weights[RADIUS:-RADIUS, RADIUS:-RADIUS]


class TorchProgram(Program):
    def __init__(self, library: Library, op: str, form: Format, images: Images) -> None:
        import torch

        self._torch = torch
        # float32 that is float32, as in the others.
        torch.backends.cudnn.allow_tf32 = False
        self._function = _torch_function(torch, library, op, form)
        needs = 2 if op == "value_and_grad_both" else int(OPS[op].differentiates)
        self._arguments = []
        for arrays in images.arguments(op, form):
            jax.block_until_ready(arrays)
            tensors = [torch.from_dlpack(a) for a in arrays]
            for tensor in tensors[:needs]:
                tensor.requires_grad_()
            self._arguments.append(tensors)
        self.count = images.count
        self._cuda = self._arguments[0][0].is_cuda
        self.scratch = library.scratch * arrays[0].nbytes

    def call(self, i):
        return self._function(*self._arguments[i])

    def wait(self, result):
        if self._cuda:
            self._torch.cuda.synchronize()

    def as_jax(self, result):
        def convert(tensor):
            return jnp.from_dlpack(tensor.detach().contiguous())

        self.wait(result)
        return jax.tree.map(convert, result)

    def memory(self):
        if not self._cuda:
            return None
        cuda = self._torch.cuda
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        result = self.call(0)
        cuda.synchronize()
        del result
        return cuda.max_memory_allocated() - before

    def many(self, seconds, budget):
        if not self._cuda or seconds > LONG_CALL:
            return None
        cuda = self._torch.cuda
        # Few enough for the queue of launches to hold them all.
        calls = max(1, min(20, round(QUEUE_SECONDS / seconds)))
        begin, end = (cuda.Event(enable_timing=True) for _ in range(2))

        def run() -> float:
            # The device sleeps while the calls are queued, then runs them back to back.
            cuda._sleep(int(2e9 * 1.5 * calls * seconds))
            begin.record()
            for i in range(calls):
                self.call(i % self.count)
            end.record()
            cuda.synchronize()
            return begin.elapsed_time(end) / 1e3 / calls

        return run


def _torch_function(
    torch: Any, library: Library, op: str, form: Format
) -> Callable[..., Any]:
    def mean(x, y):
        return library.mean(x, y, form)

    def ssim_map(x, y):
        return library.map(x, y, form)

    def value_and_grad(x, y):
        value = 1 - mean(x, y)
        return value, torch.autograd.grad(value, x)[0]

    def value_and_grad_both(x, y):
        value = 1 - mean(x, y)
        return value, torch.autograd.grad(value, (x, y))

    def loss_and_grad(x, y):
        target = y.to(x.dtype) / 255 if y.dtype == torch.uint8 else y
        value = 0.8 * (x - target).abs().mean() + 0.2 * (1 - mean(x, target))
        return value, torch.autograd.grad(value, x)[0]

    def weighted_loss_and_grad(x, y, weights):
        similarity = ssim_map(x, y)
        of_map = _cropped(weights, similarity, form)
        l1, ssim = (
            (w * v).sum() / w.expand_as(v).sum()
            for w, v in ((weights, (x - y).abs()), (of_map, similarity))
        )
        value = 0.8 * l1 + 0.2 * (1 - ssim)
        return value, torch.autograd.grad(value, x)[0]

    def ms_ssim_and_grad(x, y):
        value = 1 - library.ms_ssim(x, y, form)
        return value, torch.autograd.grad(value, x)[0]

    def window_7_and_grad(x, y):
        value = 1 - library.mean_of_7(x, y, form)
        return value, torch.autograd.grad(value, x)[0]

    def map_and_vjp(x, y, cotangent):
        value = ssim_map(x, y)
        return value, torch.autograd.grad(value, x, cotangent)[0]

    def volume_mean(x, y):
        return library.volume_mean(x, y, form)

    def volume_and_grad(x, y):
        value = 1 - volume_mean(x, y)
        return value, torch.autograd.grad(value, x)[0]

    return {
        "value": torch.no_grad()(mean),
        "value_and_grad": value_and_grad,
        "value_and_grad_both": value_and_grad_both,
        "loss_and_grad": loss_and_grad,
        "loss_and_grad_uint8": loss_and_grad,
        "weighted_loss_and_grad": weighted_loss_and_grad,
        "ms_ssim_and_grad": ms_ssim_and_grad,
        "window_7_and_grad": window_7_and_grad,
        "map": torch.no_grad()(ssim_map),
        "map_and_vjp": map_and_vjp,
        "volume": torch.no_grad()(volume_mean),
        "volume_and_grad": volume_and_grad,
    }[op]


class NumpyProgram(Program):
    def __init__(self, library: Library, op: str, form: Format, images: Images) -> None:
        self._function = {"value": library.mean, "map": library.map}[op]
        self._form = form
        self._arguments = [
            tuple(map(np.asarray, a)) for a in images.arguments(op, form)
        ]
        self.count = images.count
        # It converts to float64.
        self.scratch = library.scratch * 8 * self._arguments[0][0].size

    def call(self, i):
        return self._function(*self._arguments[i], self._form)

    def as_jax(self, result):
        return jnp.asarray(result)


def build(library: Library, op: str, form: Format, images: Images) -> Program:
    """The program for an operation of a library."""
    kinds = {"jax": JaxProgram, "torch": TorchProgram, "numpy": NumpyProgram}
    return kinds[library.framework](library, op, form, images)


def difference(found: Any, expected: Any) -> dict[str, float]:
    """How far a result is from another: its value (a difference), its images (L2)."""
    worst = {"value": 0.0, "images": 0.0}
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        if a.shape != b.shape:
            raise ValueError(f"shape {a.shape} where ours is {b.shape}")
        kind = "images" if a.ndim else "value"
        off = float(_relative_l2(a, b)) if a.ndim else abs(float(a) - float(b))
        # max() would hide a NaN.
        worst[kind] = off if not off <= worst[kind] else worst[kind]
    return worst


@jax.jit
def _relative_l2(a, b):
    a, b = (v.astype(jnp.promote_types(v.dtype, "float32")) for v in (a, b))
    return jnp.sqrt(jnp.sum((a - b) ** 2) / jnp.sum(b**2))


def expected(
    ours: Library, library: Library, op: str, form: Format, images: Images
) -> Any:
    """What ours computes for the first arguments, with another's border and scales."""
    function = _jax_function(ours, op, form, **library.scales)
    return jax.jit(function)(*images.arguments(op, form)[0])


def tolerance(dtype: str) -> dict[str, float]:
    """How far a library may be from ours: enough for its rounding, not for a window or
    a border that differs."""
    # float64 too: a window that is computed in float32 is no fault here.
    if dtype in ("float32", "float64"):
        return {"value": 1e-4, "images": 2e-3}
    return {"value": 1e-2, "images": 5e-2}
