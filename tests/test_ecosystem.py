"""`fused_ssim` as a loss in the libraries that JAX users train with.

The model is a gain, and the target half of its input: SSIM is 1 at a gain of 0.5 and
nowhere else. Each library must find it, with the gradients of plain finite differences.
"""

import chex
import equinox as eqx
import images
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from absl.testing import parameterized
from flax import linen, nnx
from flax.training.train_state import TrainState

from jax_fused_ssim import fused_ssim

pytestmark = pytest.mark.slow
INPUT = jnp.asarray(np.moveaxis(images.noise((2, 3, 16, 18)), 1, -1), "float32")
TARGET = 0.5 * INPUT
START, GOAL = 0.8, 0.5
OPTIMIZER = optax.adam(0.05)
STEPS = 60


def loss_of(output):
    return 1 - fused_ssim(output, TARGET, data_format="NHWC")


def slope(gain):
    """Derivative of the loss in the gain, by finite differences in float64."""
    x = np.asarray(INPUT, np.float64)
    with jax.enable_x64(True):
        up, down = (
            1 - fused_ssim(g * x, 0.5 * x, data_format="NHWC")
            for g in (gain + 1e-5, gain - 1e-5)
        )
        return float(up - down) / 2e-5


def test_flax_nnx():
    class Gain(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.asarray(START))

        def __call__(self, x):
            return self.gain * x

    model = Gain()
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: loss_of(m(INPUT)))(model)
        optimizer.update(model, grads)
        return loss, grads

    _, grads = step(model, optimizer)
    np.testing.assert_allclose(grads["gain"][...], slope(START), rtol=1e-5)
    for _ in range(STEPS):
        step(model, optimizer)
    np.testing.assert_allclose(model.gain[...], GOAL, atol=0.01)


class LinenGain(linen.Module):
    @linen.compact
    def __call__(self, x):
        return self.param("gain", lambda _: jnp.asarray(START)) * x


def linen_state():
    model = LinenGain()
    params = model.init(jax.random.key(0), INPUT)
    return TrainState.create(apply_fn=model.apply, params=params, tx=OPTIMIZER)


@jax.jit
def linen_step(state):
    def loss(params):
        # What linen lifts must be transparent to the rules of the op.
        return loss_of(state.apply_fn(params, INPUT))

    value, grads = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=grads), value, grads


def test_flax_linen():
    state, _, grads = linen_step(linen_state())
    np.testing.assert_allclose(grads["params"]["gain"], slope(START), rtol=1e-5)
    for _ in range(STEPS):
        state, *_ = linen_step(state)
    np.testing.assert_allclose(state.params["params"]["gain"], GOAL, atol=0.01)


def test_flax_linen_lifted_transformations():
    """The loss inside a module, under linen's own remat and vmap."""

    class Loss(linen.Module):
        @linen.compact
        def __call__(self, x, y):
            return 1 - fused_ssim(LinenGain()(x), y, data_format="NHWC")

    lifted = linen.vmap(
        linen.remat(Loss), variable_axes={"params": None}, split_rngs={"params": False}
    )()
    params = lifted.init(jax.random.key(0), INPUT, TARGET)
    grads = jax.jit(jax.grad(lambda p: lifted.apply(p, INPUT, TARGET).mean()))(params)
    np.testing.assert_allclose(jax.tree.leaves(grads)[0], slope(START), rtol=1e-5)


def test_orbax(tmp_path):
    """Training goes on from a checkpoint as if it had never stopped."""
    state = linen_state()
    for _ in range(3):
        state, *_ = linen_step(state)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", linen_state())
    (_, found, _), (_, expected, _) = linen_step(restored), linen_step(state)
    np.testing.assert_array_equal(found, expected)


def test_equinox():
    class Gain(eqx.Module):
        gain: jax.Array
        name: str  # not an array: what `filter_` is for

        def __call__(self, x):
            return self.gain * x

    model = Gain(jnp.asarray(START), "gain")
    state = OPTIMIZER.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state):
        loss, grads = eqx.filter_value_and_grad(lambda m: loss_of(m(INPUT)))(model)
        updates, state = OPTIMIZER.update(grads, state)
        return eqx.apply_updates(model, updates), state, loss, grads

    _, _, _, grads = step(model, state)
    np.testing.assert_allclose(grads.gain, slope(START), rtol=1e-5)
    for _ in range(STEPS):
        model, state, *_ = step(model, state)
    np.testing.assert_allclose(model.gain, GOAL, atol=0.01)


def test_equinox_transformations():
    x = jnp.moveaxis(INPUT, -1, 1)
    per_image = fused_ssim(x, x**2, reduction="per_image")
    np.testing.assert_allclose(eqx.filter_vmap(fused_ssim)(x, x**2), per_image)
    jvp = eqx.filter_jvp(lambda g: fused_ssim(g * x, 0.5 * x), (START,), (1.0,))
    np.testing.assert_allclose(jvp[1], -slope(START), rtol=1e-5)
    compiled = eqx.filter_jit(eqx.filter_grad(eqx.filter_checkpoint(fused_ssim)))
    np.testing.assert_allclose(
        compiled(x, x**2), jax.grad(fused_ssim)(x, x**2), atol=1e-8
    )


def test_optax_line_search():
    """L-BFGS, which takes value and gradient many times in a step."""

    def loss(gain):
        return loss_of(gain * INPUT)

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    @jax.jit
    def step(gain, state):
        value, grad = value_and_grad(gain, state=state)
        updates, state = optimizer.update(
            grad, state, gain, value=value, grad=grad, value_fn=loss
        )
        return optax.apply_updates(gain, updates), state

    gain = jnp.asarray(START)
    state = optimizer.init(gain)
    for _ in range(10):
        gain, state = step(gain, state)
    np.testing.assert_allclose(gain, GOAL, atol=1e-3)


class TestChex(chex.TestCase):
    """With and without jit, from a device and from the host."""

    @chex.all_variants(with_pmap=False)
    @parameterized.parameters("mean", "per_image", "per_channel", "none")
    def test_variants(self, reduction):
        def function(x, y):
            result = fused_ssim(x, y, data_format="NHWC", reduction=reduction)
            return (result**2).sum()

        expected = jax.value_and_grad(function)(INPUT, TARGET)
        found = self.variant(jax.value_and_grad(function))(INPUT, TARGET)
        chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
        chex.assert_trees_all_close(found, expected, rtol=1e-5)
        chex.assert_tree_all_finite(found)

    def test_traced_once(self):
        counted = chex.assert_max_traces(fused_ssim, n=1)
        compiled = jax.jit(lambda x, y: counted(x, y, data_format="NHWC"))
        for scale in (1.0, 0.5, 0.25):
            compiled(scale * INPUT, TARGET)
