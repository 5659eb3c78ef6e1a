"""Run by test_sharded.py in a process of its own, which has 8 CPU devices.

Prints one JSON object: for every case the largest relative error against the result on
one device, and how many collectives of each kind the compiled program has; and what the
compiled program costs each device, by number of devices.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from eight_devices import collectives, error
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_fused_ssim import fused_ssim, sharded

SHAPE = (2, 3, 96, 48)
COSTS_SHAPE = (1, 1, 1024, 256)
ROWS, COLUMNS = P(None, None, "a"), P(None, None, None, "a")
BOTH, ALL_ROWS = P(None, None, "a", "b"), P(None, None, ("a", "b"))


def gradients(ssim):
    return jax.value_and_grad(ssim, (0, 1))


def gradient_in_first(ssim):
    return jax.value_and_grad(ssim)


def of_map(ssim):
    """A loss whose cotangent map is not constant."""
    return jax.value_and_grad(lambda x, y: (ssim(x, y) ** 2).mean(), (0, 1))


def of_images(ssim):
    return jax.value_and_grad(lambda x, y: ssim(x, y) @ jnp.array([1.0, 2.0]), (0, 1))


def hessian_vector(ssim):
    """Forward over reverse."""
    return lambda x, y: jax.jvp(jax.grad(ssim, (0, 1)), (x, y), (y, x))[1]


def forward(ssim):
    return lambda x, y: jax.jvp(ssim, (x, y), (y, x))


def plain(ssim):
    return ssim


# Name: what is done with the function, how its images are cut, its mesh axes and
# options, and how its result is cut.
CASES = {
    "rows": (gradients, ROWS, {"height_axis": "a"}, P()),
    "rows, value": (plain, ROWS, {"height_axis": "a"}, P()),
    "rows, gradient in the first": (gradient_in_first, ROWS, {"height_axis": "a"}, P()),
    "rows, valid": (gradients, ROWS, {"height_axis": "a", "padding": "valid"}, P()),
    "rows over two mesh axes": (
        gradients,
        ALL_ROWS,
        {"height_axis": ("a", "b")},
        P(),
    ),
    "columns": (gradients, COLUMNS, {"width_axis": "a"}, P()),
    "two blocks": (gradients, P(None, None, "b"), {"height_axis": "b"}, P()),
    "rows and columns": (
        gradients,
        BOTH,
        {"height_axis": "a", "width_axis": "b"},
        P(),
    ),
    "rows and columns, valid": (
        gradients,
        BOTH,
        {"height_axis": "a", "width_axis": "b", "padding": "valid"},
        P(),
    ),
    "rows and images": (
        of_images,
        P("b", None, "a"),
        {"height_axis": "a", "reduction": "per_image"},
        P("b"),
    ),
    "channels last": (
        gradients,
        P(None, "a", "b"),
        {"height_axis": "a", "width_axis": "b", "data_format": "NHWC"},
        P(),
    ),
    "map": (
        plain,
        BOTH,
        {"height_axis": "a", "width_axis": "b", "reduction": "none"},
        BOTH,
    ),
    "loss of the map": (of_map, ROWS, {"height_axis": "a", "reduction": "none"}, ROWS),
    "second order": (hessian_vector, ROWS, {"height_axis": "a"}, P()),
    "forward mode": (forward, ROWS, {"height_axis": "a"}, P()),
    "windows of 7": (
        gradients,
        BOTH,
        {
            "height_axis": "a",
            "width_axis": "b",
            "padding": "valid",
            "window_size": 7,
            "sigma": None,
        },
        P(),
    ),
    "plain JAX": (gradients, ROWS, {"height_axis": "a", "implementation": "xla"}, P()),
}


def pair(shape=SHAPE):
    """Images that are alike: of unlike ones SSIM is near 0, and 1 minus something."""
    rng = np.random.default_rng(0)
    x, noise = rng.random((2, *shape))
    return jnp.asarray(x, jnp.float32), jnp.asarray((x + noise) / 2, jnp.float32)


def mesh_of(count):
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), ("a",), axis_types=(AxisType.Auto,), devices=devices)


def blocks(mesh, cut, cut_result, **options):
    """The function on whole images, by way of their blocks."""
    function = functools.partial(sharded.fused_ssim, **options)
    return jax.shard_map(function, mesh=mesh, in_specs=cut, out_specs=cut_result)


def compiled_for(function, images, mesh, cut):
    """The program for images that lie on the devices as they are cut, and those."""
    place = NamedSharding(mesh, cut)
    images = [jax.device_put(a, place) for a in images]
    return jax.jit(function).lower(*images).compile(), images


def run(use, cut, options, cut_result, mesh):
    x, y = pair((2, 96, 48, 3) if "data_format" in options else SHAPE)
    function = use(blocks(mesh, cut, cut_result, **options))
    program, images = compiled_for(function, (x, y), mesh, cut)
    options = {k: v for k, v in options.items() if not k.endswith("_axis")}
    whole = functools.partial(fused_ssim, **options)
    return {
        "error": error(program(*images), use(whole)(x, y)),
        **collectives(program),
    }


def inside(mesh):
    """Differentiated inside shard_map, the second image's batch shared by all devices
    of one mesh axis: its gradient is the sum over them."""
    x, y = pair()

    def loss(x, y):
        ssim = sharded.fused_ssim(x, y, height_axis="a", reduction="per_image")
        return jax.lax.psum(ssim.sum(), "b")

    found = jax.jit(
        jax.shard_map(
            jax.value_and_grad(loss, (0, 1)),
            mesh=mesh,
            in_specs=(P("b", None, "a"), P(None, None, "a")),
            out_specs=(P(), (P("b", None, "a"), P(None, None, "a"))),
        )
    )(x, y[:1])

    def expected(x, y):
        return sum(fused_ssim(a[None], y) for a in x)

    return error(found, jax.value_and_grad(expected, (0, 1))(x, y[:1]))


def partly_manual(mesh):
    """Only the rows' mesh axis is manual: the batch is left to the compiler."""
    x, y = pair()
    function = gradients(
        jax.shard_map(
            functools.partial(sharded.fused_ssim, height_axis="a"),
            mesh=mesh,
            in_specs=ROWS,
            out_specs=P(),
            axis_names={"a"},
        )
    )
    program, images = compiled_for(function, (x, y), mesh, P("b", None, "a"))
    return {
        "error": error(program(*images), gradients(fused_ssim)(x, y)),
        **collectives(program),
    }


