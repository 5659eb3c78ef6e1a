"""Gradients that nobody uses are not computed.

To XLA a custom call is all or nothing; JAX asks our rule before. Programs are read as
text, and their results are those of the same programs with the dead code in.
"""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P
from programs import calls, instructions, ops_in

from jax_fused_ssim import (
    CUSTOM_CALL_TARGETS,
    build_info,
    fused_ssim,
    image_metrics,
    photometric_loss,
    primitives,
    sharded,
    ssim_terms,
)
from jax_fused_ssim.spec import Spec

SHAPE = (3, 2, 24, 26)
WEIGHT = jnp.float32(0.9)

whole_map = functools.partial(fused_ssim, reduction="none")


def pair(shape=SHAPE, dtype="float32"):
    return tuple(jnp.asarray(images.noise(shape, seed), dtype) for seed in (1, 2))


def on_one_device(x, y):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
    mean = jax.shard_map(
        lambda x, y: jax.lax.pmean(fused_ssim(x, y), "i"),
        mesh=mesh,
        in_specs=P("i"),
        out_specs=P(),
    )
    return mean(x, y)


def in_two_blocks(x, y):
    """`jax.vmap` plays the mesh axis."""
    x, y = (jnp.stack(jnp.split(a, 2, axis=-2)) for a in (x, y))
    mean = functools.partial(sharded.fused_ssim, height_axis="rows")
    return jax.vmap(mean, axis_name="rows")(x, y)[0]


def on_condition(x, y):
    return jax.lax.cond(x[0, 0, 0, 0] > 0, fused_ssim, lambda x, y: 0.0, x, y)


def with_terms(x, y):
    """Loss and terms: of both no gradient."""
    return photometric_loss(x, y, return_terms=True)


METRICS = {
    "mean": fused_ssim,
    "per image": functools.partial(fused_ssim, reduction="per_image"),
    "NHWC, valid": lambda x, y: fused_ssim(
        *(jnp.moveaxis(a, 1, -1) for a in (x, y)), "valid", data_format="NHWC"
    ),
    "map": whole_map,
    "of both images": lambda x, y: fused_ssim(x, x * y),
    "vmap": jax.vmap(fused_ssim),
    "vmap, one target": lambda x, y: jax.vmap(fused_ssim, (0, None))(x, y[0]),
    "jit": jax.jit(lambda x, y: fused_ssim(x, y)),
    "cond": on_condition,
    "loop": lambda x, y: jax.lax.map(lambda pair: fused_ssim(*pair), (x, y)),
    "shard_map": on_one_device,
    "sharded": in_two_blocks,
    "remat": jax.checkpoint(fused_ssim),
    "remat that saves": jax.checkpoint(
        fused_ssim, policy=jax.checkpoint_policies.everything_saveable
    ),
    "loss": photometric_loss,
    "loss per image": functools.partial(photometric_loss, reduction="per_image"),
    "loss with terms": with_terms,
    "loss, remat": jax.checkpoint(with_terms),
    "loss, vmap, one target": lambda x, y: jax.vmap(photometric_loss, (0, None))(
        x, y[0]
    ),
    "loss, valid": functools.partial(photometric_loss, padding="valid"),
    "metrics": image_metrics,
}


def loss_of(metric):
    """(loss, metric) of a model with one weight."""

    def loss(weight, x, y):
        z = weight * x
        return jnp.mean((z - y) ** 2), metric(z, y)

    return loss


def step_of(metric):
    """The same, and the gradient of the loss."""
    return jax.value_and_grad(loss_of(metric), has_aux=True)


def compiled(function, *args, **options):
    """A compiled program; with `keep_unused` JAX leaves dead code in, but for remat."""
    return jax.jit(function, **options).lower(*args).compile()


def assert_same_bits(found, expected):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(f, e)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_beside_a_loss(metric):
    step, args = step_of(METRICS[metric]), (WEIGHT, *pair())
    program = compiled(step, *args)
    op = "ssim_map" if metric == "map" else "ssim_sum"
    op = "loss_sum" if metric.startswith(("loss", "metrics")) else op
    assert set(ops_in(program.as_text())) == {op}
    dead_code_in = compiled(step, *args, keep_unused=True)
    if metric not in ("map", "metrics") and "remat" not in metric:
        assert set(ops_in(dead_code_in.as_text())) == {f"{op}_grad"}
    assert_same_bits(program(*args), dead_code_in(*args))


STEPS = {
    "remat of the loss": jax.value_and_grad(
        jax.checkpoint(loss_of(fused_ssim)), has_aux=True
    ),
    "jit of the step": jax.jit(step_of(fused_ssim)),
    "vmap of the step": jax.vmap(step_of(fused_ssim), (None, 0, 0)),
}


