"""The benchmarks run, write down what they promise, and make the plot and the table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
MOST_PAIRS = 512
OPS = ["value", "value_and_grad", "value_and_grad_both", "map", "map_and_vjp"]
LIBRARIES = ["jax_fused_ssim", "plain_jax", "dm_pix", "scikit_image"]


def run(module, *args):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, args)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    small = ["--sizes", "1x1x96x256", "--ops", *OPS, "--budget", 0.1, "--quiet"]
    run("benchmarks", *small, "--libraries", *LIBRARIES, "--output", path)
    ours = ["--sizes", "1x1x96x256", "--ops", "value", "--budget", 0.1, "--quiet"]
    ours += ["--libraries", "jax_fused_ssim", "--append", "--output", path]
    run("benchmarks", *ours, "--threads", 1)
    run("benchmarks", *ours)  # has it all: nothing is measured twice
    return path


@pytest.fixture(scope="module")
def data(path):
    return json.loads(path.read_text())


def test_says_where_and_with_what(data):
    assert data["machine"]["platform"] == "cpu"
    assert data["machine"]["device"]
    assert data["machine"]["cache_bytes"] > 0
    assert {"python", "jax", "jaxlib", "jax_fused_ssim"} <= set(data["versions"])
    assert set(data["commit"]) == {"hash", "dirty"}
    for ceiling in data["ceilings"]:
        assert 1e8 < ceiling["copy_bytes_per_s"] < 1e13
        assert 1e8 < ceiling["fma_per_s"] < 1e15


def test_measures_every_operation_once(data):
    keys = [(m["library"], m["op"], m["threads"]) for m in data["measurements"]]
    assert len(keys) == len(set(keys))
    for op in OPS:
        assert any(key[:2] == ("jax_fused_ssim", op) for key in keys)
        assert any(key[:2] == ("plain_jax", op) for key in keys)
    assert ("jax_fused_ssim", "value", 1) in keys
    # What is not measured is accounted for.
    done = {key[:2] for key in keys} | {
        (entry["library"], entry.get("op", op))
        for entry in data["left_out"]
        for op in OPS
    }
    assert done == {(library, op) for library in LIBRARIES for op in OPS}


def test_measurements_are_plausible(data):
    image = 96 * 256 * 4
    for m in data["measurements"]:
        for times in filter(None, (m["call"], m["kernel"])):
            assert 0 < times["min"] <= times["q1"] <= times["median"]
            assert times["median"] <= times["q3"] <= times["max"] < 60
            assert times["n"] >= 1
        assert m["difference"]["value"] < 1e-4
        assert m["difference"]["images"] < 2e-3
        assert m["pixels_per_s"] == pytest.approx(96 * 256 / m["call"]["median"])
        assert m["share_of_copy"] > 0
        assert m["share_of_fma"] > 0
        most = MOST_PAIRS * 2 * image
        assert m["rotated_bytes"] >= min(2 * data["machine"]["cache_bytes"], most)


def test_memory_above_the_images(data):
    image = 96 * 256 * 4
    for m in data["measurements"]:
        if m["library"] == "jax_fused_ssim":
            written = {"value": 0, "value_and_grad_both": 2, "map_and_vjp": 2}
            images = written.get(m["op"], 1)
            # The rest: sums and alignment.
            assert 0 <= m["memory_bytes"] - images * image < 0.1 * image


def test_plot(path, tmp_path):
    run("benchmarks.plot", path, "--output", tmp_path / "plot.png")
    assert plt.imread(tmp_path / "plot.png").std() > 0.05


def test_table(path, tmp_path):
    readme = tmp_path / "README.md"
    marks = "<!-- benchmarks: begin -->\n{}<!-- benchmarks: end -->"
    readme.write_text("before\n" + marks.format("old\n") + "\nafter\n")
    for _ in range(2):
        run("benchmarks.table", path, "--readme", readme)
        text = readme.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "old" not in text
        assert text.count("| value, gradient | 1x1x96x256 |") == 1
        assert "| operation | images | jax_fused_ssim | plain_jax |" in text
        assert "number of threads" in text


def test_table_fits_the_readme():
    text = (ROOT / "README.md").read_text()
    assert text.count("<!-- benchmarks: begin -->") == 1
    assert text.count("<!-- benchmarks: end -->") == 1
