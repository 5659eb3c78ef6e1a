"""Run by test_pages.py in a process of its own, which has 8 CPU devices.

Runs the Python of every page as it stands, from top to bottom, and compares what some
of them find with the functions on whole images. Prints one JSON object: for every page
that failed, why.
"""

import functools
import json
import os
import sys
import tempfile
import traceback
from contextlib import redirect_stdout

import jax
import jax.numpy as jnp
import numpy as np
import pages

from jax_fused_ssim import (
    fused_ms_ssim,
    fused_ssim,
    fused_ssim3d,
    photometric_loss,
)

same = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)


def readme(p):
    pixels = p.photos / jnp.float32(255)
    d = 1 - fused_ssim(p.predictions, pixels, data_format="NHWC")
    same(p.value, 0.8 * jnp.abs(p.predictions - pixels).mean() + 0.2 * d)
    same(p.gradient, -jax.grad(fused_ssim)(p.images, p.targets))
    same(p.metrics.ssim.mean(), fused_ssim(p.images, p.targets))


def training(p):
    half = [a.astype(jnp.float16).astype(jnp.float32) for a in (p.images, p.targets)]
    same(p.gradient, -jax.grad(fused_ssim)(*half), rtol=1e-3, atol=1e-10)
    same(p.metric, fused_ssim(p.images, p.targets))
    same(p.mse_gradient, 2 * (p.images - p.targets) / p.images.size)
    same(p.nnx_gradient, jax.grad(fused_ssim)(p.images, p.targets))
    same(p.nnx_per_image, fused_ssim(p.images, p.targets, reduction="per_image"))
    same(p.psnr, -10 * jnp.log10(jnp.mean((p.images - p.photo / 255) ** 2, (1, 2, 3))))


def masks(p):
    ssim_map = fused_ssim(p.images, p.targets, reduction="none")
    same(p.by_weight, (ssim_map - ssim_map.mean()) / ssim_map.size, atol=1e-9)


def metrics(p):
    same(p.of_channels.mean(1), p.metrics.ssim)
    expected = [fused_ssim(x, p.targets[0]) for x in p.images]
    same(p.against_one, jnp.stack(expected))
    same(p.ssim_map.mean(), fused_ssim(p.images, p.targets), rtol=1e-4)
    assert p.small == fused_ms_ssim(
        p.images, p.targets, padding="valid", scale_weights=(0.2, 0.4, 0.4)
    )


def volumes(p):
    same(p.value, 1 - fused_ssim3d(p.scan, 0.9 * p.scan, "valid"))
    slices = [fused_ssim(x[None], 0.9 * x[None]) for x in p.scan[0]]
    same(p.by_slice, jnp.stack(slices).mean())


def devices(p):
    whole, grad = jax.value_and_grad(fused_ssim)(p.images, p.targets)
    same(p.value, whole)
    same(p.grad, grad)
    loss, gradient = jax.value_and_grad(photometric_loss)(p.images, p.targets)
    same(p.loss_of_batch, loss)
    same(p.gradient_of_batch, gradient)
    assert len(p.gradient_of_batch.sharding.device_set) == jax.device_count()
    valid = fused_ssim(p.images, p.targets, "valid", reduction="none")
    same(p.valid_map, valid, atol=1e-5)
    shared = jnp.tile(p.targets[:1], (8, 1, 1, 1))
    expected = jax.grad(fused_ssim, (0, 1))(p.images, shared)
    same(p.gradients[0], expected[0])
    same(p.gradients[1], expected[1].sum(0, keepdims=True))


def export(p):
    same(p.again.call(p.images, p.targets), fused_ssim(p.images, p.targets))


def sharp_bits(p):
    whole = fused_ssim(p.images, p.targets)
    same(p.of_any_range(9 * p.images, 9 * p.targets), whole, rtol=1e-4)


CHECKS = {
    "README.md": readme,
    "docs/training.md": training,
    "docs/masks.md": masks,
    "docs/metrics.md": metrics,
    "docs/volumes.md": volumes,
    "docs/devices.md": devices,
    "docs/export.md": export,
    "docs/sharp-bits.md": sharp_bits,
}


class Names(dict):
    """What a page's code left behind, as attributes."""

    __getattr__ = dict.__getitem__


def failure(page):
    names = Names()
    try:
        with redirect_stdout(sys.stderr):
            for code in pages.code_of(page):
                exec(code, names)
            CHECKS.get(page, lambda p: None)(names)
    except Exception:
        return traceback.format_exc()
    return None


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    failures = {page: failure(page) for page in pages.PAGES}
print(json.dumps({page: why for page, why in failures.items() if why}))
