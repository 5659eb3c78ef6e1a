"""The handlers, called past every check in Python with buffers that do not fit.

Each must answer INVALID_ARGUMENT with a message, and neither read nor write them.
"""

import images
import jax
import jax.numpy as jnp
import numpy as np
import ops_table
import pytest
import reference

from jax_fused_ssim.native import SCRATCH_WORDS, VOLUME_TARGETS, derivative_words

SHAPE = (2, 3, 16, 18)
PLANES = SHAPE[:2]
ATTRIBUTES = {
    "data_range": np.float64(1),
    "k1": np.float64(0.01),
    "k2": np.float64(0.03),
    "scale": np.float64(1),
    "error_scale": np.float64(0.5),
    "ssim_weight": np.float64(0.2),
    "l1_weight": np.float64(0.8),
    "l2_weight": np.float64(0.1),
    "window": np.empty(0),
    "pad_z": np.bool_(False),
    "pad_y": np.bool_(True),
    "pad_x": np.bool_(True),
    "crop_y": np.bool_(True),
    "crop_x": np.bool_(False),
    "channels_last": np.bool_(False),
    "volumes": np.bool_(False),
}


def array(shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


IMAGE = array(SHAPE)
LOSS = array(PLANES)
TERMS = array((*PLANES, 3))
WORDS = array((*PLANES, SCRATCH_WORDS), "uint32")
SCALES = array((1, 1, 3))
# Name: operands, results; of a gradient the first alone, of weights those that hide
# nothing from windows.
OPS = {
    op.name: (
        [IMAGE] * (2 + op.cotangent) + [IMAGE, IMAGE, SCALES] * op.weights,
        [LOSS] * op.loss + [TERMS] * op.errors + [IMAGE] * op.images + [WORDS],
    )
    for op in ops_table.OPS.values()
    if op.wrt in (None, ops_table.FIRST) and op.weighting == "inside"
}


def call(op, operands, results, without=(), **attributes):
    attributes = {**ATTRIBUTES, **attributes}
    for name in without:
        del attributes[name]
    arrays = [
        jnp.asarray(images.noise(a.shape, seed) * (100 if seed < 2 else 1), a.dtype)
        for seed, a in enumerate(operands)
    ]
    target = jax.ffi.ffi_call(f"jax_fused_ssim_{op}", results)
    return jax.block_until_ready(jax.jit(lambda *a: target(*a, **attributes))(*arrays))


def refused(op, operands, results, message, **attributes):
    with pytest.raises(jax.errors.JaxRuntimeError, match=message) as caught:
        call(op, operands, results, **attributes)
    assert "INVALID_ARGUMENT" in str(caught.value)
    assert "jax_fused_ssim: " in str(caught.value)


WEIGHTED = [op for op in OPS if "weighted" in op]
every_op = pytest.mark.parametrize("op", OPS)


@every_op
def test_buffers_that_fit(op):
    """What the other tests here change one thing of is accepted, and right."""
    operands, results = OPS[op]
    found = call(op, operands, results, data_range=np.float64(100))
    x, y = (100 * images.noise(SHAPE, seed).astype(np.float32) for seed in (0, 1))
    expected = reference.ssim_map(x, y, data_range=100)
    of_map, of_errors = 1, 1
    if op.startswith("weighted"):
        of_map, of_errors = (images.noise(SHAPE, seed) for seed in (2, 3))
        *scales, unit = np.split(images.noise((1, 1, 3), 4), 3, -1)
        of_map, of_errors = (
            unit * s * w for s, w in zip(scales, (of_map, of_errors), strict=True)
        )
    loss = 0.2 * (of_map * (1 - expected)).sum((-2, -1))
    if "loss_sum" in op:
        l1, l2 = (
            0.5 * (of_errors * e).sum((-2, -1))
            for e in reference.errors(x, y, data_range=100)
        )
        loss += 0.8 * l1 + 0.1 * l2
        np.testing.assert_allclose(found[1][..., 0], l1.astype(float), rtol=1e-6)
        np.testing.assert_allclose(found[1][..., 1], l2.astype(float), rtol=1e-6)
    if "_sum" in op:
        np.testing.assert_allclose(found[0], loss.astype(float), rtol=1e-5)
    if op == "ssim_map":
        np.testing.assert_allclose(found[0], expected.astype(float), atol=1e-5)
    if op.endswith("grad"):
        assert np.isfinite(found[-2]).all()


@every_op
@pytest.mark.parametrize("change", [-1, 1])
def test_number_of_operands(op, change):
    operands, results = OPS[op]
    more = [IMAGE] * (2 if op in WEIGHTED else 1)
    operands = operands[:-1] if change < 0 else [*operands, *more]
    refused(op, operands, results, r"expected \d( or \d)? operands, got \d")


@every_op
def test_too_many_results(op):
    operands, results = OPS[op]
    results = [*results, IMAGE, IMAGE]
    refused(op, operands, results, r"expected \d( or \d)? results, got \d")


@every_op
def test_too_few_results(op):
    operands, results = OPS[op]
    refused(op, operands, results[:-1], r"expected \d( or \d)? results, got \d")


@every_op
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("dtype", ["int32", "int8", "float16", "complex64", "bool"])
def test_dtype_of_an_image(op, index, dtype):
    operands, results = OPS[op]
    operands = [*operands]
    operands[index] = array(SHAPE, dtype)
    refused(op, operands, results, "images must have one dtype")


@every_op
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_without_a_kernel_or_a_gradient(op, dtype):
    operands, results = OPS[op]
    operands = [array(SHAPE, dtype), *operands[1:]]
    if op.endswith("loss_sum"):
        call(op, operands, results)
    else:
        message = "have no gradient" if "loss_sum" in op else "have one dtype"
        refused(op, operands, results, message)


@every_op
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 16, 17), r"\[2, 3, 16, 17\]"),
        ((2, 3, 15, 18), r"\[2, 3, 15, 18\]"),
        ((2, 2, 16, 18), r"\[2, 2, 16, 18\]"),
        ((3, 3, 16, 18), r"\[3, 3, 16, 18\]"),
        ((3, 16, 18), "same number of dimensions"),
        ((18,), "same number of dimensions"),
        ((), "same number of dimensions"),
    ],
    ids=str,
)
@pytest.mark.parametrize("index", [0, 1])
def test_shape_of_an_image(op, index, shape, message):
    operands, results = OPS[op]
    operands = [*operands]
    operands[index] = array(shape)
    refused(op, operands, results, message)


