"""examples/train_sharded.py trains, alike however the work is shared and resumed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import eight_devices
import local_processes
import numpy as np
import pytest
from local_processes import finish

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "examples" / "train_sharded.py"
STEPS = 80
OPTIONS = (
    f"--steps={STEPS}",
    "--batch=4",
    "--patch=32",
    "--features=8",
    "--layers=3",
    "--learning-rate=0.005",
    f"--checkpoint-every={STEPS // 2}",
)


def start(*options, devices=1):
    """One process of the training, on CPU devices of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", SCRIPT, *OPTIONS, *options],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": eight_devices.flags(devices),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def one_process(once):
    """The log and the output of one process with two devices."""

    def train(folder):
        log = folder / "log.json"
        (output,) = finish([start("--log", log, devices=2)])
        return json.loads(log.read_text()), output

    return once("one-process", train)


@pytest.fixture(scope="module")
def two_processes(once):
    """The log, the outputs and the checkpoints of two processes with a device each."""

    def train(folder):
        log, checkpoints = folder / "log.json", folder / "checkpoints"
        common = (f"--checkpoint-dir={checkpoints}", f"--log={log}")
        with local_processes.options(2) as each:
            outputs = finish([start(*common, *options) for options in each])
        return json.loads(log.read_text()), outputs, str(checkpoints)

    return once("two-processes", train)


def test_beats_the_noisy_input(one_process):
    log, output = one_process
    for name, ssim in log["held_out"].items():
        assert ssim["restored"] > ssim["noisy"] + 0.1
        assert f"{name}: SSIM noisy {ssim['noisy']:.4f}" in output
    assert "images per second" in output


def test_two_processes_train_like_one(one_process, two_processes):
    (one, _), (two, outputs, _) = one_process, two_processes
    assert len(two["losses"]) == STEPS
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    assert "2 processes, 2 devices" in outputs[0]
    assert "SSIM" not in outputs[1]
    assert "step/s" not in outputs[1]  # one progress bar


def test_goes_on_from_a_checkpoint(one_process, two_processes, tmp_path):
    """As if two processes had stopped half-way and one device had to go on."""
    shutil.copytree(two_processes[2], tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "checkpoints" / str(STEPS))
    log = tmp_path / "log.json"
    finish([start("--checkpoint-dir", tmp_path / "checkpoints", "--log", log)])
    resumed, whole = json.loads(log.read_text()), one_process[0]
    assert resumed["first_step"] == STEPS // 2
    expected = whole["losses"][STEPS // 2 :]
    np.testing.assert_allclose(resumed["losses"], expected, rtol=1e-5)
    for name, ssim in whole["held_out"].items():
        assert resumed["held_out"][name] == pytest.approx(ssim, rel=1e-4)