def explicit():
    """Under explicit axis types, which the gradients' types keep."""
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
    x, y = pair()
    function = gradients(blocks(mesh, ROWS, P(), height_axis="a"))
    place = NamedSharding(mesh, ROWS)
    found = jax.jit(function)(*(jax.device_put(a, place) for a in (x, y)))
    return {
        "error": error(found, gradients(fused_ssim)(x, y)),
        "specs": [str(jax.typeof(a).sharding.spec) for a in found[1]],
    }


def small():
    """Errors of what needs no look at the compiled program, in float32."""
    three, one, cut = mesh_of(3), mesh_of(1), P(None, "a")
    found = {}
    x, y = pair((3, 33, 14))  # blocks of 11 rows: the interior makes one row of the map
    for padding in ("same", "valid"):
        ssim = blocks(three, cut, P(), height_axis="a", padding=padding)
        whole = functools.partial(fused_ssim, padding=padding)
        found[f"smallest, {padding}"] = error(
            jax.jit(gradients(ssim))(x, y), gradients(whole)(x, y)
        )
    # What the error for "none" with "valid" recommends.
    full = jax.jit(blocks(three, cut, cut, height_axis="a", reduction="none"))(x, y)
    found["valid map"] = error(
        full[..., 5:-5, 5:-5], fused_ssim(x, y, "valid", reduction="none")
    )
    x, y = (a[:, :6] for a in (x, y))
    ssim = jax.jit(gradients(blocks(one, cut, P(), height_axis="a")))
    found["one device"] = error(ssim(x, y), gradients(fused_ssim)(x, y))
    return found


