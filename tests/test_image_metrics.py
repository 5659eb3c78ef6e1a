"""`image_metrics` against scikit-image, and what it promises beside."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from images import noise_pair
from implementations import implementations
from skimage import metrics as skimage

from jax_fused_ssim import ImageMetrics, image_metrics, photometric_loss

slow = pytest.mark.slow
every_dtype = pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64"]
)
every_format = pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
every_metric = pytest.mark.parametrize("metric", ImageMetrics._fields)


def photographs():
    x = np.stack(
        [images.photograph("chelsea")[:, k : k + 83, k : k + 97] for k in (9, 99)]
    )
    return x, np.clip(images.noisy(x), 0, 1)


PAIRS = {
    "noise": lambda: noise_pair((2, 3, 41, 53), "float64"),
    "photographs": photographs,
}


def by_scikit_image(x, y, data_range, error_region):
    """The metrics of two images [C, H, W], of their SSIM with padding "valid"."""
    ssim = skimage.structural_similarity(
        x,
        y,
        channel_axis=0,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    if error_region == "map":
        x, y = (a[:, 5:-5, 5:-5] for a in (x, y))
    psnr = skimage.peak_signal_noise_ratio(x, y, data_range=data_range)
    mae = np.abs(x - y).mean() / data_range
    return ImageMetrics(
        ssim, psnr, mae, skimage.mean_squared_error(x, y) / data_range**2
    )


@implementations
@every_format
@every_dtype
@pytest.mark.parametrize("error_region", ["image", "map"])
@pytest.mark.parametrize("data_range", [1, 255])
@pytest.mark.parametrize("name", PAIRS)
def test_scikit_image(
    name, data_range, error_region, dtype, data_format, implementation
):
    with jax.enable_x64(True):
        pair = [jnp.asarray(data_range * a, dtype) for a in PAIRS[name]()]
    # What is compared is the metrics of the rounded pixels.
    exact = [
        by_scikit_image(*of_one, data_range, error_region)
        for of_one in zip(*(np.asarray(a, np.float64) for a in pair), strict=True)
    ]
    with jax.enable_x64(dtype == "float64"):
        found = image_metrics(
            *(reference.unplanes(a, data_format == "NHWC") for a in pair),
            padding="valid",
            error_region=error_region,
            data_range=data_range,
            data_format=data_format,
            implementation=implementation,
        )
    for metric, a, right in zip(
        found._fields, found, zip(*exact, strict=True), strict=True
    ):
        assert a.shape == (2,)
        assert a.dtype == ("float64" if dtype == "float64" else "float32")
        # Float32 has steps of 2e-6 near 20 decibels.
        atol = 3e-6 if metric == "psnr" else 1e-7
        np.testing.assert_allclose(
            a, right, rtol=0, atol=1e-12 if dtype == "float64" else atol
        )


@implementations
@every_format
@pytest.mark.parametrize("leading", [(), (3,), (2, 2)], ids=str)
def test_batches(leading, data_format, implementation):
    """Every image of a batch, with the default padding, whose SSIM sees zeros."""
    x, y = noise_pair((*leading, 2, 14, 17))
    d = x.astype(float) - y
    each = (-3, -2, -1)
    mse = (d**2).mean(each)
    ssim = reference.ssim_map(x, y).mean(each).astype(float)
    expected = ImageMetrics(ssim, -10 * np.log10(mse), abs(d).mean(each), mse)
    found = image_metrics(
        *(reference.unplanes(a, data_format == "NHWC") for a in (x, y)),
        data_format=data_format,
        implementation=implementation,
    )
    for a, right in zip(found, expected, strict=True):
        assert a.shape == leading
        # Of a few hundred pixels the roundings average out less.
        np.testing.assert_allclose(a, right, rtol=5e-7, atol=2e-7)


@implementations
@every_format
@every_dtype
def test_identical_images(dtype, data_format, implementation):
    x, y = noise_pair((2, 3, 20, 21))
    y[1] = x[1]
    with jax.enable_x64(dtype == "float64"):
        found = image_metrics(
            *(
                jnp.asarray(reference.unplanes(a, data_format == "NHWC"), dtype)
                for a in (x, y)
            ),
            data_format=data_format,
            implementation=implementation,
        )
    assert ImageMetrics(*(float(a[1]) for a in found)) == (1, np.inf, 0, 0)
    assert np.isfinite([a[0] for a in found]).all()


@implementations
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_not_a_number_in_one_image(value, implementation):
    x, y = noise_pair((3, 2, 14, 15))
    y[1, 0, 7, 8] = value
    for metric, found in (
        image_metrics(x, y, implementation=implementation)._asdict().items()
    ):
        assert np.isfinite(found).tolist() == [True, False, True], metric


@every_metric
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)], ids=str)
def test_there_is_no_gradient(argnums, metric):
    def function(x, y):
        return getattr(image_metrics(x, y), metric).sum()

    gradient = jax.grad(function, argnums)
    for function in (gradient, jax.jit(gradient), jax.vmap(gradient)):
        with pytest.raises(TypeError, match=r"image_metrics.*photometric_loss"):
            function(*noise_pair((2, 2, 2, 12, 13)))


def test_the_tangent_is_zero():
    x, y = noise_pair((2, 2, 12, 13))
    found, tangents = jax.jit(lambda x, y: jax.jvp(image_metrics, (x, y), (y, x)))(x, y)
    for a, expected, tangent in zip(found, image_metrics(x, y), tangents, strict=True):
        np.testing.assert_array_equal(a, expected)
        assert tangent.shape == a.shape
        assert not tangent.any()


def test_beside_a_loss():
    """Logged in a step of training, under jit, vmap and remat."""
    x, y = noise_pair((2, 2, 12, 13))

    def loss(x, y):
        return photometric_loss(x, y), image_metrics(x, y)

    step = jax.value_and_grad(loss, has_aux=True)
    value, gradient = jax.value_and_grad(photometric_loss)(x, y)
    for use in (lambda f: f, jax.jit, jax.checkpoint):
        (found, metrics), found_gradient = use(step)(x, y)
        assert found == value
        np.testing.assert_array_equal(found_gradient, gradient)
        jax.tree.map(np.testing.assert_array_equal, metrics, image_metrics(x, y))
    (_, metrics), _ = jax.vmap(step)(x, y)
    jax.tree.map(np.testing.assert_array_equal, metrics, image_metrics(x, y))


def test_one_target_is_not_copied():
    x, y = noise_pair((4, 2, 12, 13))
    mapped = jax.vmap(image_metrics, (0, None))
    assert "(tensor<4x2x12x13xf32>, tensor<1x2x12x13xf32>)" in (
        jax.jit(mapped).lower(x, y[0]).as_text()
    )
    expected = image_metrics(x, np.broadcast_to(y[0], x.shape))
    jax.tree.map(np.testing.assert_array_equal, mapped(x, y[0]), expected)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_an_image_alone_and_in_a_batch(data_format):
    """The same bits, however large the errors of the others are."""
    x, y = noise_pair((5, 16, 13, 17))  # channels enough for their sum to round
    x = y + np.float32([1e-3, 0.3, 40, 1, 1e-5])[:, None, None, None] * (x - 0.5)
    x, y = (reference.unplanes(a, data_format == "NHWC") for a in (x, y))
    metrics = functools.partial(image_metrics, data_format=data_format)
    batch = metrics(x, y)
    for i in range(len(x)):
        for a, b in zip(metrics(x[i], y[i]), batch, strict=True):
            np.testing.assert_array_equal(a, b[i])


Z = np.zeros((3, 16, 16), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "img1.*int32", lambda: image_metrics(np.int32(Z), Z)),
        (TypeError, "img2.*complex64", lambda: image_metrics(Z, 1j * Z)),
        (
            ValueError,
            r"img1 and img2 .*\(3, 16, 16\) and \(3, 16, 15\)",
            lambda: image_metrics(Z, Z[..., 1:]),
        ),
        (
            ValueError,
            "error_region must be one of 'image', 'map'; got 'crop'",
            lambda: image_metrics(Z, Z, error_region="crop"),
        ),
        (
            ValueError,
            r"at least 11.*\(3, 10, 16\)",
            lambda: image_metrics(Z[:, :10], Z[:, :10], padding="valid"),
        ),
        (ValueError, "data_range.*0", lambda: image_metrics(Z, Z, data_range=0)),
        (ValueError, "reduction.*mean", lambda: image_metrics(Z, Z, reduction="mean")),
        (
            TypeError,
            "k1 is static",
            lambda: jax.jit(lambda k: image_metrics(Z, Z, k1=k))(0.01),
        ),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call()
