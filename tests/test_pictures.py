"""The pictures of docs/ are drawn, and docs/pictures.md says what they show."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

pytestmark = pytest.mark.slow
DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS))

import pictures  # noqa: E402
from drawing import canvas, degradations, splats, weightings  # noqa: E402

NUMBER = r"\d+\.\d+(?:e[+-]\d+)?"
SPLATS = "pictures/splats.png"  # which take too long for a test


def page():
    return (DOCS / pictures.PAGE).read_text()


@pytest.mark.parametrize("name", [name for name in pictures.PICTURES if name != SPLATS])
def test_page_says_what_the_function_computes(name):
    computed = pictures.section(name, pictures.PICTURES[name]())
    title = computed.splitlines()[1]
    (written,) = (s for s in re.split(r"\n(?=\n## )", page()) if title in s)
    assert re.sub(NUMBER, "", computed.strip()) == re.sub(NUMBER, "", written.strip())
    numbers = [list(map(float, re.findall(NUMBER, t))) for t in (computed, written)]
    assert len(numbers[0]) > 1
    np.testing.assert_allclose(*numbers, atol=2e-3, rtol=1e-3)


def test_page_has_every_picture_in_order():
    shown = re.findall(r"!\[(.+?)\]\((\S+)\)", page())
    assert [name for _, name in shown] == list(pictures.PICTURES)
    assert page().startswith(pictures.HEAD)
    assert page().count("\n## ") == len(shown)
    for alt, name in shown:
        assert len(alt) > 60
        assert (DOCS / name).stat().st_size < canvas.LARGEST
        assert plt.imread(DOCS / name).shape[1] > 1000
    drawn = {f"pictures/{path.name}" for path in (DOCS / "pictures").iterdir()}
    assert drawn == {name for _, name in shown if name.startswith("pictures/")}


def test_splats():
    picture = splats.draw(size=64, gaussians=200, steps=20)
    digits = r"[\d.]+"
    words = re.sub(digits, "", pictures.section(SPLATS, picture)).split()
    assert " ".join(words) in " ".join(re.sub(digits, "", page()).split())
    alone, joint = map(float, re.findall(r"SSIM (0\.\d+)", picture.alt))
    assert joint > alone > 0.3
    alone, joint = map(float, re.findall(r"dB, SSIM (0\.\d+)", page())[:2])
    assert joint > alone > 0.9


def test_errors_are_equal():
    image = degradations.photograph()
    spoiled = degradations.of_equal_error(image)
    assert len(spoiled) == 6
    psnr = [
        peak_signal_noise_ratio(image, other, data_range=1)
        for other, _ in spoiled.values()
    ]
    np.testing.assert_allclose(psnr, psnr[0], atol=0.005)
    assert f"a PSNR of {psnr[0]:.2f} dB" in page()


def test_what_windows_see_of_the_background():
    """Nothing with two of the weightings: the background may be any."""
    scene = weightings.scene()
    for weighting in weightings.WEIGHTINGS:
        of_scene, gradient = weightings.dissimilarity(
            scene.prediction, scene, weighting
        )
        of_object, _ = weightings.dissimilarity(scene.object, scene, weighting)
        assert np.any(gradient[~scene.mask]) == (weighting == "map")
        assert (of_scene != of_object) == (weighting == "map")


def test_large_pictures_have_few_colours(monkeypatch):
    drawn = canvas.Canvas(300, 200)
    noise = np.random.default_rng(0).random((100, 150, 3))
    drawn.image(75, 50, noise)
    full = canvas.png(drawn.figure)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(full)))[50:150, 75:225],
        (255 * noise).astype(np.uint8),
    )
    monkeypatch.setattr(canvas, "LARGEST", len(full) - 1)
    small = canvas.png(drawn.figure)
    assert len(small) < len(full)
    image = Image.open(io.BytesIO(small))
    assert image.mode == "P"
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
