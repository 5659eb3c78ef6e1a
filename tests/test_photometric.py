"""`photometric_loss`: value, terms and gradients against the published formula in
extended precision and against other libraries.

Unusual pixels are in test_photometric_edges.py. Each of its ops is in test_accuracy.py
too, its transformations are in test_transforms.py.
"""

import functools

import dm_pix
import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from exact_loss import REAL, WEIGHTS, Exact, every_dtype, every_format
from images import noise_pair
from implementations import implementations
from reference import relative

from jax_fused_ssim import fused_ssim, photometric_loss

slow = pytest.mark.slow
# With padding "same" both are the image.
REGIONS = [("same", "image"), ("valid", "image"), ("valid", "map")]
every_region = pytest.mark.parametrize(("padding", "error_region"), REGIONS)


def photographs():
    """Two pieces of one, and the same with noise."""
    x = np.stack(
        [images.photograph("chelsea")[:, k : k + 56, k : k + 73] for k in (9, 99)]
    )
    return x, images.noisy(x)


PAIRS = {
    "noise": lambda: noise_pair((2, 3, 41, 53), "float64"),
    "photographs": photographs,
}


@functools.cache
def exact_of_pair(name, dtype, **options):
    """A pair as it is in a dtype, and what is right for it."""
    x, y = (np.asarray(jnp.asarray(a, dtype)) for a in PAIRS[name]())
    return x, y, Exact(x.astype(REAL), y.astype(REAL), **options)


# By arithmetic: the largest errors of a term, of a loss, which in float32 adds up three
# products, each rounded, and of a gradient.
TOLERANCES = {"float32": (5e-8, 1.2e-7, 2e-6), "float64": (1e-13, 1e-13, 1e-11)}


@implementations
@every_format
@every_region
@every_dtype
@pytest.mark.parametrize("name", PAIRS)
def test_value_terms_and_gradients(
    name, dtype, padding, error_region, data_format, implementation
):
    options = {"padding": padding, "error_region": error_region, **WEIGHTS}
    last, half = data_format == "NHWC", dtype in ("float16", "bfloat16")
    of_term, of_loss, of_gradient = TOLERANCES["float32" if half else dtype]
    if implementation == "xla" and jax.default_backend() == "gpu":
        of_term *= 1.2  # XLA fuses and rounds another way there.
    # Without it, as in training, float16 gradients would have few digits.
    scale = 2.0**12 if dtype == "float16" else 1.0

    def loss(x, y):
        value, terms = photometric_loss(
            x,
            y,
            return_terms=True,
            data_format=data_format,
            implementation=implementation,
            **options,
        )
        return scale * value, terms

    @jax.jit
    def everything(x, y):
        gradients = (
            jax.value_and_grad(loss, argnums, has_aux=True)(x, y)
            for argnums in ((0, 1), 0, 1)
        )
        return [*gradients], loss(x, y)

    with jax.enable_x64(dtype == "float64"):
        x, y, exact = exact_of_pair(name, dtype, **options)
        x, y = (jnp.asarray(reference.unplanes(a, last)) for a in (x, y))
        ((*results, both), *alone), without_gradient = everything(x, y)
    for value, terms in (*results, without_gradient):
        assert abs(REAL(value) / scale - exact.losses.mean()) < of_loss
        for term, right in zip(terms, exact.terms, strict=True):
            assert abs(REAL(term) - right.mean()) < of_term
    gradients = [*both, *(gradient for _, gradient in alone)]
    half_ulp = float(jnp.finfo(dtype).eps) / 2 if half else 0.0
    for found, right in zip(gradients, 2 * exact.gradients, strict=True):
        assert found.dtype == dtype
        found = reference.planes(np.asarray(found).astype(REAL), last)
        assert relative(found, scale * right / len(x), half_ulp) < of_gradient


@implementations
@every_format
@every_region
@pytest.mark.parametrize("leading", [(), (3,), (2, 2)], ids=str)
def test_per_image(leading, padding, error_region, data_format, implementation):
    options = {"padding": padding, "error_region": error_region, **WEIGHTS}
    last = data_format == "NHWC"
    x, y = noise_pair((*leading, 2, 14, 17))
    exact = Exact(x, y, **options)

    def loss(x, y):
        return photometric_loss(
            x,
            y,
            reduction="per_image",
            return_terms=True,
            data_format=data_format,
            implementation=implementation,
            **options,
        )

    x, y = (reference.unplanes(a, last) for a in (x, y))
    losses, pull_back, terms = jax.vjp(loss, x, y, has_aux=True)
    for found, right in zip(
        (losses, *terms), (exact.losses, *exact.terms), strict=True
    ):
        assert found.shape == leading
        assert found.dtype == np.float32
        # Of a few hundred pixels the roundings average out less.
        np.testing.assert_allclose(found, right.astype(float), rtol=0, atol=2e-7)
    cotangent = np.cos(np.arange(losses.size, dtype=np.float32)).reshape(leading)
    for found, right in zip(pull_back(cotangent), exact.gradients, strict=True):
        found = reference.planes(np.asarray(found), last)
        assert relative(found, cotangent[..., None, None, None] * right) < 1e-6


@implementations
@every_format
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "padding", "error_region"),
    [
        (shape, *region)
        for shape in [(1, 1, 1), (2, 1, 37), (3, 3, 7), (1, 10, 11), (5, 33, 65)]
        for region in REGIONS
        if region[0] == "same" or min(shape[-2:]) > 10
    ]
    + [((1, 11, 11), *region) for region in REGIONS]
    + [((2, 12, 300), *region) for region in REGIONS],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:images are read as")
