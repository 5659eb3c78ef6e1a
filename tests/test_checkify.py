"""NaN is seen by `checkify.float_checks` in every result, and none where there is none.

That means an op of JAX after each of ours, of which compiled programs keep nothing:
test_compiled.py counts what they hold.
"""

import functools
import itertools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jax_fused_ssim import fused_ssim, photometric_loss, sharded

X, Y = (jnp.asarray(images.noise((2, 3, 12, 13), s), "float32") for s in (1, 2))
WITH_NAN = X.at[1, 0, 5, 6].set(np.nan)


def pulled_back(f, x, y):
    """The gradients alone: the cotangent does not depend on the value."""
    result = jax.eval_shape(f, x, y)
    return jax.vjp(f, x, y)[1](jnp.ones(result.shape, result.dtype))


RESULTS = {
    "value": lambda f, x, y: f(x, y),
    "gradients": pulled_back,
    "tangent": lambda f, x, y: jax.jvp(f, (x, y), (y, y))[1],
    "tangent of the gradient": lambda f, x, y: jax.jvp(
        lambda x: pulled_back(f, x, y), (x,), (y,)
    )[1],
}


def by_vmap(x, y, **options):
    """Two blocks of rows, each the whole image; `jax.vmap` plays the mesh axis."""
    function = functools.partial(sharded.fused_ssim, height_axis="rows", **options)
    return jax.vmap(function, axis_name="rows")(jnp.stack([x, x]), jnp.stack([y, y]))


FUNCTIONS = [
    *itertools.product(
        [fused_ssim], ["fused", "xla"], ["mean", "per_image", "per_channel", "none"]
    ),
    *itertools.product([photometric_loss], ["fused", "xla"], ["mean", "per_image"]),
    (by_vmap, "fused", "mean"),
    (by_vmap, "fused", "none"),
]
# Ten seconds to compile for an image, half a minute for a cut one, which is left out.
# Of whole images one reduction of each op is enough.
SECOND = "tangent of the gradient"
OF_SECOND = {(fused_ssim, "mean"), (fused_ssim, "none"), (photometric_loss, "mean")}


def cases():
    for function, result in itertools.product(FUNCTIONS, RESULTS):
        public, implementation, reduction = function
        if result == SECOND and (public, reduction) not in OF_SECOND:
            continue
        short = result != SECOND or (implementation, reduction) == ("fused", "mean")
        marks = () if short and public is not by_vmap else pytest.mark.slow
        yield pytest.param(*function, result, marks=marks)


@pytest.mark.parametrize(
    ("function", "implementation", "reduction", "result"), [*cases()]
)
def test_nan_is_seen(function, implementation, reduction, result):
    of_result = functools.partial(
        RESULTS[result],
        functools.partial(function, reduction=reduction, implementation=implementation),
    )
    checked = jax.jit(checkify.checkify(of_result, errors=checkify.float_checks))
    assert "nan generated" in str(checked(WITH_NAN, Y)[0].get())
    assert checked(X, Y)[0].get() is None


def test_outside_jit():
    function = functools.partial(
        pulled_back, functools.partial(fused_ssim, reduction="none")
    )
    checked = checkify.checkify(function, errors=checkify.float_checks)
    assert "nan generated" in str(checked(WITH_NAN, Y)[0].get())
    assert checked(X, Y)[0].get() is None
