"""Which processes share a batch: all, those of a group that is given, or the only group that could be meant."""

import copy
import pickle
import re
import time
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist

import forks
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler
from learn2mix.feedback.processes import Processes
from observing import Batch, make, observe


def on_processes(function, num_processes, folder):
    """What a function of the rank returns on each of some processes that know of each other."""

    def in_process(rank):
        forks.gloo(rank, num_processes, folder, timeout=20)
        return function(rank)

    return forks.results(in_process, num_processes, folder)


def mean_of(processes, loss):
    """The mean loss of group 0 over the processes, and then over the next batch; or the error."""
    feedback = make(1, processes=processes)
    try:
        for step in range(2):
            observe(feedback, Batch([(0, loss + step, 1.0)]))
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return [update[0] for update in feedback.mixer.updates]


def test_two_models_on_four_processes(tmp_path):
    def train(rank):
        pair, place = divmod(rank, 2)
        losses = [1.0, 3.0, 10.0, 30.0][rank]
        found = {"no group": mean_of(Processes(2, place), losses), "alone": mean_of(Processes(1, 0), losses)}
        groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        found["looked up"] = mean_of(Processes(2, place), losses)
        found["another place"] = mean_of(Processes(2, 1 - place), losses)
        found["given"] = mean_of(Processes(process_group=groups[pair]), losses)
        found["both"] = mean_of(Processes(2, place, groups[pair]), losses)
        found["all"] = mean_of(Processes(), losses)
        found["all, by number"] = mean_of(Processes(4, rank), losses)
        sized = Processes(process_group=groups[pair])
        found["place"] = sized.num_replicas, sized.rank, sized.shared, Processes(1, 0).shared
        with pytest.raises(ValueError, match="process_group must be one that this process is in"):
            Processes(process_group=groups[1 - pair])
        with pytest.raises(ValueError, match=f"those of the process_group, 2 and {place}, got 4 and {rank}"):
            Processes(4, rank, groups[pair])
        total = torch.tensor([losses])
        sized.start_all_reduce(total).wait()
        found["sum"] = total.item()
        found["gather"] = sized.all_gather(rank)
        dist.new_group([0, 1]), dist.new_group([2, 3])  # the same members again
        found["looked up among twins"] = mean_of(Processes(2, place), losses)
        dist.new_group([0, 2]), dist.new_group([1, 3])
        # To the others only one group could be meant, and they would wait for these.
        found["ambiguous"] = mean_of(Processes(2, place), losses) if rank in (0, 3) else None
        return found

    for rank, found in enumerate(on_processes(train, 4, tmp_path)):
        pair = [2.0, 3.0] if rank < 2 else [20.0, 21.0]
        for name in ("looked up", "given", "both", "looked up among twins"):
            assert found[name] == pair, name
        assert found["all"] == found["all, by number"] == [11.0, 12.0]
        assert found["alone"] == [[1.0, 3.0, 10.0, 30.0][rank], [2.0, 4.0, 11.0, 31.0][rank]]
        assert found["place"] == (2, rank % 2, True, False)
        assert (found["sum"], found["gather"]) == ((4.0, [0, 1]) if rank < 2 else (40.0, [2, 3]))
        assert f"no groups of 2 have this process as rank {rank % 2}" in found["no group"]
        assert f"no groups of 2 have this process as rank {1 - rank % 2}" in found["another place"]
        assert "pass process_group=" in found["no group"]
        if rank in (0, 3):
            assert f"2 groups of 2 have this process as rank {rank % 2}" in found["ambiguous"]


def test_a_process_that_does_something_else_is_not_waited_for(tmp_path):
    ends = [tmp_path / "end 0", tmp_path / "end 1"]

    def train(rank):
        dist.new_group([0, 1])
        if rank == 2:
            while not all(end.exists() for end in ends):  # the others may be connecting still
                time.sleep(0.01)
            return None
        mean = mean_of(Processes(2, rank), 1.0 + rank)
        ends[rank].touch()
        return mean

    assert on_processes(train, 3, tmp_path) == [[1.5, 2.5], [1.5, 2.5], None]


