"""The sampler in a plain PyTorch loop: exact mixes and counts after scripted losses, the lag, and the errors."""

import numpy as np
import pytest
import reference
import torch
from helpers import NAN, Scripted, counts_of, normalised, same_state
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, Mixer, Partition

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [24, 10, 6]))
PRIOR = [0.6, 0.25, 0.15]


def loss_of(step: int, group: int, place: int) -> float:
    """Scripted losses: uneven between groups and within them, and a group whose loss falls to zero."""
    return [1.0 + place % 3, 0.25 * (step % 4), 8.0 / (step + 1)][group]


def run(mixer, *, num_epochs=3, num_workers=0, **loader_args):
    """Train on scripted losses; the mix and the counts of every batch, and the lag after it."""
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=5)
    data = range(len(LABELS))
    loader = DataLoader(data, batch_sampler=sampler, num_workers=num_workers, **loader_args)  # type: ignore[arg-type]
    trace, lags = [], []
    for _ in range(num_epochs):
        for batch in loader:
            losses = [loss_of(len(trace), group, place) for place, group in enumerate(LABELS[batch].tolist())]
            assert sampler.lag <= loader.num_workers * (loader.prefetch_factor or 0) + 1
            sampler.observe(torch.tensor(losses, dtype=torch.float64))
            trace.append((sampler.last_observed.proportions, counts_of(batch, LABELS, 3)))
            lags.append(sampler.lag)
    return trace, lags


def assert_equals_the_reference(trace, **settings):
    settings = {"mixing_rate": 0.3, "num_epochs": 3} | settings
    expected = reference.train(PRIOR, loss_of, batch_size=5, num_batches=8, **settings)
    assert [counts for _, counts in trace] == [counts for _, counts in expected]
    np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in expected], rtol=0, atol=1e-12)
    return expected


@pytest.mark.parametrize("every", ["step", "epoch", 3, 11])
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_training_without_workers_equals_the_reference(every, floor):
    trace, lags = run(Learn2Mix(0.3, every=every, floor=floor, initial=PRIOR if not floor else [0.55, 0.25, 0.2]))
    if floor:
        expected = reference.train(
            [0.55, 0.25, 0.2],
            loss_of,
            batch_size=5,
            num_batches=8,
            num_epochs=3,
            mixing_rate=0.3,
            every=every,
            floor=floor,
        )
        assert [counts for _, counts in trace] == [counts for _, counts in expected]
        np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in expected], rtol=0, atol=1e-12)
    else:
        assert_equals_the_reference(trace, every=every)
    assert set(lags) == {0}


@pytest.mark.parametrize("every", ["step", "epoch", 3])
@pytest.mark.parametrize("prefetch_factor", [1, 2])
def test_training_with_workers_equals_the_reference_with_their_lag(every, prefetch_factor):
    trace, lags = run(Learn2Mix(0.3, every=every), num_workers=2, prefetch_factor=prefetch_factor)
    ahead = 2 * prefetch_factor
    assert_equals_the_reference(trace, every=every, lag=ahead)
    assert lags == [min(ahead, 7 - position) for _ in range(3) for position in range(8)]


def test_persistent_workers_change_nothing():
    trace, _ = run(Learn2Mix(0.3), num_workers=2, persistent_workers=True)
    assert_equals_the_reference(trace, lag=4)


