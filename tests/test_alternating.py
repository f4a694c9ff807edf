"""AlternatingMix: by epoch, by steps, on a plateau; whose turn it is, written out."""

import numpy as np
import pytest
from torch.utils.data import ConcatDataset, DataLoader

from helpers import NAN, stepping, through_a_file, train
from learn2mix import AlternatingMix, AnnealedMix, MixedBatchSampler, Mixer, Partition

NAMES = ["a", "b", "c"]
PRIOR = [0.5, 0.3, 0.2]
A, B, C = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def turns(mixer, places, prior=PRIOR):
    """The mix at each (batch, epoch)."""
    mixer.attach(prior, NAMES)
    mixed = []
    for batch, epoch in places:
        mixer.seek(batch, epoch)
        mixed.append(mixer.proportions.tolist())
    return mixed


def two_sets(mixer, **settings):
    """1000 and 800 samples, as in the source's examples."""
    data = ConcatDataset([range(1000), range(5000, 5800)])
    sampler = MixedBatchSampler(Partition.by_dataset(data, ["one", "two"]), mixer, batch_size=32, **settings)
    return sampler, DataLoader(data, batch_sampler=sampler)


def sources(batch):
    """The data sets that a batch holds."""
    return sorted({"one" if value < 1000 else "two" for value in batch.tolist()})


