"""Every rule behind the one interface: equal to its twin in plain Python, resumed exactly, the same in every loop."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import forks
from helpers import NAN, through_a_file
from learn2mix import (
    AnnealedMix,
    ExcessLoss,
    FadingMix,
    FixedMix,
    GroupDRO,
    Learn2Mix,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    OnlineDataMixing,
    StagedMix,
)
from learn2mix.mixers import MixInfo
from rules import BY_BATCH, FOLLOWING, NAMES, PRIOR, REFERENCE, RULES, SIZES, Seen

NUM_UPDATES = 1000
LABELS = np.repeat(NAMES, SIZES)


def attached(make):
    mixer = make()
    mixer.attach(PRIOR, NAMES, sizes=SIZES)
    return mixer


def told(counts, mix, draws, num_updates):
    return MixInfo(np.array(counts, float), np.array(mix), draws, np.array(SIZES, float), 32, num_updates)


def random_updates(seed):
    """Losses of which some are not known, of batches that were asked to be another mix than that of the moment."""
    random = np.random.default_rng(seed)
    draws = np.zeros(4, dtype=np.int64)
    for number in range(NUM_UPDATES):
        losses = random.exponential(size=4)
        losses[random.random(4) < 0.1] = NAN
        counts = random.integers(1, 20, size=4)
        draws = draws + counts
        yield losses, told(counts, random.dirichlet(np.ones(4) * 5), draws, number)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_rule_that_follows_losses_is_its_twin(name):
    make, first, twin = FOLLOWING[name]
    mixer, seen = attached(make), Seen(list(first))
    assert mixer.proportions.tolist() == pytest.approx(first, abs=1e-15)
    moved = 0
    for losses, info in random_updates(seed=3):
        before = mixer.proportions
        mixer.update(losses.copy(), info)
        if not np.isnan(losses).all():
            seen.mix = twin(seen, losses.tolist(), info)
            seen.num_updates += 1
        np.testing.assert_allclose(mixer.proportions, seen.mix, rtol=0, atol=1e-12)
        moved += bool((mixer.proportions != before).any())
    assert moved > 900


@pytest.mark.parametrize("name", BY_BATCH)
def test_a_rule_that_follows_the_batches_is_its_twin(name):
    make, twin = BY_BATCH[name]
    mixer, seen = attached(make), Seen(list(PRIOR))
    draws = np.zeros(4, dtype=np.int64)
    for batch in range(NUM_UPDATES):
        mixer.seek(batch, batch // 50, told([0] * 4, seen.mix, draws, 0))
        seen.mix = twin(seen, batch, told([0] * 4, seen.mix, draws, 0))
        np.testing.assert_allclose(mixer.proportions, seen.mix, rtol=0, atol=1e-12)
        draws = draws + np.random.default_rng(batch).multinomial(32, seen.mix)


def observed(sampler, loader, num_batches, first=0):
    """The mix of each batch of a loop; the loss of a sample is that of its group, and changes with the steps."""
    path = []
    while len(path) < num_batches:
        for batch in loader:
            groups = torch.as_tensor(batch)
            groups = groups if isinstance(sampler, MixedStream) else torch.from_numpy(LABELS)[groups]
            sampler.observe(1.0 + groups / (1 + (first + len(path)) % 7))
            path.append(sampler.last_observed.proportions.tolist())
            if len(path) == num_batches:
                break
    return path


def sampler_of(name, **places):
    return MixedBatchSampler(LABELS, RULES[name](), batch_size=32 // places.get("num_replicas", 1), seed=4, **places)


def plain(name):
    sampler = sampler_of(name)
    return sampler, sampler


def data_loader(name):
    sampler = sampler_of(name)
    return sampler, DataLoader(range(1000), batch_sampler=sampler)


def mixed_loader(name):
    sampler = sampler_of(name)
    return sampler, MixedLoader(range(1000), sampler)


def stream(name):
    sources = [[group] * size for group, size in zip(NAMES, SIZES, strict=True)]
    mixed = MixedStream(sources, RULES[name](), batch_size=32, seed=4)
    return mixed, MixedLoader(mixed)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("loop", [data_loader, mixed_loader, stream])
def test_the_mix_is_the_same_in_every_loop(name, loop):
    assert observed(*loop(name), 70) == observed(*plain(name), 70)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The mixes of every rule on each of two processes."""
    folder = tmp_path_factory.mktemp("processes")

    def train(rank):
        forks.gloo(rank, 2, folder, timeout=60)
        found = {}
        for name in RULES:
            sampler = sampler_of(name, num_replicas=2, rank=rank)
            found[name] = observed(sampler, MixedLoader(range(1000), sampler), 70)
        return found

    return forks.results(train, 2, folder)


