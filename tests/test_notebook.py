"""docs/start.ipynb runs, and its saved outputs are what its cells give."""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
sys.path.append(str(Path(__file__).parents[1] / "docs"))

import run_notebook  # noqa: E402

NUMBER = r"\d+\.\d+"


def saved():
    return nbformat.read(run_notebook.PATH, as_version=4)


@pytest.fixture(scope="module")
def executed():
    return run_notebook.executed(saved())


def printed(book):
    """What each cell of code prints."""
    return [
        "".join(o.text for o in cell.outputs if o.output_type == "stream")
        for cell in book.cells
        if cell.cell_type == "code"
    ]


def pictures(book):
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(o.data["image/jpeg"]))))
        for cell in book.cells
        for o in cell.get("outputs", ())
        if o.output_type == "display_data"
    ]


def numbers(text):
    return np.array(re.findall(NUMBER, text), float)


def test_prints_what_is_saved(executed):
    for found, expected in zip(printed(executed), printed(saved()), strict=True):
        assert re.sub(NUMBER, "", found) == re.sub(NUMBER, "", expected)
        np.testing.assert_allclose(numbers(found), numbers(expected), atol=2e-3)


def test_what_it_prints(executed):
    text = "\n".join(printed(executed))

    def after(pattern):
        return numbers(re.search(pattern + ".*", text).group())

    before, stepped = after("SSIM .* one step up")
    assert stepped > before + 0.01
    assert after("itself:") == 1
    assert after("step 100:")[1] > 0.99
    for weighting in ("map", "inside", "normalized"):
        alone, beside = after(f"{weighting}: .* garbage")
        assert (alone == beside) == (weighting != "map")
    assert after("cut over devices") == pytest.approx(after("whole:"), abs=1e-4)


def test_draws_what_is_saved(executed):
    drawn, expected = pictures(executed), pictures(saved())
    assert len(drawn) == 3
    for a, b in zip(drawn, expected, strict=True):
        assert a.shape == b.shape
        assert a.std() > 20
        assert abs(a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))).max() < 3


def test_nothing_of_the_machine_is_saved():
    text = run_notebook.PATH.read_text()
    assert len(text) < 500_000
    outside = re.sub(r'"image/jpeg": "[^"]*"', "", text)
    assert not re.search(
        r"/home|/root|/tmp|/usr|site-packages|\d (ms|s)\b|Cpu", outside
    )
    for cell in saved().cells:
        assert cell.metadata == {}
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            assert output.get("name", "stdout") == "stdout"
    assert saved().metadata.language_info == {"name": "python"}