@pytest.mark.parametrize("step", STEPS)
def test_transformed_as_a_whole(step):
    program = compiled(STEPS[step], WEIGHT, *pair())
    assert ops_in(program.as_text()) == ["ssim_sum"]


def test_steps_in_a_scan():
    def train(weight, x, y):
        def body(weight, pair):
            values, gradient = step_of(fused_ssim)(weight, *pair)
            return weight - 0.1 * gradient, values

        return jax.lax.scan(body, weight, (x, y))

    args = (WEIGHT, *pair())
    program = compiled(train, *args)
    assert set(ops_in(program.as_text())) == {"ssim_sum"}
    dead_code_in = compiled(train, *args, keep_unused=True)
    assert set(ops_in(dead_code_in.as_text())) == {"ssim_sum_grad"}
    assert_same_bits(program(*args), dead_code_in(*args))


@pytest.mark.parametrize("remat", [False, True])
def test_gradient_through_a_scan(remat):
    """A rollout that logs the SSIM of every step."""

    def rollout(weight, x, y):
        def body(state, pair):
            z = weight * state * pair[0]
            loss = jnp.mean((z - pair[1]) ** 2)
            return state + 0.01 * loss, (loss, fused_ssim(z, pair[1]))

        body = jax.checkpoint(body) if remat else body
        _, (losses, metrics) = jax.lax.scan(body, jnp.float32(1), (x, y))
        return losses.sum(), metrics

    step, args = jax.value_and_grad(rollout, has_aux=True), (WEIGHT, *pair())
    program = compiled(step, *args)
    assert set(ops_in(program.as_text())) == {"ssim_sum"}
    (_, found), _ = program(*args)
    (_, expected), _ = step(*args)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_steps_in_a_while_loop(remat):
    """JAX looks for dead code there from 0.12 on; `jax.checkpoint` does for its own."""
    metric = jax.checkpoint(fused_ssim) if remat else fused_ssim

    def train(weight, x, y, steps):
        def body(_, state):
            (_, value), gradient = step_of(metric)(state[0], x, y)
            return state[0] - 0.1 * gradient, value

        return jax.lax.fori_loop(0, steps, body, (weight, jnp.float32(0)))

    program = compiled(train, WEIGHT, *pair(), jnp.int32(3))
    dropped = remat or jax.__version_info__ >= (0, 12)
    expected = "ssim_sum" if dropped else "ssim_sum_grad"
    assert set(ops_in(program.as_text())) == {expected}


def test_sharded_exchanges_nothing_for_a_gradient():
    mesh = AbstractMesh((4,), ("rows",), axis_types=(AxisType.Auto,))
    cut = P(None, None, "rows")
    mean = jax.shard_map(
        functools.partial(sharded.fused_ssim, height_axis="rows"),
        mesh=mesh,
        in_specs=cut,
        out_specs=P(),
    )
    image = jax.ShapeDtypeStruct((2, 3, 48, 18), "float32")
    traced = jax.jit(step_of(mean)).trace(WEIGHT, image, image)
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert ops_in(text) == ["ssim_sum"] * 2
    assert text.count("stablehlo.collective_permute") == 4  # the ends of two images


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_export(platform):
    checks = [export.DisabledSafetyCheck.custom_call(t) for t in CUSTOM_CALL_TARGETS]
    step = export.export(
        jax.jit(step_of(fused_ssim)), platforms=[platform], disabled_checks=checks
    )(WEIGHT, *pair())
    built = platform in build_info()["platforms"]
    assert ops_in(step.mlir_module()) == ["ssim_sum"] * built


def dissimilarity(x, y):
    value = fused_ssim(x, y)
    return 1 - value, value


@pytest.mark.parametrize(
    ("function", "op"),
    [(dissimilarity, "ssim_sum_grad"), (with_terms, "loss_sum_grad")],
)
def test_a_loss_that_is_used_runs_once(function, op):
    def loss(weight, x, y):
        return function(weight * x, y)

    args = (WEIGHT, *pair())
    step = jax.value_and_grad(loss, has_aux=True)
    assert ops_in(compiled(step, *args).as_text()) == [op]
    gradient = jax.grad(loss, has_aux=True)
    without_value = compiled(lambda *args: gradient(*args)[0], *args)
    assert ops_in(without_value.as_text()) == [op]
    assert_same_bits(without_value(*args), compiled(step, *args)(*args)[1])


LAYOUTS = {
    "NCHW": ((2, 3, 24, 26), {}),
    "NHWC": ((2, 24, 26, 3), {"data_format": "NHWC", "padding": "valid"}),
}