@every_op
@pytest.mark.parametrize("shape", [(2, 3, 0, 18), (2, 3, 16, 0)], ids=str)
def test_empty_planes(op, shape):
    operands, results = OPS[op]

    def changed(arrays):
        return [array(shape, a.dtype) if a.shape == SHAPE else a for a in arrays]

    refused(op, changed(operands), changed(results), "empty")


@every_op
def test_images_smaller_than_the_window(op):
    operands, results = ([array((2, 3, 10, 18))] * len(OPS[op][0]), OPS[op][1])
    refused(op, operands, results, "smaller than the window", pad_y=np.bool_(False))


@pytest.mark.parametrize(
    ("op", "index"), [(op, i) for op in OPS for i in range(len(OPS[op][1]))]
)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda a: array(a.shape, "int32"),
        lambda a: array((*a.shape[:-1], a.shape[-1] - 1)),
    ],
    ids=["dtype", "shape"],
)
def test_results(op, index, wrong):
    operands, results = OPS[op]
    results = [*results]
    results[index] = wrong(results[index])
    refused(op, operands, results, r"must be dtype \d+ of shape|do not fit")


with_loss = pytest.mark.parametrize("op", [op for op in OPS if "_sum" in op])


def summed(results, kept):
    """The results with a loss of so many dimensions."""
    losses = [array((*PLANES[:kept], *a.shape[2:])) for a in results[:2]]
    return [
        s if r in (LOSS, TERMS) else r for r, s in zip(results, losses, strict=False)
    ] + results[2:]


@with_loss
@pytest.mark.parametrize("kept", [0, 1])
def test_loss_of_several_planes(op, kept):
    operands, results = OPS[op]
    by_plane = call(op, operands, results)
    found = call(op, operands, summed(results, kept))
    axes = tuple(range(kept, 2))
    for of_planes, whole in zip(by_plane[:-1], found[:-1], strict=True):
        if of_planes.shape == SHAPE:
            np.testing.assert_array_equal(whole, of_planes)
        else:
            expected = np.asarray(of_planes, np.float64).sum(axes)
            np.testing.assert_allclose(whole, expected, rtol=2e-7)


