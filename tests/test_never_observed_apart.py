"""Processes that never observe, so that no sum of losses tells them apart: a warning names what differs."""

import os
import time
import warnings
from datetime import timedelta
from itertools import islice

import numpy as np
import pytest
import torch.distributed as dist

import forks
from helpers import messages
from learn2mix import AnnealedMix, FixedMix, MixedBatchSampler, MixedLoader, MixedStream
from test_stream_orders import ByArgument, Numbers

pytestmark = pytest.mark.heavy

LABELS = np.repeat([0, 1, 2], [30, 10, 20])


def warned(folder, num_processes, each):
    """What each process was warned of; all of them meet first, and end together."""

    def run(rank):
        forks.gloo(rank, num_processes, folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            each(rank)
        dist.barrier()
        return messages(caught)

    return forks.results(run, num_processes, folder)


def load(labels=LABELS, mixer=None, num_workers=0, **settings):
    """Three batches of a sampler, and no observation."""
    sampler = MixedBatchSampler(labels, mixer or FixedMix("uniform"), **{"batch_size": 4} | settings)
    for _ in islice(MixedLoader(range(len(labels)), sampler, num_workers=num_workers), 3):
        pass


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"seed": 1}, "seed"),
        ({"labels": LABELS[::-1]}, "partition"),
        ({"batch_size": 5}, "batch_size"),
        ({"mixer": FixedMix([0.5, 0.25, 0.25])}, "mix"),
        ({"mixer": AnnealedMix([0.2, 0.4, 0.4], "uniform", num_steps=4)}, "mix"),
    ],
    ids=["seed", "partition", "batch size", "mix", "rule"],
)
@pytest.mark.parametrize("first", [0, 1])
def test_what_differs_is_named_by_the_one_that_comes_later(tmp_path, settings, what, first):
    def each(rank):
        if rank != first:
            dist.barrier()
        load(**settings if rank == 1 else {})
        if rank == first:
            dist.barrier()

    ranks = warned(tmp_path, 2, each)
    assert ranks[first] == []
    (message,) = ranks[1 - first]
    assert message.startswith(
        f"MixedBatchSampler: the processes have come apart: rank 1 has another {what} than rank 0. Give each the same"
    )


def test_of_many_processes_each_that_differs_is_named(tmp_path):
    told = {text for texts in warned(tmp_path, 4, lambda rank: load(seed=rank % 2)) for text in texts}
    assert all(any(f"rank {rank} has another seed than rank 0" in text for text in told) for rank in (1, 3))
    assert not any("rank 2" in text for text in told)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_s_source_that_has_another_order_on_each_is_named(tmp_path, num_workers):
    def each(rank):
        sources = {"web": ByArgument(0, 80, rank, by_worker=False), "books": Numbers(1, 80)}
        stream = MixedStream(sources, FixedMix("uniform"), batch_size=4)
        for _ in islice(MixedLoader(stream, num_workers=num_workers), 3):
            pass

    (message,) = {text for texts in warned(tmp_path, 2, each) for text in texts}
    assert "MixedStream: the processes have come apart: rank 1 has another first sample of 'web' than rank 0" in message
    assert "shuffle it with a seed" in message


def test_another_number_of_workers_where_a_source_is_split_by_worker_is_named(tmp_path):
    def each(rank):
        stream = MixedStream([ByArgument(0, 80, 0, by_worker=True), Numbers(1, 80)], FixedMix("uniform"), batch_size=4)
        for _ in islice(MixedLoader(stream, num_workers=2 + rank), 6):
            pass

    texts = [text for texts in warned(tmp_path, 2, each) for text in texts]
    assert any("rank 1 has another number of workers than rank 0" in text for text in texts)


def test_nothing_is_said_where_all_is_well(tmp_path):
    """Folds, a look on one process alone, other numbers of workers, a rule that moves, a sampler of one's own."""

    def each(rank):
        if rank == 0:
            sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=4, seed=7, num_replicas=1, rank=0)
            next(iter(sampler))
        for fold in range(3):
            load(seed=fold, num_workers=2 * rank * (fold == 1))
        sampler = MixedBatchSampler(LABELS, AnnealedMix(None, "uniform", num_steps=4), batch_size=4)
        if rank == 1:
            next(iter(sampler))
        for _ in range(2):
            assert len(list(sampler)) == len(sampler)
        stream = MixedStream([Numbers(0, 80), Numbers(1, 40)], FixedMix("uniform"), batch_size=4)
        for _ in range(2):
            assert len(list(islice(MixedLoader(stream, num_workers=2), 5))) == 5

    assert warned(tmp_path, 2, each) == [[], []]


def test_two_models_on_two_halves_of_the_processes_are_two(tmp_path):
    def each(rank):
        groups = [dist.new_group(ranks) for ranks in ([0, 1], [2, 3])]
        for fold in range(1 + rank // 2):
            load(seed=fold + rank // 2, process_group=groups[rank // 2])
        load(seed=rank // 2, num_replicas=2, rank=rank % 2)
        for seed in range(3):  # of all of them
            load(seed=seed)

    assert warned(tmp_path, 4, each) == [[]] * 4


def test_where_the_process_that_keeps_the_store_has_ended_nothing_is_said(tmp_path):
    """Rank 0 has it, and may be done with all that it had to do."""

    def run(rank):
        address = f"tcp://localhost:{port}"
        dist.init_process_group("gloo", address, rank=rank, world_size=2, timeout=timedelta(seconds=20))
        if rank == 0:
            while not met.exists():
                time.sleep(0.01)
            os._exit(0)
        met.touch()
        time.sleep(1)
        load()
        return "went on"

    port, met = forks.free_port(), tmp_path / "met"
    assert forks.outcomes(run, 2, tmp_path)[1].result == "went on"


@pytest.mark.parametrize("rank", [0, 3])
def test_with_a_fake_process_group_nothing_is_said(tmp_path, rank):
    """As tools have it that plan for many processes on one."""

    def run(_rank):
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=1000)
        load()
        return "went on"

    assert forks.results(run, 1, tmp_path) == ["went on"]
