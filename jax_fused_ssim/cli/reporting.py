"""The report of all pairs, as a table, JSON or CSV."""

import csv
import json
import math
from collections.abc import Sequence
from typing import TextIO

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jax_fused_ssim.cli.arguments import Arguments
from jax_fused_ssim.cli.decoding import Failed
from jax_fused_ssim.cli.measuring import Measured, Scores
from jax_fused_ssim.cli.pairing import Pairs

# Of the table: what columns are called, and their digits behind the point.
_COLUMNS = {
    "ssim": ("SSIM", 6),
    "ms_ssim": ("MS-SSIM", 6),
    "psnr": ("PSNR", 4),
    "mae": ("MAE", 6),
}
_NOTHING = dict.fromkeys(Scores._fields)
# Where there is no terminal: lines are as long as names are.
_UNBOUNDED = 100_000

Results = Sequence[Measured | Failed]


def write_report(
    to: TextIO, arguments: Arguments, pairs: Pairs, results: Results
) -> None:
    """Writes the report in the form that the arguments ask for.

    Args:
      to: a file.
      arguments: of the command.
      pairs: what there was to measure.
      results: of every pair, in order.
    """
    if arguments.json:
        _write_json(to, arguments, pairs, results)
    elif arguments.csv:
        _write_csv(to, results)
    else:
        _write_table(to, results)


def _row(result: Measured | Failed) -> dict[str, float | None]:
    return result.scores._asdict() if isinstance(result, Measured) else _NOTHING


def _means(results: Results) -> dict[str, float | None]:
    """Of the pairs that have the value; None where none has it."""
    means = {}
    for name in Scores._fields:
        values = [row[name] for row in map(_row, results) if row[name] is not None]
        with np.errstate(invalid="ignore"):  # of infinities of both signs
            means[name] = float(np.mean(values)) if values else None
    return means


def _write_json(
    to: TextIO, arguments: Arguments, pairs: Pairs, results: Results
) -> None:
    of_pairs = []
    for result in results:
        pair = {name: str(value) for name, value in result.pair._asdict().items()}
        if isinstance(result, Failed):
            pair["error"] = result.reason
        of_pairs.append({**pair, **_valid(_row(result))})
    report = {
        "pairs": of_pairs,
        "mean": _valid(_means(results)),
        "unpaired": [str(path) for path in pairs.unpaired],
        "ambiguous": [str(path) for path in pairs.ambiguous],
        "settings": {
            "convention": arguments.convention,
            "ms_convention": arguments.multi_scale,
            "padding": arguments.padding,
            "luma": arguments.luma,
            "crop_border": arguments.crop_border,
            "data_range": arguments.data_range,
            "alpha": arguments.alpha,
        },
    }
    json.dump(report, to, indent=2, allow_nan=False)
    to.write("\n")


def _valid(row: dict[str, float | None]) -> dict[str, float | str | None]:
    """JSON has no number that is not finite: the names of JavaScript for them."""
    return {name: _valid_number(value) for name, value in row.items()}


def _valid_number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write_csv(to: TextIO, results: Results) -> None:
    rows = csv.writer(to, lineterminator="\n")
    rows.writerow(["name", *Scores._fields])
    for result in results:
        rows.writerow([result.pair.name, *_row(result).values()])
    rows.writerow(["mean", *_means(results).values()])


def _write_table(to: TextIO, results: Results) -> None:
    table = Table(box=box.SIMPLE, show_footer=len(results) > 1)
    means = _means(results)
    table.add_column("pair", "mean", no_wrap=True, overflow="fold")
    for name, (head, digits) in _COLUMNS.items():
        mean = _shown(means[name], digits)
        table.add_column(head, mean, justify="right", no_wrap=True)
    for result in results:
        row = _row(result)
        cells = (_shown(row[name], digits) for name, (_, digits) in _COLUMNS.items())
        table.add_row(escape(result.pair.name), *cells)
    console = Console(file=to, width=None if to.isatty() else _UNBOUNDED)
    console.print(table)


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
