"""`reduction="per_channel"`: what each channel gives as an image of its own."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations, in_pairs

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
    together, alone = (
        jax.jit(
            functools.partial(
                fused_ssim,
                padding=padding,
                reduction=reduction,
                data_format=data_format,
                implementation=implementation,
            )
        )
        for reduction in ("per_channel", "per_image")
    )
    found = together(x, y)
    assert found.shape == (2, 3)
    assert found.dtype == "float32"
    each = [alone(channel(x, i, last), channel(y, i, last)) for i in range(3)]
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

        @functools.partial(jax.jit, static_argnums=0)
        def results(reduction, x, y, factors):
            def loss(x, y):
                values = fused_ssim(x, y, reduction=reduction, **options)
                return (factors * values).sum(), values

            return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, y)

        found = results("per_channel", x, y, factors)
        (_, values), grads = found
        # One program of one channel, thrice.
        each = [
            results(
                "per_image", channel(x, i, last), channel(y, i, last), factors[:, i]
            )
            for i in range(3)
        ]
        np.testing.assert_allclose(
            values, np.stack([v for (_, v), _ in each], -1), rtol=1e-11, atol=1e-14
        )
        np.testing.assert_allclose(
            found[0][0], sum(t for (t, _), _ in each), rtol=1e-11
        )
        for k, grad in enumerate(grads):
            expected = np.concatenate([g[k] for _, g in each], -1 if last else 1)
            np.testing.assert_allclose(grad, expected, rtol=1e-11, atol=1e-14)


@implementations(kernels=in_pairs)
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

    @functools.partial(jax.jit, static_argnums=0)
    def results(together, x, y, factors):
        def loss(x):
            found = photometric_loss(
                x,
                y,
                l2_weight=0.3,
                return_terms=True,
                reduction="per_channel" if together else "per_image",
                **options,
            )
            return (factors * found[0]).sum(), found

        metrics = image_metrics(
            x, y, **options, **({"reduction": "per_channel"} if together else {})
        )
        (_, found), grad = jax.value_and_grad(loss, has_aux=True)(x)
        return [*jax.tree.leaves(found), *metrics], grad

    values, grad = results(True, x, y, factors)
    # One program of one channel, thrice.
    each = [
        results(False, channel(x, i, last), channel(y, i, last), factors[:, i])
        for i in range(3)
    ]
    # SSIM is 1 minus what is summed: a step of float32 near 1 is 1.2e-7.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=3e-7)
    for found, *alone in zip(values, *(v for v, _ in each), strict=True):
        assert found.shape == (2, 3)
        close(found, np.stack(alone, -1))
    close(grad, np.concatenate([g for _, g in each], -1 if last else 1))


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