@pytest.mark.parametrize("name", RULES)
def test_the_mix_is_the_same_on_two_processes(two_processes, name):
    first, second = (found[name] for found in two_processes)
    assert first == second
    np.testing.assert_allclose(first, observed(*plain(name), 70), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_is_the_one_that_was_not_stopped(name, num_workers):
    def run(sampler, num_batches, first=0):
        loader = MixedLoader(range(1000), sampler, num_workers=num_workers, persistent_workers=num_workers > 0)
        return observed(sampler, loader, num_batches, first)

    unbroken = run(sampler_of(name), 70)
    for stop in (1, 31, 47) if num_workers == 0 else (47,):  # an epoch has 32 batches
        stopped, resumed = sampler_of(name), sampler_of(name)
        before = run(stopped, stop)
        resumed.load_state_dict(through_a_file(stopped.state_dict()))
        assert before + run(resumed, 70 - stop, first=stop) == unbroken


@pytest.mark.parametrize("name", ["fading", "annealed", "staged", "alternating"])
def test_workers_and_looks_do_not_shift_a_rule_that_follows_the_batches(name):
    def mixes(num_workers, look=False):
        sampler = sampler_of(name)
        loader = MixedLoader(range(1000), sampler, num_workers=num_workers)
        if look:
            next(iter(loader))
        found = []
        for _ in range(3):
            for _ in islice(loader, 20):  # left early: batches composed ahead are taken back
                sampler.observe(None)
                found.append(sampler.last_observed.proportions.tolist())
        return found

    assert mixes(0) == mixes(2) == mixes(2, look=True)


def test_without_repeats_in_sight_or_at_equal_passes_it_is_the_paper_s_rule():
    paper, patient, equal = (attached(partial(Learn2Mix, 0.2, passes=passes)) for passes in (None, 1e12, 2.0))
    for losses, info in random_updates(seed=8):
        paper.update(losses.copy(), info)
        patient.update(losses.copy(), info)
        equal.update(losses.copy(), info._replace(draws=np.array(SIZES) * 7))
        np.testing.assert_allclose(patient.proportions, paper.proportions, rtol=0, atol=1e-9)
        np.testing.assert_allclose(equal.proportions, paper.proportions, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("tempered", "unimax", "effective-number")])
@given(st.data())
def test_nobody_has_less_than_the_floor_or_more_than_the_most(name, data):
    floor, most = data.draw(st.floats(0, 0.24)), data.draw(st.floats(0.26, 1))
    mixer = attached(lambda: with_bounds(name, floor, most))
    draws = np.array(data.draw(st.lists(st.integers(0, 10**6), min_size=4, max_size=4)))
    losses = np.array(data.draw(st.lists(st.floats(0, 1e6), min_size=4, max_size=4)))
    info = told([1] * 4, [0.25] * 4, draws, 0)
    for number in range(5):
        mixer.seek(number, 0, info._replace(proportions=mixer.proportions))
        mixer.update(losses, info._replace(num_updates=number))
        assert (mixer.proportions >= floor - 1e-12).all()
        assert (mixer.proportions <= most + 1e-12).all()
        assert mixer.proportions.sum() == pytest.approx(1, abs=1e-12)


def with_bounds(name, floor, most):
    mixer = RULES[name]()
    mixer.floor, mixer.most = floor, most
    return mixer


