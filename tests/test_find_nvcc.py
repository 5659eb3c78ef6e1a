"""Whether a build has CUDA kernels, and whose nvcc makes them: cmake/find_nvcc.py."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jax_fused_ssim import native

SCRIPT = Path(__file__).parents[1] / "cmake" / "find_nvcc.py"


@pytest.fixture
def find_nvcc(monkeypatch, tmp_path):
    """The module on a machine with neither nvcc nor driver."""
    spec = importlib.util.spec_from_file_location("find_nvcc", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("CUDACXX", "CUDA_HOME", "CUDA_PATH", module.OPTION):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    monkeypatch.setattr(module, "TOOLKIT", str(tmp_path / "toolkit"))
    monkeypatch.setattr(module, "DRIVERS", (str(tmp_path / "libcuda.so.1"),))
    return module


def make_nvcc(root, name="nvcc"):
    nvcc = root / "bin" / name
    nvcc.parent.mkdir(parents=True)
    nvcc.touch(mode=0o755)
    return str(nvcc)


@pytest.fixture
def driver(find_nvcc, monkeypatch):
    # Any library that can be loaded; the first one cannot.
    drivers = (*find_nvcc.DRIVERS, native.extension.__file__)
    monkeypatch.setattr(find_nvcc, "DRIVERS", drivers)


@pytest.mark.parametrize(
    ("option", "fetched"),
    [(None, False), ("AUTO", False), ("ON", True), ("on", True), ("OFF", False)],
)
def test_neither_nvcc_nor_driver(find_nvcc, option, fetched):
    assert find_nvcc.from_pypi(option, None) == fetched


@pytest.mark.parametrize(
    ("option", "fetched"), [(None, True), ("auto", True), ("ON", True), ("OFF", False)]
)
def test_driver_alone(find_nvcc, driver, option, fetched):
    assert find_nvcc.from_pypi(option, None) == fetched


@pytest.mark.parametrize("option", [None, "AUTO", "ON", "OFF"])
def test_nvcc_of_the_machine_is_enough(find_nvcc, driver, tmp_path, option):
    nvcc = make_nvcc(tmp_path / "path")
    assert not find_nvcc.from_pypi(option, None)
    assert find_nvcc.answer(option or "", "")["nvcc"] == nvcc


def test_driver(find_nvcc, request):
    assert not find_nvcc.has_driver()
    request.getfixturevalue("driver")
    assert find_nvcc.has_driver()


def test_option_of_the_environment(find_nvcc, monkeypatch):
    assert find_nvcc.option(None) == "AUTO"
    monkeypatch.setenv(find_nvcc.OPTION, "off")
    assert find_nvcc.option("") == "OFF"
    assert find_nvcc.option("on") == "ON"


@pytest.mark.parametrize("place", ["PATH", "CUDA_HOME", "CUDA_PATH", "toolkit"])
def test_places(find_nvcc, monkeypatch, tmp_path, place):
    assert find_nvcc.on_this_machine(None) is None
    root = tmp_path / {"PATH": "path", "toolkit": "toolkit"}.get(place, "elsewhere")
    if place.startswith("CUDA"):
        monkeypatch.setenv(place, str(root))
    assert find_nvcc.on_this_machine(None) is None
    assert find_nvcc.on_this_machine(make_nvcc(root)) == str(root / "bin" / "nvcc")
    assert find_nvcc.on_this_machine(None) == str(root / "bin" / "nvcc")


@pytest.mark.parametrize("by", ["definition", "environment"])
def test_named(find_nvcc, driver, monkeypatch, tmp_path, by):
    """One that is named and missing is a mistake, which PyPI does not mend."""
    name = str(tmp_path / "named" / "bin" / "other")
    compiler = name if by == "definition" else ""
    if by == "environment":
        monkeypatch.setenv("CUDACXX", name)
    make_nvcc(tmp_path / "path")
    found = find_nvcc.answer("ON", compiler)
    assert (found["named"], found["nvcc"], found["missing"]) == (name, "", "")
    make_nvcc(tmp_path / "named", "other")
    assert find_nvcc.answer("ON", compiler)["nvcc"] == name


def test_wheels(find_nvcc, driver, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    nvcc = make_nvcc(tmp_path / "site" / "nvidia" / "cu13")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = find_nvcc.answer("", "")
    assert found["missing"]
    assert found["nvcc"] == nvcc
    assert found["wheels"] == str(tmp_path / "site" / "nvidia" / "cu13")
    # Not where the kernels are not wanted, or can be built without.
    assert find_nvcc.answer("OFF", "")["wheels"] == ""
    make_nvcc(tmp_path / "path")
    assert find_nvcc.answer("", "")["wheels"] == ""


def test_as_a_program():
    done = subprocess.run(
        [sys.executable, SCRIPT, "OFF", "absent"], capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["option"] == "OFF"
    assert found["named"] == "absent"
    assert found["nvcc"] == ""