@pytest.mark.parametrize("used", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("one_target", [False, True])
@pytest.mark.parametrize(
    ("function", "op"),
    [(fused_ssim, "ssim_sum_grad"), (photometric_loss, "loss_sum_grad")],
)
def test_one_of_both_gradients(function, op, one_target, layout, used):
    """The second one by the kernel of the first, on the images swapped."""
    shape, options = LAYOUTS[layout]
    x, y = pair(shape)
    y = y[0] if one_target else y

    def mean(x, y):
        mapped = jax.vmap(
            functools.partial(function, **options), (0, None if one_target else 0)
        )
        return mapped(x, y).sum()

    def one(x, y):
        value, gradients = jax.value_and_grad(mean, (0, 1))(x, y)
        return value, gradients[used]

    found = instructions(one, x, y)
    assert calls(found) == [f"jax_fused_ssim_{op}"]
    (results,) = (shapes for opcode, shapes, _ in found if opcode == "custom-call")
    assert sum(np.prod(s) >= np.prod(shape) for s in results) == 1
    program = compiled(one, x, y)
    assert_same_bits(program(x, y), jax.jit(jax.value_and_grad(mean, used))(x, y))
    with_both = compiled(one, x, y, keep_unused=True)
    value, gradient = with_both(x, y)
    assert_same_bits(program(x, y)[0], value)
    np.testing.assert_allclose(
        program(x, y)[1], gradient, atol=1e-5 * abs(gradient).max()
    )


@pytest.mark.parametrize("used", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_of_both_gradients_of_the_map(layout, used):
    shape, options = LAYOUTS[layout]
    x, y = pair(shape)
    full = functools.partial(whole_map, **options)
    cotangent = jnp.cos(full(x, y))

    def one(x, y, cotangent):
        return jax.vjp(full, x, y)[1](cotangent)[used]

    def alone(x, y, cotangent):
        if used:
            return jax.vjp(lambda y: full(x, y), y)[1](cotangent)[0]
        return jax.vjp(lambda x: full(x, y), x)[1](cotangent)[0]

    found = instructions(one, x, y, cotangent)
    assert calls(found) == ["jax_fused_ssim_ssim_map_grad"]
    (results,) = (shapes for opcode, shapes, _ in found if opcode == "custom-call")
    assert [s for s in results if np.prod(s) >= np.prod(shape)] == [shape]
    args = (x, y, cotangent)
    assert_same_bits(compiled(one, *args)(*args), compiled(alone, *args)(*args))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_factor_of_both(layout):
    shape, options = LAYOUTS[layout]
    x, y = pair(shape)
    both = functools.partial(ssim_terms, reduction="none", **options)
    program = compiled(both, x, y)
    assert ops_in(program.as_text()) == ["ssim_factor_maps"]
    maps = program(x, y)
    for i, each in enumerate(maps):
        program = compiled(lambda x, y, i=i: both(x, y)[i], x, y)
        assert ops_in(program.as_text()) == ["ssim_map"]
        np.testing.assert_allclose(program(x, y), each, atol=1e-6)

    def gradient(x, y):
        return jax.grad(lambda x: (both(x, y).luminance ** 2).sum())(x)

    ops = ops_in(compiled(gradient, x, y).as_text())
    assert sorted(ops) == ["ssim_map", "ssim_map_grad"]


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("mean", "ssim_sum"),
        ("per image", "ssim_sum"),
        ("map", "ssim_map"),
        ("loss with terms", "loss_sum"),
        ("metrics", "loss_sum"),
    ],
)
def test_tangent_that_nobody_uses(name, op):
    function = METRICS[name]
    x, y = pair()
    program = compiled(lambda x, y: jax.jvp(function, (x, y), (y, x))[0], x, y)
    assert ops_in(program.as_text()) == [op]
    assert_same_bits(program(x, y), function(x, y))


def test_result_that_nobody_uses():
    def function(x, y):
        unused = []  # for JAX to find: it does not record what is gone while it traces
        for f in (fused_ssim, whole_map, photometric_loss):
            unused += jax.vjp(f, x, y)[1](f(x, y))
            unused += jax.jvp(f, (x, y), (y, x))
        both = {"spec": Spec(), "wrt": (True, True)}
        unused += primitives.ssim_sum_grad_p.bind(x, y, **both)
        unused += primitives.loss_sum_grad_p.bind(x, y, **both)
        unused += primitives.ssim_map_grad_p.bind(x, y, x, **both)
        unused += primitives.ssim_factor_maps_p.bind(x, y, spec=Spec())
        return x + y

    assert ops_in(jax.jit(function).lower(*pair()).as_text()) == []


@pytest.mark.parametrize("function", [fused_ssim, photometric_loss])
def test_derivative_of_a_step_in_its_metric(function):
    """Of the op whose gradient remat has dropped; it has its derivative rule still."""
    x, y = pair((1, 1, 12, 13))
    step = step_of(jax.checkpoint(function))
    found = jax.jit(jax.grad(lambda weight: step(weight, x, y)[0][1]))(WEIGHT)
    expected = jax.grad(lambda weight: function(weight * x, y))(WEIGHT)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
