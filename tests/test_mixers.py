"""The rules that decide a mix, by themselves: what they start with, when they move, and what they refuse."""

import copy
import pickle

import numpy as np
import pytest
import torch

import reference
from helpers import NAN, same_state, through_a_file
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedStream, Mixer, ReweightedLoss

NAMES = ["cat", "dog", "eel"]
PRIOR = [0.6, 0.3, 0.1]


def attached(mixer: Mixer, prior=PRIOR) -> Mixer:
    mixer.attach(prior, NAMES)
    return mixer


@pytest.mark.parametrize("kind", [FixedMix, lambda asked: Learn2Mix(initial=asked)])
@pytest.mark.parametrize(
    ("asked", "mix"), [(None, PRIOR), ("uniform", [1 / 3] * 3), ([0.5, 0.25, 0.25], [0.5, 0.25, 0.25])]
)
def test_a_mixer_starts_with_what_was_asked_for(kind, asked, mix):
    mixer = attached(kind(asked))
    assert mixer.proportions.tolist() == mix
    assert mixer.proportions.dtype == np.float64
    assert mixer.group_names == NAMES


def test_a_uniform_mix_leaves_empty_groups_out():
    assert attached(FixedMix("uniform"), [0.9, 0.0, 0.1]).proportions.tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("kind", [FixedMix, lambda asked: Learn2Mix(initial=asked)])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([0.5, 0.5], "must have one value a group: expected 3, got 2"),
        ([0.5, 0.3, 0.1], "must sum to 1, got 0.9"),
        ([1.5, -0.5, 0.0], "must be finite and at least 0, got -0.5 at index 1"),
        ([NAN, 0.5, 0.5], "must be finite and at least 0, got nan at index 0"),
        ([np.inf, 0.5, 0.5], "must be finite and at least 0, got inf at index 0"),
        ([0.5, 0.25, 0.25], "gives 0.25 to group 'eel', which has no samples; give it 0"),
        ("balanced", "must be None, \"uniform\", a vector of 3 proportions or a mapping .*, got 'balanced'"),
    ],
)
def test_a_start_that_is_no_mix_of_the_groups_is_refused(kind, asked, message):
    argument = "proportions" if kind is FixedMix else "initial"
    with pytest.raises(ValueError, match=f"{argument} {message}"):
        attached(kind(asked), [0.75, 0.25, 0.0])


def test_a_fixed_mix_does_not_move():
    mixer = attached(FixedMix())
    assert [mixer.due(1000, epoch_ended) for epoch_ended in (False, True)] == [False, True]
    mixer.update(np.array([9.0, 1.0, 1.0]))
    assert mixer.proportions.tolist() == PRIOR
    assert not mixer.needs_losses


def test_a_fixed_mix_too_shows_the_losses_of_its_groups_once_an_epoch():
    sampler = MixedBatchSampler([0, 0, 0, 1], FixedMix(), batch_size=2)
    for batch in sampler:
        assert np.isnan(sampler.group_losses).all()
        sampler.observe([3.0 if index == 3 else index for index in batch])
    assert sampler.group_losses.tolist() == [1.0, 3.0]  # of 0, 1, 2 and of 3


def test_learn2mix_moves_by_the_formula():
    mixer = attached(Learn2Mix(0.25))
    expected = PRIOR
    for losses in ([1.0, 2.0, 5.0], [NAN, 1.0, 3.0], [0.0, 0.0, 0.0], [0.5, 0.0, NAN]):
        mixer.update(np.array(losses))
        expected = reference.update_proportions(expected, losses, 0.25)
        np.testing.assert_allclose(mixer.proportions, expected, rtol=1e-14)
    assert mixer.needs_losses


def test_the_floor_holds_from_the_start_and_leaves_empty_groups_out():
    mixer = attached(Learn2Mix(1.0, floor=0.25), [0.9, 0.0, 0.1])
    np.testing.assert_allclose(mixer.proportions, [0.75, 0.0, 0.25])
    mixer.update(np.array([0.0, NAN, 5.0]))
    np.testing.assert_allclose(mixer.proportions, [0.25, 0.0, 0.75])


