"""The check that all processes hold the same: exact for 100,000 of them, by arithmetic and not by a run."""

import numpy as np
import pytest

from learn2mix.feedback.pending import checks_of, describe_differences, same_everywhere

RANKS = 100_000


def sums_by_number_of_processes(checks):
    """The sums, in float64 and one after the other, over 1, 2, ... processes with these checks."""
    return np.cumsum(np.broadcast_to(checks, (RANKS, len(checks))), axis=0)


@pytest.mark.parametrize("values", [{"seed": seed} for seed in range(3)] + [{"mix": 2**32 - 1, "seed": -5}])
def test_no_false_alarm_on_up_to_100_000_processes(values):
    sums = sums_by_number_of_processes(checks_of(values))
    assert all(same_everywhere(row, n) for n, row in enumerate(sums.tolist(), start=1))


def test_not_even_for_the_largest_checks_that_there_are():
    largest = [65_535.0, 65_535.0**2] * 2
    sums = sums_by_number_of_processes(largest)
    assert all(same_everywhere(row, n) for n, row in enumerate(sums.tolist(), start=1))


@pytest.mark.parametrize("seed", range(5))
def test_one_process_that_differs_shows_among_up_to_100_000(seed):
    most, other = checks_of({"seed": seed}), checks_of({"seed": seed + 1})
    sums = sums_by_number_of_processes(most) + np.array(other)
    assert not any(same_everywhere(row, n) for n, row in enumerate(sums.tolist(), start=2))


def test_the_smallest_difference_shows_among_the_largest_checks():
    sums = sums_by_number_of_processes([65_535.0, 65_535.0**2] * 2) + np.array(
        [65_534.0, 65_534.0**2, 65_535.0, 65_535.0**2]
    )
    assert not any(same_everywhere(row, n) for n, row in enumerate(sums.tolist(), start=2))


@pytest.mark.parametrize("seed", range(5))
def test_any_processes_that_differ_show(seed):
    random = np.random.default_rng(seed)
    ranks = [{"seed": int(random.integers(2)), "epoch": int(random.integers(2))} for _ in range(50)]
    for n in range(1, 50):
        sums = np.sum([checks_of(values) for values in ranks[:n]], axis=0)
        assert same_everywhere(sums.tolist(), n) == (len({str(values) for values in ranks[:n]}) == 1)


def test_the_message_names_rank_setting_and_values():
    same, other = {"mix": 7, "seed": 1, "epoch": 3}, {"mix": 8, "seed": 2, "epoch": 3}
    assert describe_differences(dict(enumerate([same] * 5))) is None
    message = describe_differences(dict(enumerate([same, same, other, same | {"seed": 4}])))
    assert message.startswith("the processes have come apart: rank 2 has another mix and seed than rank 0; ")
    assert "rank 3 has another seed than rank 0" in message
    assert message.endswith("(rank 0: mix 7, seed 1; rank 2: mix 8, seed 2; rank 3: seed 4)")
    assert "epoch" not in message


def test_the_message_stays_short_where_many_differ():
    message = describe_differences({rank: {"seed": rank} for rank in range(1000)})
    assert "994 more ranks differ" in message
    assert len(message) < 600
