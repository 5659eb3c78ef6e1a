"""Data that lies far from zero: heights, temperatures, CT.

Variances do not depend on an offset, and so their rounding errors may not either. What
is subtracted from a plane follows from that plane alone.
"""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations

from jax_fused_ssim import fused_ssim

PADDINGS = {"same": (True, True), "valid": (False, False)}
every_implementation = implementations(slow=False)
paddings = pytest.mark.parametrize("padding", PADDINGS)
layouts = pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])


def heights(offset, dtype=np.float32):
    """Hills of 1000 metres, and the same measured with an error of 10."""
    i, j = np.mgrid[:256, :256]
    noise = np.random.default_rng(0).standard_normal((1, 256, 256))
    hills = offset + 500 + 500 * (1 + np.sin(i / 40) * np.cos(j / 40))[None]
    return hills.astype(dtype), (hills + 10 * noise).astype(dtype)


def photographs(offset):
    """Three channels whose offsets differ, and a blurred copy with one more."""
    photograph = images.photograph("chelsea")[:, 40:140, 60:171]
    offsets = offset * np.array([1.0, -1.0, 0.1])[:, None, None]
    x, y = photograph + offsets, images.blurred(photograph) + offsets + 0.1
    return x.astype(np.float32), y.astype(np.float32)


@functools.partial(
    jax.jit, static_argnames=("padding", "data_range", "data_format", "implementation")
)
def results(x, y, **options):
    """Value, map and gradients: one program for all offsets."""

    def ssim(x, y, reduction="mean"):
        return fused_ssim(x, y, reduction=reduction, **options)

    value, both = jax.value_and_grad(ssim, (0, 1))(x, y)
    alone = [jax.grad(ssim, i)(x, y) for i in (0, 1)]
    return value, ssim(x, y, "none"), [*both, *alone]


def check(x, y, padding, data_range, *, data_format="NCHW", implementation=None):
    """Value, map and gradients against the reference for the given pixels."""
    options = {"padding": PADDINGS[padding], "data_range": data_range}
    similarity = reference.Similarity(x, y, **options)
    exact = similarity.map
    grads = [g / exact.size for g in similarity.gradients(np.ones_like(exact))]
    last = data_format == "NHWC"
    x, y = (jnp.asarray(reference.unplanes(a, last)) for a in (x, y))

    def planes(a):
        return reference.planes(np.asarray(a).astype(reference.REAL), last)

    value, full, found_grads = results(
        x,
        y,
        padding=padding,
        data_range=data_range,
        data_format=data_format,
        implementation=implementation,
    )
    assert abs(reference.REAL(value) - exact.mean()) < 2e-6
    assert np.abs(planes(full) - exact).max() < 2e-4
    for found, expected in zip(found_grads, 2 * grads, strict=True):
        error = np.linalg.norm(planes(found) - expected)
        assert error < 2e-4 * np.linalg.norm(expected)


@every_implementation
@paddings
@pytest.mark.parametrize("offset", [0, -1e4, 1e5, 1e6 - 1000])
def test_heights(offset, padding, implementation):
    check(*heights(offset), padding, 1000, implementation=implementation)


@every_implementation
@layouts
@pytest.mark.parametrize("offset", [10.0, 900.0])
def test_every_channel_has_its_own(offset, data_format, implementation):
    check(
        *photographs(offset),
        "valid",
        1,
        data_format=data_format,
        implementation=implementation,
    )


@every_implementation
def test_value_of_heights(implementation):
    """The right value for these pixels, from the formula in extended precision."""
    x, y = heights(1e5)
    value = fused_ssim(x, y, "valid", data_range=1000, implementation=implementation)
    assert abs(float(value) - 0.9273939) < 2e-6


@every_implementation
@pytest.mark.parametrize(
    "levels", [(0.7296554464, 0.1756556206), (0.03, 0.97), (412.5, 409.25)], ids=str
)
def test_constants(levels, implementation):
    x, y = (np.full((1, 48, 48), level, np.float32) for level in levels)
    value = fused_ssim(x, y, "valid", implementation=implementation)
    exact = reference.ssim_map(x, y, (False, False)).mean()
    assert abs(reference.REAL(value) - exact) < 1e-6


@every_implementation
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float64])
def test_other_dtypes(dtype, implementation):
    offset = {"float16": 500, "bfloat16": 100, "float64": 1e5}[jnp.dtype(dtype).name]
    with jax.enable_x64(True):
        x, y = (a / 1000 + offset for a in heights(0, np.float64))
        x, y = (jnp.asarray(a).astype(dtype) for a in (x, y))
        value = fused_ssim(x, y, "valid", implementation=implementation)
    x, y = (np.asarray(a).astype(reference.REAL) for a in (x, y))
    exact = reference.ssim_map(x, y, (False, False)).mean()
    assert abs(reference.REAL(value) - exact) < 2e-6


def test_identical_images_far_from_zero():
    x, _ = heights(1e6 - 1000)
    value, grads = jax.value_and_grad(fused_ssim, (0, 1))(x, x)
    assert value == 1
    assert not np.any(grads)


@every_implementation
@pytest.mark.parametrize("fill", [-9999.0, 1e18, np.nan, np.inf])
def test_fill_values_leave_the_rest_alone(fill, implementation):
    """Most samples are no data; windows that see none of that are as right as ever."""
    pair = [
        images.photograph("chelsea")[:1, 40:140, 60:180],
        images.noise((1, 100, 120)),
    ]
    x, y = (a.astype(np.float32) for a in pair)
    exact = reference.ssim_map(x, y)
    x[..., 25:], y[..., 25:] = fill, fill
    full = fused_ssim(x, y, reduction="none", implementation=implementation)
    assert np.abs(np.asarray(full)[..., :20] - exact[..., :20]).max() < 5e-5


@layouts
def test_same_bits_alone_and_in_any_batch(data_format):
    """Planes beside each other, near and far from zero, do not meet."""
    pairs = [heights(offset) for offset in (0, 1e6 - 1000, -3e4)]
    x, y = (jnp.stack(a) for a in zip(*pairs, strict=True))
    x, y = (a[:, :, :83, :101] for a in (x, y))
    if data_format == "NHWC":
        x, y = (jnp.moveaxis(a, 1, -1) for a in (x, y))

    def everything(x, y):
        options = {"data_range": 1000, "data_format": data_format}
        value, pull_back = jax.vjp(
            lambda x, y: fused_ssim(x, y, reduction="per_image", **options), x, y
        )
        full = fused_ssim(x, y, reduction="none", **options)
        return value, full, *pull_back(jnp.ones_like(value))

    together = everything(x, y)
    for i in range(len(pairs)):
        alone = everything(x[i : i + 1], y[i : i + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[i], b[0])
