"""`photometric_loss` as it is called: its terms, its place in programs, mistakes."""

import functools
import inspect

import images
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from images import noise_pair
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from jax_fused_ssim import PhotometricTerms, photometric_loss
from jax_fused_ssim.photometric import LossKeywords

every_reduction = pytest.mark.parametrize("reduction", ["mean", "per_image"])
every_term = pytest.mark.parametrize("term", PhotometricTerms._fields)
every_dtype = pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64"]
)

# ---- Terms ---------------------------------------------------------------------------


def one_term(term, **options):
    def function(x, y):
        _, terms = photometric_loss(x, y, return_terms=True, **options)
        return getattr(terms, term).sum()

    return function


@every_reduction
@every_term
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)], ids=str)
def test_a_term_has_no_gradient(argnums, term, reduction):
    gradient = jax.grad(one_term(term, reduction=reduction), argnums)
    for function in (gradient, jax.jit(gradient), jax.checkpoint(gradient)):
        with pytest.raises(TypeError, match=r"terms of photometric_loss.*has_aux=True"):
            function(*noise_pair((2, 2, 12, 13)))


@every_reduction
@every_term
def test_a_term_has_the_tangent_zero(term, reduction):
    x, y = noise_pair((2, 2, 12, 13))
    function = one_term(term, reduction=reduction)
    value, tangent = jax.jit(lambda x, y: jax.jvp(function, (x, y), (y, x)))(x, y)
    np.testing.assert_allclose(value, function(x, y), rtol=2e-7)
    assert tangent == 0


@every_reduction
def test_terms_beside_the_loss_change_nothing(reduction):
    x, y = noise_pair((2, 2, 12, 13))
    loss = functools.partial(photometric_loss, reduction=reduction)

    def with_terms(x, y):
        value, terms = loss(x, y, return_terms=True)
        return value.sum(), terms

    def without(x, y):
        return loss(x, y).sum()

    for use in (lambda f: f, jax.jit, jax.checkpoint):
        (value, terms), gradient = use(jax.value_and_grad(with_terms, has_aux=True))(
            x, y
        )
        expected = use(jax.value_and_grad(without))(x, y)
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(gradient, expected[1])
        assert isinstance(terms, PhotometricTerms)
        assert terms.l1.shape == loss(x, y).shape


def test_terms_under_vmap_and_scan():
    x, y = noise_pair((3, 2, 12, 13))
    step = jax.value_and_grad(
        functools.partial(photometric_loss, return_terms=True), has_aux=True
    )
    expected = jax.tree.map(lambda *a: jnp.stack(a), *map(step, x, y))
    for found in (
        jax.vmap(step)(x, y),
        jax.lax.scan(lambda _, pair: (None, step(*pair)), None, (x, y))[1],
    ):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected
        )


# ---- In programs ---------------------------------------------------------------------


def test_second_derivative_beside_terms():
    x, y = noise_pair((1, 12, 13), "float64")
    v = x - 0.5

    def gradient(x):
        step = functools.partial(photometric_loss, l2_weight=0.5, return_terms=True)
        return jax.grad(step, has_aux=True)(x, y)[0]

    with jax.enable_x64(True):
        _, found = jax.jvp(gradient, (x,), (v,))
        up, down = (gradient(x + s * v) for s in (1e-6, -1e-6))
        expected = np.asarray(up - down) / 2e-6
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * abs(expected).max())


def test_terms_beside_the_loss_in_shard_map():
    """Under its checks of types. (What comes out: test_placement.py.)"""
    image = jax.ShapeDtypeStruct((8, 2, 12, 13), "float32")

    def loss(x, y):
        return jax.lax.pmean(photometric_loss(x, y, return_terms=True), "i")

    of_all = jax.shard_map(
        loss,
        mesh=AbstractMesh((4,), ("i",), axis_types=(AxisType.Auto,)),
        in_specs=P("i"),
        out_specs=P(),
    )
    step = jax.value_and_grad(of_all, has_aux=True)
    (value, terms), gradient = jax.eval_shape(step, image, image)
    assert value.shape == terms.l1.shape == ()
    assert gradient.shape == image.shape


