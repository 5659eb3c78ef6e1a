"""What users pass: numbers in other forms, layouts mixed up, foreign byte orders."""

import functools
import warnings

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_fused_ssim import fused_ssim, image_metrics, photometric_loss, sharded

X, Y = (np.float32(255 * images.noise((3, 16, 18), seed)) for seed in (1, 2))


def sharded_ssim(x, y, *args, **options):
    """Two blocks of rows, each the whole image; `jax.vmap` plays the mesh axis."""
    function = functools.partial(sharded.fused_ssim, height_axis="rows", **options)
    mapped = jax.vmap(lambda x, y: function(x, y, *args), axis_name="rows")
    return mapped(np.stack([x, x]), np.stack([y, y]))


every_function = pytest.mark.parametrize(
    "function", [fused_ssim, sharded_ssim, photometric_loss, image_metrics]
)


@pytest.mark.parametrize(
    "number",
    [
        np.float32(255),
        np.float64(255),
        np.uint8(255),
        np.array(255),
        np.array(255.0, ">f4"),
        jnp.asarray(255),
        jnp.max(jnp.asarray([1.0, 255.0])),
        jnp.asarray(255, "bfloat16") + 1,
    ],
    ids=repr,
)
@every_function
def test_one_number_in_any_form(function, number):
    found = function(X, Y, data_range=number)
    np.testing.assert_array_equal(found, function(X, Y, data_range=float(number)))
    # A k that large makes every image alike; of a float it must do the same.
    found = function(X, Y, k1=number, k2=number)
    expected = function(X, Y, k1=float(number), k2=float(number))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["k1", "k2", "sigma"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(1), r"one number.*\(1,\)"),
        (jnp.ones((2, 3)), r"one number.*\(2, 3\)"),
        (np.True_, "real number.*bool"),
        (jnp.asarray(True), "real number"),
        (np.array(1j), "real number"),
        (np.array("1"), "real number"),
    ],
    ids=repr,
)
@every_function
def test_what_is_no_number(function, value, message, name):
    with pytest.raises(TypeError, match=f"{name} must be a? ?{message}"):
        function(X, Y, **{name: value})


@every_function
def test_a_traced_number_has_a_way_out(function):
    with pytest.raises(TypeError, match=r"k1 is static.*Python number"):
        jax.jit(lambda k: function(X, Y, k1=k))(0.01)


# Shape, the layout that it is read in, and the one that it looks like.
MIXED_UP = [
    ((16, 18, 3), "NCHW", "NHWC"),
    ((2, 12, 12, 4), "NCHW", "NHWC"),
    ((24, 31, 1), "NCHW", "NHWC"),
    ((3, 16, 18), "NHWC", "NCHW"),
    ((2, 1, 16, 18), "NHWC", "NCHW"),
]
FINE = [
    ((3, 16, 18), "NCHW"),
    ((16, 18, 3), "NHWC"),
    ((32, 16, 18), "NCHW"),
    ((16, 18, 32), "NHWC"),
    ((3, 1, 1), "NCHW"),
    ((1, 1, 3), "NHWC"),
    ((3, 200, 2), "NCHW"),  # narrow images
    ((2, 200, 3), "NHWC"),
    ((3, 16, 18, 3), "NHWC"),
    ((3, 3, 16, 18), "NCHW"),
]


USES = {
    "call": lambda f, x: f(x, x),
    "jit": lambda f, x: jax.jit(f)(x, x),
    "grad": lambda f, x: jax.grad(f)(x, x),
    "vmap": lambda f, x: jax.vmap(f)(x[None], x[None]),
}


@pytest.mark.parametrize(("shape", "data_format", "other"), MIXED_UP)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("function", [fused_ssim, photometric_loss])
def test_layout_that_looks_like_the_other(function, use, shape, data_format, other):
    function = functools.partial(function, data_format=data_format)
    x = images.noise(shape).astype(np.float32)
    with pytest.warns(UserWarning, match=f'use data_format="{other}"') as caught:
        USES[use](function, x)
    # The line of the user, past JAX's own.
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize(("shape", "data_format"), FINE)
def test_layout_that_is_as_it_looks(shape, data_format):
    x = images.noise(shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fused_ssim(x, x, data_format=data_format) == 1


def test_layout_of_symbolic_shapes():
    (n,) = jax.export.symbolic_shape("n")
    image = jax.ShapeDtypeStruct((n, 16, 3), jnp.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jax.eval_shape(fused_ssim, image, image).shape == ()


@pytest.mark.filterwarnings("ignore:images are read as")
def test_sharded_blocks_too_small_in_the_other_layout():
    x = images.noise((2, 3, 16, 18)).astype(np.float32)
    with pytest.raises(ValueError, match=r'got 3 .*use data_format="NCHW"'):
        sharded_ssim(x, x, data_format="NHWC")


def test_sharded_blocks_that_look_like_the_other_layout():
    x = images.noise((16, 18, 3)).astype(np.float32)
    with pytest.warns(UserWarning, match='use data_format="NHWC"') as caught:
        sharded_ssim(x, x)
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize(
    ("shape", "data_format", "message"),
    [
        ((16, 18, 3), "NCHW", 'data_format="NHWC".*padding="same"'),
        ((3, 16, 18), "NHWC", 'data_format="NCHW".*padding="same"'),
        ((3, 10, 18), "NCHW", r'= \(3, 10, 18\)\. Use padding="same"'),
    ],
)
def test_valid_with_a_side_too_short(shape, data_format, message):
    x = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=message):
        fused_ssim(x, x, "valid", data_format=data_format)


def test_grey_images_need_a_channel():
    x, y = X[0], Y[0]
    with pytest.raises(ValueError, match=r"\(16, 18\).*x\[None\]"):
        fused_ssim(x, y)
    with pytest.raises(ValueError, match=r"\(16, 18\).*x\[\.\.\., None\]"):
        fused_ssim(x, y, data_format="NHWC")
    found = fused_ssim(x[..., None], y[..., None], data_format="NHWC")
    np.testing.assert_allclose(found, fused_ssim(x[None], y[None]), atol=1e-7)


class Wrapped:
    """An array in the protocol of NumPy alone."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f4"])
@pytest.mark.parametrize("wrap", [np.asarray, Wrapped], ids=["array", "protocol"])
def test_byte_order(wrap, dtype):
    foreign = [a.astype(dtype) for a in (X / 255, Y / 255)]
    native = [a.astype(a.dtype.newbyteorder("=")) for a in foreign]
    expected = fused_ssim(*native)
    assert fused_ssim(wrap(foreign[0]), native[1]) == expected
    assert fused_ssim(native[0], wrap(foreign[1])) == expected


def test_integers_are_refused_in_any_byte_order():
    with pytest.raises(TypeError, match=r"int16.*data_range"):
        fused_ssim(X, np.zeros(X.shape, ">i2"))


def test_lists():
    assert fused_ssim(X.tolist(), Y.tolist()) == fused_ssim(X, Y)
