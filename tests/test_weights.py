"""`weights` and `weighting` of all functions that take them.

The expectation is NumPy's in float64, window by window: nothing is separable, summed or
vectorised as in the package.
"""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import implementations

from jax_fused_ssim import fused_ssim, image_metrics, photometric_loss

SHAPE = (2, 2, 16, 19)
TERMS = {"ssim_weight": 0.5, "l1_weight": 0.3, "l2_weight": -0.7}
WEIGHTINGS = ["map", "inside", "normalized"]
# With padding "same" both regions are the image.
REGIONS = [("same", "image"), ("valid", "image"), ("valid", "map")]

slow = pytest.mark.slow
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS)


def rng(seed):
    return np.random.default_rng(seed)


def pair(shape=SHAPE):
    """Images that are alike in part."""
    x, noise = rng(0).random((2, *shape))
    return x, (2 * x + noise) / 3


def holes(shape=SHAPE[-2:]):
    """A corner and one pixel without weight: whole windows are left, and parts."""
    mask = np.ones(shape, bool)
    mask[-3:, :6] = mask[4, -2] = False
    return mask


# For "NCHW".
WEIGHTS = {
    "mask": holes(),
    "below zero": rng(11).random(SHAPE[-2:]) - 0.3 * ~holes() * 9,
    "random": rng(1).random(SHAPE[-2:]) * holes(),
    "above one, of channels": 5 * rng(2).random(SHAPE[-3:]) + holes(),
    "of images": rng(3).random((2, 1, *SHAPE[-2:])) * holes(),
    "of every pixel": rng(4).random(SHAPE) * holes(),
    "constant along y": rng(5).random((1, SHAPE[-1])) * holes()[-1:],
    "one a channel": np.array([0.5, 2.0])[:, None, None],
    "one an image": np.array([0.0, 3.0])[:, None, None, None],
    "nothing": np.zeros(SHAPE[-2:]),
}

window = np.outer(reference.window(), reference.window()).astype(np.float64)


def similarity(x, y, w, place, weighting, padded):
    """SSIM of one window of a plane, and what it counts for."""
    around = [np.arange(i - 5, i + 6) for i in place]
    here = np.ix_(*[(a >= 0) & (a < n) for a, n in zip(around, x.shape, strict=True)])
    within = np.ix_(
        *[a[(a >= 0) & (a < n)] for a, n in zip(around, x.shape, strict=True)]
    )
    assert padded or window[here].size == 121
    g, x, y, around = window[here], x[within], y[within], w[within]
    weight = w[place]
    if weighting == "inside":
        weight = (around > 0).all() * (g * around).sum() / g.sum()
    if weighting == "normalized":
        g = g * (around > 0)
        g = g / g.sum() if weight else g
    if weight == 0:
        return 1.0, 0.0
    if weighting != "map":
        x, y = (np.where(around > 0, a, 0) for a in (x, y))
    mx, my = (g * x).sum(), (g * y).sum()
    if weighting == "normalized":
        sxx, syy, sxy = (
            (g * a * b).sum()
            for a, b in [(x - mx,) * 2, (y - my,) * 2, (x - mx, y - my)]
        )
    else:  # the border of zeros included
        sxx, syy = (g * x * x).sum() - mx**2, (g * y * y).sum() - my**2
        sxy = (g * x * y).sum() - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mx * my + c1) * (2 * sxy + c2)
    return value / ((mx**2 + my**2 + c1) * (sxx + syy + c2)), weight


def weighted_mean(values, weights, axes, nothing):
    values = np.where(weights > 0, values, 0)
    total, whole = (values * weights).sum(axes), weights.sum(axes)
    return np.where(whole == 0, nothing, total / np.where(whole == 0, 1, whole))


def expected(x, y, w, weighting, padding="same", error_region="image", per_image=False):
    """l1, l2 and ssim of images [..., C, H, W]."""
    w = np.broadcast_to(np.maximum(np.asarray(w, np.float64), 0), x.shape)
    border = 0 if padding == "same" else 5
    h, wide = x.shape[-2:]
    places = list(
        itertools.product(range(border, h - border), range(border, wide - border))
    )
    of_planes = [
        [similarity(*planes, place, weighting, border == 0) for place in places]
        for planes in zip(*(a.reshape(-1, h, wide) for a in (x, y, w)), strict=True)
    ]
    maps = np.array(of_planes).reshape(*x.shape[:-2], len(places), 2)
    crop = border if error_region == "map" else 0
    inner = (..., slice(crop, h - crop), slice(crop, wide - crop))
    d = (x - y)[inner]
    axes = (-3, -2, -1) if per_image else None
    ssim_axes = (-2, -1) if per_image else None
    return (
        weighted_mean(abs(d), w[inner], axes, 0),
        weighted_mean(d * d, w[inner], axes, 0),
        weighted_mean(maps[..., 0], maps[..., 1], ssim_axes, 1),
    )


