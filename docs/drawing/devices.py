"""How losses scale over the devices of a host, from the results of the benchmark."""

import json

from drawing.canvas import DPI, Picture
from drawing.speed import FOLDER
from matplotlib.figure import Figure


def draw(name: str) -> Picture:
    """Of benchmarks/results/NAME.json, which benchmarks.multi_gpu has written."""
    data = json.loads((FOLDER / f"{name}.json").read_text())
    device = data["machine"]["device"]
    figure = Figure(figsize=(6, 3.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    facts, ends, counts = [], [], ["1"]
    for title, case in data["scaling"].items():
        efficiency = case["efficiency"]
        counts = ["1", *efficiency]
        sizes = f"{title}, {'x'.join(map(str, case['shape']))}"
        axes.plot(
            list(map(int, counts)), [1, *efficiency.values()], marker="o", label=sizes
        )
        each = "; ".join(
            f"{count} devices {case['milliseconds'][count]:.3f} ms, {part:.3f}"
            for count, part in efficiency.items()
        )
        ends.append(f"{title} {efficiency[counts[-1]]:.3f}")
        facts.append(f"{sizes}: 1 device {case['milliseconds']['1']:.3f} ms; {each}")
    axes.set(
        xscale="log",
        xticks=list(map(int, counts)),
        xticklabels=counts,
        xlabel="devices",
        ylabel="efficiency",
        ylim=(0, 1.05),
    )
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    most = counts[-1]
    return Picture(
        figure,
        "Several devices",
        f"Efficiency against the number of devices, 1 to {most} {device} of one host: "
        f"{'; '.join(ends)}.",
        f"Value and gradient on 1 to {most} {device} of one host, calls in a row; the "
        "efficiency is the time on one device by that on n, by n:\n\n"
        + "\n".join(f"- {fact}" for fact in facts),
    )
