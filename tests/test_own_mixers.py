"""Mixers of one's own: what a sampler makes of them, and what it refuses."""

import numpy as np
import pytest
import torch

from helpers import NAN, Scripted, counts_of
from learn2mix import AnnealedMix, Learn2Mix, MixedBatchSampler, Mixer, Partition, ReweightedLoss


def test_a_mixer_that_assigns_its_mix_gives_exact_counts():
    labels = np.array([0, 1] * 8)
    sampler = MixedBatchSampler(labels, Scripted([[1, 0], [0.25, 0.75]]), batch_size=4, num_batches=2)
    assert [counts_of(batch, labels, 2) for batch in sampler] == [[4, 0], [1, 3]]


class Computed(Mixer):
    """Overrides the mix alone, as a list; it follows the batches that were read."""

    reads = 0

    @property
    def proportions(self):
        self.reads += 1
        return [[1, 0], [0.25, 0.75]][(self.reads - 1) % 2]


def test_a_mixer_that_computes_its_mix_is_read_once_a_batch():
    labels = np.array([0, 1] * 8)
    mixer = Computed()
    sampler = MixedBatchSampler(labels, mixer, batch_size=4, num_batches=2)
    assert [counts_of(batch, labels, 2) for batch in sampler] == [[4, 0], [1, 3]]
    assert mixer.reads == 2
    with pytest.warns(UserWarning, match="Computed: .* not in its state.*: reads;"):
        sampler.load_state_dict(sampler.state_dict())


class Reused(Mixer):
    """Computes its mix in an array that it uses again."""

    def __init__(self):
        self.array = np.array([1.0, 0.0])

    @property
    def proportions(self):
        self.array[:] = self.array[::-1].copy()
        return self.array


def test_a_batch_keeps_the_mix_it_was_composed_by():
    sampler = MixedBatchSampler([0, 1] * 8, Reused(), batch_size=4, num_batches=4)
    kept = []
    for _ in sampler:
        sampler.observe(None)
        kept.append(sampler.last_observed)
    assert [batch.proportions.tolist() for batch in kept] == [[0, 1], [1, 0], [0, 1], [1, 0]]


class Wrong(Mixer):
    def __init__(self, mix):
        self.mix = mix

    @property
    def proportions(self):
        return np.array(self.mix)


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ([0.5, 0.5], "Wrong.proportions must .* 3"),
        ([0.5, 0.25, 0.5], r"Wrong.proportions must .*sum to 1"),
        ([1.5, 0.0, -0.5], "Wrong.proportions must be .* -0.5"),
        ([NAN, 0.0, 1.0], "Wrong.proportions must .*nan"),
        ([0.5, 0.25, 0.25], "Wrong.proportions gives 0.25 to group 1, which has no samples"),
    ],
)
def test_a_mixer_s_own_mix_is_checked(mix, message):
    partition = Partition.by_dataset([range(4), range(0), range(4)])
    sampler = MixedBatchSampler(partition, Wrong(mix), batch_size=4)
    with pytest.raises(ValueError, match=message):
        next(iter(sampler))
    assert sampler.lag == 0


class Follows(Mixer):
    """Asks for an update after each batch."""

    needs_losses = True

    def due(self, num_batches, epoch_ended):
        return True


@pytest.mark.parametrize("within", [lambda rule: rule, lambda rule: AnnealedMix(None, rule, num_steps=9)])
@pytest.mark.parametrize("method", ["seek", "update", "observe_validation"])
def test_a_mix_that_is_returned_instead_of_assigned_is_an_error(method, within):
    rule = type("Returns", (Follows,), {method: lambda self, *_: self.prior})()
    sampler = MixedBatchSampler([0, 1] * 8, within(rule), batch_size=4)
    with pytest.raises(TypeError, match=r"returned a ndarray, which nobody takes; .*self\.proportions = "):
        for batch in sampler:
            sampler.observe(np.ones(len(batch)))
            sampler.observe_validation(1.0)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"update": lambda self, losses: None}, r"Rule: its update gets losses, .*; set needs_losses = True"),
        ({"needs_losses": True, "updates": lambda self, losses: None}, r"Rule: it needs losses .* no update\(losses"),
        ({"needs_validation": "loss"}, r"Rule: it needs .* no .*observe_validation\(loss"),
    ],
)
def test_a_rule_that_does_not_say_what_it_follows_is_told_when_it_gets_a_sampler(attributes, message):
    with pytest.warns(UserWarning, match=message) as told:
        MixedBatchSampler([0, 1] * 8, type("Rule", (Mixer,), attributes)(), batch_size=4)
    assert told[0].filename == __file__


