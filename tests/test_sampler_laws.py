"""The laws of the sampler as properties: exact, fair, the same on any number of processes, seeded, safe."""

import copy
import random
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Scripted, counts_of, evenly_drawn, mixes, same_state, through_a_file
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, Partition


@st.composite
def data_sets(draw, smallest=1):
    """Labels of a small data set: few to many groups, some with a single sample."""
    sizes = draw(st.lists(st.integers(smallest, 12), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return labels[np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))]


mixers = st.one_of(
    st.builds(
        Learn2Mix,
        st.floats(0, 1),
        every=st.sampled_from(["step", "epoch", 3]),
        initial=st.sampled_from([None, "uniform"]),
        floor=st.sampled_from([0.0, 0.05, 1 / 6]),
    ),
    st.builds(FixedMix, st.sampled_from([None, "uniform"])),
)


def wild_losses(seed, batch_size):
    """Losses that differ by orders of magnitude from batch to batch, with zeros among them."""
    noise = np.random.default_rng(seed)
    return noise.choice([0.0, 1e-6, 1.0, 1e6], batch_size) * noise.random(batch_size)


@given(data_sets(), mixers, st.integers(1, 30), st.integers(0, 2**31))
def test_law_1_every_batch_is_full_and_every_group_gets_its_summed_share(labels, mixer, batch_size, seed):
    num_groups = labels.max() + 1
    sampler = MixedBatchSampler(labels, mixer, batch_size=batch_size, num_batches=7)
    behind = sum(1 / n for n in range(2, num_groups + 1))
    asked, given_ = np.zeros(num_groups), np.zeros(num_groups)
    for _ in range(4):
        for batch in sampler:
            assert len(batch) == batch_size
            asked += mixer.proportions * batch_size
            given_ += counts_of(batch, labels, num_groups)
            sampler.observe(wild_losses(seed + len(batch), batch_size))
            assert (given_ - asked).max() < 1
            assert (asked - given_).max() <= behind + 1e-9


@given(data_sets(), mixers, st.integers(1, 30), st.integers(0, 2**31))
def test_law_2_no_sample_comes_twice_before_all_of_its_group_have_come(labels, mixer, batch_size, seed):
    sampler = MixedBatchSampler(labels, mixer, batch_size=batch_size, num_batches=6, seed=seed)
    batches = []
    for _ in range(4):
        for batch in sampler:
            batches.append(batch)
            sampler.observe(wild_losses(seed, batch_size))
    assert evenly_drawn(batches, labels)


@given(data_sets(), mixers, st.integers(1, 30), st.integers(0, 2**31))
def test_law_2_holds_within_a_batch_too_where_its_samples_lie_group_after_group(labels, mixer, batch_size, seed):
    sampler = MixedBatchSampler(labels, mixer, batch_size=batch_size, num_batches=24, seed=seed, order="grouped")
    drawn = defaultdict(list)
    for batch in sampler:
        assert labels[batch].tolist() == sorted(labels[batch])
        for index in batch:
            drawn[labels[index]].append(index)
        sampler.observe(wild_losses(seed, batch_size))
    for label, samples in drawn.items():
        size = np.count_nonzero(labels == label)
        for start in range(0, len(samples), size):
            one_pass = samples[start : start + size]
            assert len(set(one_pass)) == len(one_pass)


@given(data_sets(), mixers, st.integers(1, 30), st.integers(0, 2**31))
def test_shuffled_batches_are_the_grouped_ones_in_another_order(labels, mixer, batch_size, seed):
    grouped, shuffled = [
        MixedBatchSampler(labels, copy.deepcopy(mixer), batch_size=batch_size, num_batches=6, seed=seed, order=order)
        for order in ("grouped", "shuffled")
    ]
    for one, other in zip(grouped, shuffled, strict=True):
        assert sorted(one) == sorted(other)
        # Whole numbers, whose sums are exact in any order: else the last digit could decide between equal groups.
        losses = np.random.default_rng(seed).integers(0, 1000, len(labels)).astype(float)
        grouped.observe(losses[one])
        shuffled.observe(losses[other])
        np.testing.assert_allclose(grouped.mixer.proportions, shuffled.mixer.proportions, rtol=0, atol=1e-12)


def test_every_place_of_a_shuffled_batch_sees_every_group():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    sampler = MixedBatchSampler(labels, FixedMix(), batch_size=10, num_batches=400)
    places = np.array([labels[batch] for batch in sampler])
    shares = np.array([(places == group).mean(axis=0) for group in range(3)])
    np.testing.assert_allclose(shares, np.array([[0.6], [0.3], [0.1]]) * np.ones(10), rtol=0, atol=0.1)


def test_law_2_an_epoch_at_the_data_s_own_mix_goes_once_through_the_data():
    labels = [0] * 12 + [1] * 6 + [2] * 2
    sampler = MixedBatchSampler(labels, FixedMix(), batch_size=5)
    epochs = [sorted(index for batch in sampler for index in batch) for _ in range(3)]
    assert epochs == [list(range(20))] * 3


@st.composite
def scripts(draw):
    num_groups = draw(st.integers(2, 5))
    return draw(st.lists(mixes(num_groups), min_size=1, max_size=6))