def test_a_floor_or_a_most_that_the_groups_cannot_have_is_refused():
    with pytest.raises(ValueError, match=r"most must be at least 1 / num_groups = 0.25 .* got 0.2"):
        attached(lambda: FadingMix(most=0.2))
    with pytest.raises(ValueError, match=r"floor must be .* at most 1 / num_groups = 0.25, got 0.3"):
        attached(lambda: FadingMix(floor=0.3))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (FadingMix, "FadingMix"),
        (lambda: Learn2Mix(passes=2.0), r"Learn2Mix\(passes"),
        (lambda: GroupDRO(adjustment=1.0), "GroupDRO"),
        (lambda: FixedMix.unimax(100, passes=2), "unimax"),
        (FixedMix.effective_number, "effective_number"),
    ],
)
def test_rules_that_count_by_size_say_where_one_is_not_known(make, rule):
    with pytest.raises(ValueError, match=rule + ".*'b' is not known"):
        MixedStream({"a": [1, 2], "b": iter([3])}, make(), batch_size=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FadingMix(0), "passes must be above 0, got 0"),
        (lambda: FadingMix(mixing_rate=2), "mixing_rate must lie in"),
        (lambda: Learn2Mix(memory=1.0), "memory must be at least 0 and below 1, got 1.0"),
        (lambda: Learn2Mix(passes=1.0, signal="validation"), "passes: .*signal"),
        (lambda: GroupDRO(0), "step_size must be above 0"),
        (lambda: GroupDRO(every="week"), "every must be"),
        (lambda: ExcessLoss([1.0], smoothing=2), "smoothing must lie in"),
        (lambda: attached(lambda: ExcessLoss([1.0, 2.0])), "reference must have one value a group: expected 4"),
        (lambda: attached(lambda: ExcessLoss({0: 1.0})), "reference must name each of 4 groups"),
        (lambda: StagedMix({1: None}), "stages must have one that begins at batch 0"),
        (lambda: attached(lambda: StagedMix({0: [0.5, 0.5]})), r"stages\[0\] must have one value a group"),
        (lambda: FixedMix.unimax(0, passes=1), "budget must be above 0"),
        (lambda: FixedMix.effective_number(1.5), "beta must be at least 0 and below 1"),
        (lambda: attached(FadingMix).seek(1, 0), r"info must be given to seek\(batch, epoch, info\)"),
        (lambda: attached(OnlineDataMixing).update(np.ones(4)), r"info must be given to update\(losses, info\)"),
    ],
)
def test_what_a_rule_cannot_be_set_to(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_stages_that_say_no_batch_are_refused():
    with pytest.raises(TypeError, match="stages must be a mapping from batches to mixes, got list"):
        StagedMix(["uniform", None])


def test_only_the_end_of_an_annealed_mix_that_is_due_moves():
    mixer = attached(lambda: AnnealedMix(Learn2Mix(1.0, every="epoch"), Learn2Mix(1.0), num_steps=2))
    for epoch_ended, start in ((False, PRIOR), (True, [0.25, 0.75, 0.0, 0.0])):
        assert mixer.due(1, epoch_ended)
        mixer.update(np.array([1.0, 3.0, 0.0, 0.0]))
        for batch, expected in enumerate((start, [0.25, 0.75, 0.0, 0.0])):
            mixer.seek(batch, 0)
            assert mixer.proportions.tolist() == list(expected)


def test_an_end_of_an_annealed_mix_may_follow_validation():
    mixer = attached(lambda: AnnealedMix(None, Learn2Mix(1.0, signal="validation"), num_steps=1))
    assert mixer.needs_validation == "group_losses"
    mixer.observe_validation(1.0, np.array([1.0, 3.0, 0.0, 0.0]))
    mixer.seek(1, 0)
    assert mixer.proportions.tolist() == [0.25, 0.75, 0.0, 0.0]


def test_an_annealed_mix_takes_moving_mixes_as_its_ends():
    mixer = attached(lambda: AnnealedMix(None, Learn2Mix(1.0), num_steps=3))
    assert mixer.needs_losses
    inner = attached(lambda: Learn2Mix(1.0))
    for batch, losses in enumerate(([1.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0])):
        mixer.seek(batch, 0)
        expected = (1 - batch / 2) * np.array(PRIOR) + batch / 2 * inner.proportions
        np.testing.assert_allclose(mixer.proportions, expected, rtol=0, atol=1e-15)
        assert mixer.due(1, epoch_ended=False)
        mixer.update(np.array(losses))
        inner.update(np.array(losses))
    resumed = attached(lambda: AnnealedMix(None, Learn2Mix(1.0), num_steps=3))
    resumed.load_state_dict(through_a_file(mixer.state_dict()))
    assert resumed.proportions.tolist() == mixer.proportions.tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("rule", [partial(GroupDRO, 1.0), partial(ExcessLoss, [0.0] * 4, smoothing=0.0)])
def test_a_group_without_a_share_moves_nothing_however_large_its_loss(rule):
    mixer = attached(lambda: rule(initial=[0.5, 0.5, 0.0, 0.0]))
    mixer.update(np.array([1.0, 1.0 + np.log(3.0), 2000.0, 0.0]))
    np.testing.assert_allclose(mixer.proportions, [0.25, 0.75, 0.0, 0.0])


def test_do_re_mi_s_mean_goes_over_a_resume():
    mixer = attached(lambda: ExcessLoss(REFERENCE, smoothing=0.0))
    path = []
    for losses, info in islice(random_updates(seed=2), 20):
        if len(path) == 10:
            state, mixer = through_a_file(mixer.state_dict()), attached(lambda: ExcessLoss(REFERENCE, smoothing=0.0))
            mixer.load_state_dict(state)
        mixer.update(losses, info)
        path.append(mixer.proportions)
    np.testing.assert_allclose(mixer.mean_proportions, np.mean(path, axis=0), rtol=0, atol=1e-12)
