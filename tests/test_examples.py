"""What the README and examples/ show runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def run(cwd, *args):
    done = subprocess.run(
        [sys.executable, "-P", *args],
        env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_readme(code, tmp_path):
    mean, per_image, last = run(tmp_path, "-c", code).splitlines()
    numbers = [float(n) for n in re.findall(r"[\d.]+", per_image)]
    assert len(numbers) == 4
    assert abs(sum(numbers) / 4 - float(mean)) < 1e-6
    assert 0 < float(last) < 1


def test_fit_image(tmp_path):
    script = ROOT / "examples" / "fit_image.py"
    out = run(tmp_path, script, "--output", "fit.png")
    before, after = map(float, re.search(r"before (\S+), after (\S+)", out).groups())
    assert before < 0.05
    assert after > 0.99
    picture = plt.imread(tmp_path / "fit.png")
    assert picture.shape[1] > 3 * picture.shape[0]
    assert picture.std() > 0.1
