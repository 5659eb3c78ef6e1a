"""Sums, maps and gradients against the reference, within the promised tolerances.

The tolerances are promises to users: relative to the exact result of the given pixels,
before the rounding of the result to its dtype.
"""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from implementations import in_pairs
from ops_table import OPS, holes, loss_weights
from reference import relative

from jax_fused_ssim.spec import Spec

MEAN_TOLERANCE = 5e-8
PADDINGS = {"same": (True, True), "valid": (False, False), "rows": (True, False)}
# Errors are counted in the map's rows, and along x in all columns, for "valid".
CROPS = {"same": (True, True), "valid": (True, False), "rows": (True, True)}
WEIGHTS = (0.3, 0.6, -0.5)  # in the gradients: of 1 - SSIM, |d| and d^2

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


class Expected:
    """The reference's results for one pair of arrays [..., C, H, W]."""

    def __init__(self, x, y, crop=CROPS["same"], **options):
        self.similarity = reference.Similarity(x, y, **options)

        @functools.cache
        def similarity_of_seen(channels_last):
            channels = 1 if channels_last else x.shape[-3]
            seen = holes((*x.shape[:-3], channels, *x.shape[-2:]))
            return reference.Similarity(x, y, **options, seen=seen)

        self.similarity_of_seen = similarity_of_seen
        self.map = self.similarity.map
        self.cotangent = images.noise(self.map.shape, 7).astype(x.dtype)
        self.map_grads = self.similarity.gradients(self.cotangent)
        padding = options.get("padding", PADDINGS["same"])
        self.crop = [c and not p for c, p in zip(crop, padding, strict=True)]
        data_range = options.get("data_range", 1)
        self.errors = reference.errors(x, y, self.crop, data_range)
        _, *error_weights = WEIGHTS
        self.error_grads = [
            reference.error_gradient(*pair, *error_weights, self.crop, data_range)
            for pair in ((x, y), (y, x))
        ]
        self.of_weights = functools.cache(self._of_weights)

    def _of_weights(self, spec, weighting):
        """Terms and gradients of a loss under weights, or of spec None without."""
        of_map, of_errors, scales = 1, 1, (1, 1)
        similarity = self.similarity
        if weighting == "normalized":
            similarity = self.similarity_of_seen(spec.channels_last)
        if spec:
            cotangent = jnp.asarray(
                reference.unplanes(self.cotangent, spec.channels_last)
            )
            weights = loss_weights(cotangent, spec, weighting)
            scales = np.asarray(weights.scales, reference.REAL).ravel()
            of_map, of_errors = (
                scales[2]
                * reference.planes(np.asarray(w, reference.REAL), spec.channels_last)
                for w in weights[:2]
            )
            uncovered = [not p for p in spec.padding]
            of_map = reference._where_counted(of_map, uncovered)
        counted = of_errors * np.ones_like(self.error_grads[0])
        counted = reference._where_counted(counted, self.crop)
        terms = [
            *(scales[1] * counted * e for e in self.errors),
            scales[0] * of_map * (1 - similarity.map),
        ]
        factor = -reference.REAL(WEIGHTS[0]) * scales[0] / self.map.size
        grads = similarity.gradients(of_map * np.ones_like(self.map))
        error_factor = scales[1] * of_errors / self.errors[0].size
        grads = [
            (factor * g, error_factor * e)
            for g, e in zip(grads, self.error_grads, strict=True)
        ]
        return np.stack([t.mean((-2, -1)) for t in terms], -1), grads

    def terms(self, op, spec):
        """Mean errors and mean 1 - SSIM of every plane, or every image."""
        terms, _ = self.of_weights(spec if op.weights else None, op.weighting)
        return terms.mean(-2) if spec.channels_last else terms

    def loss(self, op, spec):
        """The mean over all planes."""
        ssim, *errors = WEIGHTS
        weights = [*errors, ssim] if op.errors else [0, 0, ssim]
        return (self.terms(op, spec) @ np.array(weights, reference.REAL)).mean()

    def gradients(self, op, spec):
        """What the op is to give."""
        grads = self.map_grads
        if op.loss:
            _, both = self.of_weights(spec if op.weights else None, op.weighting)
            grads = [g + e if op.errors else g for g, e in both]
        return [grad for grad, asked in zip(grads, op.wrt, strict=True) if asked]


