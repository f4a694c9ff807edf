"""Shares asked for by name or by a power of the sizes: the same mix as the vector that one would work out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import mixes
from learn2mix import AnnealedMix, FixedMix, Learn2Mix, MixedBatchSampler
from learn2mix.functional import temper

KINDS = {
    "proportions": FixedMix,
    "initial": lambda asked: Learn2Mix(initial=asked),
    "start": lambda asked: AnnealedMix(asked, None, num_steps=5),
    "end": lambda asked: AnnealedMix(None, asked, num_steps=1),
}
names_of_groups = st.one_of(
    st.lists(st.text(max_size=3), min_size=2, max_size=6, unique=True),
    st.lists(st.integers(0, 99), min_size=2, max_size=6, unique=True),
    st.lists(st.tuples(st.text(max_size=2), st.integers(0, 3)), min_size=2, max_size=6, unique=True),
)


def mix_of(mixer, names, prior=None):
    mixer.attach(np.full(len(names), 1 / len(names)) if prior is None else prior, names)
    return mixer.proportions.tolist()


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_names_in_any_order_give_the_mix_of_the_vector(kind, data):
    names = data.draw(names_of_groups)
    shares = data.draw(mixes(len(names))).tolist()
    by_name = dict(data.draw(st.permutations(list(zip(names, shares, strict=True)))))
    assert mix_of(KINDS[kind](by_name), names) == mix_of(KINDS[kind](shares), names)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"easy": 0.6, "medum": 0.4}, "there is no group 'medum'; the groups are 'easy', 'hard', 'medium'"),
        ({"easy": 0.6, "hard": 0.4}, "must name each of 3 groups, but has no share for 'medium'; give 0"),
        ({"easy": 1.0}, "must name each of 3 groups, but has no share for 'hard' and 1 more; give 0"),
        ({}, "must name each of 3 groups, but has no share for 'easy' and 2 more"),
        ({"easy": 0.6, "hard": 0.3, "medium": 0.3}, "must sum to 1, got 1.2"),
        ({"easy": 0.6, "hard": 0.5, "medium": -0.1}, "must be finite and at least 0, got -0.1"),
        ({"easy": 0.6, "hard": 0.4, "medium": 0.0, 7: 0.0}, "there is no group 7"),
    ],
)
def test_a_mapping_that_does_not_fit_the_groups_is_refused(kind, asked, message):
    with pytest.raises(ValueError, match=f"^{kind}:? {message}"):
        mix_of(KINDS[kind](asked), ["easy", "hard", "medium"])


def test_of_many_groups_an_error_lists_twenty():
    with pytest.raises(ValueError, match=r"no group 'no'; the groups are 0, .*, 19, \.\.\.$"):
        mix_of(FixedMix({"no": 1.0}), range(100))


def test_a_sampler_draws_what_was_asked_for_by_name():
    labels = ["easy"] * 50 + ["medium"] * 30 + ["hard"] * 20
    sampler = MixedBatchSampler(labels, FixedMix({"easy": 0.6, "medium": 0.3, "hard": 0.1}), batch_size=10)
    drawn = [labels[index] for index in next(iter(sampler))]
    assert {name: drawn.count(name) for name in set(labels)} == {"easy": 6, "medium": 3, "hard": 1}


@given(st.data())
def test_a_tempered_mix_is_a_power_of_the_sizes(data):
    sizes = data.draw(st.lists(st.integers(0, 10**6), min_size=2, max_size=8).filter(any))
    power = data.draw(st.one_of(st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0, -1.0]), st.floats(-3, 3)))
    wanted = [size**power if size else 0.0 for size in sizes]
    mix = mix_of(FixedMix.tempered(power), range(len(sizes)), np.array(sizes) / sum(sizes))
    np.testing.assert_allclose(mix, np.array(wanted) / math.fsum(wanted), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("power", [1e6, -1e6, 700.0, -700.0])
def test_an_extreme_power_leaves_one_group_and_does_not_overflow(power):
    assert temper([0.6, 0.3, 0.1], power).tolist() == pytest.approx(
        [float(power > 0), 0.0, float(power < 0)], abs=1e-200
    )


@pytest.mark.parametrize(
    ("power", "error"), [(math.nan, ValueError), (math.inf, ValueError), ("0.5", TypeError), (None, TypeError)]
)
def test_a_power_that_is_no_number_is_refused_when_it_is_made(power, error):
    with pytest.raises(error, match=f"power must be .*{power}"):
        FixedMix.tempered(power)
