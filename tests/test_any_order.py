"""Law 4, whatever a loop does between its steps: it trains on what a loop trains on that nothing disturbs.

Hypothesis invents the loops: they look, leave an epoch early, and a batch unobserved, save, go back to a state, begin
anew from one, copy and pickle the loader, end an epoch, and read all that can be read.
"""

import copy
import pickle
from itertools import islice

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from torch.utils.data import DataLoader

from helpers import through_a_file
from learn2mix import (
    AlternatingMix,
    AnnealedMix,
    FadingMix,
    FixedMix,
    GroupDRO,
    Learn2Mix,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    OnlineDataMixing,
)
from loops import LABELS, LOSSES, Data

SOURCES = {str(group): np.flatnonzero(group == LABELS).tolist() for group in range(3)}
MIXERS = {
    "fixed": FixedMix,
    "annealed": lambda: AnnealedMix([0.8, 0.1, 0.1], [0.1, 0.1, 0.8], num_steps=25),
    "alternating": AlternatingMix,
    "fading": lambda: FadingMix(3.0),
    "step": lambda: Learn2Mix(0.3),
    "three steps": lambda: Learn2Mix(0.3, every=3),
    "epoch": lambda: Learn2Mix(0.3, every="epoch"),
    "passes": lambda: Learn2Mix(0.3, passes=4.0, memory=0.5),
    "group DRO": lambda: GroupDRO(0.2),
    "bandit": lambda: OnlineDataMixing(every=3),
}


def sampler_of(mixer, order, seed):
    return MixedBatchSampler(LABELS, MIXERS[mixer](), batch_size=5, seed=seed, order=order)


def stream_of(mixer, order, seed):
    return MixedStream(SOURCES, MIXERS[mixer](), batch_size=5, seed=seed, order=order)


def loader_of(kind, mixer, order, seed=3):
    """A loader, and what takes the losses of its batches."""
    made = (stream_of if "stream" in kind else sampler_of)(mixer, order, seed)
    if kind == "DataLoader":
        return DataLoader(Data(), batch_sampler=made), made
    if kind == "DataLoader of a stream":
        return DataLoader(made, batch_size=None), made
    return (MixedLoader(made) if "stream" in kind else MixedLoader(Data(), made)), made


class AnyLoop(RuleBasedStateMachine):
    """A loop that observes; what it trained on, batch by batch, is in ``steps``."""

    kind = ""

    @initialize(mixer=st.sampled_from(sorted(MIXERS)), order=st.sampled_from(["shuffled", "grouped"]))
    def begin(self, mixer, order):
        self.made_of = self.kind, mixer, order
        self.loader, self.batches = loader_of(*self.made_of)
        self.iterator, self.steps, self.saved = None, [], []

    def next_batch(self):
        if self.iterator is None:
            self.iterator = iter(self.loader)
        batch = next(self.iterator, None)
        if batch is None:
            self.iterator = None
        return batch

    def train(self, *, shuffled=None):
        batch = self.next_batch()
        if batch is None:
            return
        epoch, losses, groups = self.batches.state_dict()["epoch"], LOSSES[batch.numpy()], None
        if shuffled is not None:
            order = np.random.default_rng(shuffled).permutation(len(batch))
            names = np.array(self.batches.group_names)
            losses, groups = losses[order], names[LABELS[batch.numpy()[order]]]
        self.batches.observe(losses, groups=groups)
        self.steps.append((epoch, batch.tolist(), self.batches.last_observed.proportions.tolist()))

    @rule(number=st.integers(1, 6))
    def train_on_some(self, number):
        for _ in range(number):
            self.train()

    @rule(seed=st.integers(0, 99))
    def train_and_observe_by_groups(self, seed):
        self.train(shuffled=seed)

    @rule(unobserved=st.booleans())
    def leave(self, unobserved):
        if unobserved and self.steps:
            self.next_batch()
        self.iterator = None

    @precondition(lambda self: self.steps and self.iterator is None)  # before that, two looks are looks
    @rule()
    def look(self):
        next(iter(self.loader))

    @precondition(lambda self: self.steps)
    @rule()
    def end_the_epoch(self):
        self.batches.finish_epoch()
        self.iterator = None

    @rule(unobserved=st.booleans())
    def save(self, unobserved):
        if unobserved and self.steps:
            self.leave(True)
        self.saved.append((len(self.steps), through_a_file(self.batches.state_dict())))

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def go_back(self, data):
        number, state = data.draw(st.sampled_from(self.saved))
        self.batches.load_state_dict(copy.deepcopy(state))
        self.iterator, self.steps = None, self.steps[:number]
        self.saved = [saved for saved in self.saved if saved[0] <= number]

    @rule(unobserved=st.booleans())
    def stop_and_go_on(self, unobserved):
        if unobserved and self.steps:
            self.next_batch()
        state = through_a_file(self.batches.state_dict())
        self.loader, self.batches = loader_of(*self.made_of, seed=99)
        self.batches.load_state_dict(state)
        self.iterator = None

    @precondition(lambda self: "DataLoader" not in self.kind)
    @rule(pickled=st.booleans())
    def go_on_with_a_copy(self, pickled):
        self.loader = pickle.loads(pickle.dumps(self.loader)) if pickled else copy.deepcopy(self.loader)
        self.batches, self.iterator = self.loader.sampler, None

    @rule()
    def read(self):
        batches = self.batches
        before = batches.state_dict()
        read = (batches.draws, batches.passes, batches.coverage, batches.realised, batches.history, batches.lag)
        assert len(read) == 6
        assert str(batches.state_dict()) == str(before)

    def teardown(self):
        undisturbed = list(plain_loop(self.made_of, [epoch for epoch, _, _ in self.steps]))
        assert [batch for _, batch, _ in self.steps] == [batch for batch, _ in undisturbed]
        mixes = [mix for _, _, mix in self.steps], [mix for _, mix in undisturbed]
        np.testing.assert_allclose(*mixes, rtol=1e-9)  # the losses of a group may be summed in another order


def plain_loop(made_of, epochs):
    """Yield the batches and mixes of a loop that trains on as many batches in each epoch, and does nothing else."""
    loader, batches = loader_of(*made_of)
    for number in sorted(set(epochs)):
        for batch in islice(loader, epochs.count(number)):
            batches.observe(LOSSES[batch.numpy()])
            yield batch.tolist(), batches.last_observed.proportions.tolist()
        batches.finish_epoch()


@pytest.mark.filterwarnings("ignore:.*never observed")
@pytest.mark.parametrize("kind", ["MixedLoader", "DataLoader", "MixedLoader of a stream", "DataLoader of a stream"])
def test_whatever_a_loop_does_between_its_steps_it_trains_on_the_same(kind):
    machine = type("Loop", (AnyLoop,), {"kind": kind})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25))
