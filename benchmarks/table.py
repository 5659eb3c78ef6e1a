"""Writes the tables of docs/benchmarks.md from files of results.

    python -m benchmarks.table benchmarks/results/gpu.jsonl benchmarks/results/cpu.jsonl

They replace what stands between two marks.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ROOT, results
from benchmarks.peers import LIBRARIES, OURS

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"

NAMES = {
    "value": "value",
    "value_and_grad": "value, gradient",
    "value_and_grad_both": "value, both gradients",
    "loss_and_grad": "L1 + D-SSIM, gradient",
    "loss_and_grad_uint8": "L1 + D-SSIM, uint8 target",
    "weighted_loss_and_grad": "L1 + D-SSIM, weights",
    "ms_ssim_and_grad": "1 - MS-SSIM, gradient",
    "window_7_and_grad": "windows of 7, gradient",
    "map": "map",
    "map_and_vjp": "map, its vjp",
    "volume": "volumes, value",
    "volume_and_grad": "volumes, gradient",
}

Row = list[str]


def tables(data: dict[str, Any]) -> str:
    """Markdown for a file of results."""
    return "\n".join([_heading(data), "", *_compared(data), *_threads(data)])


def _heading(data: dict[str, Any]) -> str:
    machine, versions = data["machine"], data["versions"]
    gpu = machine["platform"] == "gpu"
    most = max(m["threads"] for m in data["measurements"])
    device = machine["device"] if gpu else f"{machine['device']}, {most} threads"
    kind = "without the overhead of calls" if gpu else "of a plain call"
    ceiling = next(c for c in data["ceilings"] if c["threads"] == most)
    commit = (data["commit"]["hash"] or "unknown")[:10]
    if data["commit"]["dirty"]:
        commit += " with changes"
    return (
        f"**{device}.** Milliseconds {kind}, median, and how many times ours. "
        f"Measured in the same run: copy {ceiling['copy_bytes_per_s'] / 1e9:.0f} GB/s, "
        f"{ceiling['fma_per_s'] / 1e12:.2g} T multiply-adds a second. JAX "
        f"{versions['jax']}, PyTorch {versions['torch'] or 'absent'}, commit {commit}, "
        f"{data['date'][:10]}."
    )


def _compared(data: dict[str, Any]) -> Iterator[str]:
    """Every library's time for each operation and size, with the most threads."""
    platform = data["machine"]["platform"]
    most = max(m["threads"] for m in data["measurements"])
    measured = [m for m in data["measurements"] if m["threads"] == most]
    names = [n for n in LIBRARIES if any(m["library"] == n for m in measured)]
    # What was asked for is what ours has; another's own way gets a mark.
    lines: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    asked = [m for m in measured if m["library"] == OURS] or measured
    for ours in asked:
        same = ("op", "size", "dtype")
        row = lines.setdefault(
            (ours["op"], results.images(ours), *(ours[k] for k in _FORMAT)), {}
        )
        for m in measured:
            if all(m[k] == ours[k] for k in same):
                kept = row.get(m["library"])
                if kept is None or _alike(m, ours) > _alike(kept, ours):
                    row[m["library"]] = m
    formats = {key[2:] for key in lines}
    several = len(formats) > 1
    head = ["operation", "images", *(["format"] if several else []), *names]
    rows, marks = [], set()
    for (op, size, *form), row in sorted(
        lines.items(), key=lambda item: list(NAMES).index(item[0][0])
    ):
        ours = row.get(OURS)
        cells = [NAMES[op], size, *([", ".join(form)] if several else [])]
        for name in names:
            m = row.get(name)
            cells.append(_cell(m, ours, platform))
            if m is not None and ours is not None:
                own = [m[k] for k in ("layout", "border") if m[k] != ours[k]]
                if own:
                    marks.add(f"{name}: {', '.join(own)}")
        rows.append(cells)
    yield from _markdown(head, rows)
    yield ""
    if not several and formats:
        yield f"Images in {', '.join(formats.pop())}" + (
            f"; in their own way, {'; '.join(sorted(marks))}." if marks else "."
        )


_FORMAT = ("dtype", "layout", "border")


def _alike(a: dict[str, Any], b: dict[str, Any]) -> int:
    return sum(a[k] == b[k] for k in _FORMAT)


def _cell(m: dict[str, Any] | None, ours: dict[str, Any] | None, platform: str) -> str:
    if m is None:
        return ""
    text = f"{1e3 * results.seconds(m, platform):.3g}"
    if ours is None or m is ours:
        return text
    ratio = results.seconds(m, platform) / results.seconds(ours, platform)
    return f"{text} ({ratio:.0f}x)" if ratio >= 10 else f"{text} ({ratio:.1f}x)"


def _threads(data: dict[str, Any]) -> Iterator[str]:
    """How ours scales with threads, where several numbers were measured."""
    ours = [m for m in data["measurements"] if m["library"] == OURS]
    counts = sorted({m["threads"] for m in ours})
    if len(counts) < 2:
        return
    platform = data["machine"]["platform"]
    lines: dict[tuple[str, ...], dict[int, float]] = {}
    for m in ours:
        key = (NAMES[m["op"]], results.images(m), *(m[k] for k in _FORMAT))
        lines.setdefault(key, {})[m["threads"]] = results.seconds(m, platform)
    yield ""
    yield "Ours by number of threads: milliseconds, and how many times faster."
    yield ""
    head = ["operation", "images", "format", *map(str, counts)]
    rows = []
    for (op, size, *form), times in lines.items():
        if len(times) < 2:
            continue
        one = times.get(counts[0])
        cells = [
            ""
            if times.get(n) is None
            else f"{1e3 * times[n]:.3g}"
            + (f" ({one / times[n]:.1f}x)" if one and n != counts[0] else "")
            for n in counts
        ]
        rows.append([op, size, ", ".join(form), *cells])
    yield from _markdown(head, rows)
    yield ""


def _markdown(head: Row, rows: list[Row]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def rewrite(page: str, text: str) -> str:
    """A page with other text between the marks."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"the page needs {BEGIN} and {END}, once each")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=__doc__.splitlines()[0]
    )
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    args = parser.parse_args()
    text = "\n\n".join(tables(results.read(path)) for path in args.results)
    args.page.write_text(rewrite(args.page.read_text(), text))
    print(f"wrote {args.page}")


if __name__ == "__main__":
    main()
