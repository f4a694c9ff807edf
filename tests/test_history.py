"""The history of a run: what plain loops find, within a bound, the same after a stop."""

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
from torch.utils.data import DataLoader

import reference
from helpers import same_state, through_a_file, train
from learn2mix import (
    AnnealedMix,
    FadingMix,
    FixedMix,
    Learn2Mix,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    StagedMix,
)
from learn2mix.history import History
from runs import LABELS, LOSSES, MIXERS, NUM_BATCHES, make

ARRAYS = ("sizes", "steps", "proportions", "requested", "realised", "losses", "passes", "coverage", "lag")
SIZES = np.bincount(LABELS)


def assert_same(one, other):
    assert (one.group_names, one.batch_size) == (other.group_names, other.batch_size)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def assert_tells(history, batches, ends):
    """Check it against the batches, of which each row but the first covers those up to an end."""
    assert history.steps.tolist() == [0, *ends]
    assert np.isnan(history.realised[0]).all()
    assert np.isnan(history.losses[0]).all()
    for row, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True), start=1):
        drawn = [index for batch in batches[begin:end] for index in batch]
        shares = [np.count_nonzero(LABELS[drawn] == group) / len(drawn) for group in range(3)]
        np.testing.assert_allclose(history.realised[row], shares, rtol=1e-12)
        means = reference.pooled_means([(LABELS[index], LOSSES[index]) for index in drawn], 3)
        np.testing.assert_allclose(history.losses[row], np.array(means, dtype=float), rtol=1e-12)
        all_drawn = [index for batch in batches[:end] for index in batch]
        passes = np.bincount(LABELS[all_drawn], minlength=3) / SIZES
        np.testing.assert_allclose(history.passes[row], passes, rtol=1e-12)
        reached = [len({index for index in all_drawn if LABELS[index] == group}) / SIZES[group] for group in range(3)]
        np.testing.assert_allclose(history.coverage[row], reached, rtol=1e-12)


