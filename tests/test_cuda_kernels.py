"""Every CUDA kernel that can run a problem gives the same bits.

The kernels for small and for large images are held against the reference where they are
chosen; here each is forced, so that the choice may change with a device or a batch.
"""

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_fused_ssim import build_info, ops
from jax_fused_ssim.ops import Spec

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "gpu" or "cuda" not in build_info()["platforms"],
    reason="needs a GPU and the CUDA kernels",
)

SHAPES = [
    (1, 1, 1),
    (2, 37, 1),
    (2, 1, 37),
    (1, 11, 11),
    (3, 12, 300),
    (3, 300, 12),
    (40, 33, 64),
    (2, 257, 515),
    (2, 3, 300, 400),
    (70001, 2, 3),
]


def results(monkeypatch, kernel, x, y, cotangent, spec):
    monkeypatch.setenv("JAX_FUSED_SSIM_CUDA_KERNEL", kernel)
    wrt = ((True, False), (False, True), (True, True))
    found = jax.tree.leaves(
        (
            ops.ssim_sum(x, y, spec),
            [ops.ssim_sum_grad(x, y, spec, w) for w in wrt],
            ops.ssim_map(x, y, spec),
            [ops.ssim_map_grad(x, y, cotangent, spec, w) for w in wrt],
        )
    )
    return jax.device_get(found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("padding", [(True, True), (False, False), (True, False)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_agree(monkeypatch, shape, padding, channels_last, dtype):
    if any(not p and n < 11 for p, n in zip(padding, shape[-2:], strict=True)):
        pytest.skip("smaller than the window")
    if channels_last:
        shape = (*shape[:-3], shape[-2], shape[-1], shape[-3])
    spec = Spec(padding=padding, channels_last=channels_last, implementation="fused")
    x, y = (jnp.asarray(images.noise(shape, s), dtype) for s in (1, 2))
    cotangent = jnp.asarray(images.noise(spec.map_shape(shape), 3) - 0.5, dtype)
    tile, strip = (
        results(monkeypatch, kernel, x, y, cotangent, spec)
        for kernel in ("tile", "strip")
    )
    for a, b in zip(tile, strip, strict=True):
        np.testing.assert_array_equal(
            a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}")
        )
