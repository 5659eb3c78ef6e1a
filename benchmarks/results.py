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


def best(measurement: dict[str, Any]) -> float:
    """Seconds: of the kernels where they were told apart, else of a plain call."""
    return (measurement["kernel"] or measurement["call"])["median"]