@given(scripts(), st.integers(1, 5), st.integers(0, 99))
def test_law_3_any_number_of_processes_draws_the_same_global_batches(script, quarter, seed):
    labels = np.repeat(np.arange(len(script[0])), 9)
    whole = MixedBatchSampler(labels, Scripted(script), batch_size=4 * quarter, num_batches=6, seed=seed)
    one = [batch for _ in range(2) for batch in whole]
    for num_replicas in (2, 4):
        ranks = []
        for rank in range(num_replicas):
            sampler = MixedBatchSampler(
                labels,
                Scripted(script),
                batch_size=4 * quarter // num_replicas,
                num_batches=6,
                seed=seed,
                num_replicas=num_replicas,
                rank=rank,
            )
            assert len(sampler) == len(whole)
            ranks.append([batch for _ in range(2) for batch in sampler])
        for batch, parts in zip(one, zip(*ranks, strict=True), strict=True):
            # Each slot of the global batch is on one process, and none is on two.
            assert sorted(index for part in parts for index in part) == sorted(batch)
            assert {len(part) for part in parts} == {4 * quarter // num_replicas}
            shares = np.array([counts_of(part, labels, len(script[0])) for part in parts])
            assert (shares.max(axis=0) - shares.min(axis=0)).max() <= 1


def test_law_3_no_index_is_on_two_processes_before_a_group_begins_a_new_pass():
    labels = [0] * 40 + [1] * 40
    parts = []
    for rank in range(4):
        sampler = MixedBatchSampler(labels, FixedMix(), batch_size=5, num_replicas=4, rank=rank)
        parts += [index for batch in sampler for index in batch]
    assert sorted(parts) == list(range(80))


@pytest.mark.usefixtures("untouched_random_state")
@pytest.mark.filterwarnings("ignore:.*none of the 5 batches handed out was observed")
@settings(max_examples=10)
@given(data_sets(), st.integers(0, 2**32))
def test_law_7_no_global_random_state_is_read_or_changed(labels, seed):
    runs = []
    for noise in (1, 2):
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(noise)
        before = random.getstate()[1], np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        sampler = MixedBatchSampler(labels, Learn2Mix(0.5), batch_size=4, num_batches=5, seed=seed)
        batches = []
        for batch in [*sampler, *sampler]:
            batches.append(batch)
        for batch in sampler:
            batches.append(batch)
            sampler.observe([float(index) for index in batch])
        sampler.load_state_dict(sampler.state_dict())
        runs.append((batches, next(iter(sampler))))
        assert (random.getstate()[1], np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
    assert runs[0] == runs[1]


def test_law_7_another_seed_draws_other_batches_of_the_same_counts():
    labels = np.repeat([0, 1], 50)
    one, other = (list(MixedBatchSampler(labels, FixedMix(), batch_size=10, seed=seed)) for seed in (1, 2))
    assert one != other
    assert [counts_of(batch, labels, 2) for batch in one] == [counts_of(batch, labels, 2) for batch in other]


def plain(value) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


@given(data_sets(), mixers, st.integers(1, 8), st.integers(0, 14))
def test_law_8_a_state_is_plain_and_comes_back_from_a_safe_load_as_it_was(labels, mixer, batch_size, num_steps):
    again_mixer = copy.deepcopy(mixer)
    sampler = MixedBatchSampler(labels, mixer, batch_size=batch_size, num_batches=5)
    done = 0
    while done < num_steps:
        for batch in sampler:
            sampler.observe([index + 0.1 for index in batch])
            done += 1
            if done == num_steps:
                break
    state = sampler.state_dict()
    assert plain(state)
    again = through_a_file(state)
    assert same_state(again, state)
    names = mixer.group_names
    fresh = MixedBatchSampler(labels, again_mixer, batch_size=batch_size, num_batches=5)
    fresh.load_state_dict(again)
    assert fresh.mixer.group_names == names
    assert same_state(fresh.state_dict(), state)


def test_a_state_is_a_copy_and_loading_takes_a_copy():
    labels = [0] * 5 + [1] * 3
    sampler = MixedBatchSampler(labels, Learn2Mix(0.5, every=4), batch_size=2)
    batches = iter(sampler)
    next(batches)
    sampler.observe([1.0, 2.0])
    state = sampler.state_dict()
    kept = through_a_file(state)
    next(batches)
    sampler.observe([5.0, 6.0])
    assert same_state(state, kept)
    fresh = MixedBatchSampler(labels, Learn2Mix(0.5, every=4), batch_size=2)
    fresh.load_state_dict(state)
    for _ in fresh:
        fresh.observe([7.0, 8.0])
    assert same_state(state, kept)


@given(mixes(4), st.integers(1, 9))
def test_law_6_an_empty_group_gets_no_sample(mix, batch_size):
    partition = Partition.by_dataset([range(3), range(0), range(4), range(2), range(5)])
    sampler = MixedBatchSampler(partition, FixedMix([mix[0], 0, *mix[1:]]), batch_size=batch_size, num_batches=20)
    assert all(0 <= index < 14 for batch in sampler for index in batch)
