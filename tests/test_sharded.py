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


@pytest.fixture(scope="module")
def results():
    return eight_devices.run("sharded_program.py")


def test_results_are_those_of_the_whole_images(results):
    errors = {name: case["error"] for name, case in results["cases"].items()}
    assert errors.keys() == sharded_program.CASES.keys()
    assert {name: e for name, e in errors.items() if not e < 1e-6} == {}


def test_nothing_is_gathered(results):
    """Each image's ends go to both neighbours, and those of its gradient come back."""
    for name, case in results["cases"].items():
        assert case["all-gather"] == 0, name
        assert case["all-to-all"] == 0, name
    messages = {n: c["collective-permute"] for n, c in results["cases"].items()}
    assert messages["rows, value"] == 4
    assert messages["rows, gradient in the first"] == 6
    assert messages["rows"] == messages["rows, valid"] == messages["columns"] == 8
    assert messages["rows over two mesh axes"] == 8
    assert messages["two blocks"] == 4
    for name in ("rows", "rows, value", "rows and columns, valid"):
        assert results["cases"][name]["all-reduce"] == 1
    assert results["cases"]["map"]["all-reduce"] == 0


def test_gradient_of_an_image_that_devices_share(results):
    assert results["inside"] < 1e-6


def test_other_mesh_axes_are_left_to_the_compiler(results):
    assert results["partly manual"]["error"] < 1e-6
    assert results["partly manual"]["all-gather"] == 0


def test_explicit_axes(results):
    assert results["explicit"]["error"] < 1e-6
    (spec,) = set(results["explicit"]["specs"])
    assert "'a'" in spec


def test_small_blocks(results):
    assert {name: e for name, e in results["small"].items() if not e < 1e-6} == {}


def test_derivatives_are_finite_differences(results):
    errors = results["finite differences"]
    assert {name: e for name, e in errors.items() if not e < 1e-7} == {}


def test_half_precision_rounds_the_gradient_of_each_part(results):
    """Near the border of a block it is a sum of three, each rounded to bfloat16."""
    assert results["half precision"] < 1.5


def test_identical_images_give_one_and_no_gradient(results):
    assert results["identical"] == [1, 0]


def test_a_device_works_and_holds_less_the_more_there_are(results):
    """It holds its share of two images and a gradient, and ends of 40 rows or less:
    nothing else of an image's size."""
    costs = {int(count): cost for count, cost in results["costs"].items()}
    rows = sharded_program.COSTS_SHAPE[-2]
    for count in (2, 4, 8):
        share = 1 / count + 40 / rows
        for what, cost in costs[count].items():
            assert cost < share * costs[1][what], (what, count)


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