@pytest.mark.parametrize(
    ("every", "due"),
    [("step", [True, True, True, True]), ("epoch", [False, True, False, True]), (3, [False, False, True, True])],
)
def test_an_update_is_due_as_asked(every, due):
    mixer = Learn2Mix(every=every)
    asked = [(1, False), (2, True), (3, False), (4, True)]
    assert [mixer.due(num_batches, epoch_ended) for num_batches, epoch_ended in asked] == due


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"mixing_rate": -0.1}, ValueError, r"mixing_rate must lie in \[0, 1\], got -0.1"),
        ({"mixing_rate": 1.01}, ValueError, r"mixing_rate must lie in \[0, 1\], got 1.01"),
        ({"mixing_rate": NAN}, ValueError, r"mixing_rate must lie in \[0, 1\], got nan"),
        ({"mixing_rate": "0.1"}, TypeError, r"mixing_rate must be a number in \[0, 1\], got '0.1'"),
        ({"mixing_rate": None}, TypeError, r"mixing_rate must be a number in \[0, 1\], got None"),
        ({"mixing_rate": [0.1, 0.2]}, TypeError, r"mixing_rate must be a number in \[0, 1\], got \[0.1, 0.2\]"),
        ({"floor": "0"}, TypeError, "floor must be a number of at least 0 and at most 1 / num_groups, got '0'"),
        ({"floor": -0.1}, ValueError, "floor must be at least 0 .* got -0.1"),
        ({"floor": NAN}, ValueError, "floor must be at least 0 .* got nan"),
        ({"every": "batch"}, ValueError, 'every must be "step", "epoch" or a number of steps, got \'batch\''),
        ({"every": 0}, ValueError, "every must be at least 1, got 0"),
        ({"every": 2.5}, TypeError, "every must be a whole number, got 2.5"),
        ({"every": True}, TypeError, "every must be a whole number, got True"),
        ({"every": None}, TypeError, "every must be a whole number, got None"),
    ],
)
def test_learn2mix_refuses_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        Learn2Mix(**settings)


def test_a_floor_that_the_groups_cannot_all_have_is_refused():
    with pytest.raises(ValueError, match=r"floor must be .* at most 1 / num_groups = 0.3333, got 0.4"):
        attached(Learn2Mix(floor=0.4))
    with pytest.raises(ValueError, match=r"floor must be .* at most 1 / num_groups = 0.5, got 0.6"):
        attached(Learn2Mix(floor=0.6), [0.5, 0.0, 0.5])
    attached(Learn2Mix(floor=1 / 3))


def test_a_mix_that_is_assigned_is_raised_to_the_floor():
    mixer = attached(Learn2Mix(floor=0.25), [0.9, 0.0, 0.1])
    mixer.proportions = [0.875, 0.0, 0.125]
    assert mixer.proportions.tolist() == [0.75, 0.0, 0.25]
    mixer.proportions = [0.5, 0.0, 0.5]
    assert mixer.proportions.tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("asked", ["uniform", {0, 1}, [[0.5], [0.2, 0.3]]])
def test_what_is_no_vector_cannot_be_assigned(asked):
    mixer = attached(FixedMix())
    with pytest.raises(TypeError, match="proportions must be a vector of numbers, got "):
        mixer.proportions = asked
    assert mixer.proportions.tolist() == PRIOR


def test_a_mixer_that_could_not_begin_is_not_attached():
    mixer = FixedMix([[0.5], [0.2, 0.3]])
    for _ in range(2):
        with pytest.raises(TypeError, match=r"proportions must be a vector of numbers, got \[\[0.5\], \[0.2, 0.3\]\]"):
            MixedBatchSampler([0, 0, 1], mixer, batch_size=2)
    with pytest.raises(RuntimeError, match="not attached to data yet"):
        _ = mixer.group_names


@pytest.mark.parametrize(
    "make",
    [
        lambda mixer: MixedBatchSampler([0, 0, 1], mixer, batch_size=2),
        lambda mixer: MixedStream([[1], [2]], mixer, batch_size=2),
        lambda mixer: ReweightedLoss(torch.abs, mixer, [0, 0, 1]),
    ],
    ids=["sampler", "stream", "loss"],
)
def test_what_is_no_mixer_is_named(make):
    with pytest.raises(TypeError, match=r"mixer must be a .*, got the class FixedMix; call it: FixedMix\("):
        make(FixedMix)
    with pytest.raises(TypeError, match=r"mixer must be a learn2mix.Mixer, got str; .*FixedMix"):
        make("uniform")


def test_bad_losses_leave_the_mix_as_it_was():
    mixer = attached(Learn2Mix(0.5))
    with pytest.raises(ValueError, match=r"losses must be at least 0 .* got -1.0 at index 1"):
        mixer.update(np.array([1.0, -1.0, 1.0]))
    assert mixer.proportions.tolist() == PRIOR


def test_a_group_without_samples_gets_no_share_whatever_is_said_of_it():
    mixer = attached(Learn2Mix(0.5, signal="validation"), [0.5, 0.0, 0.5])
    mixer.observe_validation(1.0, np.array([1.0, 9.0, 3.0]))
    assert mixer.proportions.tolist() == [0.375, 0.0, 0.625]