def test_a_rule_that_needs_of_a_validation_what_there_is_not_is_an_error():
    rule = type("Rule", (Mixer,), {"needs_validation": "losses", "observe_validation": lambda self, *_: None})()
    with pytest.raises(ValueError, match=r'Rule.needs_validation must be "loss", "group_losses" or None, got .losses'):
        MixedBatchSampler([0, 1] * 8, rule, batch_size=4)


@pytest.mark.parametrize("signal", ["train", "validation"])
def test_a_rule_made_of_another_needs_what_that_one_does(signal):
    update = {"update": lambda self, losses, info=None: Learn2Mix.update(self, losses, info)}
    MixedBatchSampler([0, 1] * 8, type("Rule", (Learn2Mix,), update)(signal=signal), batch_size=4)


class Remembers(Follows):
    """Changes attributes: a new number, an array and a generator in place."""

    def __init__(self):
        self.number, self.array, self.random = 0, np.zeros(2), np.random.default_rng(0)
        self.same, self.told = {"a": [1]}, []

    def update(self, losses, info=None):
        self.number += 1
        self.array += losses
        self.told.append(info)
        self.proportions = self.random.dirichlet([1, 1])


class RemembersMore(Remembers, Learn2Mix):
    def __init__(self):
        Learn2Mix.__init__(self)
        Remembers.__init__(self)

    def update(self, losses, info=None):
        Learn2Mix.update(self, losses)
        Remembers.update(self, losses)


class Saves(Remembers):
    """What its state leaves out does not matter."""

    def state_dict(self):
        return super().state_dict()


def drawn_once(mixer):
    """A sampler whose mixer has had an update."""
    sampler = MixedBatchSampler([0, 1] * 8, mixer, batch_size=4)
    sampler.observe(np.ones(len(next(iter(sampler)))))
    return sampler


@pytest.mark.parametrize("kind", [Remembers, RemembersMore])
def test_what_a_rule_remembers_and_does_not_save_is_named_once(kind):
    sampler = drawn_once(kind())
    with pytest.warns(UserWarning, match=f"{kind.__name__}: .*: number, array, random; put them into"):
        sampler.state_dict()
    sampler.state_dict()  # a second warning would be an error


def test_what_a_rule_remembers_and_does_not_save_is_named_where_it_gets_another_sampler():
    mixer = Remembers()
    drawn_once(mixer)
    with pytest.warns(UserWarning, match="number, array, random"):
        drawn_once(mixer)


@pytest.mark.parametrize("kind", [Saves, Learn2Mix])
def test_a_rule_that_saves_its_state_is_not_told_what_to_save(kind, recwarn):
    drawn_once(kind()).state_dict()
    MixedBatchSampler([0, 1] * 8, Remembers(), batch_size=4).state_dict()  # nothing has changed yet
    assert not recwarn.list


def test_arguments_of_due_may_have_any_name():
    rule = type("Rule", (Follows,), {"due": lambda self, n, ended: True, "update": lambda *_: None})
    ReweightedLoss(torch.nn.MSELoss(reduction="none"), rule(), groups=[0, 1])
    sampler = MixedBatchSampler([0, 1] * 8, rule(), batch_size=4)
    next(batches := iter(sampler))
    sampler.observe(np.ones(4))
    next(batches)
    sampler.finish_epoch()


class SavesLittle(Remembers):
    """Its state is its own, without the general one."""

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]


def test_the_mix_goes_on_though_a_rule_leaves_it_out_of_its_state():
    stopped = drawn_once(SavesLittle())
    going_on = MixedBatchSampler([0, 1] * 8, SavesLittle(), batch_size=4)
    going_on.load_state_dict(stopped.state_dict())
    assert going_on.mixer.number == 1
    assert going_on.mixer.proportions.tolist() == stopped.mixer.proportions.tolist() != [0.5, 0.5]
