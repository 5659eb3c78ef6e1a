"""The float32 taps of common/window.h: prints them. Needs NumPy.

A window whose rounded taps do not sum to 1 gives a constant image a variance. The
normal window is rounded, and its outermost taps take up what is left. The unit window
cannot be mended in one tap, as its outermost ones are exactly 1; so its taps are
neighbours of the rounded ones, STEPS away at most: of all that sum to 1 / (outermost
tap) within TOLERANCE those whose largest relative error is least.
"""

import itertools

import numpy as np

RADIUS, SIGMA = 5, 1.5
STEPS = 2
TOLERANCE = 2e-10


def window_sum(half: np.ndarray) -> float:
    """The sum of a window, of which `half` are the taps from one end to the middle."""
    return float(2 * half[:-1].sum() + half[-1])


def exact_taps(radius: int, sigma: float) -> np.ndarray:
    """A Gaussian window's taps, from one end to the middle, that sum to 1."""
    taps = np.exp(-(np.arange(-radius, 1.0) ** 2) / (2 * sigma**2))
    return taps / window_sum(taps)


def normal_taps(exact: np.ndarray) -> np.ndarray:
    """The normal window in float32."""
    taps = exact.astype(np.float32)
    taps[0] += (1 - window_sum(taps.astype(np.float64))) / 2
    return taps


def unit_taps(exact: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """The unit window in float32, and the outermost tap of the normal one."""
    outermost = np.float32(exact[0])
    rounded = (exact / exact[0]).astype(np.float32)
    steps = itertools.product(range(-STEPS, STEPS + 1), repeat=len(exact) - 1)
    steps = np.array([(0, *s) for s in steps])
    candidates = (rounded + steps * np.spacing(rounded)).astype(np.float64)
    sums = 2 * candidates[:, :-1].sum(axis=1) + candidates[:, -1]
    errors = np.abs(candidates * outermost / exact - 1).max(axis=1)
    errors[np.abs(sums * outermost - 1) > TOLERANCE] = np.inf
    return candidates[errors.argmin()].astype(np.float32), outermost


if __name__ == "__main__":
    exact = exact_taps(RADIUS, SIGMA)
    print("normal   ", *map(repr, map(float, normal_taps(exact)[::-1])))
    unit, outermost = unit_taps(exact)
    print("unit     ", *map(repr, map(float, unit[::-1])))
    print("outermost", float(outermost))
