"""data_range, k1 and k2 at the bounds that are documented, and beyond them."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations

from jax_fused_ssim import fused_ssim, photometric_loss

every_implementation = implementations(slow=False)

# By dtype: bounds of data_range, bounds of k1 and k2, and the largest relative error.
FLOAT32, FLOAT64 = (1e-25, 1e25, 1e-8, 1e8, 1e-6), (1e-250, 1e250, 1e-70, 1e70, 1e-14)
DTYPES = {"float32": FLOAT32, "float64": FLOAT64}
AT_BOUNDS = [
    (dtype, {name: bound})
    for dtype, (*bounds, _) in DTYPES.items()
    for name, bound in zip(
        ("data_range", "data_range", "k1", "k1", "k2", "k2"),
        (*bounds[:2], *bounds[2:], *bounds[2:]),
        strict=True,
    )
]


def error(found, expected):
    difference = np.asarray(found, reference.REAL) - expected
    return np.sqrt((difference**2).sum() / (expected**2).sum())


def photographs():
    x = images.photograph("chelsea")[:, 50:250:2, 100:351:2]
    return x, np.clip(images.noisy(x), 0, 1)


PAIRS = {
    "noise": lambda: [images.noise((2, 23, 19), seed) for seed in (1, 2)],
    "photograph and noise": photographs,
}


@every_implementation
@pytest.mark.parametrize(("dtype", "options"), AT_BOUNDS, ids=str)
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("pair", PAIRS)
def test_results_at_the_bounds(pair, data_format, implementation, dtype, options):
    scale = reference.REAL(options.get("data_range", 1))
    x, y = (np.asarray(a * scale, dtype) for a in PAIRS[pair]())
    cotangent = np.cos(np.arange(x.size, dtype=dtype)).reshape(x.shape)
    similarity = reference.Similarity(x, y, **options)
    expected_map = similarity.map
    ones = np.ones_like(expected_map) / x.size
    expected_gradient, _ = similarity.gradients(ones)
    expected_map_gradient, _ = similarity.gradients(cotangent)
    data_range = options.get("data_range", 1)
    l1, l2 = reference.errors(x, y, data_range=data_range)
    expected_loss = 0.2 * (1 - expected_map.mean()) + 0.8 * l1.mean() + l2.mean()
    of_errors = reference.error_gradient(x, y, 0.8, 1, data_range=data_range) / x.size
    expected_loss_gradient = of_errors - reference.REAL(0.2) * expected_gradient

    last = data_format == "NHWC"
    keywords = {"data_format": data_format, "implementation": implementation, **options}
    ssim = functools.partial(fused_ssim, **keywords)
    photometric = functools.partial(photometric_loss, l2_weight=1, **keywords)

    @jax.jit
    def everything(x, y, cotangent):
        full, pull_back = jax.vjp(lambda x: ssim(x, y, reduction="none"), x)
        of_means = (jax.value_and_grad(f)(x, y) for f in (ssim, photometric))
        return *of_means, full, *pull_back(cotangent)

    with jax.enable_x64(dtype == "float64"):
        (value, gradient), (loss, loss_gradient), full, map_gradient = everything(
            *(reference.unplanes(a, last) for a in (x, y, cotangent))
        )
    *_, tolerance = DTYPES[dtype]
    assert abs(float(value) - float(expected_map.mean())) < tolerance
    assert abs(float(loss) - float(expected_loss)) < tolerance
    full, gradient, map_gradient, loss_gradient = (
        reference.planes(np.asarray(a), last)
        for a in (full, gradient, map_gradient, loss_gradient)
    )
    assert error(full, expected_map) < 5 * tolerance
    assert error(gradient, expected_gradient) < tolerance
    assert error(map_gradient, expected_map_gradient) < tolerance
    assert error(loss_gradient, expected_loss_gradient) < tolerance


@every_implementation
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_flat_images_at_the_smallest_constants(padding, implementation, dtype):
    """Variances are rounding error there, and so are results; none is infinite."""
    _, _, k, _, _ = DTYPES[dtype]
    flat = np.full((1, 23, 19), 0.3)
    step = np.where(np.arange(19) < 9, 0.3, 0.9) * np.ones_like(flat)
    ssim = functools.partial(
        fused_ssim, padding=padding, k1=k, k2=k, implementation=implementation
    )
    with jax.enable_x64(dtype == "float64"):
        zero = jnp.zeros_like(flat, dtype)
        assert ssim(zero, zero) == 1
        for a in (flat, step, flat + 1e-7 * images.noise(flat.shape)):
            for b in (0 * flat, 0.5 + 0 * flat):
                x, y = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
                value, gradients = jax.value_and_grad(ssim, (0, 1))(x, y)
                assert -1 <= value <= 1
                assert np.isfinite(gradients).all()


@pytest.mark.parametrize(
    ("dtype", "arithmetic"),
    [
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
@pytest.mark.parametrize("name", ["data_range", "k1", "k2"])
def test_beyond_the_bounds(name, dtype, arithmetic):
    bounds = DTYPES[arithmetic]
    least, most = bounds[:2] if name == "data_range" else bounds[2:4]
    with jax.enable_x64(dtype == "float64"):
        zero = jnp.zeros((1, 12, 12), dtype)
        for inside in (least, most):
            assert fused_ssim(zero, zero, **{name: inside}) == 1
        for outside in (0.99 * least, 1.01 * most):
            with pytest.raises(ValueError, match=f"{name} must be within") as caught:
                fused_ssim(zero, zero, **{name: outside})
            assert f"[{least:g}, {most:g}]" in str(caught.value)
            assert arithmetic in str(caught.value)