def test_shapes(shape, padding, error_region, dtype, data_format, implementation):
    """Odd sides, sides below the window's, one pixel; another data range."""
    options = {"padding": padding, "error_region": error_region, "data_range": 0.7}
    options.update(WEIGHTS)
    last = data_format == "NHWC"
    x, y = noise_pair(shape, dtype)
    exact = Exact(x, y, **options)
    with jax.enable_x64(dtype == "float64"):
        value, gradients = jax.value_and_grad(
            functools.partial(
                photometric_loss,
                data_format=data_format,
                implementation=implementation,
                **options,
            ),
            (0, 1),
        )(*(reference.unplanes(a, last) for a in (x, y)))
    # Over one pixel no rounding averages out.
    *_, of_loss, of_gradient = TOLERANCES[dtype]
    assert abs(REAL(value) - exact.losses) < (of_loss if x.size > 100 else 5 * of_loss)
    for found, right in zip(gradients, exact.gradients, strict=True):
        assert relative(reference.planes(np.asarray(found), last), right) < of_gradient


@implementations
@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"ssim_weight": 0},
        {"ssim_weight": 1},
        {"l1_weight": 0, "l2_weight": 1},
        {"ssim_weight": 0.0, "l1_weight": 0.0, "l2_weight": 3.0},
        {"ssim_weight": 1.7},  # l1_weight is -0.7
        {"ssim_weight": -0.5, "l1_weight": 0.3, "l2_weight": -2},
    ],
    ids=str,
)
def test_weights(weights, implementation):
    x, y = noise_pair((1, 2, 20, 23))
    exact = Exact(x, y, **weights)
    value, gradients = jax.value_and_grad(
        functools.partial(photometric_loss, implementation=implementation, **weights),
        (0, 1),
    )(x, y)
    assert abs(REAL(value) - exact.losses[0]) < 2e-7
    for found, right in zip(gradients, exact.gradients, strict=True):
        assert relative(found, right) < 1e-6


@implementations
def test_without_any_weight_there_is_no_loss(implementation):
    value, gradients = jax.value_and_grad(
        functools.partial(
            photometric_loss,
            ssim_weight=0,
            l1_weight=0,
            implementation=implementation,
        ),
        (0, 1),
    )(*noise_pair((2, 12, 13)))
    assert value == 0
    assert not np.any(gradients)


@pytest.mark.parametrize("name", ["ssim_weight", "l1_weight", "l2_weight"])
@pytest.mark.parametrize(
    "number",
    [np.float32(0.25), np.float64(0.25), np.array(0.25), jnp.asarray(0.25)],
    ids=repr,
)
def test_a_weight_in_any_form(number, name):
    x, y = noise_pair((2, 12, 13))
    found, expected = (photometric_loss(x, y, **{name: w}) for w in (number, 0.25))
    assert found == expected


@implementations
@pytest.mark.parametrize("data_range", [1, 255, 0.7])
def test_data_range(data_range, implementation):
    x, y = (np.float32(data_range) * a for a in noise_pair((2, 3, 20, 23)))
    exact = Exact(x, y, data_range=data_range, **WEIGHTS)
    value, gradients = jax.value_and_grad(
        functools.partial(
            photometric_loss,
            data_range=data_range,
            implementation=implementation,
            **WEIGHTS,
        ),
        (0, 1),
    )(x, y)
    assert abs(REAL(value) - exact.losses.mean()) < 2e-7
    for found, right in zip(gradients, exact.gradients, strict=True):
        assert relative(found, right / 2) < 1e-6


@implementations
@pytest.mark.parametrize("channels", [1, 3])
def test_as_composed_with_dm_pix(channels, implementation):
    """0.8 L1 + 0.2 (1 - SSIM) as JAX users write it, differentiated by JAX."""
    x = np.moveaxis(images.photograph("chelsea")[:channels, 9:65, 9:82], 0, -1)
    y = images.noisy(x)

    def composed(x, y):
        return 0.8 * jnp.mean(jnp.abs(x - y)) + 0.2 * (1 - dm_pix.ssim(x, y))

    loss = functools.partial(
        photometric_loss,
        padding="valid",
        data_format="NHWC",
        implementation=implementation,
    )
    with jax.enable_x64(True):
        expected, found = (
            jax.jit(jax.value_and_grad(f, (0, 1)))(x, y) for f in (composed, loss)
        )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    for a, b in zip(found[1], map(np.asarray, expected[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * abs(b).max())


@implementations
@pytest.mark.parametrize(("padding", "error_region"), REGIONS)
def test_as_composed_with_our_ssim(implementation, padding, error_region):
    x, y = noise_pair((2, 3, 20, 23), "float64")
    options = {"padding": padding, "implementation": implementation}

    def composed(x, y):
        ssim = fused_ssim(x, y, **options)
        d = x - y if error_region == "image" else (x - y)[..., 5:-5, 5:-5]
        return 0.3 * (1 - ssim) + 0.6 * jnp.abs(d).mean() + 0.5 * (d**2).mean()

    loss = functools.partial(
        photometric_loss, error_region=error_region, **options, **WEIGHTS
    )
    with jax.enable_x64(True):
        expected, found = (
            jax.value_and_grad(f, (0, 1))(x, y) for f in (composed, loss)
        )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    for a, b in zip(found[1], map(np.asarray, expected[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * abs(b).max())
