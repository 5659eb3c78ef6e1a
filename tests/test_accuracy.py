"""Sums, maps and gradients of every op against the reference."""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accuracy import MEAN_TOLERANCE, Expected, as_users_compile, check
from implementations import in_pairs

from jax_fused_ssim.spec import Spec

PADDINGS = {"same": (True, True), "valid": (False, False), "rows": (True, False)}
# Errors are counted in the map's rows, and along x in all columns, for "valid".
CROPS = {"same": (True, True), "valid": (True, False), "rows": (True, True)}

slow = pytest.mark.slow
LAYOUTS = [False, True]


def every_case(names, **axes):
    """Parameters: the kernels with these pairs and axes in every combination, plain JAX
    with any two of them; and the large pair, which has more than one tile of a kernel
    and takes the reference seconds, with the kernels."""
    small = [name for name in names if name != images.LARGE]
    axes = {axis: list(values) for axis, values in axes.items()}
    cases = [
        *((*case, "fused", ()) for case in itertools.product(small, *axes.values())),
        *((*case, "xla", slow) for case in in_pairs(small, *axes.values())),
        *(
            (*case, "fused", slow)
            for case in itertools.product([images.LARGE], *axes.values())
        ),
    ]
    return pytest.mark.parametrize(
        ("name", *axes, "implementation"),
        [pytest.param(*case, marks=marks) for *case, marks in cases],
    )


@functools.lru_cache(maxsize=4)
def expected_of_pair(name, padding, dtype):
    pair, _, _ = images.pairs()[name]
    x, y = (a.astype(dtype) for a in pair)
    return x, y, Expected(x, y, CROPS[padding], padding=PADDINGS[padding])


@every_case(images.pairs(), channels_last=LAYOUTS, padding=["same", "valid"])
def test_float32(name, padding, channels_last, implementation):
    _, gradient, map_ = images.pairs()[name]
    x, y, expected = expected_of_pair(name, padding, np.float32)
    spec = Spec(
        padding=PADDINGS[padding],
        crop=CROPS[padding],
        channels_last=channels_last,
        implementation=implementation,
    )
    compiled = as_users_compile
    check(x, y, expected, spec, map_=map_, gradient=gradient, compiled=compiled)


@every_case(
    ["noise", "flat and dark", "photograph and blur"],
    channels_last=LAYOUTS,
    padding=PADDINGS,
)
def test_float64(name, padding, channels_last, implementation):
    x, y, expected = expected_of_pair(name, padding, np.float64)
    spec = Spec(
        padding=PADDINGS[padding],
        crop=CROPS[padding],
        channels_last=channels_last,
        implementation=implementation,
    )
    with jax.enable_x64(True):
        check(x, y, expected, spec, mean=1e-13, map_=1e-12, gradient=1e-11)


@every_case(
    ["noise", "photograph and blur"],
    channels_last=LAYOUTS,
    dtype=[jnp.float16, jnp.bfloat16],
)
def test_half_precision(name, dtype, channels_last, implementation):
    _, gradient, map_ = images.pairs()[name]
    # The reference sees what the kernel sees: the rounded pixels.
    x, y, expected = expected_of_pair(name, "same", dtype)
    spec = Spec(channels_last=channels_last, implementation=implementation)
    half_ulp = float(jnp.finfo(dtype).eps) / 2
    check(x, y, expected, spec, map_=map_, gradient=gradient, half_ulp=half_ulp)


SHAPES = [
    (1, 1, 1),
    (2, 1, 37),
    (2, 37, 1),
    (3, 3, 7),
    (1, 10, 10),
    (1, 11, 11),
    (2, 12, 300),
    (2, 300, 12),
    (5, 33, 65),
    (2, 3, 4, 24, 32),
]
LARGE_SHAPES = [(40, 13, 17), (1, 25, 1030)]


def _fits(shape, padding):
    return all(p or n >= 11 for n, p in zip(shape[-2:], PADDINGS[padding], strict=True))


