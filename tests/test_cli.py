"""The command on photographs in files, which other libraries have written: its numbers
are those of scikit-image and NumPy, and what it cannot measure it says."""

import csv
import functools
import io
import json
import math
import os
import struct
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import formulas
import images
import numpy as np
import OpenEXR
import pytest
import reference
import tifffile
from PIL import Image, ImageOps
from skimage import data, metrics

from jax_fused_ssim import cli, conventions
from jax_fused_ssim.cli import arguments
from jax_fused_ssim.cli.decoding import Decoded, decoded
from jax_fused_ssim.cli.measuring import Metrics, Scores, measured
from jax_fused_ssim.cli.pairing import Pair

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
HIGH = 65535


@functools.cache
def photographs(noise=8, most=255):
    """A photograph and the same under noise of so many of 255, as integers."""
    clean = data.chelsea()[60:236, 100:300] / 255
    noisy = images.noisy(clean, noise / 255)
    return [
        np.round(most * np.clip(a, 0, 1)).astype("u1" if most == 255 else "u2")
        for a in (clean, noisy)
    ]


def expected(a, b, **ssim):
    """Scores by scikit-image and NumPy, of [H, W] or [H, W, C] in data ranges."""
    a, b = (np.asarray(image, np.float64) for image in (a, b))
    a, b = (image[..., None] if image.ndim == 2 else image for image in (a, b))
    options = {"data_range": 1, "channel_axis": -1, **(ssim or WANG)}
    scales = None
    if min(a.shape[:2]) > 160:
        scales = reference.ms_ssim(*(np.moveaxis(image, -1, 0) for image in (a, b)))
    return Scores(
        metrics.structural_similarity(a, b, **options),
        scales and float(np.mean(scales)),
        metrics.peak_signal_noise_ratio(a, b, data_range=1),
        np.abs(a - b).mean(),
    )


def assert_scores(found, of):
    for name, value in of._asdict().items():
        if value is None:
            assert found[name] is None
        else:
            np.testing.assert_allclose(float(found[name]), value, 1e-6, 1e-5)


@pytest.fixture
def call(capsys):
    """`call(status, *arguments)`: what the command prints, and what it says."""

    def run(status, *args):
        assert cli.main([str(arg) for arg in args]) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def scores(call):
    """`scores(a, b, *options)`: of one pair."""

    def run(*args):
        (pair,) = valid_json(call(0, *args, "--json").out)["pairs"]
        return pair

    return run


def valid_json(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# ---- Formats -------------------------------------------------------------------------


def write_png_of_16_bits(path, pixels):
    """As Pillow cannot in RGB."""
    height, width, _ = pixels.shape
    rows = pixels.astype(">u2").tobytes()
    step = len(rows) // height
    lines = b"".join(b"\0" + rows[i * step : (i + 1) * step] for i in range(height))
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(lines, 1),
        b"IEND": b"",
    }
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in chunks.items():
            file.write(struct.pack(">I", len(content)) + name + content)
            file.write(struct.pack(">I", zlib.crc32(name + content)))


def by_pillow(path, pixels, mode=None, **options):
    """Writes a file, and reads it where something is lost."""
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return np.asarray(Image.open(path).convert("L" if mode == "L" else "RGB"))


def write_exr(path, pixels):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    channels = "RGBA" if pixels.shape[-1] == 4 else "RGB"
    OpenEXR.File(header, {channels: pixels}).write(str(path))


def lossless(write, dtype=None, of=None):
    """A format that keeps what it is given: bytes, or floats of a dtype in [0, 1]."""

    def stored(path, pixels):
        if of:
            pixels = of(pixels)
        if dtype:
            pixels = (pixels / np.iinfo(pixels.dtype).max).astype(dtype)
        write(path, pixels)
        return pixels

    return stored


def grey(pixels):
    return np.ascontiguousarray(pixels[..., 1])