@functools.lru_cache(maxsize=4)
def expected_of_pair(name, padding, dtype):
    pair, _, _ = images.pairs()[name]
    x, y = (a.astype(dtype) for a in pair)
    return x, y, Expected(x, y, CROPS[padding], padding=PADDINGS[padding])


def _every_op(x, y, cotangent, spec):
    plain = spec.plain()  # a cotangent is the only weight beside it
    return {
        name: op(x, y, cotangent, plain if op.cotangent else spec)
        for name, op in OPS.items()
    }


_quickly = jax.jit(_every_op, static_argnums=3)
# How plain JAX rounds depends on the optimisation.
_as_users_compile = jax.jit(
    _every_op,
    static_argnums=3,
    compiler_options={"xla_backend_optimization_level": 3},
)


def check(
    x,
    y,
    expected,
    spec,
    *,
    map_,
    gradient,
    mean=MEAN_TOLERANCE,
    half_ulp=0.0,
    compiled=_quickly,
):
    """Runs every op and compares."""
    last = spec.channels_last
    arrays = [
        jnp.asarray(reference.unplanes(a, last)) for a in (x, y, expected.cotangent)
    ]

    def planes(a):
        return reference.planes(np.asarray(a).astype(reference.REAL), last)

    count, error_count = expected.map.size, expected.errors[0].size
    scaled = spec.with_scales(1 / count, 1 / error_count).with_weights(*WEIGHTS)
    for name, results in compiled(*arrays, scaled).items():
        op = OPS[name]
        # On a GPU an error is known to half of a quantum of 2^-22 data ranges.
        quantum = 2**-23 if jax.default_backend() == "gpu" and op.errors else 0
        if op.loss:
            total = np.asarray(results.pop(0), np.float64).sum()
            assert abs(total - expected.loss(op, spec)) < mean + quantum, name
        if op.errors:
            exact = expected.terms(op, spec)
            found = np.asarray(results.pop(0))
            assert found.shape == exact.shape
            error = found.astype(reference.REAL) * (exact.size // 3) - exact
            assert np.abs(error[..., :2]).max() < mean + quantum, name
            # Of one plane alone fewer of its pixels' errors cancel.
            assert np.abs(error[..., 2].mean()) < mean, name
        if not op.wrt:
            for found in results:
                error = np.abs(planes(found) - expected.map)
                allowed = map_ + half_ulp * np.abs(expected.map)
                assert (error <= allowed).all(), (name, error.max())
            continue
        for found, exact in zip(results, expected.gradients(op, spec), strict=True):
            rounding = half_ulp if found.dtype == jnp.bfloat16 else 0
            # The statistics of few pixels multiply the rounding of what they are of.
            allowed = 2 * gradient if op.leaves_out else gradient
            assert relative(planes(found), exact, rounding) < allowed, name


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
    compiled = _as_users_compile
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
    have one program: small shapes in turn have either layout, and of large ones each
    padding has two."""
    small = [case for case in FITTING if np.prod(case[0][-2:]) <= 121]
    large = [shape for shape in SHAPES + LARGE_SHAPES if (shape, "same") not in small]
    cases = small + list(zip(large, [*PADDINGS] * 2, strict=True))
    for i, case in enumerate(cases):
        yield pytest.param(*case, i % 2 == 1, "xla", np.float64, marks=slow)


@pytest.mark.parametrize(
    ("shape", "padding", "channels_last", "implementation", "dtype"),
    [*_of_kernels(), *_of_plain_jax()],
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
        # Over one pixel, no rounding averages out. The variance of one that is seen
        # alone is nothing but rounding.
        mean, gradient = MEAN_TOLERANCE, 1e-6
        if expected.map.size == 1:
            mean, gradient = 4e-6, 1e-5
        check(x, y, expected, spec, mean=mean, map_=1e-5, gradient=gradient)


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
        check(x, y, expected, spec, map_=map_, gradient=gradient)
