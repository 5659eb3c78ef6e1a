"""The means of scales: on GPUs by one kernel a scale under differentiation, which also
halves the images, and gives what the ops for each give, to the bit."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from programs import ops_in

from jax_fused_ssim import CUSTOM_CALL_TARGETS, build_info, fused_ms_ssim, native
from jax_fused_ssim.mean import Mean, ssim_mean
from jax_fused_ssim.mean_halved import ssim_means_and_halved
from jax_fused_ssim.pyramid import smaller_scales
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.window import Window

# Pieces of rows, columns and images of every kind: one strip and several, one image
# and several beside each other, rows that a step has half of, fewer than a window's.
SHAPES = [
    (1, 1, 48, 64),
    (2, 3, 22, 260),
    (3, 1, 130, 100),
    (1, 2, 302, 516),
    (5, 1, 12, 12),
    (1, 1, 4, 4),
    (0, 3, 16, 16),
]
FLAGS = [(True, False), (False, True), (True, True), (False, False)]


@pytest.fixture(autouse=True)
def whatever_the_size(monkeypatch):
    monkeypatch.setattr(native, "LEAST_GRADIENT_PIXELS", 0)


def pair(shape):
    return tuple(jnp.asarray(images.noise(shape, seed)) for seed in (1, 2))


def mean_of(padding="same", reduction="per_channel", **changes):
    spec = Spec(**changes).with_padding(Spec().spatial_axes, padding == "same")
    return Mean(spec, reduction)


def of_each(x, y, mean, times):
    scales = smaller_scales(x, y, times, "drop", mean.spec)
    means = [ssim_mean((a,), (b,), mean) for a, b in [(x, y), *scales[:-1]]]
    return tuple(means), tuple(zip(*scales, strict=True))


def value_and_gradients(function, x, y, mean, times, wrt):
    """And the scales, whose derivatives count in the gradients."""

    def total(x, y):
        means, scales = function(x, y, mean, times)
        of_scales = sum(jnp.sum(jnp.sin(a)) for both in scales for a in both)
        return sum(jnp.sum(m**2) for m in means) + of_scales, (means, scales)

    if not any(wrt):
        return total(x, y)[1], ()
    argnums = [i for i, asked in enumerate(wrt) if asked]
    (_, found), grads = jax.value_and_grad(total, argnums, has_aux=True)(x, y)
    return found, grads


def assert_same_bits(found, right):
    jax.tree.map(np.testing.assert_array_equal, found, right)


@pytest.mark.parametrize("wrt", FLAGS, ids=str)
@pytest.mark.parametrize(
    ("shape", "padding"),
    [(s, p) for s in SHAPES for p in ("same", "valid") if p == "same" or s[-1] > 10],
    ids=str,
)
def test_what_each_op_gives(shape, padding, wrt):
    least = 22 if padding == "valid" else 4
    halvings = 1 if shape[-2] % 4 or min(shape[-2:]) < least else 2
    run = jax.jit(value_and_gradients, static_argnums=(0, 3, 4, 5))
    found, right = (
        run(function, *pair(shape), mean_of(padding), halvings, wrt)
        for function in (ssim_means_and_halved, of_each)
    )
    assert_same_bits(found, right)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 3, 542, 1028), (1, 2, 2160, 3840)], ids=str)
def test_large(shape):
    run = jax.jit(value_and_gradients, static_argnums=(0, 3, 4, 5))
    found, right = (
        run(function, *pair(shape), mean_of("valid"), 1, (True, False))
        for function in (ssim_means_and_halved, of_each)
    )
    assert_same_bits(found, right)


@pytest.mark.parametrize("wrt", FLAGS[:2], ids=str)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_vmap(axes, wrt):
    x, y = pair((4, 2, 16, 24))
    x, y = (a if d == 0 else a[0] for a, d in zip((x, y), axes, strict=True))
    found, right = (
        jax.vmap(
            functools.partial(
                value_and_gradients, function, mean=mean_of(), times=2, wrt=wrt
            ),
            axes,
        )(x, y)
        for function in (ssim_means_and_halved, of_each)
    )
    assert_same_bits(found, right)


@pytest.mark.parametrize("mapped", [0, 1])
def test_tangents(mapped):
    """Forward mode, in one image, and over reverse mode."""
    x, y = pair((1, 2, 16, 24))
    direction = jnp.cos(9 * x)

    def along(function, x, y):
        wrt = (mapped == 0, mapped == 1)

        def of_one(image):
            both = (image, y) if mapped == 0 else (x, image)
            return value_and_gradients(function, *both, mean_of(), 1, wrt)

        return jax.jvp(of_one, ((x, y)[mapped],), (direction,))

    found, right = (along(f, x, y) for f in (ssim_means_and_halved, of_each))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_not_a_number():
    x, y = pair((2, 1, 48, 64))
    x = x.at[1, 0, 33, 20].set(jnp.nan)
    (means, (scales, _)), (gradient,) = value_and_gradients(
        ssim_means_and_halved, x, y, mean_of(), 2, (True, False)
    )
    for mean in means:
        assert np.isnan(mean).tolist() == [[False], [True]]
    for k, a in enumerate(scales, 1):
        assert np.argwhere(np.isnan(a)).tolist() == [[1, 0, 33 >> k, 20 >> k]]
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1, 0, 33, 20])


def lowered(x, wrt, platform="cuda", times=2, **changes):
    """The ops of a program for a platform."""
    if platform == "cuda" and "cuda" not in build_info()["platforms"]:
        pytest.skip("built without CUDA")
    run = functools.partial(
        value_and_gradients,
        ssim_means_and_halved,
        mean=mean_of(**changes),
        times=times,
        wrt=wrt,
    )
    checks = [export.DisabledSafetyCheck.custom_call(t) for t in CUSTOM_CALL_TARGETS]
    exported = export.export(
        jax.jit(run), platforms=[platform], disabled_checks=checks
    )(x, x)
    return ops_in(exported.mlir_module())


IMAGE = jax.ShapeDtypeStruct((2, 3, 16, 24), "float32")


@pytest.mark.parametrize("wrt", [(True, False), (False, True)])
def test_one_kernel_reads_the_images(wrt):
    assert lowered(IMAGE, wrt) == ["ssim_sum_grad_halved"] * 2


def test_the_scales_whose_width_is_not_by_fours():
    found = lowered(IMAGE, (True, False), times=3)
    assert found == ["halved", "ssim_sum_grad", *["ssim_sum_grad_halved"] * 2]


@pytest.mark.parametrize(
    ("image", "wrt", "changes"),
    [
        (IMAGE, (True, True), {}),
        (IMAGE.update(shape=(2, 3, 16, 26)), (True, False), {"times": 1}),
        (IMAGE, (True, False), {"window": Window(7, None)}),
    ],
    ids=["both", "width", "window"],
)
def test_what_no_kernel_does_at_once(image, wrt, changes):
    found = lowered(image, wrt, **changes)
    assert found == ["halved", *["ssim_sum_grad"] * changes.get("times", 2)]


def test_where_there_is_no_such_kernel():
    assert lowered(IMAGE, (True, False), platform="cpu") == ["ssim_sum_grad"] * 2


def test_a_metric_beside_a_loss_has_no_gradient():
    def loss(x, y):
        return jnp.sum(x), fused_ms_ssim(x, y, scale_weights=[0.5, 0.5])

    x, y = pair((1, 3, 32, 64))
    text = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(x, y).as_text()
    assert {*ops_in(text)} - {"halved"} == {"ssim_sum"}
