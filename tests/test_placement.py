"""Where arrays lie as their types state it, and where one program runs on all devices.

Under explicit axis types results and gradients must have the sharding of their images
by type. In `jax.shard_map` the gradient of an image that devices share is their sum.
"""

import eight_devices
import pytest

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
def results():
    return eight_devices.run("placement_program.py")


def wrong(errors):
    return {name: e for name, e in errors.items() if not e < 1e-6}


def gathering(cases):
    """The collectives, other than reductions, of every case that has any."""
    return {n: c for n, c in cases.items() if any(c[name] for name in GATHERING)}


def test_explicit_axes(results):
    cases = results["explicit"]
    assert wrong({name: case["error"] for name, case in cases.items()}) == {}
    assert gathering(cases).keys() == MOVED
    assert cases["batch"]["all-reduce"] == 1
    assert cases["replicated target"]["all-reduce"] == 1
    assert cases["per image"]["all-reduce"] == 0


def test_types_carry_the_sharding(results):
    for name, case in results["explicit"].items():
        assert case["specs"] == case["expected specs"], name


def test_shard_map(results):
    cases = results["shard_map"]
    assert wrong({name: case["error"] for name, case in cases.items()}) == {}
    assert gathering(cases) == {}
    # The value and the gradient of what is shared, together.
    assert cases["gradients"]["all-reduce"] == 1


def test_shard_map_from_outside_and_unchecked(results):
    assert wrong(results["other ways"]) == {}


def test_pmap(results):
    assert wrong(results["pmap"]) == {}
