"""SSIM of volumes: every op that takes them, against the formulas in extended precision
and against other libraries."""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.test_util import check_grads
from ops_table import OPS
from skimage.metrics import structural_similarity

from jax_fused_ssim import fused_ssim, fused_ssim3d, lowering
from jax_fused_ssim.native import VOLUME_TARGETS
from jax_fused_ssim.spec import Spec
from jax_fused_ssim.window import Window

NAMES = [name for name, op in OPS.items() if not (op.errors or op.factors)]
LAYOUTS = ["NCDHW", "NDHWC"]
FORMULA = reference.WINDOW
# Size and sigma of other windows: of scikit-image and fastMRI, of an even size, the
# smallest, and one that has no kernel.
WINDOWS = [FORMULA, (7, None), (4, 1.0), (2, None), (13, 2.0)]


@functools.cache
def film(depth=21, height=35, width=42):
    """[3, D, H, W]: a photograph that moves and gets blurred, and that with noise."""
    photograph = images.photograph()
    frames = [
        images.blurred(photograph, 0.1 * z)[:, 2 * z : 2 * z + height, z : z + width]
        for z in range(depth)
    ]
    volume = np.stack(frames, 1)
    return volume, images.noisy(volume, 0.05)


def spec_of(last=False, padding=(True, True, True), window=FORMULA, **options):
    return Spec(
        volumes=True,
        padding=padding,
        crop=(False,) * 3,
        channels_last=last,
        window=Window(*window),
        **options,
    )


@functools.partial(jax.jit, static_argnums=3)
def every_op(x, y, cotangent, spec):
    return {name: OPS[name](x, y, cotangent, spec) for name in NAMES}


def mean_of_rounding(of_pixel, pixels):
    """The mean of one pixel is that pixel; of many the rounding cancels."""
    return of_pixel / pixels**0.5


def check(x, y, spec, tolerances, exact=None):
    """Every op of volumes [..., D, H, W] against the formulas; tolerances of the mean
    of many pixels, of the largest error of the map and, relative, of gradients."""
    of_mean, of_map, of_gradient = tolerances
    last, of = spec.channels_last, (spec.window.size, spec.window.sigma)
    exact = exact or reference.Similarity(x, y, spec.padding, of=of)
    of_mean = max(of_mean, mean_of_rounding(of_map, exact.map.size))
    cotangent = images.noise(exact.map.shape, 7).astype(x.dtype)
    arrays = [jnp.asarray(reference.unplanes(a, last, 3)) for a in (x, y, cotangent)]
    scaled = spec.scaled(1 / exact.map.size)
    with_cotangent = exact.gradients(cotangent)
    of_sum = [-g / exact.map.size for g in exact.gradients(np.ones_like(exact.map))]

    def planes(a):
        return reference.planes(np.asarray(a).astype(reference.REAL), last, 3)

    for name, results in every_op(*arrays, scaled).items():
        op = OPS[name]
        if op.loss:
            found = np.asarray(results.pop(0), np.float64)
            assert abs(found.sum() - (1 - exact.map.mean())) < of_mean, name
        if not op.wrt:
            for found in results:
                assert np.abs(planes(found) - exact.map).max() < of_map, name
            continue
        both = with_cotangent if op.cotangent else of_sum
        asked = [g for g, wanted in zip(both, op.wrt, strict=True) if wanted]
        for found, gradient in zip(results, asked, strict=True):
            assert reference.relative(planes(found), gradient) < of_gradient, name


FLOAT = (2e-7, 5e-5, 1e-5)
# Of windows whose taps, rounded to float32, are not those of the formula.
ROUNDED = (1e-6, 5e-5, 1e-5)
DOUBLE = (1e-13, 1e-11, 1e-12)


@functools.lru_cache(1)
def exact_film(dtype, padding, window):
    """What both layouts are compared with."""
    x, y = (a.astype(dtype) for a in film())
    return x, y, reference.Similarity(x, y, padding, of=window)


@pytest.mark.parametrize("last", [False, True], ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("padding", "window"),
    [
        ((True, True, True), FORMULA),
        ((False, False, False), FORMULA),
        ((True, False, True), FORMULA),
        *(((False, True, False), of) for of in WINDOWS[1:]),
    ],
    ids=str,
)
def test_formulas(padding, window, dtype, last):
    with jax.enable_x64(dtype == "float64"):
        x, y, exact = exact_film(dtype, padding, window)
        tolerances = DOUBLE
        if dtype == "float32":
            tolerances = FLOAT if window == FORMULA else ROUNDED
        check(x, y, spec_of(last, padding, window), tolerances, exact)


