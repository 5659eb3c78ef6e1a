"""XLA must run the ops on shards of the leading dimensions without gathering them.

The attributes that make it do so are internal to JAX, and a wrong one gives wrong
values without a word: the tests look at values and at the collectives in the compiled
program.
"""

import eight_devices
import pytest
from sharding_program import CASES

pytestmark = pytest.mark.slow
GATHERING = ("all-gather", "all-to-all", "collective-permute")


@pytest.fixture(scope="module")
def results(once):
    return once("sharding", lambda _: eight_devices.run("sharding_program.py"))


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_without_sharding(results, case):
    assert results[case]["error"] < 1e-6


@pytest.mark.parametrize("case", [c for c in CASES if "rows" not in c])
def test_leading_dimensions_are_not_gathered(results, case):
    assert {name: results[case][name] for name in GATHERING} == dict.fromkeys(
        GATHERING, 0
    )


@pytest.mark.parametrize(
    ("case", "count"),
    [
        ("batch", 1),
        ("batch, value", 1),
        ("two axes in one", 1),
        ("per image", 0),
        ("loss", 1),
        ("weighted loss", 1),
        ("scales", 1),
        ("metrics", 0),
    ],
)
def test_mean_needs_one_all_reduce(results, case, count):
    assert results[case]["all-reduce"] == count


@pytest.mark.parametrize(
    ("case", "shards"),
    [
        ("batch", [[], [2, 4, 32, 40], [2, 4, 32, 40]]),
        ("two axes", [[], [2, 2, 32, 40], [2, 2, 32, 40]]),
        ("per image", [[2]]),
        ("loss", [[], [2, 4, 32, 40], [2, 4, 32, 40]]),
        ("weighted loss", [[], [2, 4, 32, 40], [2, 4, 32, 40]]),
    ],
)
def test_gradients_are_sharded_as_their_images(results, case, shards):
    assert results[case]["shards"] == shards


def test_rows_are_gathered_and_the_batch_is_not(results):
    assert results["rows"]["operands"] == [[8, 4, 32, 40]] * 2
    assert results["batch and rows"]["operands"] == [[4, 4, 32, 40]] * 2
    assert results["batch and rows"]["shards"][1:] == [[4, 4, 32, 40]] * 2