@with_loss
def test_loss_of_no_plane_is_zero(op):
    operands, results = OPS[op]
    empty = array((0, *SHAPE[1:]))
    operands = [empty if a == IMAGE else a for a in operands]
    results = [empty if a == IMAGE else a for a in summed(results, 0)]
    words = array((0, 3, SCRATCH_WORDS), "uint32")
    found = call(op, operands, [*results[:-1], words])
    for a in found:
        np.testing.assert_array_equal(a, 0)


with_gradients = pytest.mark.parametrize(
    "op", ["ssim_sum_grad", "loss_sum_grad", "ssim_map_grad"]
)


@with_gradients
@pytest.mark.parametrize(
    ("dtype", "right", "wrong"),
    [
        ("float16", "float32", "float16"),
        ("bfloat16", "bfloat16", "float32"),
        ("float32", "float32", "bfloat16"),
    ],
)
def test_dtype_of_a_gradient(op, dtype, right, wrong):
    operands, results = OPS[op]
    operands = [array(SHAPE, dtype) for _ in operands]
    *others, _, scratch = results
    call(op, operands, [*others, array(SHAPE, right), scratch])
    refused(op, operands, [*others, array(SHAPE, wrong), scratch], "gradient must be")


@with_gradients
@pytest.mark.parametrize("shape", [(2, 3, 16, 17), (1, 3, 16, 18), (16, 18)], ids=str)
def test_second_gradient(op, shape):
    operands, results = OPS[op]
    *results, scratch = results
    call(op, operands, [*results, IMAGE, scratch])
    results = [*results, array(shape), scratch]
    refused(op, operands, results, "second gradient must be")


@pytest.mark.parametrize(
    "cotangent",
    [
        array(SHAPE, "float16"),
        array((2, 3, 6, 18)),
        array((3, 3, 16, 18)),
        array((3, 16, 18)),
        array(()),
    ],
    ids=str,
)
def test_cotangent(cotangent):
    operands, results = OPS["ssim_map_grad"]
    refused("ssim_map_grad", [*operands[:2], cotangent], results, "cotangent must be")


@pytest.mark.parametrize("leading", [(1, 3), (2, 1), (1, 1)], ids=str)
def test_cotangent_that_is_shared(leading):
    """It counts for every leading index for which it has no entry of its own."""
    _, results = OPS["ssim_map_grad"]
    target = jax.ffi.ffi_call("jax_fused_ssim_ssim_map_grad", results)
    x, y = (images.noise(SHAPE, seed).astype(np.float32) for seed in (0, 1))
    shared = images.noise((*leading, *SHAPE[2:]), 2).astype(np.float32)
    found, _ = target(x, y, shared, **ATTRIBUTES)
    expected, _ = target(x, y, np.broadcast_to(shared, SHAPE), **ATTRIBUTES)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).max() > 0


with_weights = pytest.mark.parametrize("op", WEIGHTED)
NAMES = {
    2: "weights must be",
    3: "weights of errors must be",
    4: "scales must be",
    5: "scales of means must be",
}


@with_weights
@pytest.mark.parametrize("index", NAMES)
def test_weights_that_do_not_fit(op, index):
    operands, results = OPS[op]
    operands = [*operands, IMAGE]
    call(op, operands, results)
    right = operands[index]
    for wrong in (
        array(right.shape, "float16"),
        array(right.shape, "bool"),
        array((3, *right.shape[1:])),
        array(right.shape[1:]),
        array((*right.shape[:-1], 1)),
    ):
        changed = [*operands[:index], wrong, *operands[index + 1 :]]
        refused(op, changed, results, NAMES[index])


@with_weights
def test_weights_of_interleaved_channels_together(op):
    """One channel of weights is that of all channels."""
    shape = (2, 16, 18, 3)
    _, (*_, words) = OPS[op]
    results = [array((2,)), array((2, 3)), *[array(shape)] * op.endswith("grad"), words]
    target = jax.ffi.ffi_call(f"jax_fused_ssim_{op}", results)
    attributes = {**ATTRIBUTES, "channels_last": np.bool_(True)}
    x, y = (images.noise(shape, seed).astype(np.float32) for seed in (0, 1))
    one = [images.noise((*shape[:-1], 1), s).astype(np.float32) for s in (2, 3)]
    scales = np.ones((1, 3), np.float32)
    *found, _ = target(x, y, *one, scales, **attributes)
    each = [np.broadcast_to(w, shape) for w in one]
    *expected, _ = target(x, y, *each, scales, **attributes)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-9)