rgb_tiff = functools.partial(tifffile.imwrite, photometric="rgb")
planar_tiff = functools.partial(rgb_tiff, planarconfig="separate", compression="zlib")
# Name: bits of the photographs, the extension, and what writes a file and returns the
# pixels that are in there. At 16 bits the noise is far below a step of 8 bits.
FORMATS = {
    "png": (8, "png", by_pillow),
    "png, grey": (8, "png", lambda p, x: by_pillow(p, grey(x), "L")),
    "png, palette": (8, "png", lambda p, x: by_pillow(p, x, "P")),
    "png, interlaced": (8, "PNG", by_pillow),
    "png, 16 bits": (16, "png", lossless(write_png_of_16_bits)),
    "png, 16 bits, grey": (
        16,
        "png",
        lossless(lambda p, x: Image.fromarray(x).save(p), of=grey),
    ),
    "jpeg": (8, "jpg", functools.partial(by_pillow, quality=90)),
    "bmp": (8, "bmp", by_pillow),
    "webp": (8, "webp", functools.partial(by_pillow, lossless=True)),
    "tiff": (8, "tif", lossless(rgb_tiff)),
    "tiff, 16 bits": (
        16,
        "tiff",
        lossless(lambda p, x: planar_tiff(p, np.moveaxis(x, -1, 0).copy())),
    ),
    "tiff, floats": (8, "tif", lossless(rgb_tiff, "f4")),
    "exr": (8, "exr", lossless(write_exr, "f4")),
    "exr, half": (8, "exr", lossless(write_exr, "f2")),
    "npy": (8, "npy", lossless(np.save)),
    "npy, 16 bits, other byte order": (
        16,
        "npy",
        lossless(np.save, of=lambda x: x.astype(">u2")),
    ),
    "npy, floats": (8, "npy", lossless(np.save, "f8")),
    "npy, grey": (8, "npy", lossless(np.save, "f4", grey)),
}


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """What the command gives for all formats together, and what is in the files."""
    folder = tmp_path_factory.mktemp("formats")
    stored = {}
    for name, (bits, extension, write) in FORMATS.items():
        pair = photographs() if bits == 8 else photographs(0.25, HIGH)
        stored[name] = []
        for side, pixels in zip("ab", pair, strict=True):
            (folder / side).mkdir(exist_ok=True)
            stored[name].append(write(folder / side / f"{name}.{extension}", pixels))
    output = folder / "report.json"
    options = ["--convention", "scikit-image-wang", "--json", "--output", str(output)]
    assert cli.main([str(folder / "a"), str(folder / "b"), *options]) == 0
    pairs = valid_json(output.read_text())["pairs"]
    return {pair["name"]: pair for pair in pairs}, stored


@pytest.mark.parametrize("name", FORMATS)
def test_formats(formats, name):
    found, stored = formats
    ranges = {"u": lambda a: np.iinfo(a.dtype).max, "f": lambda a: 1}
    pair = [a.astype(np.float64) / ranges[a.dtype.kind](a) for a in stored[name]]
    assert_scores(found[name], expected(*pair))


def test_mixed_formats(tmp_path, scores):
    """Each file has its own range."""
    clean, noisy = photographs()
    np.save(tmp_path / "a.npy", (clean / 255).astype(np.float32))
    by_pillow(tmp_path / "b.png", noisy)
    found = scores(
        tmp_path / "a.npy", tmp_path / "b.png", "--convention", "scikit-image-wang"
    )
    assert_scores(found, expected(clean / 255, noisy / 255))


def test_orientation(tmp_path, call):
    """Of all eight, against Pillow's."""
    pixels = photographs()[0][:40, :60]
    for side in "ab":
        (tmp_path / side).mkdir()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = tmp_path / "a" / f"{orientation}.png"
        Image.fromarray(pixels).save(turned, exif=exif)
        upright = ImageOps.exif_transpose(Image.open(turned))
        upright.save(tmp_path / "b" / turned.name)
    report = valid_json(call(0, tmp_path / "a", tmp_path / "b", "--json").out)
    assert [pair["psnr"] for pair in report["pairs"]] == ["Infinity"] * 8


def with_alpha():
    """RGBA of 8 bits whose alpha has all values, and its parts in [0, 1]."""
    pixels = photographs()[0][:60, :80]
    alpha = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)[..., None]
    return np.concatenate([pixels, alpha], -1), pixels / 255, alpha / 255