def loss_of(l1, l2, ssim):
    return 0.3 * l1 - 0.7 * l2 + 0.5 * (1 - ssim)


def moved(a, last):
    """The array with the channel last, if it is to be, where it has one."""
    a = np.asarray(a)
    if not last:
        return a
    return np.moveaxis(a, -3, -1) if a.ndim > 2 else a[..., None]


# The first nine: each weighting in each region.
COVERED = [
    *(("random", w, *r, "NCHW") for w in WEIGHTINGS for r in REGIONS),
    *(
        (name, weighting, *region, "NHWC" if i % 2 else "NCHW")
        for i, (name, weighting, region) in enumerate(
            [
                ("mask", "inside", REGIONS[0]),
                ("mask", "normalized", REGIONS[2]),
                ("above one, of channels", "map", REGIONS[0]),
                ("of images", "inside", REGIONS[1]),
                ("of images", "normalized", REGIONS[0]),
                ("below zero", "map", REGIONS[0]),
                ("below zero", "inside", REGIONS[1]),
                ("below zero", "normalized", REGIONS[2]),
                ("of every pixel", "map", REGIONS[2]),
                ("of every pixel", "inside", REGIONS[0]),
                ("of every pixel", "normalized", REGIONS[1]),
                ("constant along y", "map", REGIONS[1]),
                ("constant along y", "inside", REGIONS[0]),
                ("constant along y", "normalized", REGIONS[0]),
                ("one a channel", "inside", REGIONS[1]),
                ("one a channel", "normalized", REGIONS[0]),
                ("one an image", "map", REGIONS[0]),
                ("one an image", "normalized", REGIONS[2]),
                ("nothing", "map", REGIONS[1]),
            ]
        )
    ),
]


def direction():
    return 1e-4 * (rng(6).random(SHAPE) - 0.5)


@functools.cache
def expected_of_pair(name, weighting, padding, error_region):
    """The means of all images and of each, and the slopes of the loss in either image.
    Once for both implementations: window by window it takes its time."""
    x, y = pair()
    exact = functools.partial(
        expected,
        w=WEIGHTS[name],
        weighting=weighting,
        padding=padding,
        error_region=error_region,
    )
    slopes = []
    for i in (0, 1):
        up, down = ([x, y], [x, y])
        up[i], down[i] = (x, y)[i] + direction(), (x, y)[i] - direction()
        slopes.append((loss_of(*exact(*up)) - loss_of(*exact(*down))) / 2)
    return exact(x, y), exact(x, y, per_image=True), slopes


def fewer(cases):
    """For plain JAX, to which weights are given as to kernels: each weighting in each
    region, and of all other weights the first case."""
    first = {case.values[0]: case for case in reversed(cases) if case not in cases[:9]}
    return [(case,) for case in (*cases[:9], *first.values())]


@implementations(plain=fewer)
@pytest.mark.parametrize(
    ("name", "weighting", "padding", "error_region", "data_format"), COVERED
)
def test_means_and_gradients(
    name, weighting, padding, error_region, data_format, implementation
):
    """Of all images, of each, and the derivative along a direction."""
    x, y = pair()
    weights = WEIGHTS[name]
    region = {"padding": padding, "error_region": error_region}
    whole, of_images, slopes = expected_of_pair(name, weighting, padding, error_region)
    last = data_format == "NHWC"
    options = {
        "weights": moved(weights, last),
        "weighting": weighting,
        "data_format": data_format,
        "implementation": implementation,
    }
    with jax.enable_x64(True):
        images_ = moved(x, last), moved(y, last)

        def loss(x, y):
            return photometric_loss(
                x, y, return_terms=True, **TERMS, **region, **options
            )

        @jax.jit
        def everything(x, y):
            return (
                jax.value_and_grad(loss, (0, 1), has_aux=True)(x, y),
                image_metrics(x, y, **region, **options),
                fused_ssim(x, y, padding, reduction="per_image", **options),
            )

        ((value, terms), grads), metrics, found = everything(*images_)
        np.testing.assert_allclose(terms, whole, atol=1e-11)
        np.testing.assert_allclose(value, loss_of(*whole), atol=1e-11)
        np.testing.assert_allclose(
            (metrics.mae, metrics.mse, metrics.ssim), of_images, atol=1e-11
        )
        np.testing.assert_allclose(found, of_images[2], atol=1e-11)
        for grad, slope in zip(grads, slopes, strict=True):
            along = np.vdot(grad, moved(direction(), last))
            np.testing.assert_allclose(along, slope, rtol=1e-5, atol=1e-13)