def far_from_zero():
    """Errors of value and gradient a thousand ranges from zero, against float64 of the
    same pixels. Every block has centres of its own."""
    x, y = (a + 1000 for a in pair((3, 66, 40)))
    ssim = blocks(mesh_of(3), P(None, "a"), P(), height_axis="a", padding="valid")
    value, grad = jax.jit(jax.value_and_grad(ssim))(x, y)
    with jax.enable_x64(True):
        whole = functools.partial(fused_ssim, padding="valid")
        exact = jax.value_and_grad(whole)(*(a.astype("float64") for a in (x, y)))
    return {"value": error(value, exact[0]), "gradient": error(grad, exact[1])}


def half_precision():
    """The error of the gradient, relative to the largest, in units of the rounding."""
    x, y = (a.astype(jnp.bfloat16) for a in pair((3, 33, 14)))
    ssim = blocks(mesh_of(3), P(None, "a"), P(), height_axis="a")
    found = jax.jit(jax.grad(ssim))(x, y)
    expected = jax.grad(fused_ssim)(x.astype("float32"), y.astype("float32"))
    largest = jnp.abs(found - expected).max() / jnp.abs(expected).max()
    return float(largest / jnp.finfo(jnp.bfloat16).eps)


def identical():
    """Of identical images, the value and the largest gradient."""
    x, _ = pair((3, 33, 14))
    ssim = blocks(mesh_of(3), P(None, "a"), P(), height_axis="a", padding="valid")
    value, grad = jax.jit(jax.value_and_grad(ssim))(x, x)
    return [float(value), float(jnp.abs(grad).max())]


def finite_differences():
    """Relative errors of derivatives along a direction, in float64."""
    mesh, cut = mesh_of(2), P(None, "a")
    mean = blocks(mesh, cut, P(), height_axis="a", padding="valid")
    full = blocks(mesh, cut, cut, height_axis="a", reduction="none")
    step = 1e-5
    found = {}
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, y, v, w = (jnp.asarray(rng.random((1, 22, 11))) for _ in range(4))

        def weighted(x):
            return jnp.vdot(w, full(x, y))

        for name, function in {"mean": lambda x: mean(x, y), "map": weighted}.items():
            function = jax.jit(function)
            gradient = jax.jit(jax.grad(function))
            up, down = x + step * v, x - step * v
            found[name] = error(
                jnp.vdot(gradient(x), v), (function(up) - function(down)) / (2 * step)
            )
        product = jax.jit(lambda x: jax.jvp(gradient, (x,), (v,))[1])(x)
        found["Hessian of the map"] = error(
            product, (gradient(up) - gradient(down)) / (2 * step)
        )
    return found


def costs():
    """By number of devices, for one device: the bytes that it holds; of the plain JAX
    version, which XLA can look into, the operations and the bytes that they touch."""
    images = pair(COSTS_SHAPE)

    def step(mesh, implementation):
        ssim = blocks(mesh, ROWS, P(), height_axis="a", implementation=implementation)
        loss_and_gradient = jax.value_and_grad(lambda x, y: 1 - ssim(x, y))
        return compiled_for(loss_and_gradient, images, mesh, ROWS)[0]

    found = {}
    for count in (1, 2, 4, 8):
        mesh = mesh_of(count)
        fused, plain = (step(mesh, name) for name in ("fused", "xla"))
        memory, cost = fused.memory_analysis(), plain.cost_analysis()
        found[count] = {
            "held": memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes,
            "touched": cost["bytes accessed"],
            "operations": cost["flops"],
        }
    return found


def main() -> None:
    auto = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=auto)
    found = {
        "cases": {name: run(*case, mesh) for name, case in CASES.items()},
        "inside": inside(mesh),
        "partly manual": partly_manual(mesh),
        "explicit": explicit(),
        "small": small(),
        "far from zero": far_from_zero(),
        "half precision": half_precision(),
        "identical": identical(),
        "finite differences": finite_differences(),
        "costs": costs(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