@every_op
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(op, name):
    operands, results = OPS[op]
    message = f"attributes missing or of a wrong type: {name}"
    refused(op, operands, results, message, without=[name])
    refused(op, operands, results, message, **{name: np.int32(1)})


@every_op
@pytest.mark.parametrize(
    ("window", "dtype", "message"),
    [
        (np.full(12, 1 / 12), "float32", "a window has at most 11 taps, got 12"),
        (np.full(7, 1 / 7), "float16", "for images of float32 or float64"),
        (np.full(7, 1 / 7), "bfloat16", "for images of float32 or float64"),
    ],
)
def test_windows(op, window, dtype, message):
    operands, results = (
        [array(a.shape, dtype) if a is IMAGE else a for a in arrays]
        for arrays in OPS[op]
    )
    refused(op, operands, results, message, window=window)


@every_op
@pytest.mark.parametrize("name", ["data_range", "k1", "k2"])
@pytest.mark.parametrize("value", [0, -1, 1e-26, 1e26, np.inf, np.nan])
def test_constants_out_of_range(op, name, value):
    operands, results = OPS[op]
    message = f"{name} must be within"
    refused(op, operands, results, message, **{name: np.float64(value)})


AS_VOLUMES = {"volumes": np.bool_(True), "pad_z": np.bool_(True)}
takes_volumes = pytest.mark.parametrize(
    "op", [op for op in OPS if f"jax_fused_ssim_{op}" in VOLUME_TARGETS]
)


def of_volumes(op, dtype="float32"):
    """Operands and results whose first dimension of channels is the depth."""
    operands, results = (
        [array(a.shape, dtype) if a is IMAGE else a for a in arrays]
        for arrays in OPS[op]
    )
    of_planes = {LOSS: SHAPE[:1], WORDS: (*SHAPE[:1], SCRATCH_WORDS)}
    return operands, [array(of_planes.get(a, a.shape), a.dtype) for a in results]


@takes_volumes
def test_volumes_that_fit(op):
    found = call(op, *of_volumes(op), **AS_VOLUMES)
    assert all(np.isfinite(a).all() for a in found[:-1])


@takes_volumes
def test_scratch_of_volumes(op):
    """It may have room for more than every call needs, and not for less."""
    operands, (*results, scratch) = of_volumes(op)

    def of(words):
        return [*results, array((*scratch.shape[:-1], words), scratch.dtype)]

    needed = call(op, operands, of(SCRATCH_WORDS), **AS_VOLUMES)[:-1]
    for more in (1, *(derivative_words(SHAPE[1:], 4, k) for k in (1, 2))):
        found = call(op, operands, of(SCRATCH_WORDS + more), **AS_VOLUMES)[:-1]
        for a, b in zip(found, needed, strict=True):
            np.testing.assert_array_equal(a, b)
    refused(op, operands, of(SCRATCH_WORDS - 1), "scratch must be", **AS_VOLUMES)


@every_op
def test_volumes_without_a_kernel(op):
    if f"jax_fused_ssim_{op}" not in VOLUME_TARGETS:
        refused(op, *OPS[op], "no kernel counts errors", **AS_VOLUMES)


@takes_volumes
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_volumes_of_half_precision(op, dtype):
    refused(op, *of_volumes(op, dtype), "dtype float32 or float64", **AS_VOLUMES)


@takes_volumes
def test_volumes_that_do_not_fit(op):
    operands, results = of_volumes(op)
    refused(op, *OPS[op], "must be dtype", **AS_VOLUMES)  # results of planes
    flat = [array(a.shape[2:]) for a in operands]
    refused(op, flat, results, "number of dimensions, at least 3", **AS_VOLUMES)
    unpadded = AS_VOLUMES | {"pad_z": np.bool_(False)}
    refused(op, operands, results, "smaller than the window", **unpadded)
