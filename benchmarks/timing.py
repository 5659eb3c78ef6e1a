"""Timing: warm-up, repetitions that take turns, medians and quartiles."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

from benchmarks.programs import Program

VISITS = 21
# In one visit a short call is repeated for about as long as this.
VISIT_SECONDS = 0.005
# A shorter call is made once before it is timed in a visit: that wakes threads and the
# clock, and fills the caches that the library before has taken.
WARM_SECONDS = 0.1
LOOPS = 11
# A time that noise has turned negative is measured again, so often at most.
ATTEMPTS = 5
# Before a loop is timed. A GPU that comes from work has used up more of the power that
# it may take for a while, and is slower.
REST_SECONDS = 0.1


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes of some measurements."""
    q1, median, q3 = (
        statistics.quantiles(seconds, n=4, method="inclusive")
        if len(seconds) > 1
        else [seconds[0]] * 3
    )
    return {
        "median": median,
        "q1": q1,
        "q3": q3,
        "min": min(seconds),
        "max": max(seconds),
        "n": len(seconds),
    }


def one_call(program: Program, i: int) -> float:
    """Seconds that one plain call takes, its result waited for."""
    start = time.perf_counter()
    program.wait(program.call(i))
    return time.perf_counter() - start


def calls(
    programs: Mapping[str, Program], first: Mapping[str, float], budget: float
) -> dict[str, list[float]]:
    """Times plain calls, every program in turn, so that each meets the same noise.

    Args:
      programs: by name, warm.
      first: about how long a call of each takes.
      budget: seconds for each.

    Returns:
      Seconds of every call.
    """
    taken = {name: [] for name in programs}
    spent = dict.fromkeys(programs, 0.0)
    position = dict.fromkeys(programs, 0)
    order = list(programs)
    shuffle = random.Random(0).shuffle
    for visit in range(VISITS):
        shuffle(order)
        for name in order:
            if visit and spent[name] + first[name] > budget:
                continue
            program = programs[name]
            repeats = max(1, min(20, int(VISIT_SECONDS / first[name])))
            untimed = int(first[name] < WARM_SECONDS)
            for k in range(repeats + untimed):
                seconds = one_call(program, position[name] % program.count)
                position[name] += 1
                spent[name] += seconds
                if k >= untimed:
                    taken[name].append(seconds)
    return taken


def positive(run: Callable[[], float]) -> float | None:
    """Seconds that a run takes, or None if noise hides them every time."""
    for _ in range(ATTEMPTS):
        seconds = run()
        if seconds > 0:
            return seconds
    return None


def kernels(
    programs: Mapping[str, Program],
    seconds: Mapping[str, float],
    budget: float,
    failed: dict[str, str],
) -> dict[str, list[float]]:
    """Times the operations without the overhead of calls, in turn too.

    Args:
      programs: by name.
      seconds: what a call of each takes.
      budget: seconds for each, and about as many to prepare it.
      failed: gets what went wrong, by name.

    Returns:
      Seconds an operation, all positive, by name, for every program that can tell.
    """
    runs = {}
    for name, program in programs.items():
        try:
            run = program.many(seconds[name], budget)
            if run is not None:
                run()
                runs[name] = run
        # A peer that fails in a loop, or for want of memory, still has its calls.
        except Exception as error:
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    taken = {name: [] for name in runs}
    started = dict.fromkeys(runs, 0.0)
    for visit in range(LOOPS):
        for name, run in runs.items():
            if name in failed or (visit and started[name] > budget):
                continue
            start = time.perf_counter()
            time.sleep(REST_SECONDS)
            found = positive(run)
            if found is None:
                failed[name] = "the machine is too noisy: longer loops took no longer"
            else:
                taken[name].append(found)
            started[name] += time.perf_counter() - start
    return {name: times for name, times in taken.items() if name not in failed}


def say(text: str) -> None:
    """Prints a line above the progress bar."""
    tqdm.write(text)