@implementations
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("weighting", ["map", "inside"])
def test_ones_change_nothing(weighting, dtype, implementation):
    x, y = (jnp.asarray(a, dtype) for a in pair((2, 3, 40, 50)))

    def results(**options):
        options |= {"l2_weight": 0.1, "implementation": implementation}
        loss = functools.partial(photometric_loss, return_terms=True, **options)
        return jax.value_and_grad(loss, has_aux=True)(x, y)

    plain, weighted = results(), results(weights=np.ones(50), weighting=weighting)
    np.testing.assert_allclose(weighted[0][0], plain[0][0], atol=1e-7)
    np.testing.assert_allclose(weighted[0][1], plain[0][1], atol=1e-7)
    assert weighted[1].dtype == dtype
    largest = np.abs(plain[1].astype("float32")).max()
    error = np.abs(weighted[1].astype("float32") - plain[1].astype("float32")).max()
    assert error <= {"float32": 1e-6}.get(dtype, jnp.finfo(dtype).eps) * largest + 1e-7


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("weighting", "dtype", "arrays"),
    [
        ("map", "float32", 0),
        ("map", "bool", 1),
        ("inside", "float32", 2.3),
        ("normalized", "float32", 1),
    ],
)
def test_memory(weighting, dtype, arrays, padding):
    """Above images, weights and the gradient: so many arrays of the weights' pixels."""
    image = jax.ShapeDtypeStruct((1, 200, 300, 3), "float32")
    mask = jax.ShapeDtypeStruct((200, 300, 1), dtype)

    def loss(x, y, w):
        options = {"padding": padding, "data_format": "NHWC", "weighting": weighting}
        return photometric_loss(x, y, weights=w, **options)

    compiled = jax.jit(jax.value_and_grad(loss)).lower(image, image, mask).compile()
    found = compiled.memory_analysis().temp_size_in_bytes
    pixels = 4 * np.prod(mask.shape)
    # XLA for GPUs writes out one more: what of the weights is in an unpadded map, or
    # their windowed sums.
    one_more = padding == "valid" or weighting == "inside"
    arrays += jax.default_backend() == "gpu" and one_more
    assert found <= (arrays + 0.03) * pixels


@pytest.mark.parametrize("dtype", ["bool", "float16", "bfloat16", "float32"])
def test_dtypes_of_weights(dtype):
    x, y = (a.astype(np.float32) for a in pair())
    options = {"weighting": "normalized", "implementation": "xla"}
    found = fused_ssim(x, y, weights=jnp.asarray(holes(), dtype), **options)
    assert found == fused_ssim(x, y, weights=holes().tolist(), **options)


@every_weighting
def test_masks_of_images(weighting):
    """Booleans with a batch dimension, for a value of every image."""
    x, y = pair()
    mask = np.stack([holes(), holes()[::-1]])[:, None]
    of_batch = image_metrics(x, y, weights=mask, weighting=weighting)
    alone = [
        image_metrics(*image, weights=m, weighting=weighting)
        for *image, m in zip(x, y, mask, strict=True)
    ]
    np.testing.assert_allclose(of_batch, np.transpose(alone), rtol=1e-6)


def test_a_photograph():
    """In float32, half without weight: as accurate as a mean without weights."""
    x = images.photograph("chelsea")[:, 50:200, 100:301].astype(np.float32)
    y = (255 * images.blurred(x)).astype(np.uint8)
    weights = (rng(7).random((150, 201)) ** 2).astype(np.float32)
    weights[:, :100] = 0
    exact = reference.ssim_map(x, y / reference.REAL(255))
    exact = (exact * weights).sum() / weights.astype(reference.REAL).sum() / 3
    np.testing.assert_allclose(
        fused_ssim(x, y, weights=weights), np.float64(exact), atol=7e-8
    )


@implementations
@every_weighting
def test_far_from_zero(implementation, weighting):
    """What is filled in for pixels that nobody sees is near the others."""
    x, y = ((a + 1000).astype(np.float32) for a in pair())
    weights = np.zeros(SHAPE[-2:])
    weights[:, 12:] = 1
    x[..., :7], y[..., :7] = 0, np.nan
    if weighting != "map":
        x[..., 7:12] = 0
    wide = (a.astype(np.float64) for a in (x, y))
    options = {"weights": weights, "weighting": weighting, "padding": "valid"}
    *_, exact = expected(*wide, weights, weighting, "valid")
    found = fused_ssim(x, y, implementation=implementation, **options)
    np.testing.assert_allclose(found, exact, atol=1e-4)


