"""`sharded.fused_ssim3d`, and volumes whose batch XLA shards."""

import eight_devices
import pytest
import sharded_volume_program

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(once):
    return once(
        "sharded_volume", lambda _: eight_devices.run("sharded_volume_program.py")
    )


@pytest.mark.parametrize("name", sharded_volume_program.CASES)
def test_results_are_those_of_the_whole_volumes(results, name):
    case = results["cases"][name]
    assert case["error"] < 1e-6
    assert case["all-gather"] == case["all-to-all"] == 0


def test_a_batch_is_not_gathered(results):
    case = results["batch"]
    assert case["error"] < 1e-6
    assert case["all-gather"] == case["all-to-all"] == case["collective-permute"] == 0
    assert case["all-reduce"] == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no axis", "depth_axis and height_axis and width_axis must name different"),
        ("small", "blocks of at least 11 pixels along it; got 6"),
        ("keyword", "fused_ssim3d() got an unexpected keyword argument 'window'"),
        ("format", "'NCDHW', 'NDHWC'; got 'NCHW'"),
    ],
)
def test_errors(results, name, message):
    assert message in results["errors"][name]