FITTING = [
    (shape, padding)
    for shape in SHAPES + LARGE_SHAPES
    for padding in PADDINGS
    if _fits(shape, padding)
]


def _of_kernels():
    """Every one with every shape."""
    for shape, padding in FITTING:
        marks = [slow] if shape in LARGE_SHAPES else []
        for dtype in (np.float32, np.float64):
            for last in (False, True):
                yield pytest.param(shape, padding, last, "fused", dtype, marks=marks)


def _of_plain_jax():
    """A program to compile for each. There are no tiles, and but for casts the types
    have one program: small shapes in turn have either layout, and of others each
    padding has one."""
    small = [case for case in FITTING if np.prod(case[0][-2:]) <= 121]
    others = [shape for shape in SHAPES if (shape, "same") not in small]
    cases = small + list(zip(others, itertools.cycle(PADDINGS), strict=False))
    for i, case in enumerate(cases):
        yield pytest.param(*case, i % 2 == 1, "xla", np.float64, marks=slow)


CONSTANTS = {"data_range": 0.7, "k1": 0.02, "k2": 0.05}


@functools.lru_cache(maxsize=2)
def expected_of_shape(shape, padding, dtype):
    """Both layouts, which follow each other, share it."""
    x, y = (images.noise(shape, seed).astype(dtype) for seed in (1, 2))
    return x, y, Expected(x, y, CROPS[padding], padding=PADDINGS[padding], **CONSTANTS)


@pytest.mark.parametrize(
    ("shape", "padding", "channels_last", "implementation", "dtype"),
    [*_of_kernels(), *_of_plain_jax()],
    ids=str,
)
def test_shapes(shape, padding, channels_last, implementation, dtype):
    """Odd, tiny and wide images: an error of one pixel shows."""
    spec = Spec(
        **CONSTANTS,
        padding=PADDINGS[padding],
        crop=CROPS[padding],
        channels_last=channels_last,
        implementation=implementation,
    )
    x, y, expected = expected_of_shape(shape, padding, dtype)
    if dtype == np.float64:
        with jax.enable_x64(True):
            check(x, y, expected, spec, mean=1e-13, map_=1e-12, gradient=1e-11)
    else:
        # Over one pixel, no rounding averages out. The variance of one that is seen
        # alone is nothing but rounding.
        mean, gradient = MEAN_TOLERANCE, 1e-6
        if expected.map.size == 1:
            mean, gradient = 4e-6, 1e-5
        check(x, y, expected, spec, mean=mean, map_=1e-5, gradient=gradient)


@functools.lru_cache(maxsize=1)
def expected_of_range(data_range, dtype):
    """Both implementations, which follow each other, share it."""
    pair, _, _ = images.pairs()["noise"]
    x, y = ((a * data_range).astype(dtype) for a in pair)
    return x, y, Expected(x, y, data_range=data_range)


def _ranges():
    """Of both dtypes for the kernels; for plain JAX, which is compiled for each range,
    of the one in which it is more likely to show."""
    extreme, usual = np.float32, np.float64
    of_plain_jax = {1.0: usual, 1e-6: extreme, 255.0: usual, 1e6: extreme}
    for data_range, dtype in itertools.product(of_plain_jax, (np.float32, np.float64)):
        marks = [] if data_range == 1 else [slow]
        yield pytest.param(data_range, dtype, "fused", marks=marks)
        if dtype == of_plain_jax[data_range]:
            yield pytest.param(data_range, dtype, "xla", marks=marks)


@pytest.mark.parametrize(("data_range", "dtype", "implementation"), _ranges())
def test_data_range(data_range, dtype, implementation):
    _, gradient, map_ = images.pairs()["noise"]
    x, y, expected = expected_of_range(data_range, dtype)
    spec = Spec(data_range=data_range, implementation=implementation)
    if dtype == np.float64:
        with jax.enable_x64(True):
            check(x, y, expected, spec, mean=1e-13, map_=1e-12, gradient=1e-11)
    else:
        check(x, y, expected, spec, map_=map_, gradient=gradient)
