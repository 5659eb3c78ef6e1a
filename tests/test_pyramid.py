"""Images at every scale: on GPUs by a kernel, and bitwise as by NumPy."""

import functools

import images
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jax_fused_ssim import fused_ms_ssim
from jax_fused_ssim.pyramid import smaller_scales
from jax_fused_ssim.spec import Spec

# Sides that halve four times and more, fewer times, and never; one of more than a tile.
SIDES = [(32, 48), (96, 160), (36, 44), (70, 134), (64, 66), (17, 32), (2, 2), (80, 8)]
every_layout = pytest.mark.parametrize("last", [False, True])


def pair(shape, last, dtype="float32"):
    both = (images.noise(shape, seed).astype(dtype) for seed in (1, 2))
    return tuple(jnp.asarray(reference.unplanes(a, last)) for a in both)


def even(a, odd_sides):
    """[..., H, W] with sides that can be halved."""
    for axis in (-2, -1):
        if a.shape[axis] % 2 == 0:
            continue
        widths = [(0, 0)] * a.ndim
        if odd_sides == "drop":
            a = np.delete(a, -1, axis)
        elif odd_sides == "zero":
            widths[axis] = (1, 0)
            a = np.pad(a, widths)
        else:
            widths[axis] = (0, 1)
            a = np.pad(a, widths, "edge")
    return a


def one_by_one(a, count, odd_sides):
    """By NumPy, which compiles nothing, in the same order of additions."""
    scales = []
    for _ in range(count):
        a = even(a, odd_sides)
        upper, lower = (a[..., i::2, ::2] + a[..., i::2, 1::2] for i in (0, 1))
        a = (upper + lower) * a.dtype.type(0.25)
        scales.append(a)
    return scales


@every_layout
@pytest.mark.parametrize("odd_sides", ["symmetric", "drop", "zero"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_values(sides, dtype, odd_sides, last):
    count = 1 if sides == (2, 2) else 3 if min(sides) < 16 else 5
    spec = Spec(channels_last=last)
    with jax.enable_x64(dtype == "float64"):
        x, y = pair((2, 3, *sides), last, dtype)
        found = jax.jit(lambda x, y: smaller_scales(x, y, count, odd_sides, spec))(x, y)
        assert len(found) == count
        for scales, image in zip(zip(*found, strict=True), (x, y), strict=True):
            planes = reference.planes(np.asarray(image), last)
            right = one_by_one(planes, count, odd_sides)
            for a, b in zip(scales, right, strict=True):
                assert a.dtype == dtype
                np.testing.assert_array_equal(reference.planes(np.asarray(a), last), b)


def test_by_hand():
    x, y = pair((1, 64, 96), False, "float32")
    for scales, image in zip(
        zip(*smaller_scales(x, y, 4, "drop", Spec()), strict=True), (x, y), strict=True
    ):
        for k, scale in enumerate(scales, 1):
            n = 2**k
            blocks = np.asarray(image, np.float64).reshape(1, 64 // n, n, 96 // n, n)
            np.testing.assert_allclose(scale, blocks.mean((2, 4)), rtol=1e-6)


@every_layout
def test_batches_of_their_own(last):
    """One image is mapped, and the other shared."""
    spec = Spec(channels_last=last)
    x, y = pair((4, 3, 32, 40), last)
    function = functools.partial(smaller_scales, count=3, odd_sides="drop", spec=spec)
    for axes, arguments in {(0, None): (x, y[0]), (None, 0): (x[0], y)}.items():
        found = jax.vmap(function, axes)(*arguments)
        whole = function(x, y)
        for k, both in enumerate(found):
            mapped, shared = both if axes[0] == 0 else both[::-1]
            of_mapped, of_shared = whole[k] if axes[0] == 0 else whole[k][::-1]
            np.testing.assert_array_equal(mapped, of_mapped)
            np.testing.assert_array_equal(shared[1], of_shared[0])


@every_layout
def test_derivatives(last):
    """Linear: a tangent's pyramid, and its transpose."""
    spec = Spec(channels_last=last)
    x, y = pair((2, 3, 32, 48), last)
    function = functools.partial(smaller_scales, count=4, odd_sides="drop", spec=spec)
    _, tangents = jax.jvp(function, (x, y), (y, x))
    for (a, b), (c, d) in zip(tangents, function(y, x), strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-5)
        np.testing.assert_allclose(b, d, rtol=1e-5)
    cotangents = [tuple(map(jnp.cos, both)) for both in function(x, y)]
    _, pull_back = jax.vjp(function, x, y)
    for i, gradient in enumerate(pull_back(cotangents)):
        products = sum(
            jnp.vdot(c[i], t[i]) for c, t in zip(cotangents, tangents, strict=True)
        )
        direction = (y, x)[i]
        np.testing.assert_allclose(jnp.vdot(gradient, direction), products, rtol=1e-5)


def test_no_gradient_that_nobody_asked_for():
    """The second image's costs a kernel more, at every scale."""
    x, y = pair((1, 3, 176, 176), False)
    program = jax.make_jaxpr(jax.grad(fused_ms_ssim))(x, y)
    assert "wrt=(True, False)" in str(program)
    assert "wrt=(True, True)" not in str(program)


def test_not_a_number_stays_in_its_square():
    x, y = pair((1, 64, 64), False)
    x = x.at[0, 37, 20].set(jnp.nan)
    for k, (a, b) in enumerate(smaller_scales(x, y, 4, "drop", Spec()), 1):
        assert np.argwhere(np.isnan(a)).tolist() == [[0, 37 >> k, 20 >> k]]
        assert np.isfinite(b).all()