class TestValues:
    @pytest.mark.parametrize(("mixer", "every"), [("step", 1), ("three steps", 3), ("epoch", NUM_BATCHES)])
    def test_a_row_for_each_update(self, mixer, every):
        sampler = make(mixer)
        steps = train(sampler, 3 * NUM_BATCHES, LOSSES)
        history = sampler.history
        assert_tells(history, [batch for batch, _ in steps], list(range(every, 3 * NUM_BATCHES + 1, every)))
        asked = [mix for _, mix in steps[::every]] + [sampler.mixer.proportions.tolist()]
        assert history.proportions.tolist() == asked
        assert history.group_names == (0, 1, 2)
        assert history.sizes.tolist() == SIZES.tolist()
        assert history.batch_size == 5
        assert history.lag.tolist() == [0] * len(history)

    def test_the_last_row_is_the_present(self):
        sampler = make("seven steps")
        steps = train(sampler, 11, LOSSES)  # the losses of the last 4 batches have not reached the mixer
        history = sampler.history
        assert history.steps.tolist() == [0, 7, 11]
        assert history.proportions[2].tolist() == history.proportions[1].tolist() == sampler.mixer.proportions.tolist()
        drawn = np.concatenate([LABELS[batch] for batch, _ in steps[7:]])
        np.testing.assert_allclose(history.realised[2], np.bincount(drawn, minlength=3) / 20, rtol=1e-12)
        assert np.isnan(history.losses[2]).all()

    def test_before_the_first_batch(self):
        history = make("floor").history
        assert history.steps.tolist() == [0]
        assert history.proportions.tolist() == [[1 / 3] * 3]
        assert history.passes.tolist() == [[0, 0, 0]]
        assert (
            repr(history)
            == "History(1 row of 3 groups, batches 0 to 0: 0 0.333 to 0.333, 1 0.333 to 0.333, 2 0.333 to 0.333)"
        )

    def test_a_group_that_was_not_seen_has_no_loss(self):
        sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5, initial=[0.5, 0.5, 0.0], every=2), batch_size=4)
        train(sampler, 2, LOSSES)
        assert np.isnan(sampler.history.losses[1]).tolist() == [False, False, True]

    def test_weights_and_other_samples(self):
        """Losses are the mixer's: by weight, and of the groups that they are said to be of."""
        sampler = make("step")
        batches = iter(sampler)
        next(batches)
        sampler.observe([1.0, 4.0, 2.0], groups=[0, 0, 1], weights=[1.0, 2.0, 5.0])
        np.testing.assert_array_equal(sampler.history.losses[1], [3.0, 2.0, np.nan])

    def test_lag_of_workers(self):
        sampler = make("step")
        train(sampler, NUM_BATCHES, LOSSES, num_workers=1)
        # Of 6 batches 2 wait, until the end of the epoch comes near. The last row is now: none.
        assert sampler.history.lag.tolist() == [2, 2, 2, 2, 1, 0, 0]

    def test_the_mix_of_a_rule_that_follows_the_batches_is_that_of_the_batch(self):
        for num_workers in (0, 2):
            mixer = StagedMix({0: "uniform", 5: [0.5, 0.5, 0.0], 8: [0.2, 0.2, 0.6]})
            sampler = MixedBatchSampler(LABELS, mixer, batch_size=5, num_batches=20)
            steps = train(sampler, 13, LOSSES, num_workers=num_workers)
            history = sampler.history
            assert history.steps.tolist() == [0, 5, 8, 13]
            assert history.proportions[:3].tolist() == [steps[place][1] for place in (0, 5, 8)]

    def test_a_mix_that_a_user_sets_or_validation_moves(self):
        sampler = make("fixed")
        train(sampler, 3, LOSSES)
        sampler.mixer.proportions = [0.5, 0.25, 0.25]
        train(sampler, 2, LOSSES)
        history = sampler.history
        assert history.steps.tolist() == [0, 3, 5]
        assert history.proportions[:, 0].tolist() == [1 / 3, 0.5, 0.5]

    def test_a_mix_that_stays_has_a_row_at_each_end_of_an_epoch_and_every_100_batches(self):
        sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=5, num_batches=250)
        train(sampler, 320, LOSSES)
        assert sampler.history.steps.tolist() == [0, 100, 200, 250, 320]
        assert not np.isnan(sampler.history.losses[3]).any()
        assert np.isnan(sampler.history.losses[[1, 2, 4]]).all()

    @pytest.mark.parametrize("num_workers", [0, 2])
    @pytest.mark.parametrize("length", [1, 4, NUM_BATCHES, 13])
    def test_a_loop_that_never_observes(self, length, num_workers):
        silent, heard = (
            MixedBatchSampler(LABELS, AnnealedMix("uniform", None, num_steps=9), batch_size=5) for _ in range(2)
        )
        train(silent, length, None, num_workers=num_workers)
        steps = train(heard, length, LOSSES)
        history = silent.history
        assert history.steps.tolist() == [*range(min(length, 9)), length]
        assert history.proportions[:-1].tolist() == [mix for _, mix in steps[:9]]
        same = slice(0, min(length, 9))  # after that, the other has a row at the end of an epoch, for its losses
        for name in ("steps", "proportions", "requested", "realised", "passes", "coverage", "lag"):
            np.testing.assert_array_equal(getattr(history, name)[same], getattr(heard.history, name)[same])


class TestBound:
    def run(self, num_batches, num_groups=3, mixer=None):
        labels = np.arange(10 * num_groups) % num_groups
        sampler = MixedBatchSampler(labels, mixer or Learn2Mix(0.01), batch_size=4, num_batches=num_batches)
        drawn, losses = [], np.random.default_rng(0).random(num_batches * 4).reshape(-1, 4)
        for number, batch in enumerate(sampler):
            sampler.observe(losses[number])
            drawn.append(labels[batch])
        return sampler, np.array(drawn), losses

    @pytest.mark.parametrize(("num_batches", "stride"), [(512, 1), (513, 2), (1024, 2), (1025, 4), (3000, 8)])
    def test_rows_are_thinned_and_cover_all_that_was_between_them(self, num_batches, stride):
        sampler, drawn, losses = self.run(num_batches)
        history = sampler.history
        steps = [*range(0, num_batches, stride), num_batches]
        assert history.steps.tolist() == steps
        for row, (begin, end) in enumerate(pairwise(steps), start=1):
            members = drawn[begin:end].ravel()
            counts = np.bincount(members, minlength=3)
            np.testing.assert_allclose(history.realised[row], counts / counts.sum(), rtol=1e-12)
            with np.errstate(invalid="ignore"):
                means = np.bincount(members, losses[begin:end].ravel(), minlength=3) / counts
            np.testing.assert_allclose(history.losses[row], means, rtol=1e-12)

    @pytest.mark.parametrize(("num_groups", "most"), [(600, 436), (20_000, 12), (100_000, 2)])
    def test_of_many_groups_there_are_fewer_rows(self, num_groups, most):
        sampler, _, _ = self.run(most + 5, num_groups)
        history = sampler.history
        assert most // 2 < len(history) <= most + 1
        assert history.steps.tolist()[-1] == most + 5
        assert history.proportions.shape == (len(history), num_groups)
        assert np.isnan(history.losses[1:]).all() == (num_groups > 10_000)
        assert sum(np.size(value) for value in sampler.state_dict()["history"]["rows"].values()) <= 4 * 2**18 + 10**6


