"""Windows of any size: every op against the reference, and the public functions."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from accuracy import Expected, check
from implementations import implementations, in_turn
from skimage.metrics import structural_similarity

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    fused_ms_ssim,
    fused_ssim,
    image_metrics,
    photometric_loss,
    sharded,
    ssim_terms,
)
from jax_fused_ssim.native import MOST_TAPS
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.window import COMPILED_IN, Window

slow = pytest.mark.slow
# Those that kernels have, of both kinds of sizes, and one that is plain JAX.
WINDOWS = {
    "2 uniform": Window(2, None),
    "3": Window(3, 0.8),
    "4": Window(4, 1.5),
    "7 uniform": Window(7, None),
    "8": Window(8, 2.0),
    "10 uniform": Window(10, None),
    "11 wide": Window(11, 3.0),
    "11 uniform": Window(11, None),
    "9 narrow": Window(9, 0.5),
}
every_window = pytest.mark.parametrize("window", WINDOWS)
LARGE = Window(33, 5.0)
# Plain JAX has no code for one window: each is tested once with each test, and of the
# other parameters every value.
few_of_plain_jax = functools.partial(implementations, plain=in_turn)


def pair(shape=(2, 3, 37, 41)):
    x, noise = (images.noise(shape, seed) for seed in (1, 2))
    return x, (2 * x + noise) / 3


@functools.lru_cache(maxsize=4)
def expected_of(window, padding):
    of = WINDOWS[window]
    x, y = pair()
    return Expected(x, y, (True, False), padding=padding, of=(of.size, of.sigma))


# The layouts of a window and a padding follow each other: they share the reference.
@few_of_plain_jax()
@pytest.mark.parametrize("last", [False, pytest.param(True, marks=slow)])
@every_window
@pytest.mark.parametrize("padding", [(True, True), (False, False), (True, False)])
def test_every_op(padding, window, last, implementation):
    of = WINDOWS[window]
    spec = Spec(
        window=of,
        padding=padding,
        crop=(True, False),
        channels_last=last,
        implementation=implementation,
    )
    x, y = pair()
    with jax.enable_x64(True):
        expected = expected_of(window, padding)
        check(x, y, expected, spec, mean=1e-13, map_=1e-11, gradient=1e-10)


@few_of_plain_jax()
@every_window
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, jnp.float16])
def test_other_dtypes(dtype, window, implementation):
    """On a photograph. Few pixels under a window leave little to average rounding."""
    of = WINDOWS[window]
    crop = images.photograph("chelsea")[:, 50:119, 100:183]
    x, y = (np.asarray(a, dtype) for a in (crop, images.noisy(crop)))
    spec = Spec(window=of, channels_last=True, implementation=implementation)
    expected = Expected(x, y, of=(of.size, of.sigma))
    half = dtype != np.float32
    half_ulp = float(jnp.finfo(dtype).eps) / 2 if half else 0.0
    check(x, y, expected, spec, mean=5e-7, map_=3e-4, gradient=1e-5, half_ulp=half_ulp)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 3e-6), ("float64", 1e-12)])
def test_larger_than_kernels_have(dtype, atol):
    x, y = pair()
    right = reference.ssim_map(x, y, of=(LARGE.size, LARGE.sigma))
    options = {"window_size": LARGE.size, "sigma": LARGE.sigma}
    with jax.enable_x64(True):
        x, y = x.astype(dtype), y.astype(dtype)
        found = fused_ssim(x, y, reduction="none", **options)
        np.testing.assert_allclose(found, right.astype(float), atol=atol)
    fused = functools.partial(fused_ssim, implementation="fused", **options)
    with pytest.raises(NotImplementedError, match="windows of more than 11 pixels"):
        fused(x, y)


@implementations
@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize(("size", "sigma"), [(7, None), (5, None), (6, 1.2), (9, 0.02)])
def test_sample_covariance(size, sigma, sample, implementation):
    x, y = pair((1, 20, 23))
    options = {
        "window_size": size,
        "sigma": sigma,
        "sample_covariance": sample,
        "implementation": implementation,
    }
    right = reference.Similarity(x, y, of=(size, sigma), sample=sample)
    with jax.enable_x64(True):
        cotangent = images.noise(right.map.shape, 3)

        @jax.jit
        def everything(x, y, cotangent):
            full = functools.partial(fused_ssim, reduction="none", **options)
            found, pull_back = jax.vjp(full, x, y)
            terms = ssim_terms(x, y, reduction="none", **options)
            return found, pull_back(cotangent), terms

        found, grads, terms = everything(x, y, cotangent)
        np.testing.assert_allclose(found, right.map.astype(float), atol=1e-12)
        for grad, exact in zip(grads, right.gradients(cotangent), strict=True):
            np.testing.assert_allclose(grad, exact.astype(float), rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            terms.luminance * terms.contrast_structure, found, atol=1e-12
        )


def test_scikit_image_default():
    """A uniform window of 7, and covariances of a sample."""
    x = images.photograph("chelsea")[:, :71, :93]
    y = np.clip(images.noisy(x), 0, 1)
    _, full = structural_similarity(x, y, channel_axis=0, data_range=1, full=True)
    with jax.enable_x64(True):
        options = {"window_size": 7, "sigma": None, "sample_covariance": True}
        found = fused_ssim(x, y, "symmetric", reduction="none", **options)
    np.testing.assert_allclose(found, full, atol=1e-12)


def test_the_default_is_what_it_was():
    x, y = (a.astype(np.float32) for a in pair())
    found = fused_ssim(x, y, window_size=11, sigma=1.5)
    np.testing.assert_array_equal(found, fused_ssim(x, y))
    assert COMPILED_IN.size == MOST_TAPS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sigma", [None, 1e-3, 0.05, 0.3, 1.5, 5.0, 1e4])
def test_taps_sum_to_one(sigma, dtype):
    """So that a constant image has no variance."""
    for size in range(2, 34):
        taps = Window(size, sigma).taps(dtype)
        assert taps.dtype == dtype
        assert abs(taps.sum(dtype=np.longdouble) - 1) < 2e-10
        np.testing.assert_array_equal(taps, taps[::-1])
        exact = reference.window(size, 5.0 if sigma is None else max(sigma, 0.03))
        if sigma is None:
            exact = np.full(size, 1 / size)
        np.testing.assert_allclose(taps, exact.astype(float), atol=3e-8)


@implementations(slow=False)
@every_window
def test_nan_reaches_no_further_than_the_window(window, implementation):
    of = WINDOWS[window]
    x, y = (a.astype(np.float32) for a in pair((1, 40, 44)))
    x[0, 20, 25] = np.nan
    options = {
        "window_size": of.size,
        "sigma": of.sigma,
        "implementation": implementation,
    }
    full = jax.jit(functools.partial(fused_ssim, reduction="none", **options))
    here = np.zeros((40, 44), bool)
    here[20 - of.after : 21 + of.before, 25 - of.after : 26 + of.before] = True
    np.testing.assert_array_equal(np.isnan(full(x, y)[0]), here)
    # Those that see a window that sees it.
    wide = np.zeros_like(here)
    wide[20 - of.size + 1 : 20 + of.size, 25 - of.size + 1 : 25 + of.size] = True
    grad = jax.jit(jax.grad(lambda x: fused_ssim(x, y, **options)))(x)
    np.testing.assert_array_equal(np.isnan(grad[0]), wide)


@few_of_plain_jax()
@every_window
@pytest.mark.parametrize("weighting", ["map", "inside", "normalized"])
def test_weights_of_one_give_what_none_give(weighting, window, implementation):
    of = WINDOWS[window]
    x, y = (a.astype(np.float32) for a in pair((3, 30, 34)))
    options = {
        "window_size": of.size,
        "sigma": of.sigma,
        "padding": "valid",
        "implementation": implementation,
    }
    ones = np.ones((30, 34), np.float32)

    def loss(x, **weights):
        return photometric_loss(x, y, **options, **weights)

    weighted = functools.partial(loss, weights=ones, weighting=weighting)
    found, expected = jax.jit(
        lambda x: [jax.value_and_grad(f)(x) for f in (loss, weighted)]
    )(x)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-8)


@implementations
@pytest.mark.parametrize("window", ["4", "7 uniform"])
@pytest.mark.parametrize("padding", ["same", "valid", "reflect", "edge"])
def test_weights_by_hand(padding, window, implementation):
    """The means of windows without a hole, and of statistics without holes."""
    of = WINDOWS[window]
    x, y = pair((1, 22, 27))
    seen = images.noise((22, 27), 9) > 0.05
    weights = seen * (0.5 + images.noise((22, 27), 8))
    options = {
        "window_size": of.size,
        "sigma": of.sigma,
        "padding": padding,
        "weights": weights,
        "implementation": implementation,
    }
    margins = ((of.before, of.after),) * 2
    if padding in ("reflect", "edge"):
        wide = [np.pad(a, ((0, 0), *margins), padding) for a in (x, y)]
        seen, weights = (np.pad(a, margins, padding) for a in (seen, weights))
        inner, valid = wide, (False, False)
    else:
        inner, valid = (x, y), (padding == "same",) * 2
    uncovered = [not p for p in valid]
    counted = reference._where_counted(weights, uncovered, (of.size, of.sigma))

    @jax.jit
    def by_weighting(x, y):
        return {
            weighting: fused_ssim(x, y, weighting=weighting, **options)
            for weighting in ("map", "normalized", "inside")
        }

    with jax.enable_x64(True):
        found = by_weighting(x, y)
    for weighting, of_seen in (("map", None), ("normalized", seen[None])):
        right = reference.Similarity(
            *inner, valid, seen=of_seen, of=(of.size, of.sigma)
        ).map
        mean = (counted * right[0]).sum() / counted.sum()
        np.testing.assert_allclose(found[weighting], float(mean), atol=1e-10)
    # A window that the border cuts has the mean weight of what is left.
    shares = [
        reference._windowed_mean(
            reference._pad(a.astype(reference.REAL), reference._reach(valid, of_)), of_
        )
        for a in (weights, np.ones_like(weights), ~seen)
        for of_ in [(of.size, of.sigma)]
    ]
    whole = np.where(shares[2] > 0, 0, shares[0] / shares[1])
    right = reference.ssim_map(*inner, valid, of=(of.size, of.sigma))[0]
    mean = (whole * right).sum() / whole.sum()
    np.testing.assert_allclose(found["inside"], float(mean), atol=1e-10)


@every_window
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (1, 3, 2), (1, 11, 12)])
def test_small_images(shape, window):
    of = WINDOWS[window]
    x, y = pair(shape)
    right = reference.ssim_map(x, y, of=(of.size, of.sigma))
    options = {"window_size": of.size, "sigma": of.sigma}
    with jax.enable_x64(True):
        found = fused_ssim(x, y, reduction="none", **options)
        np.testing.assert_allclose(found, right.astype(float), atol=1e-10)
        if min(shape[1:]) >= of.size:
            found = fused_ssim(x, y, "valid", **options)
            right = reference.ssim_map(x, y, (False, False), of=(of.size, of.sigma))
            np.testing.assert_allclose(found, float(right.mean()), atol=1e-10)
        else:
            with pytest.raises(ValueError, match=f"of at least {of.size}; got"):
                fused_ssim(x, y, "valid", **options)


def test_transformations():
    x, y = (a.astype(np.float32) for a in pair((4, 2, 20, 23)))
    full = functools.partial(fused_ssim, window_size=7, sigma=None)
    each = [full(*p) for p in zip(x, y, strict=True)]
    np.testing.assert_allclose(jax.vmap(full)(x, y), each, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(full, (0, None))(x, y[0])[0], each[0])
    tangent = images.noise(x.shape, 5).astype(np.float32)
    grad = jax.jit(jax.grad(full))(x, y)
    _, along = jax.jvp(lambda x: full(x, y), (x,), (tangent,))
    np.testing.assert_allclose(along, np.vdot(grad, tangent), rtol=1e-5)
    again = jax.grad(jax.checkpoint(full))(x, y)
    np.testing.assert_array_equal(again, grad)

    def slope(x, scale):
        return jnp.vdot(jax.grad(full)(x + scale * tangent, y), tangent)

    second = jax.grad(slope, 1)(x, 0.0)
    step = 1e-3
    by_hand = (slope(x, step) - slope(x, -step)) / (2 * step)
    np.testing.assert_allclose(second, by_hand, rtol=0.02)
    checks = [
        jax.export.DisabledSafetyCheck.custom_call(target)
        for target in CUSTOM_CALL_TARGETS
    ]
    exported = jax.export.export(jax.jit(full), disabled_checks=checks)(x, y)
    np.testing.assert_array_equal(exported.call(x, y), full(x, y))


def test_uint8_and_metrics():
    x, y = pair((2, 3, 25, 30))
    x = x.astype(np.float32)
    as_bytes = np.round(255 * y).astype(np.uint8)
    floats = np.float32(as_bytes / 255)
    for size in (7, 8):
        options = {"window_size": size, "sigma": None, "sample_covariance": True}
        metrics = image_metrics(x, as_bytes, **options)
        np.testing.assert_allclose(
            metrics.ssim,
            fused_ssim(x, floats, reduction="per_image", **options),
            atol=1e-6,
        )
        loss, grad = jax.value_and_grad(photometric_loss)(x, as_bytes, **options)
        of_floats, of_grad = jax.value_and_grad(photometric_loss)(x, floats, **options)
        np.testing.assert_allclose(loss, of_floats, atol=1e-6)
        np.testing.assert_allclose(grad, of_grad, atol=1e-8)


def test_scales():
    """Each of a smaller window fits where one of 11 does not."""
    x, y = pair((1, 2, 48, 52))
    with pytest.raises(ValueError, match="5 scales of images of 48 x 52 pixels: 3 fit"):
        fused_ms_ssim(x, y)
    with jax.enable_x64(True):
        options = {"window_size": 3, "sigma": 1.0}
        found = fused_ms_ssim(x, y, scale_weights=(0.5, 0.5), **options)
        halves = [(a[..., ::2] + a[..., 1::2]) / 2 for a in (x, y)]
        halves = [(a[..., ::2, :] + a[..., 1::2, :]) / 2 for a in halves]
        of_both = options | {"reduction": "per_channel"}
        first = ssim_terms(x, y, "valid", **of_both).contrast_structure
        last = fused_ssim(*halves, "valid", **of_both)
        np.testing.assert_allclose(found, ((first * last) ** 0.5).mean(), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window_size": 1}, ValueError, "at least 2, as one pixel has no variance"),
        ({"window_size": 0}, ValueError, "at least 2"),
        ({"window_size": 7.5}, ValueError, "whole number; got 7.5"),
        ({"window_size": np.inf}, ValueError, "whole number"),
        ({"window_size": "7"}, TypeError, "window_size must be a real number"),
        ({"window_size": True}, TypeError, "window_size must be a real number"),
        ({"sigma": 0}, ValueError, "sigma must be positive and finite; got 0"),
        ({"sigma": -1.0}, ValueError, "sigma must be positive"),
        ({"sigma": np.nan}, ValueError, "sigma must be positive"),
        ({"sigma": (1, 2)}, TypeError, "sigma must be a real number"),
        ({"sample_covariance": "yes"}, TypeError, "True or False; got 'yes'"),
    ],
)
@pytest.mark.parametrize(
    "function", [fused_ssim, photometric_loss, image_metrics, ssim_terms, fused_ms_ssim]
)
def test_errors(function, options, error, message):
    x = np.zeros((3, 180, 180), np.float32)
    with pytest.raises(error, match=message):
        function(x, x, **options)


def test_traced():
    x = np.zeros((3, 18, 18), np.float32)
    with pytest.raises(TypeError, match="window_size is static and cannot be traced"):
        jax.jit(lambda n: fused_ssim(x, x, window_size=n))(7)
    with pytest.raises(TypeError, match="sigma is static and cannot be traced"):
        jax.jit(lambda s: fused_ssim(x, x, sigma=s))(1.5)


def test_cut_images_have_windows_of_odd_sizes():
    x = np.zeros((1, 20, 20), np.float32)
    mesh = jax.make_mesh((1,), ("rows",))
    whole = jax.P()

    def of_window(size):
        return jax.shard_map(
            functools.partial(
                sharded.fused_ssim, height_axis="rows", window_size=size, sigma=None
            ),
            mesh=mesh,
            in_specs=whole,
            out_specs=whole,
        )(x, x)

    assert of_window(7) == 1
    assert of_window(8) == 1  # one device has the whole image
