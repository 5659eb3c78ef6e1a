"""Time beside other libraries, from the results of the benchmarks."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from drawing.canvas import Picture

import benchmarks
from benchmarks import plot, results
from benchmarks.cases import pixels
from benchmarks.peers import OURS
from benchmarks.table import NAMES

FOLDER = Path(benchmarks.__file__).parent / "results"
# Larger, as the picture is wider than what a page shows.
STYLE = {"font.size": 13, "axes.titlesize": 14, "figure.dpi": 120}


def read(name: str) -> dict[str, Any]:
    return results.read(FOLDER / f"{name}.jsonl")


def times(data: dict[str, Any], op: str, size: tuple[int, ...]) -> dict[str, float]:
    """Library: seconds, the fastest first."""
    platform = data["machine"]["platform"]
    found = {
        m["library"]: results.seconds(m, platform)
        for m in data["measurements"]
        if m["op"] == op and tuple(m["size"]) == size
    }
    return dict(sorted(found.items(), key=lambda item: item[1]))


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def ratio(theirs: float, ours: float) -> str:
    """How many times ours it is, as in the tables."""
    return f"{theirs / ours:.{0 if theirs >= 10 * ours else 1}f}x"


def draw(name: str, title: str) -> Picture:
    """Of benchmarks/results/NAME.jsonl, a panel for every operation."""
    data = read(name)
    measured = data["measurements"]
    sizes = sorted({tuple(m["size"]) for m in measured}, key=pixels)
    ops = list(dict.fromkeys(m["op"] for m in measured))
    first = {next(iter(times(data, op, size))) for op in ops for size in sizes}
    facts = []
    for op in ops:
        found = times(data, op, sizes[-1])
        ours = found.pop(OURS)
        other, theirs = next(iter(found.items()))
        facts.append(
            f"{NAMES[op]}: {milliseconds(ours)}; {other}, the next one, "
            f"{milliseconds(theirs)} ({ratio(theirs, ours)})"
        )
    size = "x".join(map(str, sizes[-1]))
    device = data["machine"]["device"]
    with mpl.rc_context(STYLE):
        figure = plot.draw(data)
    return Picture(
        figure,
        title,
        f"Time per pixel against size on an {device}, of jax_fused_ssim and others, a "
        f"panel for each of: {'; '.join(NAMES[op] for op in ops)}."
        + (first == {OURS})
        * " jax_fused_ssim is the lowest line of every panel.",
        f"Kernel times on an {device}, median, divided by the number of values of an "
        f"image; both axes are logarithmic. At {size}:\n\n"
        + "\n".join(f"- {fact}" for fact in facts),
    )