def assert_stop_changes_nothing(mixer, stop, num_workers):
    def sampler():
        if mixer in MIXERS:
            return make(mixer)
        rule = AnnealedMix("uniform", None, num_steps=30) if mixer == "annealed" else FadingMix(passes=2)
        return MixedBatchSampler(LABELS, rule, batch_size=5, seed=5)

    unbroken, stopped, resumed = sampler(), sampler(), sampler()
    train(unbroken, 20, LOSSES, num_workers=num_workers)
    train(stopped, stop, LOSSES, num_workers=num_workers)
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    train(resumed, 20 - stop, LOSSES, num_workers=num_workers)
    assert_same(resumed.history, unbroken.history)
    assert same_state(resumed.state_dict(), unbroken.state_dict())


class TestResume:
    @pytest.mark.parametrize(("mixer", "stop"), [("step", 5), ("seven steps", 13), ("annealed", 8)])
    def test_a_stop_changes_nothing_with_workers(self, mixer, stop):
        assert_stop_changes_nothing(mixer, stop, num_workers=2)

    @pytest.mark.parametrize("stop", [0, 1, 5, NUM_BATCHES, NUM_BATCHES + 1, 13])
    @pytest.mark.parametrize("mixer", [*MIXERS, "annealed", "fading"])
    def test_a_stop_changes_nothing(self, mixer, stop):
        assert_stop_changes_nothing(mixer, stop, num_workers=0)

    @pytest.mark.parametrize("stop", [300, 700, 1025, 1026, 1027])
    @pytest.mark.parametrize("rule", [lambda: Learn2Mix(0.1), lambda: AnnealedMix("uniform", None, num_steps=2000)])
    def test_nor_when_rows_are_thinned(self, rule, stop):
        def sampler():
            return MixedBatchSampler(LABELS, rule(), batch_size=5, num_batches=2000)

        unbroken, stopped, resumed = sampler(), sampler(), sampler()
        train(unbroken, 1100, LOSSES)
        train(stopped, stop, LOSSES)
        resumed.load_state_dict(through_a_file(stopped.state_dict()))
        train(resumed, 1100 - stop, LOSSES)
        assert_same(resumed.history, unbroken.history)

    @pytest.mark.parametrize("stop", [0, 1, 6, 9])
    def test_nor_in_a_loop_that_never_observes(self, stop):
        def sampler():
            return MixedBatchSampler(LABELS, AnnealedMix("uniform", None, num_steps=9), batch_size=5)

        unbroken, stopped, resumed = sampler(), sampler(), sampler()
        train(unbroken, 14, None)
        train(stopped, stop, None)
        state = stopped.state_dict()
        assert state["history"]["rows"]["step"] == list(range(stop))
        resumed.load_state_dict(through_a_file(state))
        train(resumed, 14 - stop, None)
        assert_same(resumed.history, unbroken.history)

    def test_a_batch_trained_on_out_of_order_waits_for_those_before_it(self):
        sampler = make("fixed")
        loader = MixedLoader(range(30), sampler)
        for number, _ in enumerate(loader):
            sampler.observe(None)
            if number == 3:
                break
        assert sampler.history.steps.tolist() == [0, 4]

    def test_a_look_at_the_history_changes_nothing(self):
        one, other = make("seven steps"), make("seven steps")
        for _ in range(12):
            train(one, 1, LOSSES)
            repr(one.history)
            train(other, 1, LOSSES)
        assert same_state(one.state_dict(), other.state_dict())

    def test_a_state_without_one_begins_anew(self):
        sampler, resumed = make("step"), make("step")
        train(sampler, 4, LOSSES)
        state = sampler.state_dict()
        del state["history"]
        resumed.load_state_dict(state)
        train(resumed, 3, LOSSES)
        assert resumed.history.steps.tolist() == [4, 5, 6, 7]
        assert np.isnan(resumed.history.realised[0]).all()
        assert resumed.history.proportions[0].tolist() == sampler.mixer.proportions.tolist()

    @pytest.mark.parametrize(("labels", "batch_size", "first"), [(LABELS, 4, 0), (np.append(LABELS, 0), 5, 4)])
    def test_of_other_data_it_begins_anew_and_with_another_batch_size_it_goes_on(self, labels, batch_size, first):
        sampler = make("step")
        train(sampler, 4, LOSSES)
        resumed = MixedBatchSampler(labels, Learn2Mix(0.3), batch_size=batch_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            resumed.load_state_dict(sampler.state_dict(), strict=False)
        train(resumed, 2, np.append(LOSSES, 1.0))
        assert resumed.history.steps.tolist() == list(range(first, 7))


class TestStreams:
    def test_sizes_are_minus_1_and_passes_nan_where_they_are_not_known(self):
        stream = MixedStream({"a": range(4), "b": iter_of(7)}, Learn2Mix(0.5, every=2), batch_size=4)
        loader = MixedLoader(stream)
        for number, batch in enumerate(loader, start=1):
            loader.observe(1.0 + batch)
            if number == 4:
                break
        history = loader.history
        assert history.group_names == ("a", "b")
        assert history.sizes.tolist() == [4, 7]  # by now its length is known
        assert history.steps.tolist() == [0, 2, 4]
        assert_same(history, stream.history)
        fresh = MixedStream({"a": range(4), "b": iter_of(7)}, FixedMix(), batch_size=4).history
        assert fresh.sizes.tolist() == [4, -1]
        assert np.isnan(fresh.passes).tolist() == [[False, True]]
        assert np.isnan(fresh.coverage).tolist() == [[False, True]]

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_stop_changes_nothing(self, num_workers):
        def go_on(stream, num_batches):
            loader = MixedLoader(stream, num_workers=num_workers)
            for number, batch in enumerate(loader, start=1):
                loader.observe(1.0 + batch % 5)
                if number == num_batches:
                    break
            return stream

        def stream():
            return MixedStream({"a": range(40), "b": range(100, 130)}, Learn2Mix(0.3), batch_size=4)

        unbroken, stopped, resumed = go_on(stream(), 14), go_on(stream(), 5), stream()
        resumed.load_state_dict(through_a_file(stopped.state_dict()))
        assert_same(go_on(resumed, 9).history, unbroken.history)


class iter_of:  # noqa: N801
    """An iterable that does not tell its length."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return iter(range(100, 100 + self.length))


class TestTable:
    def test_arrays_are_read_only(self):
        sampler = make("step")
        train(sampler, 2, LOSSES)
        for name in ARRAYS:
            with pytest.raises(ValueError, match="read-only"):
                getattr(sampler.history, name)[0] = 0

    def test_as_json(self):
        sampler = make("step")
        train(sampler, 2, LOSSES)
        history, table = sampler.history, sampler.history.to_dict()
        read = json.loads(json.dumps(table, allow_nan=False))
        assert read == table
        assert set(read) == {"group_names", "batch_size", *ARRAYS}
        for name in ARRAYS:
            np.testing.assert_array_equal(np.array(read[name], dtype=float), getattr(history, name))

    def test_its_repr_names_the_groups_that_moved_most(self):
        mixes = np.array([[0.1, 0.4, 0.2, 0.3], [0.1, 0.1, 0.35, 0.45]])
        nothing, zeros = np.full((2, 4), np.nan), np.zeros((2, 4))
        history = History(
            tuple("abcd"), 8, np.ones(4, int), np.array([0, 9]), mixes, nothing, nothing, nothing, zeros, zeros[:, 0]
        )
        assert (
            repr(history)
            == "History(2 rows of 4 groups, batches 0 to 9: b 0.4 to 0.1, c 0.2 to 0.35, d 0.3 to 0.45, ...)"
        )


def test_processes_that_share_batches_have_the_same_history():
    halves = [
        MixedBatchSampler(LABELS, AnnealedMix("uniform", None, num_steps=9), batch_size=2, num_replicas=2, rank=rank)
        for rank in range(2)
    ]
    for half in halves:
        for _ in DataLoader(range(30), batch_sampler=half):
            half.observe(None)
    assert_same(halves[0].history, halves[1].history)
    whole = MixedBatchSampler(LABELS, AnnealedMix("uniform", None, num_steps=9), batch_size=4)
    for _ in whole:
        whole.observe(None)
    assert_same(halves[0].history, whole.history)
