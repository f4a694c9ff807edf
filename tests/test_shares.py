"""Shares asked for by name or by a power of the sizes: the same mix as the vector that one would work out."""

import math

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers import mixes, through_a_file
from learn2mix import (
    AnnealedMix,
    ExcessLoss,
    FadingMix,
    FixedMix,
    GroupDRO,
    Learn2Mix,
    MixAdjustedLoss,
    MixedBatchSampler,
    MixedStream,
    OnlineDataMixing,
    ReweightedLoss,
    StagedMix,
)
from learn2mix.functional import temper

KINDS = {
    "proportions": FixedMix,
    "initial": lambda asked: Learn2Mix(initial=asked),
    "start": lambda asked: AnnealedMix(asked, None, num_steps=5),
    "end": lambda asked: AnnealedMix(None, asked, num_steps=1),
    "stages": lambda asked: StagedMix({0: asked}),
    "fading": lambda asked: FadingMix(initial=asked),
    "dro": lambda asked: GroupDRO(initial=asked),
    "excess": lambda asked: ExcessLoss([1.0] * len(asked), initial=asked),
    "bandit": lambda asked: OnlineDataMixing(initial=asked),
}
ARGUMENTS = {"stages": r"stages\[0\]", "fading": "initial", "dro": "initial", "bandit": "initial"}  # else the key
names_of_groups = st.one_of(
    st.lists(st.text(max_size=3), min_size=2, max_size=6, unique=True),
    st.lists(st.integers(0, 99), min_size=2, max_size=6, unique=True),
    st.lists(st.tuples(st.text(max_size=2), st.integers(0, 3)), min_size=2, max_size=6, unique=True),
)


def mix_of(mixer, names, prior=None):
    prior = np.full(len(names), 1 / len(names)) if prior is None else prior
    mixer.attach(prior, names, sizes=[100] * len(names))
    return mixer.proportions.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [np.array, torch.tensor, list, lambda shares: dict(enumerate(shares))])
def test_what_is_written_to_the_vector_later_changes_no_mix(kind, given):
    asked = given([0.75, 0.25])
    mixer = KINDS[kind](asked)
    asked[0], asked[1] = 0.2, 0.8
    assert mix_of(mixer, [0, 1]) == [0.75, 0.25]
    asked[0] = asked[1] = 7.0
    assert "0.75" in str(mixer.state_dict()["settings"])


@given(st.data())
def test_names_in_any_order_give_the_mix_of_the_vector(data):
    names = data.draw(names_of_groups)
    shares = data.draw(mixes(len(names))).tolist()
    by_name = dict(data.draw(st.permutations(list(zip(names, shares, strict=True)))))
    for kind, make in KINDS.items():
        assert mix_of(make(by_name), names) == mix_of(make(shares), names), kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "excess"])
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
    with pytest.raises(ValueError, match=f"^{ARGUMENTS.get(kind, kind)}:? {message}"):
        mix_of(KINDS[kind](asked), ["easy", "hard", "medium"])


@pytest.mark.parametrize(
    ("names", "wrong", "meant"),
    [
        (["easy", "medium"], "medum", "'medium'"),
        (["easy", "medium"], "EASY", "'easy'"),
        ([0, 1, 2], "1", "1, of type int"),
        (["0", "1"], 1, "'1', of type str"),
        ([("cat", 0), ("cat", 1)], ("cat", "1"), r"\('cat', 1\)"),
    ],
)
def test_an_error_asks_after_the_name_that_was_meant(names, wrong, meant):
    shares = {name: 0.0 for name in names[:-1]} | {wrong: 1.0}
    with pytest.raises(ValueError, match=rf"there is no group .*; did you mean {meant}\?$"):
        mix_of(FixedMix(shares), names)


def test_a_number_and_the_same_number_in_letters_are_two_groups():
    assert mix_of(FixedMix({"1": 0.75, 1: 0.25}), [1, "1"]) == [0.25, 0.75]


