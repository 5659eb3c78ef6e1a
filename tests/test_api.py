"""The public function: what it accepts, what it returns, what it refuses."""

import inspect

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jax_fused_ssim import build_info, fused_ssim
from jax_fused_ssim.ssim import Keywords

X, Y = (images.noise((2, 3, 24, 31), seed).astype(np.float32) for seed in (1, 2))


def exact_map(x, y, **options):
    return reference.ssim_map(x, y, **options).astype(np.float64)


@pytest.mark.parametrize("implementation", [None, "fused", "xla"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_reductions(data_format, padding, implementation):
    padded = padding == "same"
    expected = exact_map(X, Y, padding=(padded, padded))
    last = data_format == "NHWC"
    x, y = (reference.unplanes(a, last) for a in (X, Y))
    options = {"data_format": data_format, "implementation": implementation}
    mean = fused_ssim(x, y, padding, **options)
    assert mean.shape == ()
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, expected.mean(), atol=1e-7)
    per_image = fused_ssim(x, y, padding, reduction="per_image", **options)
    assert per_image.dtype == jnp.float32
    np.testing.assert_allclose(per_image, expected.mean((1, 2, 3)), atol=1e-7)
    full = fused_ssim(x, y, padding, reduction="none", **options)
    assert full.dtype == jnp.float32
    np.testing.assert_allclose(
        full, reference.unplanes(expected, last), atol=1e-5, strict=False
    )


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (1, 2, 2)])
def test_any_number_of_leading_dimensions(leading):
    x, y = (images.noise((*leading, 3, 12, 13), s).astype(np.float32) for s in (3, 4))
    expected = exact_map(x, y)
    assert fused_ssim(x, y).shape == ()
    per_image = fused_ssim(x, y, reduction="per_image")
    assert per_image.shape == leading
    np.testing.assert_allclose(per_image, expected.mean((-3, -2, -1)), atol=1e-7)
    assert fused_ssim(x, y, reduction="none").shape == x.shape


def test_constants():
    expected = exact_map(X, Y, data_range=3.0, k1=0.03, k2=0.1).mean()
    found = fused_ssim(X, Y, data_range=3, k1=np.float32(0.03), k2=0.1)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_data_range_scales():
    small = fused_ssim(X, Y)
    large = fused_ssim(255 * X, 255 * Y, data_range=255)
    np.testing.assert_allclose(small, large, atol=2e-7)


@pytest.mark.parametrize(
    ("dtypes", "mean", "full"),
    [
        (("float32", "float32"), "float32", "float32"),
        (("float16", "float16"), "float32", "float16"),
        (("bfloat16", "bfloat16"), "float32", "bfloat16"),
        (("float16", "bfloat16"), "float32", "float32"),
        (("bfloat16", "float32"), "float32", "float32"),
        (("float64", "float64"), "float64", "float64"),
        (("float64", "float16"), "float64", "float64"),
    ],
)
def test_promotion(dtypes, mean, full):
    with jax.enable_x64("float64" in dtypes):
        x, y = (jnp.asarray(a, d) for a, d in zip((X, Y), dtypes, strict=True))
        assert fused_ssim(x, y).dtype == mean
        assert fused_ssim(x, y, reduction="per_image").dtype == mean
        assert fused_ssim(x, y, reduction="none").dtype == full
        grads = jax.grad(fused_ssim, (0, 1))(x, y)
        assert [g.dtype for g in grads] == list(dtypes)


def test_float64_arrays_without_x64():
    assert fused_ssim(X.astype(np.float64), Y.astype(np.float64)).dtype == jnp.float32


def test_gradient_of_half_precision_does_not_underflow():
    """The gradient of a mean over many pixels is smaller than float16's least number;
    a scaled loss, as in mixed-precision training, must still see it."""
    x, y = (images.noise((3, 300, 400), s).astype(np.float16) for s in (1, 2))
    found = jax.grad(lambda a: 2.0**15 * fused_ssim(a, y))(x)
    expected = jax.grad(fused_ssim)(x.astype(np.float32), y.astype(np.float32))
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(found, 2.0**15 * expected, rtol=1e-3, atol=6e-8)