def test_a_group_that_is_gone_is_looked_up_again_and_an_iteration_for_other_processes_ends(tmp_path):
    """As where one process has ended and the others meet anew, without a restart; here one plays each of them."""

    def meet(num_processes):
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=num_processes)

    def train(_rank):
        meet(4)
        of_pair = Processes(process_group=dist.new_group([0, 1]))
        of_pair.start_all_reduce(torch.zeros(1)).wait()
        sampler = MixedBatchSampler([0] * 60 + [1] * 20, FixedMix(), batch_size=4)
        batches = iter(sampler)
        next(batches)
        dist.destroy_process_group()
        meet(2)
        of_pair.start_all_reduce(torch.zeros(1)).wait()
        with pytest.raises(RuntimeError, match=r"rank 1 of 4 when .* and is rank 1 of 2 now.* begin a new iteration"):
            next(batches)
        return len(list(sampler))

    assert forks.results(train, 1, tmp_path) == [10]


@pytest.mark.parametrize("settings", [{}, {"num_replicas": 1, "rank": 0}])
def test_processes_that_torch_does_not_know_of_are_told_once(monkeypatch, settings):
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    sampler = MixedBatchSampler([0, 0, 1, 1], FixedMix(), batch_size=2, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [len(list(sampler)) for _ in range(2)] == [2, 2]
    texts = [] if settings else ["not set up.*HOROVOD_SIZE.* trains on the same samples.* pass num_replicas= and rank="]
    assert len(caught) == len(texts)
    assert all(re.search(text, str(warning.message)) for text, warning in zip(texts, caught, strict=True))


def test_losses_of_processes_that_torch_does_not_know_of_are_gathered_by_the_user():
    labels = np.repeat([0, 1, 2], [12, 8, 4])
    one, *parts = [
        MixedBatchSampler(labels, Learn2Mix(0.5), batch_size=8 // number, num_replicas=number, rank=rank)
        for number, rank in ((1, 0), (2, 0), (2, 1))
    ]
    for whole, *of_each in zip(one, *parts, strict=True):
        assert sorted(index for part in of_each for index in part) == sorted(whole)
        for sampler in (one, *parts):
            sampler.observe(1.0 + labels[whole], groups=labels[whole])
    next(iter(parts[0]))
    with pytest.warns(UserWarning, match=r"follows the losses of this process alone.* gather"):
        parts[0].observe([1.0] * 4)


def test_copies_and_pickles(tmp_path):
    def train(rank):
        before = pickle.dumps([Processes(), Processes(3, 1)])
        forks.gloo(rank, 2, tmp_path)
        found = [processes.num_replicas for processes in pickle.loads(before)]  # torch.distributed is asked when read
        group = dist.new_group([1])
        alone = [Processes(process_group=group)] if rank == 1 else []
        mean = mean_of(copy.deepcopy(Processes()), float(rank))
        pickled = pickle.dumps([Processes(), Processes(3, 1), *alone])
        found += [processes.num_replicas for processes in pickle.loads(pickled)]
        dist.destroy_process_group()  # as in a worker that was spawned
        frozen = pickle.loads(pickled)
        return found, [(it.num_replicas, it.rank, it.shared) for it in frozen], mean

    first, second = forks.results(train, 2, tmp_path)
    assert first == ([2, 3, 2, 3], [(2, 0, False), (3, 1, False)], [0.5, 1.5])
    assert second == ([2, 3, 2, 3, 1], [(2, 1, False), (3, 1, False), (1, 0, False)], [0.5, 1.5])


def test_without_torch_distributed_the_mix_follows_the_losses_of_this_process():
    assert not Processes(4, 1).shared
    assert mean_of(Processes(4, 1), 1.0) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_replicas": 2}, ValueError, "num_replicas and rank go together, got 2 and None"),
        ({"rank": 0}, ValueError, "num_replicas and rank go together, got None and 0"),
        ({"num_replicas": 2, "rank": 2}, ValueError, "rank must be below num_replicas = 2, got 2"),
        ({"num_replicas": 0, "rank": 0}, ValueError, "num_replicas must be at least 1, got 0"),
        ({"num_replicas": 2.0, "rank": 0}, TypeError, "num_replicas must be a whole number"),
        ({"process_group": "pair"}, TypeError, r"process_group must be a torch\.distributed\.ProcessGroup, .* got str"),
        ({"process_group": [0, 1]}, TypeError, r"process_group must be .* mesh\['dp'\].get_group\(\) .* got list"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Processes(**arguments)


def test_numbers_of_numpy_are_taken():
    processes = Processes(np.int64(4), np.int64(3))
    assert (processes.num_replicas, processes.rank) == (4, 3)