@pytest.mark.parametrize("asked", [{"hard": 0.75, "easy": 0.25}, {"hard": 0.75, "esay": 0.25}])
def test_a_stream_a_loss_and_a_mix_that_is_assigned_take_shares_by_name(asked):
    labels = ["easy"] * 3 + ["hard"]
    sampler = MixedBatchSampler(labels, FixedMix(), batch_size=4)
    criterion = MixAdjustedLoss(target=asked).follow(sampler)
    next(iter(sampler))
    places = {
        "proportions": lambda: setattr(sampler.mixer, "proportions", asked) or sampler.mixer.proportions,
        "stream": lambda: MixedStream({"easy": [0], "hard": [1]}, FixedMix(asked), batch_size=2).mixer.proportions,
        "loss": lambda: ReweightedLoss(nn.MSELoss(reduction="none"), FixedMix(asked), labels).mixer.proportions,
        "target": lambda: [(log - 1).exp().item() for log in sampler.log_mix(asked) + 1],
        "criterion": lambda: criterion(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1])).item(),
    }
    # log_mix is the log of mix / target, and the logits are 0: at a mix of 3 to 1 the shares are 3 and 1/3.
    logs = [math.log(0.75 / 0.25), math.log(0.25 / 0.75)]
    mix, loss = [0.25, 0.75], math.log(sum(map(math.exp, logs))) - (3 * logs[0] + logs[1]) / 4
    wanted = {"proportions": mix, "stream": mix, "loss": mix, "target": [3, 1 / 3], "criterion": loss}
    for place, ask in places.items():
        if "easy" in asked:
            assert np.allclose(ask(), wanted[place]), place
        else:
            with pytest.raises(ValueError, match=r"there is no group 'esay'; .* did you mean 'easy'"):
                ask()


def test_a_table_s_column_goes_by_the_names_of_its_rows():
    """As of ``value_counts(normalize=True)``, the most frequent first."""
    shares = pandas.Series(["cat", "dog", "cat", "ant"] * 5).value_counts(normalize=True)
    assert shares.index[0] == "cat"
    labels = ["ant", "cat", "dog"] * 4
    for kind, make in KINDS.items():
        assert mix_of(make(shares), ["ant", "cat", "dog"]) == [0.25, 0.5, 0.25], kind
    sampler = MixedBatchSampler(labels, Learn2Mix(1.0, signal="validation"), batch_size=4)
    sampler.observe_validation(1.0, shares)
    assert sampler.mixer.proportions.tolist() == [0.25, 0.5, 0.25]
    sampler.mixer.proportions = pandas.Series({"dog": 0.5, "cat": 0.25, "ant": 0.25})
    assert sampler.mixer.proportions.tolist() == [0.25, 0.25, 0.5]
    assert Learn2Mix(initial=shares).settings()["initial"] == shares.tolist()  # not attached: in its own order
    state = through_a_file(MixedBatchSampler(labels, FixedMix(shares), batch_size=4).state_dict())
    MixedBatchSampler(labels, FixedMix([0.25, 0.5, 0.25]), batch_size=4).load_state_dict(state)  # the same settings
    with pytest.raises(ValueError, match="there is no group 'bee'"):
        mix_of(FixedMix(shares.rename({"dog": "bee"})), ["ant", "cat", "dog"])


def test_a_column_whose_rows_are_only_numbered_is_a_vector():
    assert mix_of(FixedMix(pandas.Series([0.25, 0.75])), ["ant", "bee"]) == [0.25, 0.75]
    assert mix_of(FixedMix(pandas.Series([0.25, 0.75], index=[7, 3])), [3, 7]) == [0.75, 0.25]


def test_of_the_losses_of_a_reference_none_can_be_left_out():
    with pytest.raises(ValueError, match=r"reference must name each of 2 groups, but has no loss for 'b'$"):
        mix_of(ExcessLoss({"a": 1.0}), ["a", "b"])


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


def test_a_tempered_mix_needs_the_size_of_each_source():
    """It took them for equal, and the mix was uniform whatever the power."""

    class Unsized:
        def __iter__(self):
            return iter(range(90))

    sources = {"en": Unsized(), "is": range(10)}
    with pytest.raises(ValueError, match=r"FixedMix\.tempered goes by sizes, but the size of 'en' is not known"):
        MixedStream(sources, FixedMix.tempered(0.5), batch_size=4)
    assert MixedStream(sources, FixedMix.tempered(0), batch_size=4).mixer.proportions.tolist() == [0.5, 0.5]
