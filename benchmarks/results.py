"""The file of results, JSON lines: about the run, then one line for every result. It is
written as they come, so that a run cut short is not lost.
"""

import json
import os
from pathlib import Path
from typing import Any

FORMAT = 2
_SECTIONS = ("ceilings", "measurements", "left_out")
_KEY = ("library", "op", "size", "dtype", "layout", "border", "threads")


class Results:
    """Results of a run, in a file."""

    def __init__(self, path: Path, about: dict[str, Any], append: bool) -> None:
        self._path = path
        if append and path.exists():
            self.data = read(path)
            old, new = self.data["machine"]["device"], about["machine"]["device"]
            if old != new:
                raise SystemExit(f"{path} is of another machine: {old}, not {new}")
        else:
            self.data = {"format": FORMAT, **about, **{name: [] for name in _SECTIONS}}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.save()

    def has(self, key: dict[str, Any]) -> bool:
        """Whether there is a measurement with these `_KEY` fields."""
        return any(
            all(m[name] == key[name] for name in _KEY)
            for m in self.data["measurements"]
        )

    def add(self, section: str, entry: dict[str, Any]) -> None:
        """Appends to a list of results."""
        self.data[section].append(entry)

    def save(self) -> None:
        partial = self._path.with_suffix(".partial")
        about = {k: v for k, v in self.data.items() if k not in _SECTIONS}
        lines = [about]
        for name in _SECTIONS:
            lines += ({"section": name, **entry} for entry in self.data[name])
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.replace(partial, self._path)


def read(path: str | Path) -> dict[str, Any]:
    """Reads a file of results."""
    about, *entries = map(json.loads, Path(path).read_text().splitlines())
    if about.get("format") != FORMAT:
        raise SystemExit(f"{path} has format {about.get('format')}, not {FORMAT}")
    data = {**about, **{name: [] for name in _SECTIONS}}
    for entry in entries:
        data[entry.pop("section")].append(entry)
    return data


def seconds(measurement: dict[str, Any], platform: str) -> float:
    """The time to compare: of the kernels on a GPU, of a plain call on a CPU.

    A call costs a CPU next to nothing, and XLA may compile a program differently inside
    the loop that tells kernels apart (convolutions are).
    """
    kernel = measurement["kernel"] if platform == "gpu" else None
    return (kernel or measurement["call"])["median"]


def images(measurement: dict[str, Any]) -> str:
    """The size, such as "1x3x256x256"."""
    return "x".join(map(str, measurement["size"]))