@pytest.mark.parametrize("form", ["png", "exr"])
def test_alpha(tmp_path, call, scores, form):
    """Colours of EXR are multiplied by alpha as they are stored, those of PNG not."""
    rgba, colours, alpha = with_alpha()
    backgrounds = {"white": colours * alpha + 1 - alpha, "black": colours * alpha}
    path, other = tmp_path / f"a.{form}", tmp_path / "b.npy"
    np.save(other, photographs()[1][:60, :80] / 255)
    if form == "png":
        Image.fromarray(rgba).save(path)
        backgrounds["drop"] = colours
    else:
        whole = np.concatenate([colours * alpha, alpha], -1).astype(np.float32)
        write_exr(path, whole)
        backgrounds["drop"] = colours * alpha
    for name, seen in backgrounds.items():
        options = ["--alpha", name, "--convention", "scikit-image-wang"]
        found = scores(path, other, *options)
        assert_scores(found, expected(seen, np.load(other)))
    said = call(1, path, other).err
    assert str(path) in said
    assert "--alpha" in said


def test_opaque_alpha(tmp_path, scores):
    clean, noisy = (a[:60, :80] for a in photographs())
    opaque = np.full((60, 80, 1), 255, np.uint8)
    for name, pixels in {"a": clean, "b": noisy}.items():
        rgba = np.concatenate([pixels, opaque], -1)
        Image.fromarray(rgba).save(tmp_path / f"{name}.png")
    found = scores(
        tmp_path / "a.png", tmp_path / "b.png", "--convention", "scikit-image-wang"
    )
    assert_scores(found, expected(clean / 255, noisy / 255))


# ---- Options -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair_of_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    paths = []
    for name, pixels in zip(("clean", "noisy"), photographs(), strict=True):
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_conventions(pair_of_files, scores):
    a, b = (image / 255 for image in photographs())
    found = scores(*pair_of_files, "--convention", "scikit-image")
    assert_scores(found, expected(a, b, win_size=7))
    # Of the library's own default the border counts, too.
    planes = [np.moveaxis(image, -1, 0) for image in (a, b)]
    found = scores(*pair_of_files, "--ms-convention", "matlab")
    np.testing.assert_allclose(found["ssim"], formulas.fused_ssim(*planes), atol=1e-6)
    multi = formulas.multissim(*planes).mean()
    np.testing.assert_allclose(found["ms_ssim"], float(multi), atol=1e-6)
    found = scores(*pair_of_files, "--padding", "edge", "--convention", "torchmetrics")
    of_matlab = formulas.matlab_ssim(*planes)
    np.testing.assert_allclose(found["ssim"], of_matlab, atol=1e-6)
    dropped = reference.ms_ssim(*planes, odd_sides="drop", channel_mean="first")
    np.testing.assert_allclose(found["ms_ssim"], float(dropped.mean()), atol=1e-6)


def test_luma_and_border(pair_of_files, scores):
    """As super-resolution is measured."""
    options = ["--luma", "--crop-border", "4", "--convention", "basicsr"]
    found = scores(*pair_of_files, *options)
    a, b = (image[..., ::-1].astype(float) for image in photographs())
    ssim = formulas.calculate_ssim(a, b, crop_border=4, test_y_channel=True)
    np.testing.assert_allclose(found["ssim"], ssim, atol=1e-5)
    weights = np.array([24.966, 128.553, 65.481]) / 255
    d = ((a - b) @ weights)[4:-4, 4:-4] / 255
    np.testing.assert_allclose(found["mae"], np.abs(d).mean(), atol=1e-6)
    psnr = -10 * np.log10((d * d).mean())
    np.testing.assert_allclose(found["psnr"], psnr, atol=1e-5)


def test_names_of_conventions():
    known = {
        name.lower().replace("_", "-")
        for name in conventions.__all__
        if isinstance(getattr(conventions, name), Mapping)
    }
    multi = {f"ms-{name}" for name in get_args(arguments.MultiScaleConvention)}
    assert {*get_args(arguments.Convention)} | multi == known