def test_train_false():
    assert fused_ssim(X, Y, "same", False) == fused_ssim(X, Y)
    with pytest.raises(TypeError, match="train=False"):
        jax.grad(lambda x: fused_ssim(x, Y, train=False))(X)
    with pytest.raises(TypeError):
        jax.jvp(lambda x: fused_ssim(x, Y, train=False), (X,), (X,))


def test_train_false_as_a_metric_beside_a_loss():
    def loss(x):
        return fused_ssim(x, Y), fused_ssim(x, Y, train=False, reduction="per_image")

    (value, metric), grad = jax.jit(jax.value_and_grad(loss, has_aux=True))(X)
    np.testing.assert_allclose(metric.mean(), value, atol=1e-7)
    assert np.abs(grad).max() > 0


def test_keywords_are_those_of_the_signature():
    """What other functions take by `Keywords` is what `fused_ssim` takes."""
    parameters = inspect.signature(fused_ssim).parameters.values()
    named = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert named == Keywords.__annotations__


def test_build_info():
    info = build_info()
    assert info["version"].count(".") == 2
    assert info["ffi_version"] >= (0, 3)
    assert "cpu" in info["platforms"]
    assert info["cpu_instruction_set"] in ("baseline", "avx2", "avx512")
    assert ("cuda" in info["platforms"]) == bool(info["cuda_architectures"])
    assert ("cuda" in info["platforms"]) == (info["cuda_version"] is not None)


Z = np.zeros((3, 16, 16), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "int32", lambda: fused_ssim(Z.astype(np.int32), Z)),
        (TypeError, "int32.*data_range", lambda: fused_ssim(Z, Z.astype(np.int32))),
        (TypeError, "bool", lambda: fused_ssim(Z.astype(bool), Z)),
        (TypeError, "complex64", lambda: fused_ssim(Z, Z.astype(np.complex64))),
        (TypeError, "'1'", lambda: fused_ssim(Z, Z, data_range="1")),
        (TypeError, "None", lambda: fused_ssim(Z, Z, k1=None)),
        (TypeError, "True", lambda: fused_ssim(Z, Z, k2=True)),
        (TypeError, "1j", lambda: fused_ssim(Z, Z, data_range=1j)),
        (
            TypeError,
            "k1 is static",
            lambda: jax.jit(lambda k: fused_ssim(Z, Z, k1=k))(0.01),
        ),
        (ValueError, r"2 dimensions: \(16, 16\)", lambda: fused_ssim(Z[0], Z[0])),
        (
            ValueError,
            r"\(3, 16, 16\) and \(3, 16, 15\)",
            lambda: fused_ssim(Z, Z[..., 1:]),
        ),
        (ValueError, r"\(3, 16, 16\) and \(1, 16, 16\)", lambda: fused_ssim(Z, Z[:1])),
        (ValueError, r"\(0, 16, 16\)", lambda: fused_ssim(Z[:0], Z[:0])),
        (ValueError, r"\(3, 0, 16\)", lambda: fused_ssim(Z[:, :0], Z[:, :0])),
        (
            ValueError,
            r"at least 11.*\(3, 10, 16\)",
            lambda: fused_ssim(Z[:, :10], Z[:, :10], "valid"),
        ),
        (
            ValueError,
            r"at least 11.*\(3, 16, 16\)",
            lambda: fused_ssim(Z, Z, "valid", data_format="NHWC"),
        ),
        (ValueError, "-1", lambda: fused_ssim(Z, Z, data_range=-1)),
        (ValueError, "inf", lambda: fused_ssim(Z, Z, data_range=float("inf"))),
        (ValueError, "nan", lambda: fused_ssim(Z, Z, k1=float("nan"))),
        (ValueError, "k2.*0", lambda: fused_ssim(Z, Z, k2=0)),
        (ValueError, "'constant'", lambda: fused_ssim(Z, Z, "constant")),
        (ValueError, "'HWC'", lambda: fused_ssim(Z, Z, data_format="HWC")),
        (ValueError, "'sum'", lambda: fused_ssim(Z, Z, reduction="sum")),
        (ValueError, "'cuda'", lambda: fused_ssim(Z, Z, implementation="cuda")),
        (ValueError, "got 3", lambda: fused_ssim(Z, Z, padding=3)),
    ],
)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_errors_come_while_tracing():
    with pytest.raises(ValueError, match="HWC"):
        jax.eval_shape(lambda x: fused_ssim(x, x, data_format="HWC"), Z)
