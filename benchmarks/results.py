"""The file of results: written as they come, so that a run cut short is not lost."""

import json
import os
from pathlib import Path
from typing import Any

FORMAT = 1
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
            empty = {"ceilings": [], "measurements": [], "left_out": []}
            self.data = {"format": FORMAT, **about, **empty}
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
        partial.write_text(json.dumps(self.data, indent=1) + "\n")
        os.replace(partial, self._path)


def read(path: str | Path) -> dict[str, Any]:
    """Reads a file of results."""
    data = json.loads(Path(path).read_text())
    if data.get("format") != FORMAT:
        raise SystemExit(f"{path} has format {data.get('format')}, not {FORMAT}")
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
