"""MixedLoader(zero_lag=True): the batches, mixes and errors of a loader without workers, decoded by workers."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from helpers import Scripted, reset_default_device, through_a_file
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, ZeroLagLoader

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 15, 5]))
LOSSES = 0.25 + LABELS * 1.5


class Squares(Dataset):
    """Has its index and its square, each made by whoever asks, and a sample that cannot be read."""

    def __init__(self, broken=None):
        self.broken = broken

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError(f"sample {index} cannot be read")
        return index, torch.tensor([float(index) ** 2]), {"worker": torch.utils.data.get_worker_info() is not None}


def make_sampler(mixer=None, **arguments):
    mixer = mixer or Learn2Mix(0.5)
    return MixedBatchSampler(LABELS, mixer, **{"batch_size": 8, "seed": 3, **arguments})


def train(loader, sampler, num_epochs=3, num_steps=None):
    """Indices and mix of each batch; the lag after each observation has to be 0."""
    steps = []
    for _ in range(num_epochs):
        for indices, squares, _ in loader:
            assert squares.flatten().tolist() == [float(index) ** 2 for index in indices.tolist()]
            sampler.observe(torch.from_numpy(LOSSES[indices.numpy()]))
            assert sampler.lag == 0
            steps.append((indices.tolist(), sampler.mixer.proportions.tolist()))
            if len(steps) == num_steps:
                return steps
    return steps


@pytest.fixture(scope="module")
def without_workers():
    sampler = make_sampler()
    return train(DataLoader(Squares(), batch_sampler=sampler), sampler)


@pytest.mark.parametrize(("num_workers", "prefetch_factor"), [(1, 1), (2, 3)])
def test_batches_and_mixes_are_those_of_no_workers(without_workers, num_workers, prefetch_factor):
    sampler = make_sampler()
    loader = MixedLoader(Squares(), sampler, num_workers=num_workers, prefetch_factor=prefetch_factor, zero_lag=True)
    assert len(loader) == 8
    assert train(loader, sampler) == without_workers


def test_the_workers_do_the_decoding():
    loader = MixedLoader(Squares(), make_sampler(FixedMix()), num_workers=1, zero_lag=True)
    assert all(extra["worker"].all() for _, _, extra in loader)


def test_a_jump_of_the_mix_acts_on_the_next_batch():
    script = [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0.5, 0.5, 0]] * 2
    loader = MixedLoader(Squares(), make_sampler(Scripted(script)), num_workers=2, zero_lag=True)
    counts = [np.bincount(LABELS[indices.numpy()], minlength=3).tolist() for indices, _, _ in loader]
    assert counts == [[8, 0, 0], [0, 0, 8], [0, 8, 0], [4, 4, 0]] * 2


def test_a_loop_left_early_goes_on_like_without_workers():
    seen = []
    for workers in (0, 2):
        sampler = make_sampler(FixedMix("uniform"))
        loader = (
            MixedLoader(Squares(), sampler, num_workers=workers, zero_lag=True)
            if workers
            else DataLoader(Squares(), batch_sampler=sampler)
        )
        seen.append(train(loader, sampler, num_steps=3) + train(loader, sampler, num_steps=9))
    assert seen[0] == seen[1]


def test_a_resumed_run_is_unbroken(without_workers):
    sampler = make_sampler()
    steps = train(MixedLoader(Squares(), sampler, num_workers=2, zero_lag=True), sampler, num_steps=11)
    state = through_a_file(sampler.state_dict())
    resumed = make_sampler(seed=9)
    loader = MixedLoader(Squares(), resumed, num_workers=1, zero_lag=True)
    next(iter(loader))  # a peek before the state is loaded leaves nothing behind
    resumed.load_state_dict(state)
    assert steps + train(loader, resumed, num_epochs=2) == without_workers


def test_an_error_of_the_data_set_is_raised():
    loader = MixedLoader(Squares(broken=7), make_sampler(FixedMix()), num_workers=2, zero_lag=True)
    with pytest.raises(OSError, match="sample 7 cannot be read"):
        list(loader)


def test_own_collate_gets_the_samples_of_a_batch():
    loader = MixedLoader(Squares(), make_sampler(FixedMix()), num_workers=1, zero_lag=True, collate_fn=len)
    assert list(loader) == [8] * 8


@pytest.mark.parametrize("name", ["num_workers", "prefetch_factor"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        MixedLoader(Squares(), make_sampler(), zero_lag=True, **{"num_workers": 1, name: 0})


@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_many_processes_gets_its_part_of_each_batch(rank):
    script = [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]
    settings = {"num_replicas": 2, "rank": rank, "batch_size": 4}
    loader = MixedLoader(Squares(), make_sampler(Scripted(script), **settings), num_workers=2, zero_lag=True)
    wanted = list(make_sampler(Scripted(script), **settings))
    assert [indices.tolist() for indices, _, _ in loader] == wanted


def test_the_old_name_is_the_same_loader():
    loader = ZeroLagLoader(Squares(), make_sampler(), num_workers=1)
    assert isinstance(loader, MixedLoader)
    assert loader.zero_lag


def test_a_sample_that_failed_once_shifts_no_later_batch(tmp_path):
    """The batch that holds it is raised; whoever goes on gets the batches that the sampler composes."""
    flag = tmp_path / "failed"

    class FailsOnce(Squares):
        def __getitem__(self, index):
            if index == 7 and not flag.exists():
                flag.touch()
                raise OSError("once")
            return super().__getitem__(index)

    sampler = make_sampler(FixedMix("uniform"))
    loader = MixedLoader(FailsOnce(), sampler, num_workers=1, zero_lag=True)
    with pytest.raises(OSError, match="once"):
        train(loader, sampler)
    state = through_a_file(sampler.state_dict())

    def gone_on(num_workers):
        resumed = make_sampler(FixedMix("uniform"))
        resumed.load_state_dict(state)
        resumed.finish_epoch()  # as whoever begins a new epoch of the loader that failed
        if num_workers:
            return train(MixedLoader(FailsOnce(), resumed, num_workers=num_workers, zero_lag=True), resumed)
        return train(DataLoader(Squares(), batch_sampler=resumed), resumed)

    wanted = gone_on(0)
    assert gone_on(2) == wanted
    assert train(loader, sampler) == wanted


@pytest.mark.parametrize("zero_lag", [False, True])
@pytest.mark.parametrize("length", [1, 40_000])
def test_workers_make_batches_on_the_cpu_whatever_the_default_device_is(zero_lag, length):
    """As those that are spawned do; one that is forked could not use a CUDA device."""

    class Rows(Squares):
        def __getitem__(self, index):
            return index, torch.full((length,), float(index))

    loader = MixedLoader(Rows(), make_sampler(FixedMix()), num_workers=2, zero_lag=zero_lag)
    torch.set_default_device("meta")
    try:
        found = list(loader)
    finally:
        reset_default_device()
    for (indices, rows), wanted in zip(found, make_sampler(FixedMix()), strict=True):
        assert indices.tolist() == rows[:, -1].tolist() == wanted
