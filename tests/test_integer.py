"""uint8 and uint16 images against the floats that they stand for."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations

from jax_fused_ssim import fused_ssim, image_metrics, photometric_loss

SHAPE = (2, 3, 37, 52)
MOST = {"uint8": 255, "uint16": 65535}

every_integer = pytest.mark.parametrize("dtype", MOST)
every_layout = pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
every_implementation = implementations(slow=False)


def integers(dtype, layout="NCHW", seed=0):
    a = np.random.default_rng(seed).integers(0, MOST[dtype] + 1, SHAPE)
    # Every value there is of a byte.
    a.flat[:256] = np.arange(256)
    return reference.unplanes(a, layout == "NHWC").astype(dtype)


def floats(a, dtype="float32"):
    """Correctly rounded, as the type holds every integer."""
    return a.astype(dtype) / np.asarray(MOST[a.dtype.name], dtype)


def predictions(layout):
    return reference.unplanes(
        images.noise(SHAPE, seed=5).astype("float32"), layout == "NHWC"
    )


@every_implementation
@every_integer
@every_layout
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_the_same_bits_as_floats(dtype, layout, kind, implementation):
    """Value, terms and gradient; plain JAX divides by what is no power of two."""
    target, x = integers(dtype, layout), predictions(layout).astype(kind)
    loss = functools.partial(
        photometric_loss,
        l2_weight=0.3,
        data_format=layout,
        implementation=implementation,
        return_terms=True,
    )
    with jax.enable_x64(kind == "float64"):
        of_integers, of_floats = (
            jax.value_and_grad(loss, has_aux=True)(x, y)
            for y in (target, floats(target, kind))
        )
        swapped = jax.value_and_grad(lambda x: loss(target, x), has_aux=True)(x)
    for found in (of_integers, swapped):
        for a, b in zip(
            jax.tree.leaves(found), jax.tree.leaves(of_floats), strict=True
        ):
            assert a.dtype == kind
            np.testing.assert_array_equal(a, b)


@every_implementation
@every_integer
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_beside_other_floats(dtype, implementation, kind):
    target = integers(dtype)
    with jax.enable_x64(True):
        x = jnp.asarray(predictions("NCHW"), kind)
        wide = "float64" if kind == "float64" else "float32"
        loss = functools.partial(photometric_loss, implementation=implementation)
        value, grad = jax.value_and_grad(loss)(x, target)
        right, right_grad = jax.value_and_grad(loss)(
            x.astype(wide), floats(target, wide)
        )
        assert grad.dtype == kind
        np.testing.assert_allclose(value, right, rtol=1e-6)
        right_grad = right_grad.astype(kind).astype(wide)
        tolerance = {"float16": 2**-9, "bfloat16": 2**-7, "float64": 1e-12}[kind]
        np.testing.assert_allclose(
            grad.astype(wide), right_grad, rtol=tolerance, atol=6e-8
        )


@every_implementation
@pytest.mark.parametrize("data_range", [1, 255, 0.7])
def test_equal_images_have_no_error(data_range, implementation):
    photo = np.round(255 * images.photograph()[:, :120, :130]).astype("uint8")
    of_range = (photo.astype(np.longdouble) / 255 * data_range).astype("float32")
    loss = functools.partial(
        photometric_loss, data_range=data_range, implementation=implementation
    )
    if data_range == 0.7:
        # Rounded twice there, and once here.
        assert loss(of_range, photo) < 1e-7
        return
    value, grad = jax.value_and_grad(loss)(of_range, photo)
    assert value == 0
    assert not np.asarray(grad).any()


@every_implementation
@every_integer
@every_layout
def test_small_errors(dtype, layout, implementation):
    """Of few steps, which may not all be rounded in one direction."""
    most, steps = MOST[dtype], 1 if dtype == "uint8" else 100
    photo = images.noisy(images.photograph("chelsea")[:, 20:276, 30:286])
    x = np.round(np.clip(photo, 0, 1) * most).astype(np.int64)
    y = x + np.random.default_rng(2).integers(-steps, steps + 1, x.shape)
    y = np.clip(y, 0, most)
    d = np.abs(x - y) / most
    x, y = (reference.unplanes(a, layout == "NHWC").astype(dtype) for a in (x, y))
    found = image_metrics(x, y, data_format=layout, implementation=implementation)
    np.testing.assert_allclose(found.mae, d.mean(), 2e-6)
    np.testing.assert_allclose(found.mse, (d * d).mean(), 2e-6)


@every_implementation
@every_integer
@every_layout
def test_two_of_them(dtype, layout, implementation):
    x, y = (integers(dtype, layout, seed) for seed in (0, 1))
    keywords = {"data_format": layout, "implementation": implementation}
    found = image_metrics(x, y, **keywords)
    right = image_metrics(floats(x), floats(y), **keywords)
    for a, b in zip(found, right, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.ssim.dtype == "float32"
    assert np.isinf(image_metrics(x, x, **keywords).psnr).all()
    ssim = fused_ssim(x, y, **keywords, reduction="per_image")
    np.testing.assert_allclose(
        ssim, fused_ssim(floats(x), floats(y), reduction="per_image", **keywords), 1e-6
    )
    np.testing.assert_allclose(
        fused_ssim(x, y, reduction="none", **keywords),
        fused_ssim(floats(x), floats(y), reduction="none", **keywords),
        atol=1e-6,
    )


@every_implementation
def test_transformations(implementation):
    """A target that all views share, under vmap, jit, remat and forward mode."""
    target, x = integers("uint8"), predictions("NCHW")
    loss = functools.partial(photometric_loss, implementation=implementation)

    def views(x):
        each = jax.vmap(jax.checkpoint(loss), in_axes=(0, None))
        return jax.jit(each)(x, target[0]).sum()

    right = sum(loss(a, floats(target[0])) for a in x)
    np.testing.assert_allclose(views(x), right, rtol=1e-6)
    direction = images.noise(SHAPE, seed=9).astype("float32")
    _, tangent = jax.jvp(views, (x,), (direction,))
    np.testing.assert_allclose(
        tangent, np.vdot(jax.grad(views)(x), direction), rtol=1e-4
    )


def test_errors():
    x = predictions("NCHW")
    with pytest.raises(TypeError, match=r"int16.*data_range"):
        photometric_loss(x, x.astype("int16"))
    with pytest.raises(TypeError, match="uint8"):
        jax.grad(photometric_loss, 1)(x, integers("uint8"))
