"""Sums, maps and gradients against the reference, within the promised tolerances.

The tolerances are promises to users: relative to the exact result of the given pixels,
before the rounding of the result to its dtype.
"""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from ops_table import OPS

from jax_fused_ssim.spec import Spec

MEAN_TOLERANCE = 5e-8
PADDINGS = {"same": (True, True), "valid": (False, False), "rows": (True, False)}
# Errors are counted in the map's rows, and along x in all columns, for "valid".
CROPS = {"same": (True, True), "valid": (True, False), "rows": (True, True)}
WEIGHTS = (0.3, 0.6, -0.5)  # in the gradients: of 1 - SSIM, |d| and d^2

slow = pytest.mark.slow
implementations = pytest.mark.parametrize(
    "implementation", ["fused", pytest.param("xla", marks=slow)]
)
layouts = pytest.mark.parametrize("channels_last", [False, True])
paddings = pytest.mark.parametrize("padding", PADDINGS)


def marked(names):
    """The reference takes seconds for a photograph."""
    return [pytest.param(n, marks=slow) if "photo" in n else n for n in names]


class Expected:
    """The reference's results for one pair of arrays [..., C, H, W]."""

    def __init__(self, x, y, crop=CROPS["same"], **options):
        self.map = reference.ssim_map(x, y, **options)
        self.cotangent = images.noise(self.map.shape, 7).astype(x.dtype)
        ones = np.ones_like(self.map)
        both = (x, y), (y, x)
        ssim_weight, *error_weights = WEIGHTS
        # Of the weighted mean of 1 - SSIM.
        factor = -reference.REAL(ssim_weight) / self.map.size
        self.grads = [factor * reference.gradient(*p, ones, **options) for p in both]
        self.map_grads = [
            reference.gradient(*p, self.cotangent, **options) for p in both
        ]
        padding = options.get("padding", PADDINGS["same"])
        crop = [c and not p for c, p in zip(crop, padding, strict=True)]
        data_range = options.get("data_range", 1)
        self.errors = np.stack(reference.errors(x, y, crop, data_range), -1)
        count = self.errors[..., 0].size
        self.loss_grads = [
            grad
            + reference.error_gradient(*p, *error_weights, crop, data_range) / count
            for grad, p in zip(self.grads, both, strict=True)
        ]

    def terms(self, channels_last):
        """Mean errors and mean 1 - SSIM of every plane, or every image."""
        dissimilarity = 1 - self.map
        terms = np.stack(
            [
                e.mean((-2, -1))
                for e in (*np.moveaxis(self.errors, -1, 0), dissimilarity)
            ],
            -1,
        )
        return terms.mean(-2) if channels_last else terms

    def loss(self, op):
        """The mean over all planes."""
        ssim, *errors = WEIGHTS
        weights = [*errors, ssim] if op.errors else [0, 0, ssim]
        return (self.terms(False) @ np.array(weights, reference.REAL)).mean()

    def gradients(self, op):
        """What the op is to give."""
        if op.cotangent:
            grads = self.map_grads
        else:
            grads = self.loss_grads if op.errors else self.grads
        return [grad for grad, asked in zip(grads, op.wrt, strict=True) if asked]


@functools.lru_cache(maxsize=4)
def expected_of_pair(name, padding, dtype):
    pair, _, _ = images.pairs()[name]
    x, y = (a.astype(dtype) for a in pair)
    return x, y, Expected(x, y, CROPS[padding], padding=PADDINGS[padding])


def relative(found, exact, half_ulp=0.0):
    """The relative error (L2) before the rounding of the result."""
    error = np.abs(found.astype(reference.REAL) - exact)
    error = np.maximum(error - half_ulp * np.abs(exact), 0)
    return float(np.linalg.norm(error) / np.linalg.norm(exact))


