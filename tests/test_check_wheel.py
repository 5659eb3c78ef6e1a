"""The check of a wheel finds what is wrong with one."""

import importlib.util
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import pytest

from jax_fused_ssim import native

spec = importlib.util.spec_from_file_location(
    "check_wheel", Path(__file__).parents[1] / "release" / "check_wheel.py"
)
check_wheel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_wheel)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what a wheel for Linux may need"
)
PYTHON = "cp311-cp311" if sys.version_info < (3, 12) else "cp312-abi3"
OURS = Path(native.extension.__file__)
# An extension module of somebody else, which exports more than its entry point.
OTHER = Path(next(Path(ml_dtypes.__file__).parent.glob("*.so")))


@pytest.fixture
def make_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(check_wheel, "problems_of_abi", lambda wheel: [])

    def make_wheel(python=PYTHON, platform="manylinux_2_28_x86_64", files=(), so=OURS):
        wheel = tmp_path / f"jax_fused_ssim-0.1.0-{python}-{platform}.whl"
        names = ["__init__.py", "py.typed"]
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in [*(f"jax_fused_ssim/{name}" for name in names), *files]:
                archive.writestr(name, "")
            archive.writestr("jax_fused_ssim-0.1.0.dist-info/RECORD", "")
            archive.write(so, "jax_fused_ssim/_native.so")
        return wheel

    return make_wheel


def test_a_good_one(make_wheel):
    assert check_wheel.check(make_wheel(), 13) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"python": "cp310-cp310"}, f"not {PYTHON}"),
        ({"platform": "linux_x86_64"}, "no platform"),
        ({"files": ["tests/test_api.py"]}, "tests/test_api.py is not a part"),
        ({"files": ["jax_fused_ssim/formula.h"]}, "formula.h is not a part"),
        ({"files": ["jax_fused_ssim/other.so"]}, "one extension module"),
        ({"so": OTHER}, "not PyInit__native alone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong(make_wheel, options, problem):
    found = check_wheel.check(make_wheel(**options), 13)
    assert any(problem in p for p in found)


def test_libraries():
    for name in ("libc.so.6", "libstdc++.so.6", "ld-linux-x86-64.so.2"):
        assert check_wheel.LIBRARIES.fullmatch(name)
    for name in ("libcudart.so.12", "libcuda.so.1", "libc10.so", "libgomp.so.1"):
        assert not check_wheel.LIBRARIES.fullmatch(name)


def test_size(make_wheel):
    wheel = make_wheel()
    (problem,) = check_wheel.check(wheel, wheel.stat().st_size / 1e6 - 0.01)
    assert "are allowed" in problem
