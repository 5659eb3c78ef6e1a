"""docs/conventions.md is true: every row of its tables, against the library or its
formula, on photographs and odd sizes."""

import functools
import importlib.metadata
import os
import re
from pathlib import Path

import images
import jax
import jax.numpy as jnp
import numpy as np
import peers
import pytest
import reference
from scipy import ndimage

from jax_fused_ssim import conventions, fused_ms_ssim, fused_ssim

PAGE = Path(__file__).parents[1] / "docs" / "conventions.md"
TABLES = {"One scale": peers.ONE_SCALE, "Several scales": peers.SCALES}
EVERY_ROW = [(table, name) for table, rows in TABLES.items() for name in rows]
NAMES = [
    name
    for name in conventions.__all__
    if name.isupper() and not name.startswith("MS_")
]
MS_NAMES = [name for name in conventions.__all__ if name.startswith("MS_")]

# Keras reads it where it is first imported.
os.environ.setdefault("KERAS_BACKEND", "jax")


@functools.cache
def rows_of(table):
    """The cells of a table of the page, by the name in the first one."""
    section = PAGE.read_text().split(f"\n## {table}\n")[1].split("\n## ")[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not set(line) <= set("|- ") and len(cells) == 5:
            rows[cells[0]] = cells[1:]
    rows.pop("whose", None)
    return rows


def pairs(channels, large):
    """Odd sizes: noise on one, blur in the other."""
    noisy = images.photograph("chelsea")[:channels, :211, :307]
    blurred = images.photograph("astronaut")[:channels, 30:219, 100:293]
    yield noisy, np.clip(images.noisy(noisy, 0.1), 0, 1)
    yield blurred, images.blurred(blurred)
    if large:  # such as is made smaller first
        coffee = images.photograph("coffee")[:channels, :385, :391]
        yield coffee, np.clip(images.noisy(coffee, 0.1), 0, 1)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_tested(table):
    assert [*rows_of(table)] == [*TABLES[table]]


@pytest.mark.slow
@pytest.mark.parametrize(("table", "name"), EVERY_ROW)
def test_row(table, name):
    """The largest difference is at most what the page says, and where the arguments do
    not reproduce a library at least a fifth of it."""
    row = TABLES[table][name]
    version, _, ours, stated = rows_of(table)[name]
    if row.library is None:
        assert version == "formula"
    else:
        try:
            installed = importlib.metadata.version(row.library)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{row.library} is not installed")
        assert version == installed
    large = "downsampled" in ours
    with jax.enable_x64(True):
        differences = [
            abs(row.theirs(x, y) - float(row.ours(x, y)))
            for channels in row.channels
            for x, y in pairs(channels, large)
        ]
    assert max(differences) <= float(stated)
    assert (float(stated) < 5e-5) == row.exact
    if not row.exact:
        assert max(differences) > float(stated) / 5


def test_the_page_names_what_there_is():
    """Every convention is in a table, and nothing else is."""
    named = set(re.findall(r"`\*\*conventions\.(\w+)`", PAGE.read_text()))
    assert named == {*NAMES, *MS_NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_limits(name):
    """Where they agree: identical images, and the same in another unit."""
    convention = dict(getattr(conventions, name))
    data_range = convention.pop("data_range", 1.0)
    x = images.photograph("chelsea")[:, 10:71, 20:93]
    y = np.clip(images.noisy(x, 0.1), 0, 1)
    with jax.enable_x64(True):
        ssim = functools.partial(fused_ssim, **convention)
        assert ssim(x, x) == 1
        found = ssim(data_range * x, data_range * y, data_range=data_range)
        np.testing.assert_allclose(found, ssim(x, y), rtol=1e-12)
        value, grads = jax.value_and_grad(ssim, (0, 1))(x, y)
        assert -1 < value < 1
        assert all(np.isfinite(g).all() and np.any(g) for g in grads)


@pytest.mark.parametrize("name", MS_NAMES)
def test_limits_of_scales(name):
    """Of sides that are multiples of 16 no side is odd, and only means differ."""
    convention = getattr(conventions, name)
    x = images.photograph("chelsea")[:1, 10:186, 20:212]
    y = np.clip(images.noisy(x, 0.1), 0, 1)
    with jax.enable_x64(True):
        ssim = functools.partial(fused_ms_ssim, **convention)
        assert ssim(x, x) == 1
        weights = convention.get("scale_weights", reference.SCALES)
        np.testing.assert_allclose(
            ssim(x, y), float(reference.ms_ssim(x, y, weights)), rtol=1e-12
        )
        grads = jax.grad(ssim, (0, 1))(x, y)
        assert all(np.isfinite(g).all() and np.any(g) for g in grads)


def test_dm_pix_bounds_the_covariance():
    """Which its own arithmetic makes larger than the variances allow, where an image is
    all but flat."""
    flat, other = images.flat((1, 40, 44), 0.9, 1e-6)
    with jax.enable_x64(True):
        ours = fused_ssim(flat, other, **conventions.DM_PIX)
        assert abs(peers.dm_pix(flat, other) - ours) < 1e-6


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("full_range", [False, True])
def test_luma(full_range, data_format):
    x = images.photograph("astronaut")[None, :, :30, :41]
    axis = -1 if data_format == "NHWC" else -3
    given = np.moveaxis(x, -3, axis)
    r, g, b = x[0]
    if full_range:
        right = 0.299 * r + 0.587 * g + 0.114 * b
    else:  # MATLAB's matrix, for images within [0, 1]
        right = (65.481 * r + 128.553 * g + 24.966 * b + 16) / 255
    options = {"data_format": data_format, "full_range": full_range}
    with jax.enable_x64(True):
        found = jax.jit(lambda x: conventions.luma(x, **options))(given)
        assert found.shape[axis] == 1
        np.testing.assert_allclose(
            np.moveaxis(found, axis, -3)[0, 0], right, atol=1e-14
        )
        scaled = conventions.luma(255 * given, data_range=255, **options)
        np.testing.assert_allclose(scaled, 255 * found, rtol=1e-12)
    ends = np.stack([np.zeros((3, 2, 2)), np.ones((3, 2, 2))])
    black, white = conventions.luma(ends, full_range=full_range)
    expected = (0, 1) if full_range else (16 / 255, 235 / 255)
    np.testing.assert_allclose([black.max(), white.max()], expected, atol=1e-6)


def test_luma_of_bytes_and_halves():
    """Computed in float32, and rounded once."""
    as_bytes = np.round(255 * images.photograph("astronaut")[:, :30, :41])
    exact = conventions.luma(as_bytes.astype(np.float32), data_range=255)
    found = conventions.luma(as_bytes.astype(np.uint8), data_range=255)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    half = conventions.luma(jnp.asarray(as_bytes, "bfloat16"), data_range=255)
    np.testing.assert_array_equal(half, exact.astype("bfloat16"))


def test_crop_border():
    x = images.noise((2, 3, 20, 23))
    np.testing.assert_array_equal(conventions.crop_border(x, 0), jnp.asarray(x))
    cut = conventions.crop_border(x, np.int64(4))
    np.testing.assert_array_equal(cut, jnp.asarray(x[..., 4:-4, 4:-4]))
    last = conventions.crop_border(np.moveaxis(x, 1, -1), 4, data_format="NHWC")
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), cut)
    as_bytes = (255 * x).astype(np.uint8)
    assert conventions.crop_border(as_bytes, 1).dtype == np.uint8


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("sides", "given", "factor", "factor_centred"),
    [
        ((300, 383), None, 1, 1),
        ((384, 391), None, 2, 2),
        ((641, 640), None, 2, 3),
        ((769, 777), None, 3, 3),
        ((900, 1025), None, 4, 4),
        ((16, 21), 1, 1, 1),
        ((16, 21), 5, 5, 5),
        ((16, 21), 16, 16, 16),
    ],
)
def test_downsampled(sides, given, factor, factor_centred, data_format):
    x = images.noise((2, *sides))
    last = data_format == "NHWC"
    down = functools.partial(
        conventions.downsampled, data_format=data_format, factor=given
    )
    with jax.enable_x64(True):
        blocks, centred = (
            reference.planes(
                np.asarray(down(reference.unplanes(x, last), centred=c)), last
            )
            for c in (False, True)
        )
    h, w = (n // factor for n in sides)
    of_blocks = x[:, : h * factor, : w * factor].reshape(2, h, factor, w, factor)
    np.testing.assert_allclose(blocks, of_blocks.mean((2, 4)), rtol=1e-12)
    f = factor_centred
    # An even square is centred on the pixel before its middle.
    filtered = [
        ndimage.uniform_filter(c, f, mode="reflect", origin=-((f + 1) % 2)) for c in x
    ]
    np.testing.assert_allclose(centred, np.stack(filtered)[:, ::f, ::f], rtol=1e-12)


@pytest.mark.parametrize("centred", [False, True])
def test_downsampled_bytes_and_halves(centred):
    as_bytes = np.round(255 * images.photograph("astronaut")[:, :30, :41])
    options = {"factor": 3, "centred": centred}
    exact = conventions.downsampled(as_bytes.astype(np.float32), **options)
    found = conventions.downsampled(as_bytes.astype(np.uint8), **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(255 * found, exact, rtol=1e-6)
    half = conventions.downsampled(jnp.asarray(as_bytes, "float16"), **options)
    np.testing.assert_array_equal(half, exact.astype("float16"))


def test_preparation_is_differentiable_and_maps():
    x = images.noise((2, 3, 400, 390)).astype(np.float32)

    def prepared(x):
        x = conventions.crop_border(x, 3)
        return conventions.downsampled(conventions.luma(x))

    np.testing.assert_allclose(jax.vmap(prepared)(x), prepared(x), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(prepared)(x), prepared(x), rtol=1e-6)
    grad = jax.grad(lambda x: prepared(x).sum())(x)
    inner = grad[:, :, 3:-3, 3:-3]
    np.testing.assert_allclose(inner[:, 1], 0.587 * 219 / 255 / 4, rtol=1e-5)
    assert np.count_nonzero(grad) == inner.size


X = images.noise((3, 8, 9))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"three channels; got .*\(2, 8", lambda: conventions.luma(X[:2])),
        (
            ValueError,
            'channels.*"NHWC"',
            lambda: conventions.luma(np.moveaxis(X, 0, -1)),
        ),
        (ValueError, r"must be \[..., C, H, W\]", lambda: conventions.luma(X[0])),
        (TypeError, "got int32", lambda: conventions.luma(np.int32(X))),
        (ValueError, "data_format", lambda: conventions.luma(X, data_format="HWC")),
        (ValueError, "data_range must be", lambda: conventions.luma(X, data_range=0)),
        (ValueError, "border.*got -1", lambda: conventions.crop_border(X, -1)),
        (ValueError, "leave a pixel; got 4", lambda: conventions.crop_border(X, 4)),
        (TypeError, "border.*an int; got 1.5", lambda: conventions.crop_border(X, 1.5)),
        (
            TypeError,
            "border is static",
            lambda: jax.jit(conventions.crop_border)(X, 1),
        ),
        (
            ValueError,
            r"\[..., H, W, C\]",
            lambda: conventions.crop_border(X[0], 1, data_format="NHWC"),
        ),
        (TypeError, "got bool", lambda: conventions.downsampled(X > 0)),
        (
            ValueError,
            r"\[1, 8\]; got 9",
            lambda: conventions.downsampled(X, factor=9),
        ),
        (ValueError, "got 0", lambda: conventions.downsampled(X, factor=0)),
        (TypeError, "factor", lambda: conventions.downsampled(X, factor=2.0)),
        (ValueError, r"must be \[..., C", lambda: conventions.downsampled(X[0])),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call()
