"""What JAX offers around a compiled function: ahead of time, from a cache, with donated
buffers, under its debugging switches, from many threads."""

import concurrent.futures
import functools
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    fused_ssim,
    image_metrics,
    photometric_loss,
)

PROGRAM = Path(__file__).with_name("cache_program.py")
SHAPE = (2, 3, 24, 31)


def pair(shape=SHAPE, dtype="float32"):
    return tuple(jnp.asarray(images.noise(shape, seed), dtype) for seed in (1, 2))


def test_ahead_of_time():
    x, y = pair()
    image = jax.ShapeDtypeStruct(x.shape, x.dtype)
    compiled = jax.jit(jax.value_and_grad(fused_ssim)).lower(image, image).compile()
    for found, expected in zip(
        compiled(x, y), jax.value_and_grad(fused_ssim)(x, y), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match="compiled"):
        compiled(x[:1], y[:1])


FUNCTIONS = {
    "mean": fused_ssim,
    "per_image": functools.partial(fused_ssim, reduction="per_image"),
    "none": functools.partial(fused_ssim, reduction="none"),
    "loss": photometric_loss,
    "loss and terms": functools.partial(photometric_loss, return_terms=True),
    "metrics": image_metrics,
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@every_function
def test_eval_shape(name, dtype):
    """Promises what is then returned, and runs nothing."""
    with jax.enable_x64(dtype == "float64"):

        def function(x, y):
            return jax.vjp(lambda x: FUNCTIONS[name](x, y, padding="valid"), x)[0]

        x, y = pair(dtype=dtype)
        image = jax.ShapeDtypeStruct(x.shape, x.dtype)
        promised, returned = jax.eval_shape(function, image, image), function(x, y)
        for a, b in zip(*map(jax.tree.leaves, (promised, returned)), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.slow
def test_persistent_cache_and_export_across_processes(tmp_path):
    image = jax.ShapeDtypeStruct((1, 3, 12, 13), "float32")
    checks = [export.DisabledSafetyCheck.custom_call(t) for t in CUSTOM_CALL_TARGETS]
    exported = export.export(
        jax.jit(fused_ssim), platforms=("cpu", "cuda"), disabled_checks=checks
    )(image, image)
    file = tmp_path / "exported"
    file.write_bytes(exported.serialize(vjp_order=1))

    def run():
        done = subprocess.run(
            [sys.executable, "-P", PROGRAM, tmp_path / "cache", file],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first, second = run(), run()
    assert (first["hits"], first["misses"]) == (0, 1)
    assert (second["hits"], second["misses"]) == (1, 0)
    # What was exported computes both gradients, whichever is asked for.
    assert max(first["difference"], second["difference"]) < 1e-7


def test_donation():
    """A training step on the image: the result takes the place of the donated one."""

    def step(x, y):
        return x + jax.grad(fused_ssim)(x, y)

    x, y = pair()
    expected = step(x, y)
    compiled = jax.jit(step, donate_argnums=0).lower(x, y).compile()
    assert compiled.memory_analysis().alias_size_in_bytes == x.nbytes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compiled(x, y)
    assert x.is_deleted()
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("ssim", [fused_ssim, photometric_loss])
def test_debug_nans(ssim):
    x, y = pair()
    gradients = jax.value_and_grad(ssim, (0, 1))
    with jax.debug_nans(True):
        for a, b in ((x, y), (x, x), (0 * x, 0 * x)):
            jax.block_until_ready((gradients(a, b), jax.jit(gradients)(a, b)))
        with jax.debug_nans(False):
            bad = x.at[0, 0, 0, 0].set(jnp.nan)
        for function in (ssim, jax.grad(ssim), jax.jit(gradients)):
            with pytest.raises(FloatingPointError, match="nan"):
                function(bad, y)


@pytest.mark.parametrize("function", [fused_ssim, photometric_loss])
def test_disable_jit(function):
    x, y = pair()
    expected = jax.jit(jax.value_and_grad(function))(x, y)
    with jax.disable_jit():
        found = jax.value_and_grad(function)(x, y)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@every_function
def test_transfer_guard(name):
    """Nothing goes between host and device, outside jit too. (The seed of `jax.grad`
    outside jit is a transfer of JAX's own.)"""
    x, y = pair()
    function = FUNCTIONS[name]
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(function(x, y))
        jax.block_until_ready(jax.jit(function)(x, y))
        jax.block_until_ready(jax.jit(jax.vjp, static_argnums=0)(function, x, y)[0])


def test_x64_does_not_change_float32():
    x, y = pair()
    function = jax.jit(jax.value_and_grad(fused_ssim))
    expected = function(x, y)
    with jax.enable_x64(True):
        found = function(x, y)
        double = function(x.astype("float64"), y.astype("float64"))
    for a, b, exact in zip(found, expected, double, strict=True):
        assert a.dtype == "float32"
        np.testing.assert_array_equal(a, b)
        assert exact.dtype == "float64"
        np.testing.assert_allclose(a, exact, rtol=1e-4, atol=1e-7)


def test_many_threads():
    """Calls at once, of programs that are compiled meanwhile: each gets its own result,
    bit for bit."""
    heights = range(20, 28)
    arguments = {h: pair((1, 3, h, 40)) for h in heights}
    function = jax.value_and_grad(fused_ssim, (0, 1))
    expected = {h: jax.jit(function)(*arguments[h]) for h in heights}
    compiled = jax.jit(lambda x, y: function(x, y))

    def call(h):
        return h, jax.block_until_ready(compiled(*arguments[h]))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for h, found in pool.map(call, list(heights) * 25):
            for a, b in zip(
                jax.tree.leaves(found), jax.tree.leaves(expected[h]), strict=True
            ):
                np.testing.assert_array_equal(a, b)
