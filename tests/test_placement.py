"""Where arrays lie as their types state it, and where one program runs on all devices.

Under explicit axis types results and gradients must have the sharding of their images
by type. In `jax.shard_map` the gradient of an image that devices share is their sum.
"""

import eight_devices
import pytest
from placement_program import EXPLICIT, SHARD_MAP

pytestmark = pytest.mark.slow
GATHERING = ("all-gather", "all-to-all", "collective-permute")
# The gradient of an image goes back to where that image lies; for these that is not
# where the work is done.
MOVED = {
    "replicated",
    "replicated first",
    "one each",
    "at odds",
    "one axis in two places",
    "rows",
}


@pytest.fixture(scope="module")
def results(once):
    return once("placement", lambda _: eight_devices.run("placement_program.py"))


def gathers(case):
    """Whether a case has collectives other than reductions."""
    return any(case[name] for name in GATHERING)


@pytest.mark.parametrize("name", EXPLICIT)
def test_explicit_axes(results, name):
    case = results["explicit"][name]
    assert case["error"] < 1e-6
    assert gathers(case) == (name in MOVED)


@pytest.mark.parametrize("name", EXPLICIT)
def test_types_carry_the_sharding(results, name):
    case = results["explicit"][name]
    assert case["specs"] == case["expected specs"]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("batch", 1),
        ("replicated target", 1),
        ("per image", 0),
        ("loss", 1),
        ("metrics", 0),
    ],
)
def test_reductions_under_explicit_axes(results, name, count):
    assert results["explicit"][name]["all-reduce"] == count


@pytest.mark.parametrize("name", SHARD_MAP)
def test_shard_map(results, name):
    case = results["shard_map"][name]
    assert case["error"] < 1e-6
    assert not gathers(case)


def test_shard_map_reduces_value_and_gradient_together(results):
    assert results["shard_map"]["gradients"]["all-reduce"] == 1


@pytest.mark.parametrize("name", ["gradients outside", "unchecked"])
def test_shard_map_from_outside_and_unchecked(results, name):
    assert results["other ways"][name] < 1e-6


@pytest.mark.parametrize("name", ["images", "shared image"])
def test_pmap(results, name):
    assert results["pmap"][name] < 1e-6
