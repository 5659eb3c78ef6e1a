"""The taps of common/window.h: the float32 ones that common/window_taps.py finds, and
the float64 ones of a Gaussian."""

import re
import runpy
from pathlib import Path

import numpy as np

COMMON = Path(__file__).parents[1] / "common"
PROGRAM = runpy.run_path(str(COMMON / "window_taps.py"))
EXACT = PROGRAM["exact_taps"](5, 1.5)


def in_header(function):
    """The numbers in a function of the header, in their order."""
    header = (COMMON / "window.h").read_text()
    body = re.search(rf"\bT {function}\(.*?^\}}", header, re.DOTALL | re.MULTILINE)[0]
    return [float(number) for number in re.findall(r"T\((\d[\d.]*)\)", body)]


def test_normal_window():
    *shared, outermost32, outermost64 = in_header("normal_tap_at")
    found = np.float32([*shared, outermost32])[::-1]
    np.testing.assert_array_equal(found, PROGRAM["normal_taps"](EXACT))
    np.testing.assert_allclose([*shared, outermost64], EXACT[::-1], rtol=1e-14)


def test_unit_window():
    *pairs, one = in_header("unit_tap_at")
    outermost32, outermost64 = in_header("outermost_tap")
    taps, outermost = PROGRAM["unit_taps"](EXACT)
    np.testing.assert_array_equal(np.float32([*pairs[::2], one])[::-1], taps)
    assert np.float32(outermost32) == outermost
    np.testing.assert_allclose([*pairs[1::2], one], EXACT[::-1] / EXACT[0], rtol=1e-14)
    np.testing.assert_allclose(outermost64, EXACT[0], rtol=1e-14)


def test_the_float32_windows_sum_to_one():
    window_sum = PROGRAM["window_sum"]
    normal = PROGRAM["normal_taps"](EXACT).astype(np.float64)
    unit, outermost = PROGRAM["unit_taps"](EXACT)
    assert abs(window_sum(normal) - 1) < 1e-12
    assert abs(window_sum(unit.astype(np.float64)) * float(outermost) - 1) < 2e-10
    rounded = EXACT.astype(np.float32).astype(np.float64)
    assert abs(window_sum(rounded) - 1) > 1e-9  # what the program is for