@settings(max_examples=30)
@given(st.data())
def test_any_training_equals_the_reference(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    table = data.draw(st.lists(st.floats(0.01, 100), min_size=37, max_size=37))
    every = data.draw(st.sampled_from(["step", "epoch", 2, 5]))
    batch_size, rate = data.draw(st.integers(1, 12)), data.draw(st.floats(0, 1))

    def loss(step, group, place):
        return table[(7 * step + 3 * group + place) % 37]

    sampler = MixedBatchSampler(labels, Learn2Mix(rate, every=every), batch_size=batch_size, num_batches=4)
    prior = normalised(sizes)
    expected = reference.train(
        prior, loss, batch_size=batch_size, num_batches=4, num_epochs=3, mixing_rate=rate, every=every
    )
    trace = []
    for _ in range(3):
        for batch in sampler:
            mix = sampler.mixer.proportions
            sampler.observe([loss(len(trace), group, place) for place, group in enumerate(labels[batch])])
            trace.append(mix)
    np.testing.assert_allclose(trace, [mix for mix, _ in expected], rtol=0, atol=1e-12)


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
    list(sampler)
    assert [batch.proportions.tolist() for batch in sampler._pending] == [[0, 1], [1, 0], [0, 1], [1, 0]]


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


def test_losses_go_to_the_oldest_batch_in_its_order():
    labels = np.array([0] * 6 + [1] * 6)
    sampler = MixedBatchSampler(labels, Scripted([[1, 0], [0, 1], [0.5, 0.5]]), batch_size=2, num_batches=3)
    updates = []
    sampler.mixer.due = lambda num_batches, epoch_ended: True
    sampler.mixer.update = lambda losses: updates.append(losses.tolist())
    batches = iter(sampler)
    next(batches), next(batches), next(batches)
    assert sampler.lag == 3
    sampler.observe([1.0, 3.0])
    sampler.observe([5.0, 6.0])
    sampler.observe([7.0, 8.0])
    np.testing.assert_array_equal(updates, [[2.0, NAN], [NAN, 5.5], [7.0, 8.0]])
    assert sampler.lag == 0


def test_a_batch_without_known_losses_keeps_the_mix():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    for _ in sampler:
        sampler.observe(None)
        assert sampler.lag == 0
        assert sampler.mixer.proportions.tolist() == pytest.approx(PRIOR)


@pytest.mark.parametrize(
    "losses",
    [
        [1, 2, 3, 4, 5],
        (1.0, 2.0, 3.0, 4.0, 5.0),
        np.array([1, 2, 3, 4, 5], dtype=np.float32),
        torch.tensor([1, 2, 3, 4, 5]),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float16),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.bfloat16),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], requires_grad=True) * 1,
    ],
    ids=lambda losses: f"{type(losses).__name__}-{getattr(losses, 'dtype', 'numbers')}",
)
def test_losses_of_any_type_are_taken(losses):
    sampler = MixedBatchSampler([0, 0, 0, 1, 1], Learn2Mix(1.0), batch_size=5)
    next(iter(sampler))
    sampler.observe(losses)
    assert sampler.mixer.proportions.tolist() == pytest.approx([2 / 6.5, 4.5 / 6.5])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([1.0] * 4, r"losses must be one value a sample, shape \(5,\), got shape \(4,\)"),
        (torch.ones(5, 1), r"losses must be one value a sample, shape \(5,\), got shape \(5, 1\)"),
        (torch.tensor(1.0), r'got shape \(\); make the criterion with reduction="none"'),
        ([1.0, 1.0, 1.0, 1.0, -1.0], r"batch 9 has negative losses in 1 of 3 groups \(2\); the mix stays as it was"),
        ([-1, 1, 1, 1, 1], r"batch 9 has negative losses in 1 of 3 groups \(0\)"),
        ([NAN, 1.0, 1.0, 1.0, 1.0], r"batch 9 has NaN or infinite losses in 1 of 3 groups \(0\)"),
        ([NAN, 1.0, 1.0, 1.0, np.inf], r"batch 9 has NaN or infinite losses in 2 of 3 groups \(0, 2\)"),
        ([5.0, -np.inf, np.inf, 1.0, 1.0], "batch 9 has .* losses in"),
    ],
)
def test_bad_losses_are_refused_and_change_nothing(losses, message):
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    for _ in sampler:
        sampler.observe([1.0, 2.0, 3.0, 4.0, 5.0])
    for batch in (batches := iter(sampler)):
        if sampler.lag == 1 and len(set(LABELS[batch])) == 3 and sampler.state_dict()["composed"] == 9:
            break
        sampler.observe([5.0, 4.0, 3.0, 2.0, 1.0])
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.observe(losses)
    assert same_state(sampler.state_dict(), before)
    sampler.observe([1.0, 1.0, 1.0, 1.0, 1.0])
    next(batches)


def test_losses_of_more_batches_than_were_composed_are_refused():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    with pytest.raises(ValueError, match="losses: every batch composed so far was observed"):
        sampler.observe([1.0] * 5)
    next(iter(sampler))
    sampler.observe([1.0] * 5)
    before = sampler.state_dict()
    with pytest.raises(ValueError, match="losses: every batch composed so far was observed"):
        sampler.observe([1.0] * 5)
    assert same_state(sampler.state_dict(), before)


def test_losses_that_are_all_zero_keep_the_mix():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    for _ in sampler:
        sampler.observe([0.0] * 5)
    assert sampler.mixer.proportions.tolist() == pytest.approx(PRIOR)


def test_an_epoch_is_as_long_as_the_data_or_as_asked():
    assert len(MixedBatchSampler(LABELS, FixedMix(), batch_size=5)) == 8
    assert len(MixedBatchSampler(LABELS, FixedMix(), batch_size=7)) == 6
    assert len(MixedBatchSampler(LABELS, FixedMix(), batch_size=100)) == 1
    for num_batches in (1, 3, 50):
        sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=5, num_batches=num_batches)
        assert len(sampler) == len(list(sampler)) == len(list(sampler)) == num_batches


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number, got 2.5"),
        ({"num_batches": 0}, ValueError, "num_batches must be at least 1, got 0"),
        ({"num_batches": 1.0}, TypeError, "num_batches must be a whole number, got 1.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": "0"}, TypeError, "seed must be a whole number, got '0'"),
        ({"groups": []}, ValueError, "labels must hold at least one sample"),
        ({"groups": [3, 3, 3]}, ValueError, "groups must be at least 2 to be mixed, got 1"),
        ({"groups": [0.0, 1.0]}, TypeError, "labels must be integers or strings"),
        ({"mixer": "learn2mix"}, TypeError, "mixer must be a learn2mix.Mixer, got str"),
        ({"num_replicas": 2}, ValueError, "num_replicas and rank go together, got 2 and None"),
        ({"rank": 0}, ValueError, "num_replicas and rank go together, got None and 0"),
        ({"num_replicas": 2, "rank": 2}, ValueError, "rank must be below num_replicas = 2, got 2"),
        ({"num_replicas": 0, "rank": 0}, ValueError, "num_replicas must be at least 1, got 0"),
        ({"num_replicas": 2, "rank": -1}, ValueError, "rank must be at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    arguments = {"groups": LABELS, "mixer": FixedMix(), "batch_size": 4} | settings
    with pytest.raises(error, match=message):
        MixedBatchSampler(arguments.pop("groups"), arguments.pop("mixer"), **arguments)


def test_a_refused_sampler_leaves_its_mixer_free():
    mixer = Learn2Mix(initial=[0.5, 0.5])
    with pytest.raises(ValueError, match="initial must have one value a group: expected 3, got 2"):
        MixedBatchSampler(LABELS, mixer, batch_size=4)
    assert MixedBatchSampler([0, 1, 1, 1], mixer, batch_size=4).mixer.proportions.tolist() == [0.5, 0.5]