def test_a_mix_can_be_changed_by_assignment_only():
    mixer = attached(FixedMix())
    with pytest.raises(ValueError, match="read-only"):
        mixer.proportions[0] = 0.0
    asked = np.array([0.25, 0.25, 0.5])
    mixer.proportions = asked
    asked[:] = 0
    assert mixer.proportions.tolist() == [0.25, 0.25, 0.5]
    with pytest.raises(ValueError, match="proportions must sum to 1, got 2"):
        mixer.proportions = [1.0, 1.0, 0.0]
    assert mixer.proportions.tolist() == [0.25, 0.25, 0.5]


def test_what_a_mixer_hands_out_cannot_change_it():
    for mixer in (
        attached(FixedMix()),
        copy.deepcopy(attached(FixedMix())),
        pickle.loads(pickle.dumps(attached(FixedMix()))),
    ):
        with pytest.raises(ValueError, match="read-only"):
            mixer.proportions[0] = 0.0
        mixer.prior[0] = 0.0  # of a copy
        mixer.group_names.append("fox")
        assert mixer.group_names == NAMES
        assert mixer.prior.tolist() == PRIOR


@pytest.mark.parametrize("every", ["step", "epoch", 1, 7])
@pytest.mark.parametrize(("signal", "wanted"), [("train", 2), ("validation", 1)])
def test_learn2mix_waits_for_two_groups_where_it_follows_batches(every, signal, wanted):
    if signal == "train" or every == "step":
        assert Learn2Mix(every=every, signal=signal).min_groups == wanted
    assert FixedMix().min_groups == 1


@pytest.mark.parametrize("attribute", ["proportions", "prior", "group_names"])
def test_a_mixer_that_is_not_attached_says_so(attribute):
    with pytest.raises(RuntimeError, match="this Learn2Mix is not attached to data yet"):
        getattr(Learn2Mix(), attribute)


def test_a_mixer_may_not_go_to_other_groups():
    mixer = attached(Learn2Mix())
    mixer.attach(PRIOR, NAMES)
    for prior, names in ((PRIOR, ["cat", "dog", "fox"]), ([0.3, 0.6, 0.1], NAMES), ([0.5, 0.5], NAMES[:2])):
        with pytest.raises(ValueError, match="already mixes 3 other groups; make a new mixer for each sampler"):
            mixer.attach(prior, names)
    assert mixer.proportions.tolist() == PRIOR


def test_a_state_comes_back_bit_for_bit():
    mixer = attached(Learn2Mix(0.3))
    random = np.random.default_rng(0)
    for _ in range(50):
        mixer.update(random.random(3))
        state = mixer.state_dict()
        fresh = attached(Learn2Mix(0.3))
        fresh.load_state_dict(through_a_file(state))
        assert fresh.proportions.tolist() == mixer.proportions.tolist()
        assert same_state(fresh.state_dict(), state)


def test_a_state_of_another_mixer_or_other_groups_is_refused():
    mixer = attached(Learn2Mix())
    with pytest.raises(ValueError, match="state: saved by a FixedMix mixer, but this sampler has a Learn2Mix"):
        mixer.load_state_dict(attached(FixedMix("uniform")).state_dict())
    with pytest.raises(ValueError, match="proportions must have one value a group: expected 3, got 2"):
        mixer.load_state_dict({"mixer": "Learn2Mix", "proportions": torch.tensor([0.5, 0.5])})
    assert mixer.proportions.tolist() == PRIOR


class Follows(Mixer):
    """Keeps what it is told of validation runs and of its place in the run."""

    def __init__(self):
        self.told = []
        self.sought = []

    def seek(self, batch, epoch):
        self.sought.append((batch, epoch))

    def observe_validation(self, loss, group_losses=None):
        self.told.append((loss, group_losses))


def test_a_mixer_is_told_which_batch_comes_next():
    sampler = MixedBatchSampler([0, 1] * 3, Follows(), batch_size=2)
    for _ in range(2):
        for _ in sampler:
            sampler.observe(None)
    assert sampler.mixer.sought == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]


def test_validation_results_reach_the_mixer():
    sampler = MixedBatchSampler([0, 1], Follows(), batch_size=2)
    sampler.observe_validation(torch.tensor(0.5), [1.0, NAN])
    sampler.observe_validation(2)
    (loss, by_group), (other, nothing) = sampler.mixer.told
    assert (type(loss), loss, other, nothing) == (float, 0.5, 2.0, None)
    np.testing.assert_array_equal(by_group, [1.0, NAN])
