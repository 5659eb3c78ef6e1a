"""A run: every library, operation and size, checked, timed and written down."""

import argparse
import gc
import itertools
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import jax
from tqdm import tqdm

from benchmarks import cases, ceilings, machine, peers, programs, timing
from benchmarks.cases import Format, Images
from benchmarks.peers import OURS, Library
from benchmarks.programs import Program
from benchmarks.results import Results, seconds

# Their versions are part of the results.
_PACKAGES = ("jax", "jaxlib", "numpy", "torch")


class Run:
    """A run in this process, set up by the arguments of the command line."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._platform = machine.device_platform()
        self._threads = machine.threads()
        self._libraries, absent = peers.load(args.libraries, self._platform)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self._threads)
        about = machine.describe(
            [*_PACKAGES, *dict.fromkeys(v.distribution for v in self._libraries)]
        )
        about["settings"] = {"budget": args.budget}
        self._cache = about["machine"]["cache_bytes"]
        self._results = Results(args.output, about, args.append)
        self._ours = next((v for v in self._libraries if v.name == OURS), None)
        self._ours = self._ours or peers.LIBRARIES[OURS]()
        # Seconds a pixel at the last size, to foresee what the next one takes.
        self._pace: dict[tuple[str, ...], float] = {}
        self.failed = False
        for name, reason in absent.items():
            self._leave_out({"library": name}, reason)

    @property
    def data(self) -> dict[str, Any]:
        return self._results.data

    def __call__(self) -> None:
        args = self._args
        sizes = sorted(args.sizes, key=cases.pixels)
        variants = list(itertools.product(args.dtype, args.layout, args.padding))
        ops = {
            size: [op for op in args.ops if cases.OPS[op].is_of(size)] for size in sizes
        }
        total = len(variants) * sum(map(len, ops.values())) * len(self._libraries)
        with tqdm(total=total, unit="timing", disable=args.quiet) as self._bar:
            self._bar.set_postfix_str("ceilings")
            ceiling = ceilings.measure(self._platform, min(1.0, args.budget))
            self._ceiling = ceiling
            self._results.add("ceilings", {"threads": self._threads, **ceiling})
            self._results.save()
            for (dtype, layout, padding), size in itertools.product(variants, sizes):
                # Nowhere else: with it a library may compute float32 in float64.
                jax.config.update("jax_enable_x64", dtype == "float64")
                images = Images(size, dtype, self._cache)
                for op in ops[size]:
                    self._compare(op, images, layout, padding)
                del images
                self._release()

    def _compare(self, op: str, images: Images, layout: str, padding: str) -> None:
        """Times one operation of all libraries at one size."""
        ready: dict[str, Program] = {}
        first: dict[str, float] = {}
        keys: dict[str, dict[str, Any]] = {}
        checks: dict[str, dict[str, float]] = {}
        for library in self._libraries:
            self._bar.set_postfix_str(f"{op} {'x'.join(map(str, images.size))}")
            self._bar.update()
            form = library.form(images.dtype, layout, padding)
            key = self._key(library, op, images, form)
            if self._results.has(key):
                continue
            reason = library.why_not(op, images.dtype, self._platform)
            reason = reason or self._too_slow(library.name, op, images)
            try:
                if reason is None:
                    program = programs.build(library, op, form, images)
                    reason = self._too_large(program)
                if reason is None:
                    checks[library.name], reason = self._check(
                        library, program, op, form, images
                    )
            # Whatever goes wrong in one library, the others are still of interest.
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                reason = f"failed: {text}"
                self.failed |= library.name == OURS
            if reason is not None:
                self._leave_out(key, reason)
                continue
            first[library.name] = timing.one_call(program, program.count - 1)
            ready[library.name], keys[library.name] = program, key

        calls = timing.calls(ready, first, self._args.budget / 2)
        typical = {name: statistics.median(taken) for name, taken in calls.items()}
        problems: dict[str, str] = {}
        kernels = timing.kernels(ready, typical, self._args.budget / 2, problems)
        for name, program in ready.items():
            if name in problems:
                timing.say(f"{name}, {op}: no kernel time: {problems[name]}")
            call = timing.summary(calls[name])
            kernel = timing.summary(kernels[name]) if name in kernels else None
            entry = self._entry(keys[name], images, call, kernel)
            entry |= {"memory_bytes": program.memory(), "difference": checks[name]}
            self._results.add("measurements", entry)
            pixels = cases.pixels(images.size)
            self._pace[name, op, images.dtype] = call["min"] / pixels
        self._results.save()

    def _key(
        self, library: Library, op: str, images: Images, form: Format
    ) -> dict[str, Any]:
        return {
            "library": library.name,
            "op": op,
            "size": list(images.size),
            "dtype": form.dtype,
            "layout": form.layout,
            "border": form.border,
            "threads": self._threads,
        }

    def _too_slow(self, name: str, op: str, images: Images) -> str | None:
        pace = self._pace.get((name, op, images.dtype), 0.0)
        expected = pace * cases.pixels(images.size)
        if expected > self._args.budget:
            return f"about {expected:.0f} s a call, more than the budget"
        return None

    def _too_large(self, program: Program) -> str | None:
        free = machine.free_bytes()
        if free is None or program.scratch is None or program.scratch < 0.9 * free:
            return None
        return f"may need {program.scratch / 1e9:.1f} GB; {free / 1e9:.1f} GB are free"

    def _check(
        self,
        library: Library,
        program: Program,
        op: str,
        form: Format,
        images: Images,
    ) -> tuple[dict[str, float], str | None]:
        """Compares a first, warming call with ours."""
        result = program.as_jax(program.call(0))
        expected = programs.expected(self._ours, library, op, form, images)
        found = programs.difference(result, expected)
        allowed = programs.tolerance(form.dtype)
        if all(found[k] <= allowed[k] for k in allowed):
            return found, None
        self.failed |= library.name == OURS
        off = ", ".join(f"{k} by {v:.2g}" for k, v in found.items())
        return found, f"result differs from ours: {off}"

    def _entry(
        self,
        key: dict[str, Any],
        images: Images,
        call: dict[str, float],
        kernel: dict[str, float] | None,
    ) -> dict[str, Any]:
        best = seconds({"call": call, "kernel": kernel}, self._platform)
        op, size = key["op"], images.size
        pixels = cases.pixels(size)
        bytes_per_s = cases.bytes_moved(op, size, images.dtype) / best
        fma_per_s = cases.OPS[op].fma * pixels / best
        return {
            **key,
            "call": call,
            "kernel": kernel,
            "overhead": call["median"] - kernel["median"] if kernel else None,
            "rotated_bytes": images.bytes,
            "pixels_per_s": pixels / best,
            "bytes_per_s": bytes_per_s,
            "share_of_copy": bytes_per_s / self._ceiling["copy_bytes_per_s"],
            "share_of_fma": fma_per_s / self._ceiling["fma_per_s"],
        }

    def _leave_out(self, key: dict[str, Any], reason: str) -> None:
        entry = {**key, "reason": reason}
        if entry in self._results.data["left_out"]:
            return
        self._results.add("left_out", entry)
        what = ", ".join(
            "x".join(map(str, key[k])) if k == "size" else key[k]
            for k in ("library", "op", "size", "dtype")
            if k in key
        )
        timing.say(f"left out: {what}: {reason}")

    def _release(self) -> None:
        """Gives memory back, JAX's arrays and what PyTorch keeps for itself."""
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def rows(data: dict[str, Any]) -> Sequence[str]:
    """The measurements of a run as lines of text."""
    lines = []
    for m in data["measurements"]:
        kernel = f"{1e3 * m['kernel']['median']:10.4f}" if m["kernel"] else " " * 10
        memory = m["memory_bytes"]
        lines.append(
            f"{'x'.join(map(str, m['size'])):15} {m['op']:19} {m['library']:15} "
            f"{m['dtype']:8} {m['layout']} {m['border']:7} {m['threads']:3} "
            f"{1e3 * m['call']['median']:10.4f} {kernel} {m['bytes_per_s'] / 1e9:8.1f} "
            f"{m['pixels_per_s'] / 1e9:8.3f} {m['share_of_copy']:6.1%} "
            f"{m['share_of_fma']:6.1%} "
            + (f"{memory / 2**20:9.1f}" if memory is not None else "        -")
        )
    head = (
        f"{'size':15} {'operation':19} {'library':15} {'dtype':8} {'':4} {'border':7} "
        f"{'thr':>3} {'call ms':>10} {'kernel ms':>10} {'GB/s':>8} {'Gpixel/s':>8} "
        f"{'copy':>6} {'FMA':>6} {'peak MiB':>9}"
    )
    return [head, *lines]
