"""Times `jax-fused-ssim A B` on two folders, beside a loop over scikit-image.

    python -m benchmarks.command --pairs 100 --output benchmarks/results/command.jsonl

Photographs of 1080 x 1920 pixels and the same under noise, as PNG files. Each program
is a process of its own, from its start to its end, decoding included; they take turns.
The loop gives SSIM, PSNR and MAE, in one process and in one for every thread; the
command gives MS-SSIM too. Both SSIMs are those of scikit-image's defaults, and are
compared. Writes JSON lines: about the run, then one line for every program.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT

SIDES = (1080, 1920)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
# Of 255: of a camera, and of what is compared with it.
NOISE, MORE_NOISE = 2, 6
OURS = "jax_fused_ssim"
# The SSIMs of both are means over pairs, ours of float32.
TOLERANCE = 1e-5


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.command",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pairs", type=int, default=100, help="(default: %(default)s)")
    add("--rounds", type=int, default=3, help="of all programs (default: %(default)s)")
    add("--output", type=Path, help="a file of JSON lines (default: stdout)")
    # How this program starts the loop: two folders, and the number of processes.
    add("--loop", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- The files -----------------------------------------------------------------------


def write_pairs(folders: tuple[Path, Path], count: int) -> None:
    """As many pairs of different files; of their contents each photograph has one."""
    from PIL import Image
    from skimage import data

    rng = np.random.default_rng(0)
    height, width = SIDES
    for i in range(count):
        if i >= len(PHOTOGRAPHS):
            for folder in folders:
                source = folder / f"{i % len(PHOTOGRAPHS):05}.png"
                shutil.copy(source, folder / f"{i:05}.png")
            continue
        photograph = Image.fromarray(getattr(data, PHOTOGRAPHS[i])())
        scale = max(width / photograph.width, height / photograph.height)
        whole = photograph.resize(
            (round(scale * photograph.width), round(scale * photograph.height)),
            Image.Resampling.LANCZOS,
        )
        image = np.asarray(whole.crop((0, 0, width, height)), float)
        for folder, noise in zip(folders, (NOISE, MORE_NOISE), strict=True):
            noisy = image + rng.normal(0, noise, image.shape)
            pixels = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:05}.png")


# ---- The programs --------------------------------------------------------------------


def of_pair(paths: tuple[Path, Path]) -> tuple[float, float, float]:
    """SSIM, PSNR and MAE by scikit-image and NumPy."""
    from skimage import io, metrics

    a, b = map(io.imread, paths)
    return (
        metrics.structural_similarity(a, b, channel_axis=-1),
        metrics.peak_signal_noise_ratio(a, b),
        np.abs(a.astype(float) - b).mean() / 255,
    )


def loop(a: str, b: str, processes: str) -> None:
    """Prints the mean SSIM of two folders."""
    pairs = list(zip(*(sorted(Path(f).iterdir()) for f in (a, b)), strict=True))
    if processes == "1":
        found = list(map(of_pair, pairs))
    else:
        with ProcessPoolExecutor(int(processes)) as pool:
            found = list(pool.map(of_pair, pairs))
    print(np.mean(found, 0)[0])


def programs(folders: tuple[Path, Path], threads: int) -> dict[str, list[str]]:
    """The command lines, by name; the last thing that each prints has the mean SSIM."""
    paths = [str(folder) for folder in folders]
    same_ssim = ["--convention", "scikit-image"]
    module = [sys.executable, "-m", "benchmarks.command", "--loop", *paths]
    found = {
        OURS: [sys.executable, "-P", "-m", OURS, *paths, "--csv", *same_ssim],
        "scikit_image": [*module, "1"],
    }
    if threads > 1:
        found[f"scikit_image, {threads} processes"] = [*module, str(threads)]
    return found


def mean_ssim(printed: str) -> float:
    last = printed.splitlines()[-1]
    return float(last.split(",")[1] if "," in last else last)


def main() -> int:
    args = parse_arguments()
    if args.loop:
        loop(*args.loop)
        return 0

    from benchmarks import machine, timing

    about: dict[str, Any] = machine.describe(
        ["jax", "jaxlib", "numpy", "openimageio", "pillow", "scikit-image"]
    )
    about["settings"] = {"pairs": args.pairs, "sides": SIDES, "rounds": args.rounds}
    taken: dict[str, list[float]] = {}
    ssims: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        folders = (Path(folder, "a"), Path(folder, "b"))
        for path in folders:
            path.mkdir()
        write_pairs(folders, args.pairs)
        commands = programs(folders, machine.threads())
        for _ in range(args.rounds):
            for name, command in commands.items():
                start = time.perf_counter()
                done = subprocess.run(
                    command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
                )
                taken.setdefault(name, []).append(time.perf_counter() - start)
                ssims[name] = mean_ssim(done.stdout)
    lines = [about]
    ours = timing.summary(taken[OURS])["median"]
    for name, seconds in taken.items():
        summary = timing.summary(seconds)
        ratio = summary["median"] / ours
        difference = abs(ssims[name] - ssims[OURS])
        lines.append(
            {"program": name, "seconds": summary, "ratio": ratio, "ssim": ssims[name]}
        )
        if difference > TOLERANCE:
            raise SystemExit(f"{name}: its SSIM differs by {difference:.1e}")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if args.output is None:
        print(text, end="")
    else:
        args.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
