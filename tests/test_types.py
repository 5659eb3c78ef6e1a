"""Annotations, as a user's type checkers see them: pyright and mypy in strict mode."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
USER = Path(__file__).with_name("typed_user.py")


def test_pyright_accepts_a_user_and_finds_mistakes(tmp_path):
    pytest.importorskip("pyright")
    options = ["--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *options, USER],
        cwd=tmp_path,  # away from the sources, or they would be read, not the package
        capture_output=True,
        text=True,
    )
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        reason = "pyright fetches itself when first run, and could not: " + done.stderr
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    found = [
        f"{d['range']['start']['line'] + 1}: {d['message']}"
        for d in report["generalDiagnostics"]
    ]
    assert found == []
    assert report["summary"]["filesAnalyzed"] == 1


def test_mypy_accepts_a_user_and_finds_mistakes(tmp_path):
    """The same ones: on every line whose mistake pyright is told to ignore."""
    pytest.importorskip("mypy")
    options = ["--strict", "--cache-dir", tmp_path, "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", *options, USER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = enumerate(USER.read_text().splitlines(), start=1)
    mistakes = [number for number, line in lines if "# pyright: ignore" in line]
    found = re.findall(r"typed_user\.py:(\d+): error: ", done.stdout)
    assert [*map(int, found)] == mistakes, done.stdout + done.stderr
    assert len(mistakes) == len(re.findall(" error: ", done.stdout))