@implementations
@pytest.mark.parametrize(
    "garbage",
    [np.nan, *(pytest.param(g, marks=slow) for g in (np.inf, 1e30))],
    ids=str,
)
@every_weighting
def test_pixels_without_weight_are_ignored(weighting, garbage, implementation):
    """In value and gradient; by "map" those that no window of other weight sees."""
    x, y = (a.astype(np.float32) for a in pair((2, 2, 40, 42)))
    weights = rng(8).random((40, 42)).astype(np.float32)
    weights[:, :14] = 0
    unseen = np.s_[..., : 9 if weighting == "map" else 14]

    def results(x, y, padding):
        loss = functools.partial(
            photometric_loss,
            return_terms=True,
            padding=padding,
            weights=weights,
            weighting=weighting,
            implementation=implementation,
            **TERMS,
        )
        return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, y)

    dirty_x, dirty_y = x.copy(), y.copy()
    dirty_x[unseen] = garbage
    dirty_y[..., ::2, :3] = -garbage
    for padding in ("same", "valid"):
        clean = results(x, y, padding)
        dirty = results(dirty_x, dirty_y, padding)
        np.testing.assert_allclose(
            jax.tree.leaves(dirty[0]), jax.tree.leaves(clean[0]), rtol=1e-6
        )
        for a, b in zip(dirty[1], clean[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8)
            assert (a[unseen] == 0).all()


@every_weighting
def test_not_a_number_that_counts_stays_in_its_image(weighting):
    x, y = (a.astype(np.float32) for a in pair())
    x[1, 0, 8, 8] = np.nan

    def losses(x, weights):
        return photometric_loss(
            x, y, weights=weights, weighting=weighting, reduction="per_image"
        )

    assert np.isnan(losses(x, holes())).tolist() == [False, True]
    grad = jax.grad(lambda x: losses(x, holes())[0])(x)
    assert np.isfinite(grad[0]).all()
    # Of "map" a window that counts sees it, though its own weight is 0.
    weights = holes() & (np.indices(SHAPE[-2:]).sum(0) != 16)
    assert np.isnan(losses(x, weights)[1]) == (weighting == "map")


@every_weighting
def test_nothing_left(weighting):
    """Of the second image nothing is: it says nothing, and NaNs say nothing of it."""
    x, y = (a.astype(np.float32) for a in pair())
    x[1] = np.nan
    weights = np.array([1, 0], bool)[:, None, None, None]
    options = {"weights": weights, "weighting": weighting}

    def loss(x):
        loss, terms = photometric_loss(
            x, y, reduction="per_image", return_terms=True, **options
        )
        return loss.sum(), (loss, terms)

    (_, (losses, terms)), grad = jax.value_and_grad(loss, has_aux=True)(x)
    assert (terms.ssim[1], terms.l1[1], terms.l2[1], losses[1]) == (1, 0, 0, 0)
    assert terms.ssim[0] < 1
    assert (grad[1] == 0).all()
    assert (grad[0] != 0).any()
    assert image_metrics(x, y, **options).psnr[1] == np.inf


def test_identical_images():
    x = pair()[0].astype(np.float32)
    for weighting in WEIGHTINGS:
        value, grad = jax.value_and_grad(
            lambda a, w=weighting: photometric_loss(
                a, x, weights=WEIGHTS["random"], weighting=w
            )
        )(x)
        assert value == 0
        np.testing.assert_allclose(grad, 0, atol=1e-8)


@pytest.mark.parametrize(
    "weighting", ["map", *(pytest.param(w, marks=slow) for w in WEIGHTINGS[1:])]
)
def test_transformations(weighting):
    """jit, vmap with weights that are shared or not, remat, scan, both modes, and
    second derivatives."""
    x, y = pair((3, 2, 13, 14))
    weights = rng(9).random((3, 1, 13, 14)) * holes((13, 14))
    with jax.enable_x64(True):

        def loss(x, y, w):
            return photometric_loss(x, y, l2_weight=1, weights=w, weighting=weighting)

        def grads(x, y, w):
            return jax.value_and_grad(loss, (0, 1))(x, y, w)

        def close(a, b):
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), a, b)

        def each(w):
            results = [grads(*a) for a in zip(x, y, w, strict=True)]
            return jax.tree.map(lambda *a: np.stack(a), *results)

        close(jax.vmap(grads)(x, y, weights), each(weights))
        shared = jax.jit(jax.vmap(grads, (0, 0, None)))(x, y, weights[0])
        close(shared, each([weights[0]] * 3))
        of_weights = jax.vmap(grads, (None, None, 0))(x, y, weights)
        close(of_weights[0], [loss(x, y, w) for w in weights])

        remat = jax.value_and_grad(jax.checkpoint(loss), (0, 1))
        _, scanned = jax.lax.scan(lambda c, a: (c, remat(*a)), 0, (x, y, weights))
        close(scanned, each(weights))

        step = rng(10).random(x.shape)
        _, along = jax.jvp(lambda x: loss(x, y, weights), (x,), (step,))
        close(along, np.vdot(grads(x, y, weights)[1][0], step))

        def gradient(x):
            return jax.grad(loss)(x, y, weights)

        _, product = jax.jvp(gradient, (x,), (step,))
        h = 1e-5
        slope = (gradient(x + h * step) - gradient(x - h * step)) / (2 * h)
        np.testing.assert_allclose(product, slope, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["fused_ssim", "photometric_loss"])
