"""`sharded.fused_ssim`: images cut over devices along height and width.

The results are those of the whole images; what neighbours exchange, and what a device
costs, is read from the compiled programs.
"""

import functools

import eight_devices
import jax
import numpy as np
import pytest
import sharded_program

from jax_fused_ssim import sharded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(once):
    return once("sharded", lambda _: eight_devices.run("sharded_program.py"))


@pytest.mark.parametrize("name", sharded_program.CASES)
def test_results_are_those_of_the_whole_images(results, name):
    assert results["cases"][name]["error"] < 1e-6


@pytest.mark.parametrize("name", sharded_program.CASES)
def test_nothing_is_gathered(results, name):
    case = results["cases"][name]
    assert case["all-gather"] == case["all-to-all"] == 0


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("rows, value", 4),
        ("rows, gradient in the first", 6),
        ("rows", 8),
        ("rows, valid", 8),
        ("columns", 8),
        ("rows over two mesh axes", 8),
        ("two blocks", 4),
    ],
)
def test_messages(results, name, count):
    """Each image's ends go to both neighbours, and those of its gradient come back."""
    assert results["cases"][name]["collective-permute"] == count


@pytest.mark.parametrize(
    ("name", "count"),
    [("rows", 1), ("rows, value", 1), ("rows and columns, valid", 1), ("map", 0)],
)
def test_reductions(results, name, count):
    assert results["cases"][name]["all-reduce"] == count


def test_gradient_of_an_image_that_devices_share(results):
    assert results["inside"] < 1e-6


def test_other_mesh_axes_are_left_to_the_compiler(results):
    assert results["partly manual"]["error"] < 1e-6
    assert results["partly manual"]["all-gather"] == 0


def test_explicit_axes(results):
    assert results["explicit"]["error"] < 1e-6
    (spec,) = set(results["explicit"]["specs"])
    assert "'a'" in spec


@pytest.mark.parametrize(
    "name", ["smallest, same", "smallest, valid", "valid map", "one device"]
)
def test_small_blocks(results, name):
    assert results["small"][name] < 1e-6


@pytest.mark.parametrize("name", ["mean", "map", "Hessian of the map"])
def test_derivatives_are_finite_differences(results, name):
    assert results["finite differences"][name] < 1e-7


def test_far_from_zero(results):
    assert results["far from zero"]["value"] < 2e-6
    assert results["far from zero"]["gradient"] < 2e-4


def test_half_precision_rounds_the_gradient_of_each_part(results):
    """Near the border of a block it is a sum of three, each rounded to bfloat16."""
    assert results["half precision"] < 1.5


def test_identical_images_give_one_and_no_gradient(results):
    assert results["identical"] == [1, 0]


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("what", ["held", "touched", "operations"])
def test_a_device_works_and_holds_less_the_more_there_are(results, what, count):
    """It holds its share of two images and a gradient, and ends of 40 rows or less:
    nothing else of an image's size."""
    costs = results["costs"]
    share = 1 / count + 40 / sharded_program.COSTS_SHAPE[-2]
    assert costs[str(count)][what] < share * costs["1"][what]


Z = np.zeros((3, 22, 22), np.float32)


def by_vmap(x, y, **options):
    """Two blocks of rows; `jax.vmap` plays the mesh axis, and needs one device."""
    x, y = (np.stack(np.split(a, 2, axis=-2)) for a in (x, y))
    function = functools.partial(sharded.fused_ssim, height_axis="rows", **options)
    return jax.vmap(function, axis_name="rows")(x, y)


@pytest.mark.parametrize(
    ("message", "images", "options"),
    [
        (r"'rows'.*at least 11.*got 10.*\(3, 10, 22\)", Z[:, 2:], {}),
        (r"'rows'.*at least 11.*got 10", Z[:, 2:], {"padding": "valid"}),
        (r"at least 11.*\(3, 11, 8\)", Z[..., :8], {"padding": "valid"}),
        ("outermost 5", Z, {"padding": "valid", "reduction": "none"}),
        ("'rows' and 'rows'", Z, {"width_axis": "rows"}),
        ("'reflect'", Z, {"padding": "reflect"}),
        ("'HWC'", Z, {"data_format": "HWC"}),
    ],
)
def test_errors(message, images, options):
    with pytest.raises(ValueError, match=message):
        by_vmap(images, images, **options)


def test_no_mesh_axis():
    with pytest.raises(ValueError, match="None and None"):
        sharded.fused_ssim(Z, Z)
    with pytest.raises(NameError, match="columns"):
        sharded.fused_ssim(Z, Z, height_axis="columns")
