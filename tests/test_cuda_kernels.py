"""Every CUDA kernel that can run a problem gives the same bits.

The kernels for small and for large images are held against the reference where they are
chosen; here each is forced, so that the choice may change with a device or a batch.
"""

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_table import OPS, every_op

from jax_fused_ssim.spec import Spec

pytestmark = pytest.mark.gpu

SHAPES = [
    (1, 1, 1),
    (2, 37, 1),
    (2, 1, 37),
    (1, 11, 11),
    (3, 12, 300),
    (3, 300, 12),
    (40, 33, 64),
    (3, 2, 70, 52),
    (2, 257, 515),
    (2, 3, 300, 400),
    (70001, 2, 3),
]

PADDINGS = [(True, True), (False, False), (True, False)]
# Without padding a side is at least as long as the window.
CASES = [
    (shape, padding)
    for shape in SHAPES
    for padding in PADDINGS
    if all(p or n >= 11 for p, n in zip(padding, shape[-2:], strict=True))
]


@every_op
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("shape", "padding"), CASES, ids=str)
def test_kernels_agree(monkeypatch, shape, padding, channels_last, dtype, op):
    if channels_last:
        shape = (*shape[:-3], shape[-2], shape[-1], shape[-3])
    spec = Spec(
        padding=padding,
        crop=(True, False),
        l1_weight=0.8,
        l2_weight=0.1,
        channels_last=channels_last,
        implementation="fused",
    )
    x, y = (jnp.asarray(images.noise(shape, s), dtype) for s in (1, 2))
    cotangent = jnp.asarray(images.noise(spec.map_shape(shape), 3) - 0.5, dtype)
    found = {}
    for kernel in ("tile", "strip"):
        monkeypatch.setenv("JAX_FUSED_SSIM_CUDA_KERNEL", kernel)
        found[kernel] = jax.device_get(OPS[op](x, y, cotangent, spec))
    for a, b in zip(found["tile"], found["strip"], strict=True):
        np.testing.assert_array_equal(
            a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}")
        )
