"""Draws time per pixel against size, ours and the others, from a file of results.

python -m benchmarks.plot benchmarks/results/x.jsonl --output speed.png
"""

import argparse
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from benchmarks import results
from benchmarks.cases import OPS, pixels
from benchmarks.peers import LIBRARIES, OURS
from benchmarks.table import NAMES

_COLUMNS = 3


def draw(data: dict[str, Any]) -> Figure:
    """A panel for every operation; with the most threads, in the first dtype."""
    measured = data["measurements"]
    threads = max(m["threads"] for m in measured)
    dtype = measured[0]["dtype"]
    shown = [m for m in measured if m["threads"] == threads and m["dtype"] == dtype]
    ops = [op for op in OPS if any(m["op"] == op for m in shown)]
    rows = -(-len(ops) // _COLUMNS)
    columns = -(-len(ops) // rows)
    figure = Figure(figsize=(4.5 * columns, 3.8 * rows + 0.8), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    handles = {}
    for op, axis in zip(ops, axes, strict=False):
        _panel(axis, [m for m in shown if m["op"] == op], data["machine"]["platform"])
        axis.set_title(NAMES[op])
        for line in axis.get_lines():
            handles.setdefault(line.get_label(), line)
    for axis in axes[len(ops) - columns : len(ops)]:  # with no panel below
        axis.tick_params(labelbottom=True)
    for axis in axes[len(ops) :]:
        axis.set_axis_off()
    machine = data["machine"]
    cores = f", {threads} threads" if machine["platform"] == "cpu" else ""
    kind = "kernel" if machine["platform"] == "gpu" else "call"
    figure.suptitle(f"{machine['device']}{cores}, {dtype}, {kind} time, median")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
    return figure


def _panel(axis: Axes, measured: list[dict[str, Any]], platform: str) -> None:
    for i, name in enumerate(LIBRARIES):
        # Sizes with as many pixels are one point: the faster one.
        points: dict[int, float] = {}
        for m in measured:
            if m["library"] == name:
                size = pixels(m["size"])
                each = 1e9 * results.seconds(m, platform) / size
                points[size] = min(each, points.get(size, each))
        if points:
            ours = name == OURS
            axis.plot(
                *zip(*sorted(points.items()), strict=True),
                marker="o",
                markersize=4,
                color="black" if ours else f"C{i}",
                linewidth=2.5 if ours else 1.2,
                zorder=3 if ours else 2,
                label=name,
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("pixels (N C H W)")
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("ns per pixel")
    axis.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plot", description=__doc__.splitlines()[0]
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--output", type=Path, help="default: beside the results")
    args = parser.parse_args()
    output = args.output or args.results.with_suffix(".png")
    data = results.read(args.results)
    if not data["measurements"]:
        raise SystemExit(f"{args.results} has no measurements")
    draw(data).savefig(output, dpi=120)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
