"""`jax.export`: for every platform from one machine, serialised, called again.

XLA does not know our custom calls, and exporting them needs
`DisabledSafetyCheck.custom_call` for `CUSTOM_CALL_TARGETS`.
"""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    _native,
    build_info,
    fused_ssim,
    image_metrics,
    photometric_loss,
)

CHECKS = [export.DisabledSafetyCheck.custom_call(t) for t in CUSTOM_CALL_TARGETS]
PLATFORMS = ("cpu", "cuda", "tpu")
SHAPE = (3, 12, 13)
FUNCTIONS = {
    "mean": fused_ssim,
    "per image": functools.partial(fused_ssim, reduction="per_image", padding="valid"),
    "map": functools.partial(fused_ssim, reduction="none"),
    "vmap": jax.vmap(fused_ssim),
    "gradients": jax.grad(fused_ssim, (0, 1)),
    "loss": functools.partial(photometric_loss, l2_weight=0.5),
    "loss per image": functools.partial(
        photometric_loss, reduction="per_image", padding="valid"
    ),
    "loss and gradients": jax.value_and_grad(photometric_loss, (0, 1)),
    "loss with terms": functools.partial(photometric_loss, return_terms=True),
    "metrics": functools.partial(image_metrics, padding="valid"),
}
# Those whose results have no derivative, or none that is wanted.
WITHOUT_VJP = ("gradients", "loss and gradients", "loss with terms", "metrics")


def exported(function, batch, platforms=PLATFORMS, checks=CHECKS):
    batch = export.symbolic_shape(batch) if isinstance(batch, str) else (batch,)
    image = jax.ShapeDtypeStruct((*batch, *SHAPE), "float32")
    return export.export(
        jax.jit(function), platforms=platforms, disabled_checks=checks
    )(image, image)


def pair(batch=4):
    return tuple(
        jnp.asarray(images.noise((batch, *SHAPE), s), "float32") for s in (1, 2)
    )


def test_targets_are_those_of_the_handlers():
    on_gpus_alone = {
        "jax_fused_ssim_halved",
        "jax_fused_ssim_ssim_sum_grad_halved",
    }
    for platform, handlers in _native.registrations().items():
        expected = set(CUSTOM_CALL_TARGETS)
        assert set(handlers) == expected - (on_gpus_alone - {*handlers})
        assert on_gpus_alone <= set(handlers) or platform == "cpu"


@pytest.mark.parametrize("batch", [4, "b"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_serialised_and_called_again(name, batch):
    function = FUNCTIONS[name]
    order = 0 if name in WITHOUT_VJP else 1
    data = exported(function, batch).serialize(vjp_order=order)
    again = export.deserialize(data)
    assert again.platforms == PLATFORMS
    sizes = (4, 7) if batch == "b" else (4,)
    for x, y in map(pair, sizes):
        results = jax.tree.leaves(again.call(x, y))
        for found, expected in zip(
            results, jax.tree.leaves(function(x, y)), strict=True
        ):
            # An exported program adds up its planes by itself, as devices may share
            # them: a unit in the last place of 1 - SSIM.
            np.testing.assert_allclose(found, expected, atol=2**-23)
        if order:
            found, expected = (
                jax.grad(lambda x, y, f=f: (f(x, y) ** 2).sum(), (0, 1))(x, y)
                for f in (again.call, function)
            )
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["mean", "loss", "loss per image", "metrics"])
def test_every_dimension_symbolic(name):
    """The pixels under the mean are counted where it is called."""
    image = jax.ShapeDtypeStruct(
        export.symbolic_shape("b, c, h, w", constraints=["h >= 11", "w >= 11"]),
        "float32",
    )
    function = FUNCTIONS[name]

    def value_and_gradients(x, y):
        if name == "metrics":
            return function(x, y)
        value, pull_back = jax.vjp(function, x, y)
        return value, pull_back(jnp.ones_like(value))

    again = export.export(jax.jit(value_and_gradients), disabled_checks=CHECKS)(
        image, image
    )
    x, y = pair()
    for found, expected in zip(
        jax.tree.leaves(again.call(x, y)),
        jax.tree.leaves(value_and_gradients(x, y)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_results_without_derivative_have_none_to_export():
    def in_a_list(x, y):
        return jax.tree.leaves(FUNCTIONS["loss with terms"](x, y))

    with pytest.raises(TypeError, match="terms of photometric_loss"):
        exported(in_a_list, 4).serialize(vjp_order=1)


def test_kernels_where_there_are_and_plain_jax_elsewhere():
    text = {p: exported(fused_ssim, 4, [p]).mlir_module() for p in PLATFORMS}
    call = f"custom_call @{CUSTOM_CALL_TARGETS[0]}("
    found = {p: call in t for p, t in text.items()}
    cuda = "cuda" in build_info()["platforms"]
    assert found == {"cpu": True, "cuda": cuda, "tpu": False}


def test_without_the_targets_it_is_refused():
    with pytest.raises(ValueError, match="jax_fused_ssim_ssim_sum"):
        exported(fused_ssim, 4, checks=[])
    exported(functools.partial(fused_ssim, implementation="xla"), 4, checks=[])
    exported(fused_ssim, 4, ["tpu"], checks=[])