@pytest.mark.parametrize("side", range(1, 13))
def test_small_sides(side):
    """Each axis by itself smaller than the window, and all together."""
    for shape in ((side, 14, 13), (12, side, 11), (11, 12, side), (side,) * 3):
        x, y = images.noise_pair((2, *shape))
        check(x, y, spec_of(), FLOAT)


def test_many_columns():
    """More than a block of a kernel has, and no multiple of it, in every direction."""
    x, y = images.noise_pair((1, 37, 70, 99))
    check(x, y, spec_of(), FLOAT)


@pytest.mark.gpu
@pytest.mark.parametrize("last", [False, True], ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("volume", "padding", "window"),
    [
        ((37, 64, 96), (True,) * 3, FORMULA),
        ((37, 70, 99), (False,) * 3, FORMULA),
        ((23, 96, 75), (True, False, True), (4, 1.0)),
    ],
    ids=str,
)
def test_derivatives_in_memory(monkeypatch, volume, padding, window, dtype, last):
    """Gradients are the same with room for them and without, by other kernels; of sides
    that are multiples of a block's and that are not. But for rounding where both come
    from one map more, and where GPUs with little shared memory have a kernel that is
    given the taps of the formula's window."""
    spec = spec_of(last, padding, window)
    with jax.enable_x64(dtype == "float64"):
        shape = (*volume, 2) if last else (2, *volume)
        shapes = shape, shape, spec.map_shape(shape)
        arrays = [images.noise(s, k).astype(dtype) for k, s in enumerate(shapes)]

        def compiled():
            return jax.jit(lambda *a: every_op.__wrapped__(*a, spec))(*arrays)

        found = compiled()
        monkeypatch.setattr(lowering, "_MOST_DERIVATIVE_BYTES", 0)
        without = compiled()
        for name in NAMES:
            op = OPS[name]
            both = op.wrt == (True, True)
            rounded = dtype == "float32" and (window == FORMULA or both)
            rtol = 1e-6 if rounded else 0
            pairs = list(zip(found[name], without[name], strict=True))
            for a, b in pairs[op.loss :]:
                assert reference.relative(a, b) <= rtol, name
            for a, b in pairs[: op.loss]:
                np.testing.assert_allclose(a, b, rtol=max(1e-15, rtol), err_msg=name)


def test_room_for_derivatives():
    """In large volumes there is none."""

    def maps(*shape, gradients=1, dtype="float32"):
        volumes = jax.ShapeDtypeStruct((2, *shape), dtype)
        words = lowering._derivative_words(volumes, (2,), spec_of(), gradients)
        return words * 4 / volumes.dtype.itemsize / np.prod(shape)

    assert maps(64, 512, 512) == pytest.approx(3, rel=1e-5)
    assert maps(64, 512, 512, gradients=2) == pytest.approx(4, rel=1e-5)
    # No kernel makes both at once.
    assert maps(64, 512, 512, gradients=2, dtype="float64") == pytest.approx(
        3, rel=1e-5
    )
    assert maps(80, 1024, 1024, gradients=2) == pytest.approx(3, rel=1e-5)
    assert maps(256, 1024, 1024) == maps(256, 1024, 1024, gradients=2) == 0


@pytest.mark.parametrize("data_format", LAYOUTS)
def test_scikit_image(data_format):
    """Whose border is mirrored, or left out of the mean."""
    with jax.enable_x64(True):
        x, y = film()
        ours = functools.partial(fused_ssim3d, data_format=data_format)
        last = data_format == "NDHWC"
        pair = [jnp.asarray(reference.unplanes(a, last, 3)) for a in (x, y)]
        for theirs, keywords in (
            ({}, {"window_size": 7, "sigma": None, "sample_covariance": True}),
            ({"gaussian_weights": True, "use_sample_covariance": False}, {}),
        ):
            compared = functools.partial(
                structural_similarity, data_range=1.0, channel_axis=0, full=True
            )
            mean, whole = compared(x, y, **theirs)
            found = ours(*pair, padding="symmetric", reduction="none", **keywords)
            np.testing.assert_allclose(
                reference.planes(found, last, 3), whole, atol=1e-12
            )
            assert abs(ours(*pair, padding="valid", **keywords) - mean) < 1e-12


def test_pytorch_msssim():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_msssim")
    x, y = (a[None].astype("float32") for a in film())
    one, other = (torch.from_numpy(a).requires_grad_() for a in (x, y))
    value = theirs.ssim(one, other, data_range=1.0, win=None, size_average=True)
    value.backward()
    found, grads = jax.value_and_grad(fused_ssim3d, (0, 1))(x, y, "valid")
    assert abs(found - value.item()) < 1e-6
    for ours, image in zip(grads, (one, other), strict=True):
        assert reference.relative(ours, image.grad.numpy()) < 2e-5


