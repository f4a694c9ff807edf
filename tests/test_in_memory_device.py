"""Data in memory on a device: moved there once, and gathered there without a wait."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fake_accelerator import FakeAccelerator, OnDevice, plain
from helpers import reset_default_device
from in_memory import LABELS, PIXELS, as_form, batch_of, is_batch
from learn2mix import FixedMix, MixedBatchSampler, MixedLoader
from learn2mix.data import InMemory

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def sampler_of():
    return MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=5, seed=5)


def halved(batch):
    assert isinstance(batch, OnDevice)
    return batch / 2


def check_batches(loader, num_epochs, **wanted):
    indices = [batch for sampler in [sampler_of()] for _ in range(num_epochs) for batch in sampler]
    found = [batch for _ in range(num_epochs) for batch in loader]
    assert len(found) == len(indices)
    for batch, one in zip(found, indices, strict=True):
        assert all(isinstance(part, OnDevice) for part in batch)
        assert is_batch(list(map(plain, batch)), batch_of(one, **wanted))


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
@pytest.mark.parametrize("form", ["tensor", "read-only"])
def test_the_data_go_there_once_and_no_step_waits(device, form, tmp_path):
    data = InMemory(as_form(PIXELS, form, tmp_path), LABELS, transform=halved)
    with FakeAccelerator(device) as gpu:
        loader = MixedLoader(data, sampler_of(), device=device)
        assert gpu.waits == ["to device"] * 2, "the images and the labels"
        gpu.waits.clear()
        check_batches(loader, 2, halved=True)
        assert gpu.waits == []
    assert not any(isinstance(array, OnDevice) for array in data.arrays), "the user's own stay where they are"


def test_a_data_set_made_there_is_gathered_there_by_any_loader():
    with FakeAccelerator("cuda:1") as gpu:
        data = InMemory(PIXELS, LABELS, transform=halved, device="cuda:1")
        gpu.waits.clear()
        assert data.device == torch.device("cuda:1")
        for kind in (MixedLoader, DataLoader):
            check_batches(kind(data, batch_sampler=sampler_of()), 1, halved=True)
        index = gpu.put(torch.tensor([3, 1]))
        assert is_batch(list(map(plain, data[index])), batch_of([3, 1], halved=True))
        assert gpu.waits == []


def test_a_map_stays_in_its_file_and_its_batches_go_over(tmp_path):
    data = InMemory(as_form(PIXELS, "map", tmp_path), LABELS)
    with FakeAccelerator("cuda:1") as gpu:
        loader = MixedLoader(data, sampler_of(), device="cuda:1")
        assert gpu.waits == []
        check_batches(loader, 1, halved=False)


def test_indices_out_of_range_never_reach_the_device():
    data = InMemory(PIXELS, device="meta")
    with pytest.raises(IndexError, match="below 30"):
        data[[3, 30]]
    assert data[[3, -1]][0].shape == (2, 2, 3)


def test_arrays_on_two_devices_are_refused_unless_they_are_moved():
    there = torch.zeros(30, device="meta")
    with pytest.raises(ValueError, match=r"one device, got \['cpu', 'meta'\]; give device="):
        InMemory(PIXELS, there)
    assert InMemory(PIXELS, there, device="meta")[[1, 2]][0].device == there.device


@pytest.mark.parametrize("where", ["in the data", "in the loader", "in both"])
@pytest.mark.parametrize("wrong", [{"num_workers": 2}, {"num_workers": 1, "zero_lag": True}, {"pin_memory": True}])
def test_workers_and_pinned_memory_are_refused_with_the_way_out(where, wrong):
    data = InMemory(PIXELS, LABELS, device=None if where == "in the loader" else "meta")
    device = None if where == "in the data" else "meta"
    (first, *_) = wrong
    with pytest.raises(ValueError, match=rf"{first} must be .*InMemory is on meta"):
        MixedLoader(data, sampler_of(), device=device, **wrong)


def test_torch_s_loader_with_workers_is_told_so():
    loader = DataLoader(InMemory(PIXELS, LABELS, device="meta"), batch_sampler=sampler_of(), num_workers=1)
    with pytest.raises(RuntimeError, match=r"the data are on meta.*num_workers=0"):
        list(loader)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_on_the_cpu_workers_are_taken(num_workers):
    loader = MixedLoader(InMemory(PIXELS, LABELS, device="cpu"), sampler_of(), num_workers=num_workers, device="cpu")
    for batch, indices in zip(loader, sampler_of(), strict=True):
        assert is_batch(batch, batch_of(indices, halved=False))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_data_are_read_into_memory_on_the_cpu_whatever_the_default_device_is(num_workers):
    samples = [(torch.from_numpy(pixels), int(label)) for pixels, label in zip(PIXELS, LABELS, strict=True)]
    torch.set_default_device("meta")
    try:
        data = InMemory.of(samples, num_workers=num_workers)
    finally:
        reset_default_device()
    assert is_batch(list(data[[3, 1]]), batch_of([3, 1], halved=False))


@pytest.mark.gpu
def test_on_a_real_device_the_batches_are_the_same():
    loader = MixedLoader(InMemory(PIXELS, LABELS, transform=lambda batch: batch / 2), sampler_of(), device="cuda")
    for batch, indices in zip(loader, sampler_of(), strict=True):
        assert all(part.is_cuda for part in batch)
        assert is_batch([part.cpu() for part in batch], batch_of(indices, halved=True))
    assert isinstance(loader.dataset[np.int64(3)][1], torch.Tensor)