class TestTurns:
    def test_by_epoch(self):
        places = [(0, 0), (9, 0), (10, 1), (20, 2), (30, 3)]
        assert turns(AlternatingMix(), places) == [A, A, B, C, A]

    def test_by_steps_counted_over_epochs(self):
        places = [(batch, batch // 4) for batch in range(8)]
        assert turns(AlternatingMix(every=3), places) == [A, A, A, B, B, B, C, C]

    def test_some_groups_only_and_several_in_a_turn(self):
        mixer = AlternatingMix(every=1, groups=["c", ("a", "b")])
        assert turns(mixer, [(0, 0), (1, 0), (2, 0)], [0.625, 0.125, 0.25]) == [C, [5 / 6, 1 / 6, 0.0], C]

    def test_it_may_end_on_the_mix_of_all(self):
        places = [(batch, 0) for batch in range(6)]
        assert turns(AlternatingMix(every=2, num_turns=2), places) == [A, A, B, B, PRIOR, PRIOR]

    def test_a_plateau_may_end_it_too(self):
        mixer = AlternatingMix(every="plateau", window=2, num_turns=2)
        mixer.attach(PRIOR, NAMES)
        for wanted in [B, PRIOR, PRIOR]:
            mixer.observe_validation(1.0)
            mixer.observe_validation(1.0)
            assert mixer.proportions.tolist() == wanted


class TestPlateau:
    def after(self, losses, **settings):
        """The mix after each validation run."""
        mixer = AlternatingMix(every="plateau", **settings)
        mixer.attach(PRIOR, NAMES)
        mixed = []
        for loss in losses:
            mixer.observe_validation(loss)
            mixed.append(mixer.proportions.tolist())
        return mixed

    def test_the_next_set_takes_over_when_the_last_five_losses_are_level(self):
        #                1    2    3    4    5     6: |0.9 - 0.895| <= 0.01
        losses = [1.0, 0.90, 0.80, 0.85, 0.92, 0.895]
        assert self.after(losses) == [A, A, A, A, A, B]

    def test_a_loss_that_falls_or_rises_is_no_plateau(self):
        assert self.after([1.0, 0.9, 0.8, 0.7, 0.6, 0.5]) == [A] * 6
        assert self.after([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]) == [A] * 6

    def test_the_threshold_is_included(self):
        assert self.after([1.0, 0.75], window=2, threshold=0.25)[-1] == B
        assert self.after([1.0, 0.7], window=2, threshold=0.25)[-1] == A

    def test_the_next_plateau_is_looked_for_in_new_losses(self):
        assert self.after([1.0] * 15) == [A] * 4 + [B] * 5 + [C] * 5 + [A]

    def test_losses_that_are_not_numbers_are_no_plateau(self):
        assert self.after([NAN] * 6 + [np.inf] * 6) == [A] * 12

    def test_it_does_not_follow_progress_and_the_others_do_not_follow_validation(self):
        mixer = AlternatingMix(every="plateau")
        assert turns(mixer, [(0, 0), (100, 7)]) == [A, A]
        by_epoch = AlternatingMix(window=2)
        by_epoch.attach(PRIOR, NAMES)
        for _ in range(5):
            by_epoch.observe_validation(1.0)
        assert by_epoch.proportions.tolist() == A

    def test_what_it_follows_can_be_asked(self):
        assert AlternatingMix(every="plateau").needs_validation == "loss"
        assert not AlternatingMix(every="plateau").follows_progress
        for mixer in [AlternatingMix(), AlternatingMix(every=3), AnnealedMix(None, None, num_steps=1)]:
            assert mixer.follows_progress
            assert mixer.needs_validation is None
            assert not mixer.needs_losses
        assert not Mixer().follows_progress

    def test_it_reaches_the_batches_through_the_sampler(self):
        sampler, loader = two_sets(AlternatingMix(every="plateau", window=2), num_batches=4)
        seen = []
        for batch in loader:
            seen.append(sources(batch))
            sampler.observe(None)
            sampler.observe_validation(0.5)
        assert seen == [["one"], ["one"], ["two"], ["two"]]


class TestBatches:
    def test_by_epoch_each_epoch_holds_one_set(self):
        _, loader = two_sets(AlternatingMix())
        epochs = [[sources(batch) for batch in loader] for _ in range(4)]
        assert epochs == [[[name]] * 57 for name in ("one", "two", "one", "two")]

    def test_by_iteration_the_sets_take_turns(self):
        _, loader = two_sets(AlternatingMix(every=1), num_batches=6)
        assert [sources(batch) for batch in loader] == [["one"], ["two"]] * 3

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_workers_do_not_shift_the_turns(self, num_workers):
        sampler, _ = two_sets(AlternatingMix(every=2), num_batches=7)
        mixed = [mix for _, mix in train(sampler, 14, np.ones(1800), num_workers=num_workers)]
        assert mixed == [[1.0, 0.0] if batch // 2 % 2 == 0 else [0.0, 1.0] for batch in range(14)]

    def test_a_resumed_plateau_goes_on_where_it_was(self):
        def make():
            return two_sets(AlternatingMix(every="plateau", window=3, num_turns=3), num_batches=50)[0]

        def run(steps, sampler, num_steps):
            done = []
            for _ in range(num_steps):
                done.append(next(steps))
                sampler.observe_validation(1.0)
            return done

        whole = make()
        wanted = run(stepping(whole, np.ones(1800)), whole, 14)
        assert [mix for _, mix in wanted][::3][:4] == [[1, 0], [0, 1], [1, 0], [1000 / 1800, 800 / 1800]]
        stopped = make()
        done = run(stepping(stopped, np.ones(1800)), stopped, 5)
        resumed = make()
        resumed.load_state_dict(through_a_file(stopped.state_dict()))
        assert done + run(stepping(resumed, np.ones(1800)), resumed, 9) == wanted


class TestEpochLength:
    @pytest.mark.parametrize(
        ("asked", "num_batches"), [("smallest", 25), ("largest", 32), (None, 57), (7, 7)]
    )  # 800 / 32, 1000 / 32, 1800 / 32
    def test_it_is_as_asked(self, asked, num_batches):
        sampler, _ = two_sets(AlternatingMix(), num_batches=asked)
        assert len(sampler) == len(list(sampler)) == num_batches

    def test_as_many_from_the_large_set_as_the_small_one_has(self):
        data = ConcatDataset([range(10_000), range(10_000, 10_064)])
        sampler = MixedBatchSampler(Partition.by_dataset(data), AlternatingMix(), batch_size=32, num_batches="smallest")
        epochs = [np.concatenate(list(sampler)) for _ in range(4)]
        assert [np.unique(epoch).size for epoch in epochs] == [64] * 4
        assert [int((epoch < 10_000).sum()) for epoch in epochs] == [64, 0, 64, 0]
        assert not set(epochs[0]) & set(epochs[2])  # the large one's pass goes on; it does not begin anew

    def test_empty_groups_do_not_count(self):
        partition = Partition([6, 0, 3], ["a", "b", "c"])
        sampler = MixedBatchSampler(partition, AlternatingMix(groups=["a", "c"]), batch_size=2, num_batches="smallest")
        assert len(sampler) == 2

    def test_on_several_processes_it_is_the_global_batch_that_fills(self):
        settings = {"batch_size": 8, "num_batches": "smallest", "rank": 1}
        sampler = MixedBatchSampler(Partition([100, 50], ["a", "b"]), AlternatingMix(), num_replicas=4, **settings)
        assert len(sampler) == 2  # 50 / 32

    @pytest.mark.parametrize(
        ("asked", "error", "message"),
        [
            ("small", ValueError, 'num_batches must be a number, "smallest", "largest" or None, got \'small\''),
            (0, ValueError, "num_batches must be at least 1, got 0"),
            (2.5, TypeError, "num_batches must be a whole number, got 2.5"),
        ],
    )
    def test_another_length_is_refused(self, asked, error, message):
        with pytest.raises(error, match=message):
            two_sets(AlternatingMix(), num_batches=asked)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"every": "step"}, ValueError, 'every must be "epoch", "plateau" or a number of batches, got \'step\''),
        ({"every": 0}, ValueError, "every must be at least 1, got 0"),
        ({"every": 1.5}, TypeError, "every must be a whole number, got 1.5"),
        ({"window": 1}, ValueError, "window must be at least 2, got 1"),
        ({"threshold": -0.1}, ValueError, "threshold must be at least 0 and finite, got -0.1"),
        ({"threshold": NAN}, ValueError, "threshold must be at least 0 and finite, got nan"),
        ({"threshold": "a"}, TypeError, "threshold must be a number of at least 0, got 'a'"),
        ({"threshold": None}, TypeError, "threshold must be a number of at least 0, got None"),
        ({"groups": 2}, TypeError, "groups must be a sequence of names or of sequences of names, got int"),
        ({"groups": "one"}, TypeError, "groups must be a sequence of names or of sequences of names, got str"),
        ({"num_turns": 0}, ValueError, "num_turns must be at least 1, got 0"),
        ({"groups": ["one"]}, ValueError, "groups must be at least 2 turns to alternate between, got 1"),
        ({"groups": ["one", "three"]}, ValueError, "there is no group 'three'; the groups are 'one', 'two'"),
        ({"groups": ["one", []]}, ValueError, r"groups: the turn \[\] has no samples"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        two_sets(AlternatingMix(**settings))


@pytest.mark.parametrize("groups", [["a", np.array(["b", "c"])], np.array([["a", "a"], ["b", "c"]])])
def test_turns_may_be_arrays(groups):
    bc = pytest.approx([0.0, 0.6, 0.4])
    assert turns(AlternatingMix(every=1, groups=groups), [(0, 0), (1, 0), (2, 0)]) == [A, bc, A]


def test_a_turn_without_samples_is_refused():
    with pytest.raises(ValueError, match=r"groups: the turn \['c'\] has no samples"):
        AlternatingMix().attach([0.5, 0.5, 0.0], NAMES)


def test_a_single_data_set_is_refused():
    with pytest.raises(ValueError, match="groups must be at least 2 to be mixed, got 1"):
        MixedBatchSampler(Partition.by_dataset([range(5)]), AlternatingMix(), batch_size=2)
