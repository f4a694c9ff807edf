"""Batches of a mix that stays are composed several at a time; they are those that plain loops compose one by one."""

import copy
from itertools import islice

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from helpers import mixes
from learn2mix import MixedBatchSampler, Mixer, Partition
from learn2mix.batches.passes import Passes
from learn2mix.functional import apportion_owed

SIZES, NUM_BATCHES = [3, 20, 7, 150], 12
PARTITION = Partition.by_class(np.repeat(np.arange(4), SIZES))


class PlainLoops:
    """Composes batches one by one, each by the mix that it is given."""

    def __init__(self, batch_size):
        self.batch_size, self.credit, self.draws = batch_size, np.zeros(4), np.zeros(4, dtype=np.int64)

    def next(self, mix):
        owed = self.credit + np.asarray(mix) * self.batch_size
        counts = apportion_owed(owed, self.batch_size)
        batch = Passes(PARTITION, seed=3).draw(self.draws, counts).tolist()
        self.credit, self.draws = owed - counts, self.draws + counts
        return batch


def sampler_of(batch_size):
    return MixedBatchSampler(
        PARTITION, Mixer(), batch_size=batch_size, num_batches=NUM_BATCHES, seed=3, order="grouped"
    )


ACTIONS = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 9)),
    st.tuples(st.just("foresee"), st.integers(1, 5)),
    st.tuples(st.just("move to"), mixes(4)),
    st.tuples(st.just("begin anew"), st.none()),
    st.tuples(st.sampled_from(["save", "go back"]), st.none()),
)


@example(batch_size=5, actions=[("take", 3), ("go back", None), ("take", 3)])
@given(batch_size=st.sampled_from([1, 5, 32]), actions=st.lists(ACTIONS, min_size=2, max_size=12))
def test_they_are_the_same_whatever_happens_between(batch_size, actions):
    sampler, plain = sampler_of(batch_size), PlainLoops(batch_size)
    batches, num_taken = iter(sampler), 0  # of this iteration
    saved, plain_then = sampler.state_dict(), copy.copy(plain)
    for action, value in actions:
        mix = sampler.mixer.proportions
        if action == "take":
            for batch in islice(batches, value):
                assert batch == plain.next(mix)
                num_taken += 1
        elif action == "foresee":
            ahead = copy.copy(plain)
            assert [indices.tolist() for indices in sampler.foresee(value)] == [ahead.next(mix) for _ in range(value)]
        elif action == "move to":
            sampler.mixer.proportions = value
        elif action == "save":
            saved, plain_then = sampler.state_dict(), copy.copy(plain)
        elif action == "go back":
            sampler.load_state_dict(saved)
            plain, batches, num_taken = copy.copy(plain_then), iter(sampler), 0
        elif num_taken != 1:  # a batch alone is a look, and comes again
            batches, num_taken = iter(sampler), 0
