"""docs/conventions.md is true: both calls of every row of its tables, on photographs of
odd sizes."""

import functools
import json
import re
from pathlib import Path
from typing import NamedTuple

import images
import jax
import jax.numpy as jnp
import numpy as np
import pages
import pytest
import reference
from peers import PEERS
from scipy import ndimage

from jax_fused_ssim import (
    conventions,
    fused_ms_ssim,
    fused_ssim,
    image_metrics,
    photometric_loss,
    ssim_terms,
)

PAGE = pages.ROOT / "docs" / "conventions.md"
RECORDED = Path(__file__).parent / "data" / "conventions.json"
NAMES = [
    name
    for name in conventions.__all__
    if name.isupper() and not name.startswith("MS_")
]
MS_NAMES = [name for name in conventions.__all__ if name.startswith("MS_")]


class Row(NamedTuple):
    """Of a table of the page; an empty cell is as the one above."""

    whose: str
    version: str
    theirs: str
    ours: str
    stated: float


def rows():
    found, whose, version = [], "", ""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and re.match(r"\d", cells[-1]):
            whose, version = cells[0] or whose, cells[1] or version
            found.append(Row(whose, version, *cells[2:4], float(cells[4])))
    return found


ROWS = rows()


def pairs(row):
    """Odd sizes, with channels first or last, as ours takes them."""
    peer = PEERS[row.whose]
    for channels in peer.channels:
        noisy = images.photograph("chelsea")[:channels, :211, :307]
        blurred = images.photograph("astronaut")[:channels, 30:219, 100:293]
        given = [
            (noisy, np.clip(images.noisy(noisy, 0.1), 0, 1)),
            (blurred, images.blurred(blurred)),
        ]
        if "downsampled" in row.ours or "downsample" in row.theirs:
            coffee = images.photograph("coffee")[:channels, :385, :391]
            given.append((coffee, np.clip(images.noisy(coffee, 0.1), 0, 1)))
        for pair in given:
            if peer.bytes:
                pair = [np.round(255 * a).astype(np.uint8) for a in pair]
            if "NHWC" in row.ours:
                pair = [np.ascontiguousarray(np.moveaxis(a, 0, -1)) for a in pair]
            yield [a[None] for a in pair] if peer.batch else pair


def by_them(row):
    """What they give for every pair."""
    names = PEERS[row.whose].names()
    return [
        np.asarray(eval(row.theirs, names | {"x": x, "y": y}), np.float64).tolist()
        for x, y in pairs(row)
    ]


def key(row):
    """Of the values that are recorded."""
    return f"{row.whose} {row.version}: {row.theirs}"


@functools.cache
def names_of_ours():
    """What our calls name: that of the page's own code too."""
    names = {}
    for code in pages.code_of(PAGE):
        exec(code, names)
    return names


def by_us(row):
    names = names_of_ours()
    return [
        np.asarray(eval(row.ours, names | {"x": x, "y": y}), np.float64)
        for x, y in pairs(row)
    ]


def by_them_here(row):
    """What they give, or gave, if they are too large; skips if they are not there."""
    peer = PEERS[row.whose]
    if peer.large:
        return json.loads(RECORDED.read_text())[key(row)]
    version = peer.version() if peer.version else "formula"
    # The extra `peers` has those versions.
    if version != row.version:
        pytest.skip(f"{row.whose} {row.version} is wanted, and {version} installed")
    return by_them(row)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.whose}-{row.theirs}")
def test_row(row):
    """What the page says is not exceeded, and is no more than need be."""
    with jax.enable_x64(True):
        theirs, ours = by_them_here(row), by_us(row)
    worst = max(np.abs(a - b).max() for a, b in zip(theirs, ours, strict=True))
    assert worst <= row.stated
    assert row.stated <= 1e-12 or worst > row.stated / 3


def test_the_page_has_everything():
    """Every convention and every peer has a row, and nothing else is there."""
    named = set(re.findall(r"conventions\.([A-Z_]+)", PAGE.read_text()))
    assert named == {*NAMES, *MS_NAMES}
    assert {row.whose for row in ROWS} == set(PEERS)


