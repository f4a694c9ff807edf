"""Mixes reach workers while they run: within a stated lag, and whatever the speed of the workers."""

from itertools import count, islice

import numpy as np
import pytest
import torch

from learn2mix import AlternatingMix, AnnealedMix, FixedMix, Learn2Mix, MixedStream, Mixer
from streams import MORE_WORKERS_THAN_CORES, Uneven, counts_of, groups_of, load, losses_of, sources, train, training

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)

ALL_B = [0.0, 1.0]


def make(mixer: Mixer, kind=None, **settings) -> MixedStream:
    return MixedStream(sources(60, 40, **({"kind": kind} if kind else {})), mixer, batch_size=4, **settings)


@pytest.mark.parametrize(("num_workers", "prefetch_factor"), [(0, 2), (1, 2), (2, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("before_the_losses", [False, True])
def test_a_mix_assigned_while_workers_run_reaches_all_of_them_within_the_lag(
    num_workers, prefetch_factor, before_the_losses
):
    """Exactly ``prefetch_factor * num_workers`` batches later; without workers at once."""
    stream = make(FixedMix())
    assigned, all_b = 15, []
    for place, batch in enumerate(load(stream, num_workers, prefetch_factor=prefetch_factor if num_workers else None)):
        all_b.append(counts_of(batch, 2) == [0, 4])
        if place == assigned and before_the_losses:
            stream.mixer.proportions = ALL_B
        stream.observe(None)
        if place == assigned and not before_the_losses:
            stream.mixer.proportions = ALL_B
        if place == 40:
            break
    first = all_b.index(True)
    assert all(all_b[first:])
    assert first == assigned + 1 + prefetch_factor * num_workers


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_a_mix_reaches_the_workers_of_a_loop_that_never_observes(num_workers):
    stream = make(FixedMix())
    for place, batch in enumerate(load(stream, num_workers)):
        if place == 15:
            stream.mixer.proportions = ALL_B
        if place > 15 + 2 * num_workers:
            assert counts_of(batch, 2) == [0, 4]
        if place == 40:
            break


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_a_mix_assigned_between_two_iterations_is_that_of_the_first_batch(num_workers):
    stream = make(FixedMix())
    train(stream, 5, num_workers)
    stream.mixer.proportions = ALL_B
    assert [mix for _, mix in train(stream, 5, num_workers)] == [ALL_B] * 5


@pytest.mark.parametrize(("num_workers", "prefetch_factor"), [(0, 2), (1, 2), (2, 1), (2, 3), (4, 2)])
def test_the_mix_follows_the_losses_with_the_lag_that_is_reported(num_workers, prefetch_factor):
    stream = make(Learn2Mix(0.2))
    ahead, made, lags = prefetch_factor * num_workers, [stream.mixer.proportions.tolist()], []
    steps = training(stream, num_workers, prefetch_factor=prefetch_factor if num_workers else None)
    for place, (_, mix) in enumerate(islice(steps, 40)):
        assert mix == made[max(place - ahead, 0)]
        made.append(stream.mixer.proportions.tolist())
        lags.append(stream.lag)
    assert len({tuple(mix) for mix in made}) == 41, "the mix moves with every batch"
    assert max(lags) <= ahead


@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
def test_two_runs_are_the_same_whatever_the_speed_of_the_workers(num_workers):
    even = train(make(Learn2Mix(0.2)), 60, num_workers)
    uneven = train(make(Learn2Mix(0.2), kind=Uneven), 60, num_workers)
    assert even == uneven


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loop_that_fetches_one_batch_ahead_says_so_and_gets_the_same_batches_again(num_workers):
    """As Lightning does, to find the end of a loader without length."""

    def run(kind):
        stream = make(Learn2Mix(0.2), kind=kind)
        stream.fetch_ahead = 1
        batches = iter(load(stream, num_workers))
        fetched = [next(batches)]
        for _ in range(40):
            fetched.append(next(batches))
            stream.observe(losses_of(fetched[-2]))
            assert groups_of(fetched[-2]).sum() == stream.last_observed.counts[1]
        return torch.cat(fetched).tolist()

    assert run(None) == run(Uneven)


ANNEALED = lambda: AnnealedMix([0.9, 0.1], [0.1, 0.9], num_steps=25, schedule="cosine")  # noqa: E731


@pytest.mark.parametrize("num_workers", [0, 1, 4])
@pytest.mark.parametrize("observing", [True, False])
def test_mixes_that_follow_progress_have_no_lag(num_workers, observing):
    """Over two iterations: they go on where the first one ended, that is after its last batch observed."""
    oracle, stream = ANNEALED(), make(ANNEALED())
    oracle.attach([0.5, 0.5], ["a", "b"])
    place = 0
    for _ in range(2):
        for batch in islice(load(stream, num_workers), 13 if observing else 26):
            oracle.seek(place, 0)
            if observing:
                stream.observe(None)
                np.testing.assert_array_equal(stream.last_observed.proportions, oracle.proportions)
                assert stream.last_observed.number == place
            else:
                assert abs(counts_of(batch, 2)[0] - 4 * oracle.proportions[0]) < 1.5
            place += 1
        if not observing:
            break


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_alternation_by_epoch_follows_the_iterations(num_workers):
    stream = make(AlternatingMix(every="epoch"))
    for epoch in range(4):
        for batch in islice(load(stream, num_workers), 9):
            assert counts_of(batch, 2) == [[4, 0], [0, 4]][epoch % 2]
            stream.observe(None)


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_alternation_on_a_plateau_reaches_the_workers(num_workers):
    stream, seen = make(AlternatingMix(every="plateau", window=2)), []
    for place, batch in enumerate(islice(load(stream, num_workers), 30)):
        seen.append(int(groups_of(batch).max()))
        stream.observe(None)
        if place in (10, 11):
            stream.observe_validation(1.0)
    assert seen == [0] * (12 + 2 * num_workers) + [1] * (18 - 2 * num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("finish", [False, True])
def test_an_update_at_the_end_of_an_epoch(num_workers, finish):
    """The first batch of the next epoch follows it, whoever ends the one before."""
    stream = make(Learn2Mix(0.5, every="epoch"))
    first = [mix for _, mix in train(stream, 10, num_workers)]
    assert len({tuple(mix) for mix in first}) == 1
    if finish:
        stream.finish_epoch()
        stream.finish_epoch()
    second = [mix for _, mix in train(stream, 10, num_workers)]
    assert len({tuple(mix) for mix in second}) == 1
    assert second[0] != first[0]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mixer_that_follows_both_progress_and_losses_is_moved_in_the_main_process(num_workers):
    class Both(Learn2Mix):
        def seek(self, batch, epoch):
            if batch >= 20:
                self.proportions = ALL_B

    steps = train(make(Both(0.2)), 40, num_workers)
    first = [mix for _, mix in steps].index(ALL_B)
    assert first == 20
    assert steps[first - 1][1] != steps[first - 2][1], "it followed the losses before"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mixer_that_computes_its_mix_when_it_is_read(num_workers):
    class Computed(Mixer):
        share = 1.0

        @property
        def proportions(self):
            return np.array([self.share, 1 - self.share])

    stream = make(Computed())
    first = 10 + 2 * num_workers
    for place, batch in enumerate(islice(load(stream, num_workers), 30)):
        assert counts_of(batch, 2) == ([4, 0] if place < first else [0, 4])
        stream.observe(None)
        if place == 9:
            stream.mixer.share = 0.0
    bad = make(Computed())
    bad.mixer.share = 1.5
    with pytest.raises(ValueError, match=r"Computed\.proportions must be finite and at least 0, got -0\.5"):
        next(iter(bad))


def test_a_mixer_belongs_to_one_stream_while_that_lives():
    mixer = FixedMix()
    stream = MixedStream(sources(9, 9), mixer, batch_size=2)
    with pytest.raises(ValueError, match="make a new mixer"):
        MixedStream(sources(9, 9), mixer, batch_size=2)
    mixer.proportions = [1.0, 0.0]
    del stream
    assert counts_of(next(iter(MixedStream(sources(9, 9), mixer, batch_size=2))), 2) == [1, 1], "it begins anew"


def test_a_stream_that_is_iterated_hears_of_its_mixer():
    mixer = FixedMix()
    for batch, expected in zip(MixedStream(sources(9, 9), mixer, batch_size=2), [[1, 1], [2, 0]], strict=False):
        assert counts_of(batch, 2) == expected
        mixer.proportions = [1.0, 0.0]


def test_a_stream_that_is_left_in_its_only_epoch_is_told_that_nobody_observed():
    batches = iter(make(Learn2Mix()))
    for _ in range(3):
        next(batches)
    with pytest.warns(UserWarning, match="follows losses, but none of the 3 batches"):
        del batches


@pytest.mark.parametrize("mixer", [AlternatingMix, lambda: Learn2Mix(0.2, every="epoch")], ids=["turns", "losses"])
def test_a_loop_without_an_end_is_told_of_a_mix_that_waits_for_one(mixer):
    """One group had all turns, for ever; it is told once each source in the mix was drawn twice over."""
    stream = make(mixer())
    with pytest.warns(UserWarning, match=r"the mix at the end of an epoch, and no epoch .* in \d+ batches") as told:
        train(stream, 110)
    assert len(told) == 1
    in_the_mix = stream.mixer.proportions > 0
    assert (stream.draws[in_the_mix] >= 2 * np.array([60, 40])[in_the_mix]).all()


def test_one_that_leaves_its_epochs_is_not():
    stream = make(AlternatingMix())
    for _ in range(20):
        list(islice(load(stream), 10))
    assert set(stream.draws.tolist()) == {400}


def test_of_sources_whose_ends_are_not_known_it_is_told_after_1024_batches():
    stream = MixedStream([count(), count()], AlternatingMix(), batch_size=1)
    with pytest.warns(UserWarning, match="no epoch of this stream has ended in 1024 batches"):
        list(islice(load(stream), 1030))