def check(x, y, expected, spec, *, mean, map_, gradient, half_ulp=0.0):
    """Runs every op and compares."""
    last = spec.channels_last
    arrays = [
        jnp.asarray(reference.unplanes(a, last)) for a in (x, y, expected.cotangent)
    ]

    def planes(a):
        return reference.planes(np.asarray(a).astype(reference.REAL), last)

    run = jax.jit(_every_op, static_argnums=3)
    count, error_count = expected.map.size, expected.errors[..., 0].size
    scaled = spec.with_scales(1 / count, 1 / error_count).with_weights(*WEIGHTS)
    for name, results in run(*arrays, scaled).items():
        op = OPS[name]
        # On a GPU an error is known to half of a quantum of 2^-22 data ranges.
        quantum = 2**-23 if jax.default_backend() == "gpu" and op.errors else 0
        if op.loss:
            total = np.asarray(results.pop(0), np.float64).sum()
            assert abs(total - expected.loss(op)) < mean + quantum, name
        if op.errors:
            exact = expected.terms(last)
            found = np.asarray(results.pop(0))
            assert found.shape == exact.shape
            half_ulps = np.finfo(found.dtype).eps / 2 * exact  # of each plane's own
            error = np.abs(found.astype(reference.REAL) * (exact.size // 3) - exact)
            assert (error < mean + quantum + half_ulps).all(), name
        if not op.wrt:
            for found in results:
                error = np.abs(planes(found) - expected.map)
                allowed = map_ + half_ulp * np.abs(expected.map)
                assert (error <= allowed).all(), (name, error.max())
            continue
        for found, exact in zip(results, expected.gradients(op), strict=True):
            rounding = half_ulp if found.dtype == jnp.bfloat16 else 0
            assert relative(planes(found), exact, rounding) < gradient, name


def _every_op(x, y, cotangent, spec):
    plain = spec.plain()  # a cotangent is the only weight beside it
    return {
        name: op(x, y, cotangent, plain if op.cotangent else spec)
        for name, op in OPS.items()
    }


@implementations
@layouts
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("name", marked(images.pairs()))
def test_float32(name, padding, channels_last, implementation):
    _, gradient, map_ = images.pairs()[name]
    x, y, expected = expected_of_pair(name, padding, np.float32)
    spec = Spec(
        padding=PADDINGS[padding],
        crop=CROPS[padding],
        channels_last=channels_last,
        implementation=implementation,
    )
    check(x, y, expected, spec, mean=MEAN_TOLERANCE, map_=map_, gradient=gradient)


@implementations
@layouts
@paddings
@pytest.mark.parametrize(
    "name", marked(["noise", "flat and dark", "photograph and blur"])
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


@implementations
@layouts
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", marked(["noise", "photograph and blur"]))
def test_half_precision(name, dtype, channels_last, implementation):
    pair, gradient, map_ = images.pairs()[name]
    x, y = (a.astype(dtype) for a in pair)
    # The reference sees what the kernel sees: the rounded pixels.
    expected = Expected(x.astype(np.float64), y.astype(np.float64))
    expected.cotangent = expected.cotangent.astype(dtype)
    ct = expected.cotangent.astype(np.float64)
    expected.map_grads = [
        reference.gradient(a.astype(np.float64), b.astype(np.float64), ct)
        for a, b in ((x, y), (y, x))
    ]
    spec = Spec(channels_last=channels_last, implementation=implementation)
    check(
        x,
        y,
        expected,
        spec,
        mean=MEAN_TOLERANCE,
        map_=map_,
        gradient=gradient,
        half_ulp=float(jnp.finfo(dtype).eps) / 2,
    )


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


# Plain JAX is the same program for both types.
@pytest.mark.parametrize(
    ("implementation", "dtype"),
    [
        ("fused", np.float32),
        ("fused", np.float64),
        pytest.param("xla", np.float64, marks=slow),
    ],
)
@layouts
@pytest.mark.parametrize(
    ("shape", "padding"),
    [
        pytest.param(s, p, marks=[slow] if s in LARGE_SHAPES else [])
        for s in SHAPES + LARGE_SHAPES
        for p in PADDINGS
        if _fits(s, p)
    ],
    ids=str,
)
def test_shapes(shape, padding, channels_last, implementation, dtype):
    """Odd, tiny and wide images: an error of one pixel shows."""
    spec = Spec(
        data_range=0.7,
        k1=0.02,
        k2=0.05,
        padding=PADDINGS[padding],
        crop=CROPS[padding],
        channels_last=channels_last,
        implementation=implementation,
    )
    x, y = (images.noise(shape, seed).astype(dtype) for seed in (1, 2))
    expected = Expected(
        x, y, spec.crop, padding=spec.padding, data_range=0.7, k1=0.02, k2=0.05
    )
    if dtype == np.float64:
        with jax.enable_x64(True):
            check(x, y, expected, spec, mean=1e-13, map_=1e-12, gradient=1e-11)
    else:
        # Over one pixel, no rounding averages out.
        mean = MEAN_TOLERANCE if expected.map.size > 1 else 1e-6
        check(x, y, expected, spec, mean=mean, map_=1e-5, gradient=1e-6)


@pytest.mark.parametrize("implementation", ["fused", "xla"])
@pytest.mark.parametrize(
    "data_range", [1.0, *(pytest.param(r, marks=slow) for r in (1e-6, 255.0, 1e6))]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_data_range(data_range, dtype, implementation):
    pair, gradient, map_ = images.pairs()["noise"]
    x, y = ((a * data_range).astype(dtype) for a in pair)
    expected = Expected(x, y, data_range=data_range)
    spec = Spec(data_range=data_range, implementation=implementation)
    if dtype == np.float64:
        with jax.enable_x64(True):
            check(x, y, expected, spec, mean=1e-13, map_=1e-12, gradient=1e-11)
    else:
        check(x, y, expected, spec, mean=MEAN_TOLERANCE, map_=map_, gradient=gradient)