def test_torchmetrics():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    x, y = (a[None].astype("float64") for a in film(13, 15, 17))
    theirs = functional.structural_similarity_index_measure(
        *map(torch.from_numpy, (x, y)), data_range=1.0, sigma=1.5
    )
    with jax.enable_x64(True):
        assert abs(fused_ssim3d(x, y, "reflect") - theirs.item()) < 1e-11


def test_a_slice_is_no_image():
    """Before and behind it there are zeros, as documented."""
    x, y = (a[:, :1] for a in film())
    alone = reference.Similarity(x, y, (True, True, True)).map
    found = fused_ssim3d(x, y, reduction="none")
    np.testing.assert_allclose(found, alone.astype("float64"), atol=5e-5)
    assert abs(fused_ssim3d(x, y) - fused_ssim(x[:, 0], y[:, 0])) > 1e-3


@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize("implementation", ["fused", "xla"])
def test_finite_differences(data_format, implementation):
    with jax.enable_x64(True):
        x, y = images.noise_pair((1, 2, 6, 7, 5), "float64")

        def weighted(x, y):
            whole = fused_ssim3d(
                x,
                y,
                data_format=data_format,
                reduction="none",
                implementation=implementation,
            )
            return (whole * jnp.cos(jnp.arange(whole.size).reshape(whole.shape))).sum()

        check_grads(jax.jit(weighted), (x, y), order=1, atol=1e-7, rtol=1e-7, eps=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    x, y = (jnp.asarray(a, dtype) for a in film())
    wide = [np.asarray(a, "float64") for a in (x, y)]
    exact = reference.Similarity(*wide, (True, True, True))
    value, gradient = jax.value_and_grad(fused_ssim3d)(x, y)
    assert value.dtype == "float32"
    assert abs(value - float(exact.map.mean())) < 2e-7
    assert gradient.dtype == dtype
    ulp = float(jnp.finfo(dtype).eps)
    expected = exact.gradients(np.ones_like(exact.map))[0] / exact.map.size
    # The gradient of float16 is subnormal in part.
    least = float(jnp.finfo(dtype).smallest_subnormal)
    error = np.abs(np.asarray(gradient, "float64") - expected.astype("float64"))
    assert (error <= ulp * np.abs(expected) + least + 1e-9).all()
    whole = fused_ssim3d(x, y, reduction="none")
    assert whole.dtype == dtype
    assert np.abs(np.asarray(whole, "float64") - exact.map).max() < ulp + 5e-5


@pytest.mark.parametrize("integer", ["uint8", "uint16"])
def test_integers(integer):
    x, y = film()
    most = np.iinfo(integer).max
    target = np.clip(np.round(y * most), 0, most).astype(integer)
    as_float = (target / most).astype("float32")
    x = x.astype("float32")
    found, gradient = jax.value_and_grad(fused_ssim3d)(x, target)
    expected, of_float = jax.value_and_grad(fused_ssim3d)(x, as_float)
    assert abs(found - expected) < 5e-8
    assert reference.relative(gradient, np.asarray(of_float)) < 1e-6
    assert fused_ssim3d(target, target) == 1


@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize("padding", ["reflect", "symmetric", "edge"])
def test_borders(padding, data_format):
    last = data_format == "NDHWC"
    x, y = film(7, 9, 8)
    padded = [np.pad(a, [(0, 0), *[(5, 5)] * 3], padding) for a in (x, y)]
    exact = reference.Similarity(*padded, (False, False, False)).map
    found = fused_ssim3d(
        *(jnp.asarray(reference.unplanes(a, last, 3)) for a in (x, y)),
        padding,
        data_format=data_format,
        reduction="none",
    )
    found = reference.planes(found, last, 3)
    np.testing.assert_allclose(found, exact.astype("float64"), atol=5e-5)


def test_reductions():
    x, y = (np.stack([a, 0.9 * a]) for a in film())
    whole = reference.Similarity(x, y, (False,) * 3).map
    bound = mean_of_rounding(FLOAT[1], whole[0, 0].size)
    for reduction, axes in (
        ("mean", None),
        ("per_image", (1, 2, 3, 4)),
        ("per_channel", (2, 3, 4)),
    ):
        for data_format in LAYOUTS:
            last = data_format == "NDHWC"
            found = fused_ssim3d(
                *(jnp.asarray(reference.unplanes(a, last, 3)) for a in (x, y)),
                "valid",
                data_format=data_format,
                reduction=reduction,
            )
            right = whole.mean(axes).astype("float64")
            np.testing.assert_allclose(found, right, rtol=0, atol=bound)


@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize("weighting", ["map", "inside", "normalized"])
def test_weights(weighting, data_format):
    """A NaN where nothing counts is not seen, and the rest is by the formulas."""
    last = data_format == "NDHWC"
    x, y = (np.array(a[:1]) for a in film(16, 30, 31))
    weights = images.noise(x.shape[1:], 3)
    weights[8:12, 20:, 5:9] = 0
    hidden = [np.where(weights > 0, a, np.nan if weighting != "map" else a)
              for a in (x, y)]  # fmt: skip
    found, gradient = jax.value_and_grad(fused_ssim3d)(
        *(jnp.asarray(reference.unplanes(a, last, 3)) for a in hidden),
        data_format=data_format,
        weights=weights[..., None] if last else weights,
        weighting=weighting,
    )
    seen, padding = weights > 0, (True,) * 3
    counted = weights
    if weighting == "inside":
        of_windows = [
            reference._windowed_mean(np.pad(a, 5), FORMULA, 3)
            for a in (~seen * 1.0, weights, np.ones_like(weights))
        ]
        unseen, weight, share = of_windows
        counted = np.where(unseen > 0, 0, weight / share)
    similarity = reference.Similarity(
        x, y, padding, seen=seen if weighting == "normalized" else None
    )
    expected = (counted * similarity.map).sum() / counted.sum()
    assert abs(found - float(expected)) < 1e-6
    assert np.isfinite(gradient).all()
    if weighting != "map":
        assert (reference.planes(gradient, last, 3)[:, ~seen] == 0).all()


@pytest.mark.parametrize("last", [False, True], ids=LAYOUTS)
@pytest.mark.parametrize("window", [FORMULA, (7, None)], ids=str)
def test_nan_reaches_its_windows_and_no_further(window, last):
    """In values, maps and gradients: as far as windows of windows reach."""
    x, y = (np.array(a[:1, :, :40, :40], "float32") for a in film(27))
    bad = (13, 19, 21)
    x[(0, *bad)] = np.nan
    arrays = [jnp.asarray(reference.unplanes(a, last, 3)) for a in (x, y)]
    data_format = LAYOUTS[last]
    size, sigma = window
    options = {"data_format": data_format, "window_size": size, "sigma": sigma}
    ssim = functools.partial(fused_ssim3d, **options)
    assert np.isnan(ssim(*arrays))
    whole = reference.planes(ssim(*arrays, reduction="none"), last, 3)[0]
    gradient = jax.grad(lambda x: ssim(x, arrays[1]))(arrays[0])
    gradient = reference.planes(gradient, last, 3)[0]
    for found, reach in ((whole, size // 2), (gradient, size - 1)):
        near = np.zeros(found.shape, bool)
        near[tuple(slice(i - reach, i + reach + 1) for i in bad)] = True
        assert np.isnan(found[near]).all()
        assert np.isfinite(found[~near]).all()


def test_identical_volumes():
    x = jnp.asarray(film()[0], "float32")
    assert fused_ssim3d(x, x) == 1
    assert (fused_ssim3d(x, x, reduction="none") == 1).all()
    assert (jax.grad(fused_ssim3d)(x, x) == 0).all()


def test_far_from_zero():
    """Temperatures, of which the textbook's variance has no digit in float32."""
    x, y = (280 + 10 * a for a in film())
    x, y = (a.astype("float32") for a in (x, y))
    check_range = functools.partial(fused_ssim3d, data_range=10.0)
    exact = reference.Similarity(x, y, (True,) * 3, data_range=10.0)
    value, gradient = jax.value_and_grad(check_range)(x, y)
    assert abs(value - float(exact.map.mean())) < 1e-6
    expected = exact.gradients(np.ones_like(exact.map))[0] / exact.map.size
    assert reference.relative(gradient, expected) < 2e-5


def test_ranges_of_volumes():
    x, y = (jnp.asarray(a, "float32") for a in film())
    pairs = [jnp.stack([a, 7 * a]) for a in (x, y)]
    found = fused_ssim3d(
        *pairs, data_range=jnp.asarray([1.0, 7.0]), reduction="per_image"
    )
    np.testing.assert_allclose(found, [fused_ssim3d(x, y)] * 2, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("last", [False, True], ids=LAYOUTS)
@pytest.mark.parametrize("in_axes", [(0, 0), (1, -1), (0, None), (None, 0)], ids=str)
def test_vmap(name, last, in_axes):
    """The bits of a loop."""
    spec = spec_of(last, padding=(True, False, True))
    one = (2, 13, 14, 12)
    x, y = map(jnp.asarray, images.noise_pair((3, *one)))
    x, y = (
        a[0] if d is None else jnp.moveaxis(a, 0, d)
        for a, d in zip((x, y), in_axes, strict=True)
    )

    def function(x, y):
        shape = spec.map_shape(x.shape)
        cotangent = jnp.sin(jnp.arange(np.prod(shape), dtype=x.dtype)).reshape(shape)
        return OPS[name](x, y, cotangent, spec)

    found = jax.vmap(function, in_axes)(x, y)
    for i in range(3):
        each = [a if d is None else jnp.take(a, i, d)
                for a, d in zip((x, y), in_axes, strict=True)]  # fmt: skip
        for whole, alone in zip(found, function(*each), strict=True):
            np.testing.assert_array_equal(whole[i], alone)


def test_the_batch_changes_no_bit():
    """Nor does how the work is cut over processors, which follows from its size."""
    x, y = (jnp.asarray(a, "float32") for a in film(33, 40, 41))
    value = jax.value_and_grad(
        lambda x, y: fused_ssim3d(x, y, reduction="per_image").sum()
    )
    alone, gradient = value(x, y)
    for count in (2, 7, 12, 15, 40):
        many = [jnp.stack([a] * count) for a in (x, y)]
        found = fused_ssim3d(*many, reduction="per_image")
        np.testing.assert_array_equal(found, jnp.full(count, alone))
        _, grads = value(*many)
        np.testing.assert_array_equal(grads, jnp.stack([gradient] * count))


def test_no_copy_of_a_channels_last_volume():
    x, y = (jnp.moveaxis(jnp.asarray(a, "float32"), 0, -1) for a in film())
    ssim = functools.partial(fused_ssim3d, data_format="NDHWC")
    text = jax.jit(jax.grad(ssim)).lower(x, y).as_text()
    assert "transpose" not in text


class TestErrors:
    """What is wrong is said in the terms of volumes."""

    def test_dimensions(self):
        with pytest.raises(
            ValueError, match=r"volumes must be .*C, D, H, W.*x\[None\]"
        ):
            fused_ssim3d(*images.noise_pair((12, 12, 12)))

    def test_layout(self):
        with pytest.warns(UserWarning, match='use data_format="NDHWC"'):
            fused_ssim3d(*images.noise_pair((12, 13, 14, 3)))

    def test_data_format(self):
        with pytest.raises(ValueError, match="'NCDHW', 'NDHWC'; got 'NCHW'"):
            fused_ssim3d(*images.noise_pair((1, 12, 12, 12)), data_format="NCHW")

    def test_too_small_for_valid(self):
        with pytest.raises(ValueError, match="needs D, H and W of at least 11"):
            fused_ssim3d(*images.noise_pair((1, 10, 12, 12)), "valid")

    def test_weights(self):
        with pytest.raises(ValueError, match=r"\[D, H, W\], \[1, D, H, W\]"):
            fused_ssim3d(
                *images.noise_pair((1, 12, 13, 14)), weights=jnp.ones((12, 14))
            )

    def test_no_kernel(self):
        with pytest.raises(NotImplementedError, match="more than 11 pixels"):
            fused_ssim3d(
                *images.noise_pair((1, 4, 5, 6)), window_size=12, implementation="fused"
            )

    def test_train(self):
        with pytest.raises(TypeError, match="train=False"):
            jax.grad(fused_ssim3d)(*images.noise_pair((1, 4, 5, 6)), "same", False)

    def test_errors_of_volumes_have_no_kernel(self):
        spec = spec_of(implementation="fused")
        x, y = images.noise_pair((1, 4, 5, 6))
        with pytest.raises(NotImplementedError, match="of volumes"):
            OPS["loss_sum"](x, y, x, spec)


def test_the_ops_of_volumes():
    """Those whose handlers take them are those that are tested here."""
    names = {"ssim_sum", "ssim_sum_grad", "ssim_map", "ssim_map_grad"}
    assert {f"jax_fused_ssim_{name}" for name in names} == {*VOLUME_TARGETS}
    assert names == {OPS[name].name for name in NAMES}
    for last, name in itertools.product((False, True), NAMES):
        x, y = images.noise_pair((1, 4, 5, 6))
        OPS[name](x, y, x, spec_of(last, implementation="fused"))
