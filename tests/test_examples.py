"""What examples/ show runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import eight_devices
import numpy as np
import pytest
from matplotlib import pyplot as plt
from skimage import data

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def run(cwd, *args):
    done = subprocess.run(
        [sys.executable, "-P", *args],
        env={
            **os.environ,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "XLA_FLAGS": eight_devices.flags(),
        },
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fit_image(tmp_path):
    script = ROOT / "examples" / "fit_image.py"
    out = run(tmp_path, script, "--output", "fit.png")
    before, after = map(float, re.search(r"before (\S+), after (\S+)", out).groups())
    assert before < 0.05
    assert after > 0.99
    picture = plt.imread(tmp_path / "fit.png")
    assert picture.shape[1] > 3 * picture.shape[0]
    assert picture.std() > 0.1


def test_super_resolution(tmp_path):
    """Better than bicubic interpolation, by every score of photographs held out."""
    script = ROOT / "examples" / "super_resolution.py"
    small = ("--steps=100", "--batch=4", "--features=16", "--layers=1")
    out = run(tmp_path, script, *small)
    line = r"(\w+), (\w+): PSNR ([\d.]+) dB, SSIM ([\d.]+), MS-SSIM ([\d.]+)"
    scores = {
        (name, way): np.array(numbers, float)
        for name, way, *numbers in re.findall(line, out)
    }
    assert len(scores) == 4
    for name in ("chelsea", "coffee"):
        better = scores[name, "model"] - scores[name, "bicubic"]
        assert np.all(better > (0.2, 0.005, 0.001)), (name, better)


def splat(cwd, *args):
    """SSIM and PSNR before and after, of a small picture."""
    script = ROOT / "examples" / "splat_image.py"
    small = ("--size", "64", "--gaussians", "400", "--steps", "50")
    out = run(cwd, script, *small, *args)
    pairs = re.findall(r"(SSIM|PSNR) before ([\d.]+)(?: dB)?, after ([\d.]+)", out)
    return {name: (float(before), float(after)) for name, before, after in pairs}


def test_splat_image(tmp_path):
    scores = splat(tmp_path, "--output", "splat.png")
    assert 0.1 < scores["SSIM"][0] < 0.6
    assert scores["SSIM"][1] > 0.9
    assert scores["PSNR"][1] > scores["PSNR"][0] + 5
    picture = plt.imread(tmp_path / "splat.png")
    assert picture.shape[:2] == (400, 1700)
    assert picture.std() > 0.1


def test_splat_image_mask(tmp_path, monkeypatch):
    """What the mask leaves out changes nothing, up to the last digit."""
    # On a GPU, two processes may choose different algorithms for products of matrices.
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    photograph = data.astronaut()[:128:2, 160:288:2]
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :40] = 255
    changed = np.where(mask[..., None] > 0, photograph, 255 - photograph)
    images = {"photograph": photograph, "changed": changed, "mask": mask}
    for name, image in images.items():
        plt.imsave(tmp_path / f"{name}.png", image, cmap="gray")
    scores, same = (
        splat(tmp_path, "--image", f"{name}.png", "--mask", "mask.png")
        for name in ("photograph", "changed")
    )
    assert scores == same
    assert scores["SSIM"][1] > scores["SSIM"][0] + 0.2
