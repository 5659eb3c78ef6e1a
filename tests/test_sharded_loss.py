"""`sharded.photometric_loss`, and weights of images that are cut over devices."""

import eight_devices
import pytest
import sharded_loss_program

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(once):
    return once("sharded_loss", lambda _: eight_devices.run("sharded_loss_program.py"))


@pytest.mark.parametrize("name", sharded_loss_program.CASES)
def test_results_are_those_of_the_whole_images(results, name):
    case = results["cases"][name]
    assert case["finite"]
    assert case["error"] < 1e-6
    assert case["all-gather"] == case["all-to-all"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "rows",
        "rows, valid, errors of the map",
        "both, valid, errors of the map, channels last",
    ],
)
def test_reductions(results, name):
    """Of the sums of 1 - SSIM, the errors' largest, and the errors' sums."""
    assert results["cases"][name]["all-reduce"] <= 3


def test_weighted_similarity(results):
    assert results["similarity"] < 1e-6


def test_identical_images_have_no_loss_and_no_gradient(results):
    assert results["identical"] == [0, 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("keyword", "photometric_loss() got an unexpected keyword argument 'window'"),
        ("whole weights", "got (44, 48)"),
        ("small", "blocks of at least 11 pixels along it; got 10"),
        ("reduction", "a loss has no more of an image"),
        ("twice", "different mesh axes"),
    ],
)
def test_errors(results, name, message):
    assert message in results["errors"][name]