@pytest.mark.parametrize("name", NAMES)
def test_limits(name):
    """Where they agree: identical images, the same in another unit, and in float32."""
    convention = dict(getattr(conventions, name))
    data_range = convention.pop("data_range", 1.0)
    x = images.photograph("chelsea")[:, 10:71, 20:93]
    y = np.clip(images.noisy(x, 0.1), 0, 1)
    with jax.enable_x64(True):
        ssim = functools.partial(fused_ssim, **convention)
        assert ssim(x, x) == 1
        found = ssim(data_range * x, data_range * y, data_range=data_range)
        np.testing.assert_allclose(found, ssim(x, y), rtol=1e-12)
        found = ssim(60 * x, 60 * y, data_range=60)
        np.testing.assert_allclose(found, ssim(x, y), rtol=1e-12)
        value, grads = jax.value_and_grad(ssim, (0, 1))(x, y)
        assert -1 < value < 1
        assert all(np.isfinite(g).all() and np.any(g) for g in grads)
        for flat in (np.zeros_like(x), np.full_like(x, 0.9)):
            value, grads = jax.value_and_grad(ssim, (0, 1))(flat, flat)
            assert value == 1
            assert not np.any(grads)
    np.testing.assert_allclose(
        ssim(x.astype(np.float32), y.astype(np.float32)), found, atol=2e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_other_functions_take_them(name):
    convention = getattr(conventions, name)
    x, y = (images.noise((3, 17, 19), seed).astype(np.float32) for seed in (1, 2))
    ssim = fused_ssim(x, y, **convention)
    loss = photometric_loss(x, y, ssim_weight=1, l1_weight=0, **convention)
    metrics = image_metrics(x, y, **convention)
    terms = ssim_terms(x, y, reduction="none", **convention)
    whole = np.mean(terms.luminance * terms.contrast_structure)
    for found in (1 - loss, metrics.ssim, whole):
        np.testing.assert_allclose(found, ssim, atol=1e-6)


def test_nobody_changes_them():
    with pytest.raises(TypeError, match="item assignment"):
        conventions.WANG["padding"] = "same"
    assert conventions.WANG | {"padding": "same"} == conventions.FUSED_SSIM


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
        padding = convention.get("padding", "valid")
        expected = float(reference.ms_ssim(x, y, weights, padding=padding))
        np.testing.assert_allclose(ssim(x, y), expected, rtol=1e-12)
        found = ssim(60 * x, 60 * y, data_range=60)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        grads = jax.grad(ssim, (0, 1))(x, y)
        assert all(np.isfinite(g).all() and np.any(g) for g in grads)
    np.testing.assert_allclose(
        ssim(x.astype(np.float32), y.astype(np.float32)), expected, atol=2e-6
    )


FLAT = {
    "black": (np.zeros((1, 40, 44)),) * 2,
    "flat": images.flat((1, 40, 44), 0.9, 1e-6),
    "flat and noise": (
        np.full((1, 40, 44), 0.9),
        0.9 + 1e-3 * images.noise((1, 40, 44)),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("whose", "call", "ours"),
    [
        ("dm_pix", "ssim(x[0, ..., None], y[0, ..., None])", "DM_PIX"),
        (
            "torchmetrics",
            "structural_similarity_index_measure(x[None], y[None], data_range=1.0)",
            "TORCHMETRICS",
        ),
    ],
)
def test_clamps_change_rounding_alone(whose, call, ours, dtype):
    """The page has the sizes: of what is clamped, and of the rounding of float32."""
    peer = PEERS[whose]
    if peer.version() is None:
        pytest.skip(f"{whose} is not installed")
    differences = {"theirs": [], "ours": []}
    for x, y in FLAT.values():
        with jax.enable_x64(True):
            exact = fused_ssim(x, y, **getattr(conventions, ours))
        x, y = (a.astype(dtype) for a in (x, y))
        # GPUs convolve in fewer digits.
        cpu = jax.default_device(jax.devices("cpu")[0])
        with cpu, jax.enable_x64(dtype == "float64"):
            theirs = float(eval(call, peer.names() | {"x": x, "y": y}))
            found = fused_ssim(x, y, **getattr(conventions, ours))
        differences["theirs"].append(abs(theirs - float(exact)))
        differences["ours"].append(abs(float(found) - float(exact)))
    if dtype == "float64":
        assert max(differences["theirs"]) < 1e-10
    else:
        stated = {"dm_pix": 3e-5, "torchmetrics": 6e-4}[whose]
        assert stated / 3 < max(differences["theirs"]) <= stated
        assert max(differences["ours"]) < 1e-7


def test_kornia_on_black_images():
    peer = PEERS["kornia"]
    if peer.version() is None:
        pytest.skip("kornia is not installed")
    black, _ = FLAT["black"]
    found = peer.names()["ssim"](black[None], black[None], window_size=11)
    np.testing.assert_allclose(1 - found, 1.1e-5, rtol=0.02)


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


def record():
    """The values of what is too large to be installed for tests, where it is there."""
    values = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for row in ROWS:
        peer = PEERS[row.whose]
        if peer.large and peer.version() == row.version:
            values[key(row)] = by_them(row)
    RECORDED.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    record()