def test_data_range(tmp_path, scores):
    """Of ten bits in files of sixteen, and of floats."""
    ten = [np.round(a / 255 * 1023).astype(np.uint16) for a in photographs()]
    of_ten = expected(*(a / 1023 for a in ten))
    options = ["--data-range", "1023", "--convention", "scikit-image-wang"]
    for name, pixels in zip("ab", ten, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
        np.save(tmp_path / f"{name}.npy", pixels.astype(np.float32))
    for extension in ("tif", "npy"):
        files = [tmp_path / f"{name}.{extension}" for name in "ab"]
        assert_scores(scores(*files, *options), of_ten)


# ---- Folders -------------------------------------------------------------------------


def small(seed, noise):
    """A piece of a photograph under noise, [32, 40, 3]."""
    top, left = 7 * seed, 11 * seed
    piece = data.astronaut()[top : top + 32, left : left + 40].astype(float)
    rng = np.random.default_rng(seed)
    return np.clip(piece + rng.normal(0, noise, piece.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders with 21 frames, one more in another folder inside, and what has no
    partner or is no image."""
    a, b = (tmp_path_factory.mktemp(name) for name in ("renders", "gt"))
    for i in range(21):
        Image.fromarray(small(i, 0)).save(a / f"frame_{i}.png")
        Image.fromarray(small(i, 4 + i)).save(b / f"frame_{i}.bmp")
    for folder in (a, b):
        (folder / "more").mkdir()
        (folder / "notes.txt").write_text("no image")
        (folder / ".hidden.png").write_text("no image")
        Image.fromarray(small(21, 0)).save(folder / "more" / "frame_0.png")
    Image.fromarray(small(22, 0)).save(a / "alone.png")
    return a, b


def test_folders(folders, call):
    """In the order of their numbers, in batches that are not full, each its own."""
    a, b = folders
    options = ["--convention", "scikit-image-wang"]
    out, err = call(0, a, b, "--json", *options)
    assert err.splitlines() == [f"jax-fused-ssim: {a / 'alone.png'} has no partner"]
    report = valid_json(out)
    assert report["unpaired"] == [str(a / "alone.png")]
    pairs = report["pairs"]
    frames = [f"frame_{i}" for i in range(21)]
    assert [pair["name"] for pair in pairs] == [*frames, "more/frame_0"]
    every = [expected(small(i, 0) / 255, small(i, 4 + i) / 255) for i in range(21)]
    for pair, of in zip(pairs, every, strict=False):
        assert_scores(pair, of)
    assert (pairs[-1]["ssim"], pairs[-1]["psnr"]) == (1, "Infinity")
    # The mean of what every pair has, and where one is infinite, infinite.
    mean = report["mean"]
    ssim = np.mean([*(of.ssim for of in every), 1])
    np.testing.assert_allclose(mean["ssim"], ssim, atol=1e-5)
    assert mean["psnr"] == "Infinity"
    assert mean["ms_ssim"] is None
    assert report["settings"]["convention"] == "scikit-image-wang"
    call(1, a, b, "--strict")


def test_table_and_csv(folders, call, tmp_path):
    a, b = folders
    report = valid_json(call(0, a, b, "--json").out)
    table = call(0, a, b).out
    rows = [line.split() for line in table.splitlines() if line.strip(" ─")]
    assert rows[0] == ["pair", "SSIM", "MS-SSIM", "PSNR", "MAE"]
    assert [row[0] for row in rows[1:]] == [
        *(p["name"] for p in report["pairs"]),
        "mean",
    ]
    first = report["pairs"][0]
    assert rows[1][1:] == [
        f"{first['ssim']:.6f}",
        "-",
        f"{first['psnr']:.4f}",
        f"{first['mae']:.6f}",
    ]
    assert rows[-1][3] == "inf"
    output = tmp_path / "report.csv"
    assert call(0, a, b, "--csv", "--output", output).out == ""
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    for row, pair in zip(rows, [*report["pairs"], report["mean"]], strict=True):
        assert row.pop("name") == pair.get("name", "mean")
        for name, value in row.items():
            number = None if value == "" else float(value)
            assert number == (None if pair[name] is None else float(pair[name]))


def test_nan_is_shown(tmp_path, call):
    """In what sees it, and in the mean."""
    for side in "ab":
        (tmp_path / side).mkdir()
        for i in range(2):
            image = small(i, 3 * (side == "b")) / 255
            if (side, i) == ("a", 1):
                image[5, 6, 1] = np.nan
            np.save(tmp_path / side / f"{i}.npy", image)
    report = valid_json(call(0, tmp_path / "a", tmp_path / "b", "--json").out)
    for scores in (report["pairs"][1], report["mean"]):
        assert [scores[name] for name in ("ssim", "psnr", "mae")] == ["NaN"] * 3
    assert math.isfinite(report["pairs"][0]["psnr"])
    table = call(0, tmp_path / "a", tmp_path / "b").out
    assert table.splitlines()[-2].split() == ["mean", "nan", "-", "nan", "nan"]


# ---- What goes wrong -----------------------------------------------------------------


def test_what_fails_is_said_and_the_others_are_measured(tmp_path, call):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, noise in ((a, 0), (b, 9)):
        folder.mkdir()
        for name in ("0_good", "1_broken", "2_sizes", "3_grey", "5_good"):
            Image.fromarray(small(0, noise)).save(folder / f"{name}.png")
        Image.fromarray(small(0, noise)[:10]).save(folder / "4_small.png")
        np.save(folder / "6_shape.npy", np.zeros((2, 3, 4, 5)))
        np.save(folder / "7_integers.npy", np.zeros((16, 16), np.int32))
        (folder / "8_empty.npy").write_bytes(b"")
        tifffile.imwrite(folder / "9_pages.tif", np.stack([small(0, noise)] * 2))
    whole = (a / "1_broken.png").read_bytes()
    (a / "1_broken.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(small(0, 0)[:, 1:]).save(b / "2_sizes.png")
    Image.fromarray(small(0, 0)).convert("L").save(b / "3_grey.png")
    Image.fromarray(small(0, 0)).save(b / "5_good.bmp")
    out, err = call(1, a, b, "--json", "--padding", "valid")
    report = valid_json(out)
    errors = {pair["name"]: pair.get("error") for pair in report["pairs"]}
    assert errors.pop("0_good") is None
    for name, reason in {
        "1_broken": "cannot be read",
        "2_sizes": "40 x 32 pixels in RGB.* 39 x 32 pixels in RGB",
        "3_grey": "in grey",
        "4_small": "at least 11",
        "6_shape": r"\(2, 3, 4, 5\)",
        "7_integers": "int32",
        "8_empty": "cannot be read",
        "9_pages": "more images than one",
    }.items():
        with pytest.raises(ValueError, match=reason):
            raise ValueError(errors[name])
        assert f"jax-fused-ssim: {errors.pop(name)}" in err
    assert errors == {}
    assert {*report["ambiguous"]} == {
        str(path) for path in (a / "5_good.png", b / "5_good.bmp", b / "5_good.png")
    }
    assert report["mean"]["mae"] == report["pairs"][0]["mae"]
    failed = report["pairs"][1]
    assert [failed[name] for name in Scores._fields] == [None] * 4


def test_wrong_use(folders, pair_of_files, tmp_path, call):
    file = pair_of_files[0]
    for args, reason in [
        ((file, tmp_path / "nothing.png"), "nothing.png does not exist"),
        ((folders[0], file), "is a folder and"),
        ((folders[0], file.parent), "no image in common"),
        ((*pair_of_files, "--json", "--csv"), "--json and --csv"),
        ((*pair_of_files, "--crop-border", "-1"), "--crop-border"),
        ((*pair_of_files, "--data-range", "0"), "--data-range"),
        ((*pair_of_files, "--output", tmp_path / "no" / "where"), "where"),
    ]:
        out, err = call(2, *args)
        assert out == ""
        assert reason in err
    for args in (["--convention", "nobody"], ["--unknown"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*map(str, pair_of_files), *args])
        assert stopped.value.code == 2


# ---- Pictures, memory, processes -----------------------------------------------------


def test_map_of_files(tmp_path, call, pair_of_files):
    path = tmp_path / "map.png"
    call(0, *pair_of_files, "--map", path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    height, width, _ = picture.shape
    assert width > 4 * height
    for panel in np.array_split(picture, 4, axis=1):
        assert panel.std() > 10


def test_maps_are_those_of_scikit_image():
    given = arguments.Arguments(Path("a"), Path("b"), convention="scikit-image-wang")
    a, b = photographs()
    maps = Metrics(given).maps(a, b)
    a, b = a / 255, b / 255
    options = {"data_range": 1, "channel_axis": -1, "full": True, **WANG}
    _, full = metrics.structural_similarity(a, b, **options)
    np.testing.assert_allclose(maps.ssim, full.mean(-1)[5:-5, 5:-5], atol=1e-4)
    np.testing.assert_allclose(maps.error, np.abs(a - b).mean(-1), atol=1e-6)
    np.testing.assert_allclose(maps.a, a, atol=1e-6)
    np.testing.assert_allclose(maps.b, b, atol=1e-6)


def test_map_of_folders(folders, call, tmp_path):
    """A folder of pictures, of the names of the pairs."""
    pair = []
    for folder in folders:
        pair.append(tmp_path / folder.name)
        (pair[-1] / "more").mkdir(parents=True)
        for name in ("one.png", "more/two.png"):
            Image.fromarray(small(0, len(pair))).save(pair[-1] / name)
    call(0, *pair, "--map", tmp_path / "maps")
    written = (tmp_path / "maps").rglob("*.png")
    assert {path.relative_to(tmp_path / "maps").as_posix() for path in written} == {
        "one.png",
        "more/two.png",
    }


@pytest.mark.parametrize("gigabytes", [0, 1])
def test_reads_ahead_so_far_and_no_further(gigabytes):
    """Of large images one pair alone."""
    side = 20_000 if gigabytes else 4
    image = np.broadcast_to(np.uint8(0), (side, side, 3))
    started = []

    def read(path):
        started.append(path)
        return image

    pairs = [Pair(str(i), Path(f"a{i}"), Path(f"b{i}")) for i in range(200)]
    most = 1 if gigabytes else os.cpu_count()
    for i, each in enumerate(decoded(pairs, read)):
        assert each.pair == pairs[i]
        assert len(started) <= 2 * (i + most)
    assert len(started) == 400


class ShapesOfBatches:
    """Metrics that remember what they are given."""

    def __init__(self):
        self.shapes = []

    def scores(self, a, b):
        self.shapes.append(a.shape)
        return [Scores(float(image[0, 0, 0]), None, 0.0, 0.0) for image in b]


def test_batches():
    """As large as memory lets them be, of few sizes, and of one shape."""

    def several(count, *shape):
        for i in range(count):
            image = np.full((*shape, 3), i, np.uint8)
            yield Decoded(Pair(str(i), Path("a"), Path("b")), image, image)

    metrics_ = ShapesOfBatches()
    of = [(21, 8, 8), (3, 9, 8), (1, 8, 8), (5, 1080, 1920)]
    pairs = [each for count, *shape in of for each in several(count, *shape)]
    found = [each.scores.ssim for each in measured(pairs, metrics_)]
    assert found == [float(each.b[0, 0, 0]) for each in pairs]
    assert metrics_.shapes == [
        (16, 8, 8, 3),
        (8, 8, 8, 3),
        (4, 9, 8, 3),
        (1, 8, 8, 3),
        (4, 1080, 1920, 3),
        (1, 1080, 1920, 3),
    ]


EXTRA = ("matplotlib", "OpenImageIO", "rich", "tyro")


def test_the_library_does_without_the_command(pair_of_files):
    """And the command says what it needs."""
    program = f"""
import sys
import jax_fused_ssim
extra = {{*{EXTRA}, "imageio", "PIL", "typer", "jax_fused_ssim.cli"}}
assert not extra & {{*sys.modules}}, extra & {{*sys.modules}}
sys.modules["OpenImageIO"] = None
from jax_fused_ssim.cli import main
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *pair_of_files],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "OpenImageIO" in done.stderr
    assert "pip install 'jax_fused_ssim[cli]'" in done.stderr


def test_as_a_program(folders):
    """The report on stdout alone, with a progress bar on a terminal."""
    program = Path(sysconfig.get_path("scripts"), "jax-fused-ssim")
    done = subprocess.run(
        [program, *folders, "--json"],
        env={**os.environ, "FORCE_COLOR": "1"},  # to rich as a terminal
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(valid_json(done.stdout)["pairs"]) == 22
    assert "has no partner" in done.stderr
    assert "22/22" in done.stderr


def test_as_a_module(folders):
    """Without a terminal there is no progress bar; the status is that of `main`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jax_fused_ssim", *folders, "--strict"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stdout.count("frame_") == 22
