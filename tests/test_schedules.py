"""Annealing schedules: the source's values, the ends, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learn2mix.mixers.schedules import SCHEDULES, cosine, evaluate, find_schedule, linear


def source_schedule(n_steps, start, end, kind):
    """Foreman (2025), in plain Python."""
    if kind == "linear":
        return [start + (end - start) * t / (n_steps - 1) for t in range(n_steps)]
    return [start + (end - start) * (1 - math.cos(math.pi * t / (n_steps - 1))) / 2 for t in range(n_steps)]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("n_steps", [2, 10, 1001])
def test_the_values_are_the_source_s(kind, n_steps):
    values = [find_schedule(kind)(t / (n_steps - 1)) for t in range(n_steps)]
    assert values == pytest.approx(source_schedule(n_steps, 0.0, 1.0, kind), abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_ends_are_exact(schedule):
    assert (schedule(0.0), schedule(1.0)) == (0.0, 1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_they_rise_and_never_faster_than_stated(one, other):
    low, high = sorted([one, other])
    assert 0 <= linear(high) - linear(low) <= high - low + 1e-15
    assert 0 <= cosine(high) - cosine(low) <= math.pi / 2 * (high - low) + 1e-15


def test_a_function_is_taken_as_it_is():
    def square(progress):
        return progress**2

    assert find_schedule(square) is square


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"schedule must be one of 'linear', 'cosine' or a function.*got 'quadratic'"):
        find_schedule("quadratic")


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda progress: 1.5 * progress, r"got 1\.005\d* at progress 0\.67"),
        (lambda progress: progress - 0.25, r"got -0\.25 at progress 0$"),
        (lambda progress: math.nan, "got nan at progress 0$"),
        (lambda progress: math.inf, "got inf at progress 0$"),
        (lambda progress: 2.0 if 0.3 < progress < 0.315 else progress, r"got 2\.0 at progress 0\.31"),  # a short peak
    ],
)
def test_a_function_that_leaves_the_interval_is_refused_before_training(schedule, message):
    with pytest.raises(ValueError, match=rf"schedule must stay in \[0, 1\], {message}"):
        find_schedule(schedule)


def test_what_is_neither_a_name_nor_a_function_is_refused():
    with pytest.raises(TypeError, match="schedule must be a name or a function of progress, got float"):
        find_schedule(0.5)


def test_a_function_that_gives_no_number_is_named():
    with pytest.raises(TypeError, match=r"schedule must give a number in \[0, 1\], got None at progress 0"):
        find_schedule(lambda progress: None)


def test_what_slipped_through_is_refused_when_it_is_reached():
    peak = find_schedule(lambda progress: 2.0 if progress == 1 / 3 else progress)
    with pytest.raises(ValueError, match=r"schedule must stay in \[0, 1\], got 2.0 at progress 0.3333"):
        evaluate(peak, 1 / 3)
