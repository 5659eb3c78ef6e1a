"""Every op held against the reference, within the promised tolerances.

The tolerances are promises to users: relative to the exact result of the given pixels,
before the rounding of the result to its dtype.
"""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import reference
from ops_table import OPS, holes, loss_weights
from reference import relative

MEAN_TOLERANCE = 5e-8
WEIGHTS = (0.3, 0.6, -0.5)  # in the gradients: of 1 - SSIM, |d| and d^2


class Expected:
    """The reference's results for one pair of arrays [..., C, H, W]."""

    def __init__(self, x, y, crop=(True, True), **options):
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
        padding = options.get("padding", (True, True))
        self.crop = [c and not p for c, p in zip(crop, padding, strict=True)]
        data_range = options.get("data_range", 1)
        self.of = of = options.get("of", reference.WINDOW)
        self.errors = reference.errors(x, y, self.crop, data_range, of)
        _, *error_weights = WEIGHTS
        self.error_grads = [
            reference.error_gradient(*pair, *error_weights, self.crop, data_range, of)
            for pair in ((x, y), (y, x))
        ]
        self.of_weights = functools.cache(self._of_weights)

    def _of_weights(self, spec, weighting):
        """Terms and gradients of a loss under weights, or of spec None without."""
        real = self.map.dtype.type
        of_map, of_errors, scales = 1, 1, (1, 1)
        similarity = self.similarity
        if weighting == "normalized":
            similarity = self.similarity_of_seen(spec.channels_last)
        if spec:
            cotangent = jnp.asarray(
                reference.unplanes(self.cotangent, spec.channels_last)
            )
            weights = loss_weights(cotangent, spec, weighting)
            scales = np.asarray(weights.scales, real).ravel()
            of_map, of_errors = (
                scales[2] * reference.planes(np.asarray(w, real), spec.channels_last)
                for w in weights[:2]
            )
            uncovered = [not p for p in spec.padding]
            of_map = reference._where_counted(of_map, uncovered, self.of)
        counted = of_errors * np.ones_like(self.error_grads[0])
        counted = reference._where_counted(counted, self.crop, self.of)
        terms = [
            *(scales[1] * counted * e for e in self.errors),
            scales[0] * of_map * (1 - similarity.map),
        ]
        factor = -real(WEIGHTS[0]) * scales[0] / self.map.size
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
        return (self.terms(op, spec) @ np.array(weights, self.map.dtype)).mean()

    def maps(self, op):
        """What an op without gradients is to give besides a loss and its terms."""
        exact = self.similarity
        if op.factors:
            return [exact.a1 / exact.b1, exact.a2 / exact.b2]
        return [self.map] * op.images

    def gradients(self, op, spec):
        """What the op is to give."""
        grads = self.map_grads
        if op.loss:
            _, both = self.of_weights(spec if op.weights else None, op.weighting)
            grads = [g + e if op.errors else g for g, e in both]
        return [grad for grad, asked in zip(grads, op.wrt, strict=True) if asked]


def _every_op(x, y, cotangent, spec):
    plain = spec.plain()  # a cotangent is the only weight beside it
    return {
        name: op(x, y, cotangent, plain if op.cotangent else spec)
        for name, op in OPS.items()
    }


quickly = jax.jit(_every_op, static_argnums=3)
# How plain JAX rounds depends on the optimisation.
as_users_compile = jax.jit(
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
    compiled=quickly,
):
    """Runs every op and compares."""
    last = spec.channels_last
    arrays = [
        jnp.asarray(reference.unplanes(a, last)) for a in (x, y, expected.cotangent)
    ]

    def planes(a):
        return reference.planes(np.asarray(a).astype(expected.map.dtype), last)

    count, error_count = expected.map.size, expected.errors[0].size
    scaled = spec.with_scales(1 / count, 1 / error_count).with_weights(*WEIGHTS)
    for name, results in compiled(*arrays, scaled).items():
        op = OPS[name]
        # On a GPU an error is known to half of a quantum of some 2^-22 data ranges.
        quantum = 2**-23 if jax.default_backend() == "gpu" and op.errors else 0
        if op.loss:
            total = np.asarray(results.pop(0), np.float64).sum()
            assert abs(total - expected.loss(op, spec)) < mean + quantum, name
        if op.errors:
            exact = expected.terms(op, spec)
            found = np.asarray(results.pop(0))
            assert found.shape == exact.shape
            error = found.astype(exact.dtype) * (exact.size // 3) - exact
            assert np.abs(error[..., :2]).max() < mean + quantum, name
            # Of one plane alone fewer of its pixels' errors cancel.
            assert np.abs(error[..., 2].mean()) < mean, name
        if not op.wrt:
            for found, exact in zip(results, expected.maps(op), strict=True):
                error = np.abs(planes(found) - exact)
                allowed = map_ + half_ulp * np.abs(exact)
                assert (error <= allowed).all(), (name, error.max())
            continue
        for found, exact in zip(results, expected.gradients(op, spec), strict=True):
            rounding = half_ulp if found.dtype == jnp.bfloat16 else 0
            # The statistics of few pixels multiply the rounding of what they are of.
            allowed = 2 * gradient if op.leaves_out else gradient
            assert relative(planes(found), exact, rounding) < allowed, name
