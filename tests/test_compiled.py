"""What XLA makes of the ops: custom calls, and nothing image-sized beside them.

The compiled program is read as text; a copy or a cast around a kernel costs as much as
the kernel.
"""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from ops_table import OPS, every_op
from programs import TARGET, calls, instructions

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    build_info,
    fused_ssim,
    image_metrics,
    photometric_loss,
)

SHAPE = (2, 3, 40, 50)
SHAPES = {"NCHW": SHAPE, "NHWC": (2, 40, 50, 3)}
CUDA = "cuda" in build_info()["platforms"]

either = pytest.mark.parametrize("function", [fused_ssim, photometric_loss])


def arguments(dtype="float32", shape=SHAPE):
    return tuple(jnp.asarray(images.noise(shape, seed), dtype) for seed in (1, 2))


FREE = ("parameter", "get-tuple-element", "tuple", "custom-call", "bitcast")


def image_sized(found):
    """Instructions that make an array of at least half an image, but for the call."""
    return [
        line
        for opcode, shapes, line in found
        if opcode not in FREE and any(np.prod(s) >= np.prod(SHAPE) / 2 for s in shapes)
    ]


def dissimilarity(x, y, **options):
    return 1 - fused_ssim(x, y, **options)


def loss_with_terms(x, y, **options):
    return photometric_loss(x, y, l2_weight=0.5, return_terms=True, **options)


# Name: the loss, whether it has terms beside it, and its op.
LOSSES = {
    "1 - SSIM": (dissimilarity, False, "ssim_sum_grad"),
    "photometric": (photometric_loss, False, "loss_sum_grad"),
    "with terms": (loss_with_terms, True, "loss_sum_grad"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)], ids=str)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_is_one_call(name, data_format, padding, argnums, dtype):
    function, has_aux, op = LOSSES[name]
    loss = functools.partial(function, padding=padding, data_format=data_format)
    shape = SHAPES[data_format]
    found = instructions(
        jax.value_and_grad(loss, argnums, has_aux=has_aux), *arguments(dtype, shape)
    )
    assert calls(found) == [TARGET + op]
    assert image_sized(found) == []
    (call,) = (shapes for opcode, shapes, _ in found if opcode == "custom-call")
    gradients = [s for s in call if s == shape]
    assert len(gradients) == (2 if argnums == (0, 1) else 1)


@pytest.mark.parametrize("reduction", ["mean", "per_image"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_the_call_finishes_the_loss(data_format, reduction):
    """What is left to do for its value would be kernels of their own on a GPU."""
    loss = functools.partial(
        photometric_loss, data_format=data_format, reduction=reduction
    )

    def step(x, y):
        value, pull_back = jax.vjp(lambda x: loss(x, y), x)
        return value, pull_back(jnp.ones_like(value))

    found = instructions(step, *arguments(shape=SHAPES[data_format]))
    others = [line for opcode, _, line in found if opcode not in FREE]
    assert calls(found) == [TARGET + "loss_sum_grad"]
    # Of per-image losses the cotangents are multiplied, though they are ones.
    assert len(others) <= (0 if reduction == "mean" else 2)


@pytest.mark.parametrize("name", LOSSES)
def test_float16_is_cast_once_at_the_end(name):
    """Its gradient may be needed times a loss scale before."""
    function, has_aux, op = LOSSES[name]
    found = instructions(
        jax.value_and_grad(function, has_aux=has_aux), *arguments("float16")
    )
    assert calls(found) == [TARGET + op]
    assert len(image_sized(found)) == 1


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_gradient_of_ssim_itself_is_one_pass_more(data_format):
    """Its sign: what the kernel writes is the gradient of 1 - SSIM."""

    def ssim(x, y):
        return fused_ssim(x, y, data_format=data_format)

    pair = arguments(shape=SHAPES[data_format])
    found = instructions(jax.value_and_grad(ssim), *pair)
    assert calls(found) == [TARGET + "ssim_sum_grad"]
    assert len(image_sized(found)) == 1


# Name: function and op.
VALUES = {
    "mean": (fused_ssim, "ssim_sum"),
    "per image": (functools.partial(fused_ssim, reduction="per_image"), "ssim_sum"),
    "loss": (photometric_loss, "loss_sum"),
    "loss with terms": (loss_with_terms, "loss_sum"),
    "metrics": (image_metrics, "loss_sum"),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_inference_writes_no_image(dtype, name):
    function, op = VALUES[name]
    found = instructions(function, *arguments(dtype))
    assert calls(found) == [TARGET + op]
    assert image_sized(found) == []
    (call,) = (shapes for opcode, shapes, _ in found if opcode == "custom-call")
    assert max(np.prod(s) for s in call) < np.prod(SHAPE) / 10


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_map_and_its_gradient(data_format):
    def full(x, y):
        return fused_ssim(x, y, reduction="none", data_format=data_format)

    pair = arguments(shape=SHAPES[data_format])
    found = instructions(full, *pair)
    assert calls(found) == [TARGET + "ssim_map"]
    assert image_sized(found) == []

    def pull_back(x, y, cotangent):
        return jax.vjp(lambda x: full(x, y), x)[1](cotangent)

    found = instructions(pull_back, *pair, pair[0])
    assert calls(found) == [TARGET + "ssim_map_grad"]
    assert image_sized(found) == []


@either
def test_plain_jax_on_request(function):
    found = instructions(
        jax.value_and_grad(lambda x, y: function(x, y, implementation="xla")),
        *arguments(),
    )
    assert not any(TARGET in line for _, _, line in found)


def lowered(function, platform):
    traced = jax.jit(function).trace(*arguments())
    return traced.lower(lowering_platforms=(platform,)).as_text()


@every_op
def test_lowering_for_cuda_needs_no_gpu(op):
    text = lowered(OPS[op].public, "cuda")
    assert (f"@{TARGET}{OPS[op].name}(" in text) == CUDA


@every_op
def test_what_devices_may_share_says_how(op):
    checks = [export.DisabledSafetyCheck.custom_call(t) for t in CUSTOM_CALL_TARGETS]
    exported = export.export(jax.jit(OPS[op].public), disabled_checks=checks)
    text = exported(*arguments()).mlir_module()
    assert f"@{TARGET}{OPS[op].name}(" in text
    assert "mhlo.frontend_attributes" in text
    assert "num_batch_dims = " in text
    assert "sdy.sharding_rule" in text


@every_op
@pytest.mark.parametrize("platform", ["tpu", "rocm"])
def test_lowering_elsewhere_is_plain_jax(op, platform):
    assert TARGET not in lowered(OPS[op].public, platform)


@either
def test_fused_where_there_is_no_kernel(function):
    def fused(x, y):
        return function(x, y, implementation="fused")

    with pytest.raises(NotImplementedError, match=r"tpu.*implementation=None"):
        lowered(fused, "tpu")
    assert TARGET in lowered(fused, "cpu")