@every_dtype
def test_an_optimiser_lowers_it(dtype):
    target = images.photograph("chelsea")[:, 40:104, 60:124]
    with jax.enable_x64(dtype == "float64"):
        target, image = (jnp.asarray(a, dtype) for a in (target, images.noisy(target)))
        optimizer = optax.sgd(100.0)  # per pixel the gradient is one of a mean

        @jax.jit
        def step(image, state):
            # A loss scale, as float16 needs it.
            loss, gradient = jax.value_and_grad(
                lambda image: 256 * photometric_loss(image, target)
            )(image)
            updates, state = optimizer.update(gradient / 256, state)
            return optax.apply_updates(image, updates), state, loss / 256

        state, losses = optimizer.init(image), []
        for _ in range(10):
            image, state, loss = step(image, state)
            losses.append(float(loss))
    assert image.dtype == dtype
    assert (np.diff(losses) < 0).all()
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("dtypes", "result"),
    [
        (("float16", "bfloat16"), "float32"),
        (("bfloat16", "float32"), "float32"),
        (("float64", "float16"), "float64"),
    ],
)
def test_promotion(dtypes, result):
    with jax.enable_x64("float64" in dtypes):
        x, y = map(jnp.asarray, noise_pair((2, 12, 13)), dtypes)
        value, terms = photometric_loss(x, y, return_terms=True)
        assert {a.dtype.name for a in (value, *terms)} == {result}
        gradients = jax.grad(photometric_loss, (0, 1))(x, y)
        assert [g.dtype for g in gradients] == list(dtypes)


# ---- Mistakes ------------------------------------------------------------------------

Z = np.zeros((3, 16, 16), np.float32)


@pytest.mark.parametrize("name", ["ssim_weight", "l1_weight", "l2_weight"])
@pytest.mark.parametrize(
    ("error", "message", "value"),
    [
        (ValueError, "finite; got nan", np.nan),
        (ValueError, "finite; got inf", np.inf),
        (ValueError, "finite; got -inf", -np.inf),
        (TypeError, r"one number; got .*\(2,\)", np.ones(2)),
        (TypeError, "a real number; got '1'", "1"),
        (TypeError, "a real number; got True", True),
        (TypeError, "a real number; got 1j", 1j),
    ],
    ids=repr,
)
def test_a_weight_that_is_none(error, message, value, name):
    with pytest.raises(error, match=f"{name} must be {message}"):
        photometric_loss(Z, Z, **{name: value})


@pytest.mark.parametrize("name", ["ssim_weight", "l1_weight", "l2_weight"])
@pytest.mark.parametrize("use", [jax.jit, jax.grad])
def test_a_traced_weight(use, name):
    with pytest.raises(TypeError, match=f"{name} is static and cannot be traced"):
        use(lambda weight: photometric_loss(Z, Z, **{name: weight}))(0.5)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "predictions.*int32", lambda: photometric_loss(np.int32(Z), Z)),
        (TypeError, "targets.*bool", lambda: photometric_loss(Z, Z > 0)),
        (TypeError, "targets.*complex64", lambda: photometric_loss(Z, 1j * Z)),
        (
            ValueError,
            r"predictions and targets .*\(3, 16, 16\) and \(3, 16, 15\)",
            lambda: photometric_loss(Z, Z[..., 1:]),
        ),
        (ValueError, r"2 dimensions: \(16, 16\)", lambda: photometric_loss(Z[0], Z[0])),
        (ValueError, r"\(0, 16, 16\)", lambda: photometric_loss(Z[:0], Z[:0])),
        (
            ValueError,
            r"at least 11.*\(3, 10, 16\)",
            lambda: photometric_loss(Z[:, :10], Z[:, :10], padding="valid"),
        ),
        (
            ValueError,
            'reduction.*"per_channel"; a loss has no more.*fused_ssim',
            lambda: photometric_loss(Z, Z, reduction="none"),
        ),
        (
            ValueError,
            "reduction.*'sum'",
            lambda: photometric_loss(Z, Z, reduction="sum"),
        ),
        (
            ValueError,
            "error_region must be one of 'image', 'map'; got 'crop'",
            lambda: photometric_loss(Z, Z, error_region="crop"),
        ),
        (ValueError, "'full'", lambda: photometric_loss(Z, Z, padding="full")),
        (ValueError, "'HWC'", lambda: photometric_loss(Z, Z, data_format="HWC")),
        (ValueError, "'cuda'", lambda: photometric_loss(Z, Z, implementation="cuda")),
        (ValueError, "data_range.*-1", lambda: photometric_loss(Z, Z, data_range=-1)),
        (TypeError, "window", lambda: photometric_loss(Z, Z, window=3)),
        (TypeError, "positional", lambda: photometric_loss(Z, Z, "valid")),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_keywords_are_those_of_the_signature():
    """What its types say by `LossKeywords` is what it takes."""
    parameters = inspect.signature(photometric_loss).parameters.values()
    named = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert named.pop("return_terms") is bool
    assert named == LossKeywords.__annotations__
