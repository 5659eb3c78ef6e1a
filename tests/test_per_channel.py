"""`reduction="per_channel"`: what each channel gives as an image of its own."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations

from jax_fused_ssim import fused_ssim, image_metrics, photometric_loss

SHAPE = (2, 3, 21, 34)
WEIGHTS = images.noise(SHAPE[-2:], 2) * (images.noise(SHAPE[-2:], 3) > 0.2)


def pair(dtype):
    x, y = (images.noise(SHAPE, seed) for seed in (1, 2))
    if dtype == "uint8":
        return [np.round(255 * a).astype(np.uint8) for a in (x, y)]
    return [np.asarray(jnp.asarray(a, dtype)) for a in (x, y)]


def channel(a, i, last):
    return a[..., i : i + 1] if last else a[:, i : i + 1]


@implementations
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_values(data_format, padding, dtype, implementation):
    last = data_format == "NHWC"
    x, y = (reference.unplanes(a, last) for a in pair(dtype))
    options = {"data_format": data_format, "implementation": implementation}
    found = fused_ssim(x, y, padding, reduction="per_channel", **options)
    assert found.shape == (2, 3)
    assert found.dtype == "float32"
    each = [
        fused_ssim(
            channel(x, i, last),
            channel(y, i, last),
            padding,
            reduction="per_image",
            **options,
        )
        for i in range(3)
    ]
    np.testing.assert_allclose(found, np.stack(each, -1), atol=2e-7)


@implementations
@pytest.mark.parametrize("weighting", [None, "map", "inside", "normalized"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_gradients_and_weights(data_format, weighting, implementation):
    last = data_format == "NHWC"
    with jax.enable_x64(True):
        x, y = (reference.unplanes(a, last) for a in pair("float64"))
        options = {"data_format": data_format, "implementation": implementation}
        if weighting:
            weights = WEIGHTS[..., None] if last else WEIGHTS
            options |= {"weights": weights, "weighting": weighting}
        factors = np.random.default_rng(4).random((2, 3))

        @jax.jit
        def together(x, y):
            def loss(x, y):
                values = fused_ssim(x, y, reduction="per_channel", **options)
                return (factors * values).sum(), values

            return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, y)

        @jax.jit
        def alone(x, y):
            def loss(x, y):
                mean = functools.partial(fused_ssim, reduction="per_image", **options)
                each = [
                    mean(channel(x, i, last), channel(y, i, last)) for i in range(3)
                ]
                values = jnp.stack(each, -1)
                return (factors * values).sum(), values

            return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, y)

        found, expected = together(x, y), alone(x, y)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@implementations
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("weighting", [None, "map", "inside", "normalized"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_losses_and_metrics(data_format, padding, weighting, dtype, implementation):
    """Values, terms, gradients and metrics are those of each channel alone."""
    last = data_format == "NHWC"
    (x, _), (_, y) = pair("float32"), pair(dtype)
    x, y = (reference.unplanes(a, last) for a in (x, y))
    options = {
        "data_format": data_format,
        "padding": padding,
        "implementation": implementation,
    }
    if weighting:
        weights = np.float32(WEIGHTS[..., None] if last else WEIGHTS)
        options |= {"weights": weights, "weighting": weighting}
    factors = np.float32(np.random.default_rng(4).random((2, 3)))

    @functools.partial(jax.jit, static_argnums=1)
    def value_and_gradient(x, together):
        def loss(x):
            of = functools.partial(
                photometric_loss, l2_weight=0.3, return_terms=True, **options
            )
            if together:
                found = of(x, y, reduction="per_channel")
            else:
                each = [
                    of(channel(x, i, last), channel(y, i, last), reduction="per_image")
                    for i in range(3)
                ]
                found = jax.tree.map(lambda *leaves: jnp.stack(leaves, -1), *each)
            return (factors * found[0]).sum(), found

        return jax.value_and_grad(loss, has_aux=True)(x)

    found, expected = (value_and_gradient(x, together) for together in (True, False))
    assert found[0][1][0].shape == (2, 3)
    # SSIM is 1 minus what is summed: a step of float32 near 1 is 1.2e-7.
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-7)
    metrics = image_metrics(x, y, reduction="per_channel", **options)
    each = [
        image_metrics(channel(x, i, last), channel(y, i, last), **options)
        for i in range(3)
    ]
    for name, value in metrics._asdict().items():
        alone = np.stack([getattr(m, name) for m in each], -1)
        np.testing.assert_allclose(value, alone, rtol=1e-5, atol=3e-7)


def test_metrics_have_no_derivative():
    x, y = pair("float32")
    for reduction in ("per_image", "per_channel"):
        of = functools.partial(image_metrics, reduction=reduction)
        with pytest.raises(TypeError, match="for evaluation and has no derivative"):
            jax.grad(lambda x, of=of: of(x, y).ssim.sum())(x)


def test_not_a_number_stays_in_its_channel():
    x, y = (a.copy() for a in pair("float32"))
    x[0, 1, 3, 4] = np.nan
    found = fused_ssim(x, y, reduction="per_channel")
    assert np.isnan(found).tolist() == [[False, True, False], [False] * 3]
