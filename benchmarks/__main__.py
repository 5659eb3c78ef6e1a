"""Times fused_ssim and what one would use instead of it, in one run.

    python -m benchmarks --sizes 1x3x1080x1920 --ops value value_and_grad --budget 5

`call` is a plain call whose result is waited for, `kernel` the same without the
overhead of calls. The results go to a JSON file as they come, from which
`python -m benchmarks.plot` and `python -m benchmarks.table` make a picture and the
README's table.
"""

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import ROOT

FOLDER = ROOT / "benchmarks" / "results"


def size(text: str) -> tuple[int, ...]:
    """ "1x3x256x256" as (1, 3, 256, 256)."""
    sides = tuple(int(side) for side in text.split("x"))
    if len(sides) not in (4, 5) or min(sides[:2]) < 1 or min(sides[2:]) < 11:
        raise argparse.ArgumentTypeError(
            f"{text}: NxCxHxW, or NxCxDxHxW of volumes, with sides of at least 11, as "
            "in 1x3x256x256"
        )
    return sides


def parser() -> argparse.ArgumentParser:
    from benchmarks.cases import OPS, SIZES, VOLUME_SIZES
    from benchmarks.peers import LIBRARIES, USUAL

    found = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    sizes = (*SIZES, *VOLUME_SIZES)
    add("--sizes", nargs="+", type=size, default=sizes, metavar="NxCxHxW")
    add("--ops", nargs="+", choices=OPS, default=list(OPS), metavar="OP")
    add("--libraries", nargs="+", choices=LIBRARIES, default=list(USUAL))
    dtypes = ["float16", "bfloat16", "float32", "float64"]
    add("--dtype", nargs="+", choices=dtypes, default=["float32"])
    add(
        "--layout",
        nargs="+",
        choices=["NCHW", "NHWC"],
        default=["NCHW"],
        help="a library that cannot do it gets its own, and is marked",
    )
    add(
        "--padding",
        nargs="+",
        choices=["same", "valid"],
        default=["same"],
        help="a library that cannot do it does its own, and is marked",
    )
    add(
        "--threads",
        nargs="+",
        type=int,
        metavar="N",
        help="run once for each of these numbers of CPU threads",
    )
    add(
        "--budget",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="for one library, operation and size, compilation apart; what one call "
        "would exceed is left out (default: %(default)s)",
    )
    add("--output", type=Path, help="the JSON file (default: in benchmarks/results)")
    add("--append", action="store_true", help="add what the file does not have yet")
    add("--quiet", action="store_true", help="no progress bar")
    return found


def run_threads(args: argparse.Namespace, given: list[str]) -> int:
    """Runs a process for each number of threads, all into one file."""
    status = 0
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for i, threads in enumerate(args.threads):
        print(f"threads: {threads}", flush=True)
        again = [*given, "--threads", "0", "--output", str(args.output)]
        if i:
            again.append("--append")
        # XLA reads NPROC; what reads the number of cores sees no more than that many.
        if cores[:threads]:
            os.sched_setaffinity(0, cores[:threads])
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *again],
            env={**os.environ, "NPROC": str(threads)},
        )
        status = status or done.returncode
        if cores:
            os.sched_setaffinity(0, cores)
    return status


def main() -> int:
    given = sys.argv[1:]
    args = parser().parse_args(given)
    if args.output is None:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        args.output = FOLDER / f"{stamp}.jsonl"
    # 0: a process that was started for one number of threads, by run_threads.
    if args.threads and args.threads != [0]:
        return run_threads(args, given)

    from benchmarks import run

    measured = run.Run(args)
    try:
        measured()
    except KeyboardInterrupt:
        print(f"interrupted; {args.output} has what was measured")
        return 130
    print("\n".join(run.rows(measured.data)))
    print(f"wrote {args.output}")
    return int(measured.failed)


if __name__ == "__main__":
    sys.exit(main())
