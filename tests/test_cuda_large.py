"""Images as large as only a GPU's memory holds: no index may be 32 bits wide."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_fused_ssim import ops
from jax_fused_ssim.spec import Spec

RADIUS = 5


pytestmark = pytest.mark.gpu
KERNELS = ("tile", "strip")
COMMON = {"implementation": "fused", "scale": 1e-6}


@functools.partial(jax.jit, static_argnums=(0, 1))
def noise(shape, seed):
    return jax.random.uniform(jax.random.key(seed), shape)


# One test for all kernels and layouts: side by side they would not fit.
@pytest.mark.large(36)
def test_more_elements_than_32_bits_count(monkeypatch):
    for kernel, channels_last in itertools.product(KERNELS, (False, True)):
        monkeypatch.setenv("JAX_FUSED_SSIM_CUDA_KERNEL", kernel)
        shape = (1024, 1024, 3) if channels_last else (3, 1024, 1024)
        check_batch(shape, Spec(channels_last=channels_last, **COMMON))


@pytest.mark.large(36)
def test_more_voxels_than_32_bits_count():
    for channels_last in (False, True):
        shape = (64, 128, 128, 3) if channels_last else (3, 64, 128, 128)
        axes = {"padding": (True,) * 3, "crop": (False,) * 3}
        check_batch(
            shape, Spec(volumes=True, channels_last=channels_last, **axes, **COMMON)
        )


def check_batch(shape, spec):
    count = 690
    assert count * np.prod(shape) > 2**31
    one, other = noise(shape, 0), noise((1, *shape), 1)

    # Every image another one: no result may come from the wrong place.
    @jax.jit
    def batch(one):
        factors = 1 - jnp.arange(count, dtype="float32") / (2 * count)
        return factors.reshape(-1, *[1] * one.ndim) * one

    x = batch(one)
    sums, (grad,) = ops.ssim_sum_grad(x, other, spec)
    full = ops.ssim_map(x, other, spec)
    some = (0, count // 2, count - 1)
    for i in some:
        alone, (alone_grad,) = ops.ssim_sum_grad(x[i : i + 1], other, spec)
        np.testing.assert_array_equal(sums[i], alone[0])
        np.testing.assert_array_equal(grad[i], alone_grad[0])
        np.testing.assert_array_equal(
            full[i], ops.ssim_map(x[i : i + 1], other, spec)[0]
        )
    assert len({float(sums[i].ravel()[0]) for i in some}) == len(some)


@pytest.mark.large(12)
def test_one_very_large_image(monkeypatch):
    for kernel in KERNELS:
        monkeypatch.setenv("JAX_FUSED_SSIM_CUDA_KERNEL", kernel)
        check_image()


def check_image():
    side, piece = 20000, 300
    spec = Spec(implementation="fused")
    x, y = noise((1, side, side), 0), noise((1, side, side), 1)
    sums, (grad,) = ops.ssim_sum_grad(x, y, spec)
    full = ops.ssim_map(x, y, spec)

    # A pixel's results are those of a piece, but for the rounding of another centre.
    halo = 2 * RADIUS
    for top, left in ((0, 0), (0, side - piece), (side - piece, 7000), (9998, 12345)):
        rows = slice(max(top - halo, 0), min(top + piece + halo, side))
        columns = slice(max(left - halo, 0), min(left + piece + halo, side))
        cut = [a[:, rows, columns] for a in (x, y)]
        _, (piece_grad,) = ops.ssim_sum_grad(*cut, spec)
        inside = (
            slice(None),
            slice(top - rows.start, top - rows.start + piece),
            slice(left - columns.start, left - columns.start + piece),
        )
        here = (slice(None), slice(top, top + piece), slice(left, left + piece))
        np.testing.assert_allclose(grad[here], piece_grad[inside], rtol=0, atol=5e-5)
        np.testing.assert_allclose(
            full[here], ops.ssim_map(*cut, spec)[inside], rtol=0, atol=5e-5
        )
    expected = 1 - np.asarray(full, np.float64).mean()
    np.testing.assert_allclose(sums[0] / side**2, expected, rtol=1e-6)
