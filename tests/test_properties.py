"""What holds for every input: bounds, NaN, repeatability, independence of the batch."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations
from ops_table import OPS, every_op

from jax_fused_ssim import fused_ssim, photometric_loss
from jax_fused_ssim.spec import Spec

DTYPES = ["float16", "bfloat16", "float32", "float64"]
FORMATS = ["NCHW", "NHWC"]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_format = pytest.mark.parametrize("data_format", FORMATS)
slow = pytest.mark.slow


def photograph(dtype, data_format):
    image = images.photograph("chelsea")[:, 40:140, 60:201]
    image = image if data_format == "NCHW" else np.moveaxis(image, 0, -1)
    return jnp.asarray(image, dtype)


@functools.partial(
    jax.jit, static_argnames=("padding", "data_format", "implementation")
)
def results(x, y, **options):
    """The mean SSIM, a loss, the map, and the gradients of all in both images."""

    def cubed(x, y):
        return (fused_ssim(x, y, reduction="none", **options) ** 3).sum()

    def loss(x, y):
        return photometric_loss(x, y, l2_weight=0.5, **options)

    mean, grads = jax.value_and_grad(lambda x, y: fused_ssim(x, y, **options), (0, 1))(
        x, y
    )
    value, loss_grads = jax.value_and_grad(loss, (0, 1))(x, y)
    full = fused_ssim(x, y, reduction="none", **options)
    return mean, value, full, (*grads, *jax.grad(cubed, (0, 1))(x, y), *loss_grads)


@implementations
@every_dtype
@every_format
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    "content",
    ["photograph", *(pytest.param(c, marks=slow) for c in ("black", "white", "large"))],
)
def test_identical_images(content, padding, implementation, data_format, dtype):
    with jax.enable_x64(dtype == "float64"):
        x = photograph(dtype, data_format)
        x = {"photograph": x, "black": 0 * x, "white": 0 * x + 1, "large": 100 * x}[
            content
        ]
        mean, loss, full, grads = results(
            x,
            x,
            padding=padding,
            data_format=data_format,
            implementation=implementation,
        )
        assert mean == 1
        assert loss == 0
        assert (full == 1).all()
        for grad in grads:
            assert (grad == 0).all()


@implementations
@slow
@every_dtype
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_bounds(padding, implementation, dtype):
    with jax.enable_x64(dtype == "float64"):
        photo = images.photograph("camera")[:, :100, :120]
        noise = images.noise(photo.shape)
        checks = np.indices(photo.shape).sum(0) % 2
        rivals = [1 - photo, photo * (1 + 1e-6), noise, 1 - noise, checks, 1 - checks]
        rivals += [photo * 0, photo * 0 + 1, 1e4 * noise, -photo]
        for a in (photo, noise, checks, 1e4 * photo):
            for b in rivals:
                x, y = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
                mean, loss, full, grads = results(
                    x, y, padding=padding, implementation=implementation
                )
                assert -1 <= mean <= 1
                assert loss >= 0
                assert (jnp.abs(full) <= 1).all()
                assert all(jnp.isfinite(g).all() for g in grads)


def test_anticorrelated_images_reach_minus_one():
    """A checkerboard against its inverse, with constants that do not matter."""
    checks = jnp.asarray(np.indices((1, 40, 40)).sum(0) % 2, "float32")
    full = fused_ssim(checks, 1 - checks, "valid", k1=1e-6, k2=1e-6, reduction="none")
    np.testing.assert_allclose(full, -1, atol=1e-4)


def _differs(a, b):
    """Where two arrays are not bitwise the same."""
    a, b = np.asarray(a), np.asarray(b)
    return a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")


@implementations
@every_format
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("place", [(30, 40), (0, 0), (63, 75)], ids=str)
def test_not_a_number_stays_local(
    place, value, padding, dtype, data_format, implementation
):
    """NaN within the radius in the map and twice that in the gradients, nothing else
    changes."""
    clean = images.noise((2, 2, 64, 76), 1), images.noise((2, 2, 64, 76), 2)
    dirty = clean[0].copy()
    dirty[0, 1, place[0], place[1]] = value

    def run(x, y):
        if data_format == "NHWC":
            x, y = np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1)
        _, _, full, grads = results(
            jnp.asarray(x, dtype),
            jnp.asarray(y, dtype),
            padding=padding,
            data_format=data_format,
            implementation=implementation,
        )
        arrays = [np.asarray(a) for a in (full, *grads)]
        return [np.moveaxis(a, -1, 1) if data_format == "NHWC" else a for a in arrays]

    radius = reference.RADIUS
    cut = radius if padding == "valid" else 0
    row, col = np.indices((64, 76))
    for i, (before, after) in enumerate(
        zip(run(*clean), run(dirty, clean[1]), strict=True)
    ):
        reach = radius if i == 0 else 2 * radius
        near = (abs(row - place[0]) <= reach) & (abs(col - place[1]) <= reach)
        if i == 0:
            near = near[cut : 64 - cut, cut : 76 - cut]
        elif padding == "valid":
            # Only map pixels inside the valid area carry it on.
            inside = (abs(row - place[0]) <= radius) & (abs(col - place[1]) <= radius)
            inside[:radius], inside[-radius:] = False, False
            inside[:, :radius], inside[:, -radius:] = False, False
            rows, cols = np.nonzero(inside)
            near = np.zeros_like(near)
            for r, c in zip(rows, cols, strict=True):
                rows_near = slice(max(r - radius, 0), r + radius + 1)
                near[rows_near, max(c - radius, 0) : c + radius + 1] = True
        assert np.isnan(after[0, 1][near].astype(np.float32)).all()
        changed = _differs(before, after)
        assert not changed[0, 1][~near].any()
        assert not changed[0, 0].any()
        assert not changed[1].any()


@implementations
def test_not_a_number_in_the_mean(implementation):
    x, y = (images.noise((2, 3, 20, 20), s).astype(np.float32) for s in (1, 2))
    x[1, 2, 3, 4] = np.nan
    assert np.isnan(fused_ssim(x, y, implementation=implementation))
    per_image = fused_ssim(x, y, reduction="per_image", implementation=implementation)
    assert np.isnan(per_image).tolist() == [False, True]


@every_dtype
@every_format
@pytest.mark.parametrize("shape", [(3, 5, 37, 53), (1, 1, 300, 700)], ids=str)
@pytest.mark.filterwarnings("ignore:images are read as")
def test_bitwise_repeatable(shape, data_format, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, y = (jnp.asarray(images.noise(shape, s), dtype) for s in (1, 2))
        options = {"data_format": data_format, "implementation": "fused"}
        first = jax.tree.leaves(results(x, y, **options))
        for _ in range(3):
            for a, b in zip(
                first, jax.tree.leaves(results(x, y, **options)), strict=True
            ):
                assert not _differs(a, b).any()


@every_op
@every_format
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_independent_of_the_batch(data_format, dtype, op):
    """An image alone, and among others, gives the same bits; its sums too."""
    x, y = (jnp.asarray(images.noise((7, 3, 130, 61), s), dtype) for s in (1, 2))
    spec = Spec(
        channels_last=data_format == "NHWC",
        l1_weight=0.8,
        l2_weight=0.1,
        implementation="fused",
    )
    cotangent = jnp.asarray(images.noise(x.shape, 3), dtype)

    batch = OPS[op](x, y, cotangent, spec)
    for i in (0, 3, 6):
        alone = OPS[op](x[i], y[i], cotangent[i], spec)
        for a, b in zip(alone, batch, strict=True):
            assert not _differs(a, b[i]).any()


@every_format
def test_many_planes(data_format):
    """More than a grid dimension of 65535 holds."""
    shape = (70001, 2, 3) if data_format == "NCHW" else (2, 3, 70001)
    x, y = (images.noise(shape, s).astype(np.float32) for s in (1, 2))
    grad = jax.grad(lambda x: fused_ssim(x, y, data_format=data_format))(x)
    full = fused_ssim(x, y, data_format=data_format, reduction="none")

    def last(a):
        a = np.asarray(a)
        return a[-1:] if data_format == "NCHW" else a[..., -1:]

    options = {"data_format": data_format}
    alone = jax.grad(lambda x: fused_ssim(x, last(y), **options))(last(x))
    np.testing.assert_allclose(70001 * last(grad), alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        last(full), fused_ssim(last(x), last(y), reduction="none", **options), atol=1e-7
    )
    np.testing.assert_allclose(
        fused_ssim(x, y, **options), np.asarray(full, np.float64).mean(), atol=1e-7
    )