@every_weighting
def test_weights_have_no_derivative(weighting, name):
    x, w = pair()[0].astype(np.float32), holes().astype(np.float32)

    def function(x, w):
        if name == "fused_ssim":
            return fused_ssim(x, 0 * x, weights=w, weighting=weighting)
        return photometric_loss(x, 0 * x, weights=w, weighting=weighting)

    with pytest.raises(TypeError, match='reduction="none"'):
        jax.jit(jax.grad(function, 1))(x, w)
    assert jax.jvp(lambda w: function(x, w), (w,), (w,))[1] == 0
    # A weight that hangs on what is differentiated is an error too, unless it is said.
    with pytest.raises(TypeError, match='reduction="none"'):
        jax.grad(lambda x: function(x, x))(x)
    jax.grad(lambda x: function(x, jax.lax.stop_gradient(x)))(x)


def test_what_has_no_derivative_says_so_first():
    x, w = pair()[0].astype(np.float32), holes().astype(np.float32)
    for argument in (0, 1):
        with pytest.raises(TypeError, match="image_metrics is for evaluation"):
            jax.grad(lambda x, w: image_metrics(x, 0 * x, weights=w).mae[0], argument)(
                x, w
            )
    with pytest.raises(TypeError, match="train=False"):
        jax.grad(lambda x: fused_ssim(x, 0 * x, train=False, weights=w))(x)


Z = np.zeros((2, 3, 16, 18), np.float32)
ZL = np.zeros((2, 16, 18, 3), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "images_", "shape", "options"),
    [
        (TypeError, "int64|int32", Z, np.ones((16, 18), int), {}),
        (TypeError, "complex", Z, np.ones((16, 18), np.complex64), {}),
        (ValueError, r"\[H, W\].*\(18, 16\)", Z, (18, 16), {}),
        (ValueError, r"mask\[..., None, :, :\]", Z, (2, 16, 18), {}),
        (ValueError, r"\(1, 1, 2, 16, 18\)", Z, (1, 1, 2, 16, 18), {}),
        (ValueError, r"\(1, 2, 3, 16, 18\)", Z, (1, 2, 3, 16, 18), {}),
        (ValueError, r"\[H, W, 1\].*mask\[..., None\]", ZL, (16, 18), {}),
        (ValueError, r"mask\[..., None\]", ZL, (2, 16, 18), {}),
        # By NumPy's rules it is [W, C].
        (ValueError, r"mask\[..., None\]", Z[:, :, :3, :3], (3, 3), {}),
        (ValueError, "'inner'", Z, (16, 18), {"weighting": "inner"}),
        (ValueError, "None", Z, (16, 18), {"weighting": None}),
    ],
)
@pytest.mark.parametrize("function", [fused_ssim, photometric_loss, image_metrics])
def test_errors(function, error, message, images_, shape, options):
    weights = np.ones(shape, bool) if isinstance(shape, tuple) else shape
    last = images_ is ZL or images_.shape[-1] == 3
    with pytest.raises(error, match=message):
        function(
            images_,
            images_,
            weights=weights,
            data_format="NHWC" if last else "NCHW",
            **options,
        )


def test_a_map_takes_no_weights():
    with pytest.raises(ValueError, match="multiply the map"):
        fused_ssim(Z, Z, reduction="none", weights=holes())
