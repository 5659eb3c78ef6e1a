"""The benchmarks run, write down what they promise, and make the plot and the table."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
# Last, so that what is installed comes before what the checkout has beside them.
sys.path.append(str(ROOT))

from benchmarks import results, timing  # noqa: E402
from benchmarks.programs import Program  # noqa: E402

MOST_PAIRS = 512
OPS = [
    "value",
    "value_and_grad",
    "value_and_grad_both",
    "loss_and_grad",
    "loss_and_grad_uint8",
    "weighted_loss_and_grad",
    "ms_ssim_and_grad",
    "window_7_and_grad",
    "map",
    "map_and_vjp",
]
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
def path(once):
    return once("benchmarks", measure)


def measure(folder):
    path = folder / "measured.jsonl"
    small = ["--sizes", "1x1x96x256", "--ops", *OPS, "--budget", 0.1, "--quiet"]
    run("benchmarks", *small, "--libraries", *LIBRARIES, "--output", path)
    ours = ["--sizes", "1x1x96x256", "--ops", "value", "--budget", 0.1, "--quiet"]
    ours += ["--libraries", "jax_fused_ssim", "--append", "--output", path]
    run("benchmarks", *ours, "--threads", 1)
    run("benchmarks", *ours)  # has it all: nothing is measured twice
    return str(path)


@pytest.fixture(scope="module")
def data(path):
    return results.read(path)


def test_says_where_and_with_what(data):
    assert data["machine"]["platform"] == "cpu"
    assert data["machine"]["device"]
    assert data["machine"]["cache_bytes"] > 0
    assert {"python", "jax", "jaxlib", "jax_fused_ssim"} <= set(data["versions"])
    assert set(data["commit"]) == {"hash", "dirty"}
    for ceiling in data["ceilings"]:
        assert 0 < ceiling["copy_bytes_per_s"] < 1e13
        assert 0 < ceiling["fma_per_s"] < 1e15


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
            assert times["median"] <= times["q3"] <= times["max"]
            assert times["n"] >= 1
        assert m["difference"]["value"] < 1e-4
        assert m["difference"]["images"] < 2e-3
        assert m["pixels_per_s"] == pytest.approx(96 * 256 / m["call"]["median"])
        assert m["share_of_copy"] > 0
        assert m["share_of_fma"] > 0
        most = MOST_PAIRS * 2 * image
        assert m["rotated_bytes"] >= min(2 * data["machine"]["cache_bytes"], most)


class Noisy(Program):
    """Its loops take the given seconds, one after the other and over again."""

    count = 1

    def __init__(self, *seconds):
        self._seconds = itertools.cycle(seconds)

    def many(self, seconds, budget):
        return lambda: next(self._seconds)


def test_what_noise_makes_of_a_time_is_not_recorded(monkeypatch):
    monkeypatch.setattr(timing, "REST_SECONDS", 0)
    programs = {"quiet": Noisy(2.0), "some": Noisy(-1.0, 0.0, 3.0), "all": Noisy(-1.0)}
    problems = {}
    taken = timing.kernels(programs, dict.fromkeys(programs, 1.0), 60, problems)
    assert set(taken["quiet"]) == {2.0}
    assert set(taken["some"]) == {3.0}
    assert len(taken["some"]) == timing.LOOPS
    assert "all" not in taken
    assert problems.keys() == {"all"}
    assert "too noisy" in problems["all"]


def test_memory_above_the_images(data):
    image = 96 * 256 * 4
    for m in data["measurements"]:
        if m["library"] == "jax_fused_ssim":
            written = {"value": 0, "value_and_grad_both": 2, "map_and_vjp": 2}
            images = written.get(m["op"], 1)
            # The rest: sums and alignment, or smaller images of every scale.
            rest = 1.6 if m["op"] == "ms_ssim_and_grad" else 0.1
            assert 0 <= m["memory_bytes"] - images * image < rest * image


def test_plot(path, tmp_path):
    run("benchmarks.plot", path, "--output", tmp_path / "plot.png")
    assert plt.imread(tmp_path / "plot.png").std() > 0.05


def test_table(path, tmp_path):
    page = tmp_path / "page.md"
    marks = "<!-- benchmarks: begin -->\n{}<!-- benchmarks: end -->"
    page.write_text("before\n" + marks.format("old\n") + "\nafter\n")
    for _ in range(2):
        run("benchmarks.table", path, "--page", page)
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "old" not in text
        assert text.count("| value, gradient | 1x1x96x256 |") == 1
        assert "| operation | images | jax_fused_ssim | plain_jax |" in text
        assert "number of threads" in text


def test_the_tables_are_those_of_the_results(tmp_path):
    page = ROOT / "docs" / "benchmarks.md"
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text())
    recorded = ROOT / "benchmarks" / "results"
    names = ("h100", "h100_losses", "h100_ms_ssim", "h100_volumes", "epyc_2_cores")
    files = [recorded / f"{name}.jsonl" for name in names]
    run("benchmarks.table", *files, "--page", copy)
    assert copy.read_text() == page.read_text()


def test_the_readme_has_rows_of_the_tables():
    page = (ROOT / "docs" / "benchmarks.md").read_text().splitlines()
    speed = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    (speed,) = [part for part in speed if part.startswith("Speed\n")]
    rows = [line for line in speed.splitlines() if line.startswith("| ")]
    assert len(rows) > 6
    assert set(rows) <= set(page)


def test_volumes(tmp_path):
    path = tmp_path / "volumes.jsonl"
    small = [
        "--sizes",
        "1x1x12x40x40",
        "1x1x40x40",
        "--ops",
        "volume_and_grad",
        "value",
    ]
    libraries = ["--libraries", "jax_fused_ssim", "plain_jax", "dm_pix"]
    run("benchmarks", *small, *libraries, "--budget", 0.1, "--quiet", "--output", path)
    found = results.read(path)
    measured = {(m["library"], m["op"], len(m["size"])) for m in found["measurements"]}
    ours, plain, dm_pix = LIBRARIES[:3]
    assert measured == {
        *((library, "volume_and_grad", 5) for library in (ours, plain)),
        *((library, "value", 4) for library in (ours, plain, dm_pix)),
    }
    assert all(m["difference"]["images"] < 2e-3 for m in found["measurements"])
    reasons = [e["reason"] for e in found["left_out"] if e["library"] == dm_pix]
    assert reasons == ["no volumes"]


def test_command_beside_scikit_image(tmp_path):
    """Whose SSIM it compares."""
    path = tmp_path / "command.jsonl"
    run("benchmarks.command", "--pairs", 1, "--rounds", 1, "--output", path)
    about, ours, *others = map(json.loads, path.read_text().splitlines())
    assert about["settings"] == {"pairs": 1, "sides": [1080, 1920], "rounds": 1}
    assert (ours["program"], ours["ratio"]) == ("jax_fused_ssim", 1)
    assert others[0]["program"] == "scikit_image"
    for other in others:
        ratio = other["seconds"]["median"] / ours["seconds"]["median"]
        assert other["ratio"] == pytest.approx(ratio)
        assert other["ssim"] == pytest.approx(ours["ssim"], abs=1e-5)
