"""The command: from arguments to a report."""

import functools
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from jax_fused_ssim.cli import errors
from jax_fused_ssim.cli.arguments import Arguments, parsed
from jax_fused_ssim.cli.decoding import Decoded, Failed, decoded
from jax_fused_ssim.cli.measuring import Measured, Metrics, measured
from jax_fused_ssim.cli.pairing import Pairs, paired
from jax_fused_ssim.cli.reading import read
from jax_fused_ssim.cli.reporting import write_report


def run(argv: Sequence[str]) -> int:
    """Runs the command; the exit status."""
    # A metric beside a training leaves it the memory of the GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        arguments = parsed(argv)
        pairs = paired(arguments.a, arguments.b)
        for path in pairs.unpaired:
            errors.say(f"{path} has no partner")
        for path in pairs.ambiguous:
            errors.say(f"{path} is not the only one of its name")
        results = _results(arguments, pairs)
        _report(arguments, pairs, results)
    except (errors.UsageError, OSError) as error:
        errors.say(str(error))
        return errors.WRONG_USE
    missing = pairs.ambiguous or (arguments.strict and pairs.unpaired)
    if missing or any(isinstance(result, Failed) for result in results):
        return errors.NOT_ALL_MEASURED
    return errors.MEASURED


def _results(arguments: Arguments, pairs: Pairs) -> list[Measured | Failed]:
    """Of every pair, in order; says what fails, and draws what is asked for."""
    metrics = Metrics(arguments)
    reader = functools.partial(
        read, alpha=arguments.alpha, data_range=arguments.data_range
    )
    drawn = _drawing(arguments, pairs, metrics) if arguments.map else None
    stderr = Console(stderr=True)
    bar = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=stderr,
        transient=True,
        disable=not (stderr.is_terminal and pairs.folders),
    )
    results = []
    with bar:
        task = bar.add_task("", total=len(pairs.pairs))
        for result in measured(decoded(pairs.pairs, reader), metrics, drawn):
            if isinstance(result, Failed):
                errors.say(result.reason)
            results.append(result)
            bar.advance(task)
    return results


def _drawing(
    arguments: Arguments, pairs: Pairs, metrics: Metrics
) -> Callable[[Decoded], None]:
    """What draws a pair."""
    # What only a picture needs takes long to be imported.
    from jax_fused_ssim.cli.drawing import draw

    def drawn(each: Decoded) -> None:
        path = arguments.map
        if pairs.folders:
            path = path / f"{each.pair.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
        draw(path, each.pair.name, metrics.maps(each.a, each.b))

    return drawn


def _report(
    arguments: Arguments, pairs: Pairs, results: Sequence[Measured | Failed]
) -> None:
    if arguments.output is None:
        write_report(sys.stdout, arguments, pairs, results)
    else:
        with arguments.output.open("w", encoding="utf-8", newline="") as file:
            write_report(file, arguments, pairs, results)
