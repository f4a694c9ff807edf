"""The order of a source, as each reader sees it: shuffled by the global generators, split by process, begun anew."""

import os
import random
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, get_worker_info

import forks
from learn2mix import FixedMix, Learn2Mix, MixedLoader, MixedStream
from learn2mix.streams.surroundings import RankQuestions
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)


class Shuffles(Numbers):
    """Shuffles by a global generator that nobody seeded, all at once."""

    def __iter__(self):
        return iter(np.random.permutation([*super().__iter__()]).tolist())


class ShufflesAsItGoes(Numbers):
    """The same, through a buffer while it is read."""

    def __iter__(self):
        buffer = []
        for number in super().__iter__():
            buffer.append(number)
            if len(buffer) > 10:
                yield buffer.pop(int(self.draw() * len(buffer)))
        yield from buffer


class ByPython(ShufflesAsItGoes):
    draw = staticmethod(lambda: random.random())


class ByNumPy(ShufflesAsItGoes):
    draw = staticmethod(lambda: np.random.rand())


class ByTorch(ShufflesAsItGoes):
    draw = staticmethod(lambda: torch.rand(()).item())


@pytest.mark.parametrize("mode", ["restart", "drop"])
@pytest.mark.parametrize("kind", [ByPython, ByNumPy, ByTorch])
def test_a_source_that_draws_from_a_global_generator_while_it_is_read_loses_nothing(kind, mode):
    stream = MixedStream([kind(0, 160), kind(1, 160)], FixedMix("uniform"), batch_size=10, on_exhausted=mode)
    loader = MixedLoader(stream, num_workers=3)
    passes = [[n for batch in islice(loader, 32) for n in batch.tolist()] for _ in range(2)]
    loader.close()
    numbers = [*range(160), *range(GROUP, GROUP + 160)]
    assert [sorted(one) for one in passes] == [numbers] * 2
    assert passes[0] != passes[1]


@pytest.mark.usefixtures("untouched_random_state")
def test_and_leaves_the_generators_to_others_as_they_were():
    both = [ByPython(0, 60), ByNumPy(1, 60), ByTorch(2, 60)]
    stream = MixedStream(both, FixedMix("uniform"), batch_size=9, num_replicas=2, rank=0)
    assert len([*islice(MixedLoader(stream), 12)]) == 12


def test_one_that_shuffles_at_once_is_resumed_in_the_order_that_it_had():
    def fresh():
        return MixedStream([Shuffles(0, 30), Shuffles(1, 30)], FixedMix("uniform"), batch_size=6)

    unbroken = [batch.tolist() for batch in islice(MixedLoader(fresh()), 12)]
    stopped, again = fresh(), fresh()
    before = [batch.tolist() for batch in islice(MixedLoader(stopped), 7)]
    again.load_state_dict(stopped.state_dict())
    assert before + [batch.tolist() for batch in islice(MixedLoader(again), 5)] == unbroken


class OwnOrder(Numbers):
    """Every reader sees another order."""

    def __iter__(self):
        samples = [*super().__iter__()]
        random.SystemRandom().shuffle(samples)
        return iter(samples)


@pytest.mark.parametrize("mode", ["stop_first", "stop_all", "drop"])
def test_an_order_that_differs_between_workers_is_refused_also_where_the_sources_end(mode):
    stream = MixedStream(
        {"web": OwnOrder(0, 90), "b": range(90)}, FixedMix("uniform"), batch_size=10, on_exhausted=mode
    )
    with pytest.raises(RuntimeError, match="sources: 'web' has another sample 0 in each worker"):
        list(MixedLoader(stream, num_workers=3))


class AsksTorch(Numbers):
    """Split by process: by what ``torch.distributed`` says, or by what torchrun wrote down."""

    def __iter__(self):
        return islice(super().__iter__(), self.rank(), None, 2)

    def rank(self):
        return dist.get_rank()


class AsksEnvironment(AsksTorch):
    def rank(self):
        return int(os.environ["RANK"])


class AsksEnvironmentAndWorker(Numbers):
    """As webdataset and mosaicml's streaming do."""

    def __iter__(self):
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return islice(super().__iter__(), int(os.getenv("RANK")) * parts + part, None, 2 * parts)


@pytest.fixture
def of_each_rank(monkeypatch):
    """The stream of each of two processes, of sources of a kind, one after the other."""

    def streams(kind, **settings):
        for rank in range(2):
            monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
            monkeypatch.setattr(dist, "get_world_size", lambda: 2)
            monkeypatch.setenv("RANK", str(rank))
            monkeypatch.setenv("WORLD_SIZE", "2")
            both = {"web": kind(0, 40), "books": kind(1, 40)}
            yield MixedStream(both, FixedMix("uniform"), batch_size=10, num_replicas=2, rank=rank, **settings)

    return streams


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", [AsksTorch, AsksEnvironment, AsksEnvironmentAndWorker])
def test_a_source_that_asks_for_its_rank_is_not_split_once_more(kind, num_workers, of_each_rank):
    times = Counter()
    for stream in of_each_rank(kind):
        times.update(n for batch in islice(MixedLoader(stream, num_workers=num_workers), 12) for n in batch.tolist())
    assert len(times) == 80
    assert set(times.values()) == {3}


@pytest.mark.parametrize("mode", ["stop_first", "stop_all", "drop"])
@pytest.mark.parametrize("kind", [AsksTorch, AsksEnvironment, AsksEnvironmentAndWorker])
def test_one_that_would_have_to_tell_where_it_ends_is_refused(kind, mode, of_each_rank):
    for stream in of_each_rank(kind, on_exhausted=mode):
        with pytest.raises(ValueError, match=r"sources: 'web' is split by process .*on_exhausted=\"restart\""):
            next(iter(MixedLoader(stream)))


class SplitsByTorch(Numbers):
    """Split by process, and knows of how many."""

    def __iter__(self):
        return islice(super().__iter__(), self.rank(), None, self.number())

    def rank(self):
        return dist.get_rank()

    def number(self):
        return dist.get_world_size()


class SplitsByEnvironment(SplitsByTorch):
    def rank(self):
        return int(os.environ["RANK"] if "SLURM_PROCID" not in os.environ else os.environ["SLURM_PROCID"])

    def number(self):
        return int(os.getenv("WORLD_SIZE"))


class SplitsAndReturnsItself(SplitsByTorch):
    def __iter__(self):
        self.inner = super().__iter__()
        return self

    def __next__(self):
        return next(self.inner)


class SplitsAndHasState(SplitsAndReturnsItself):
    """Goes on where a state was, and counts what it gave."""

    position = 0

    def __iter__(self):
        self.inner = islice(super().__iter__().inner, self.position, None)
        return self

    def __next__(self):
        number = next(self.inner)
        self.position += 1
        return number

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mode", ["stop_first", "stop_all", "drop"])
@pytest.mark.parametrize("kind", [SplitsByTorch, SplitsByEnvironment, SplitsAndReturnsItself, SplitsAndHasState])
def test_one_that_splits_itself_over_any_number_of_processes_is_read_whole_where_it_has_to_end(
    kind, mode, num_workers, of_each_rank
):
    lists = {"web": list(Numbers(0, 40)), "books": list(Numbers(1, 40))}
    settings = {"batch_size": 10, "on_exhausted": mode, "num_replicas": 2}
    for rank, stream in enumerate(of_each_rank(kind, on_exhausted=mode)):
        of_lists = MixedStream(lists, FixedMix("uniform"), rank=rank, **settings)
        loader, expected = MixedLoader(stream, num_workers=num_workers), MixedLoader(of_lists)
        epochs = [[batch.tolist() for batch in expected] for _ in range(3)]
        assert [[batch.tolist() for batch in loader] for _ in range(2)] == epochs[:2]
        batches = iter(loader)
        begun = [next(batches).tolist() for _ in range(2)]
        loader.load_state_dict(loader.state_dict())
        assert begun + [batch.tolist() for batch in loader] == epochs[2]


class OfMosaicml(Numbers):
    """As its package has it: its workers would wait for each other at each pass."""

    __module__ = "streaming.base.dataset"

    def __iter__(self):
        raise AssertionError("it would wait for ever")


@pytest.mark.parametrize("mode", ["restart", "drop"])
def test_mosaicml_s_are_refused_where_workers_would_wait_for_each_other(mode, of_each_rank):
    for stream in of_each_rank(OfMosaicml, on_exhausted=mode):
        with pytest.raises(ValueError, match=r"sources: 'web' is mosaicml's, .* read it by index"):
            next(iter(MixedLoader(stream)))


class CopiesEnvironment(Numbers):
    def __iter__(self):
        assert {**os.environ}["RANK"] in "01"  # as for a program that unpacks the data
        return super().__iter__()


def test_a_copy_of_the_environment_is_no_question_for_the_rank(of_each_rank):
    times = Counter()
    for stream in of_each_rank(CopiesEnvironment, on_exhausted="drop"):
        times.update(n for batch in MixedLoader(stream) for n in batch.tolist())
    assert len(times) == 80
    assert set(times.values()) == {1}


def test_the_environment_is_read_as_ever(monkeypatch):
    monkeypatch.setenv("RANK", "")
    with RankQuestions() as questions:
        assert os.environ["RANK"] == ""
        assert os.environ.get("NOT_THERE_AT_ALL") is None
        with pytest.raises(KeyError, match="NOT_THERE_AT_ALL"):
            os.environ["NOT_THERE_AT_ALL"]
    assert questions.splits_by_rank
    with RankQuestions() as questions:
        assert os.environ["PATH"]
    assert not questions.splits_by_rank


class ReturnsItselfByWorker(Numbers):
    """Begins anew, returns itself and splits itself by worker, as litData's does; each pass in another order."""

    def __iter__(self):
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        samples = [*super().__iter__()][part::parts]
        self.turns = getattr(self, "turns", 0) + 1
        self.inner = iter(samples[self.turns :] + samples[: self.turns])
        return self

    def __next__(self):
        return next(self.inner)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_a_source_that_returns_itself_may_split_itself_and_shuffle_each_pass(num_workers):
    both = [ReturnsItselfByWorker(0, 60), ReturnsItselfByWorker(1, 60)]
    loader = MixedLoader(MixedStream(both, FixedMix("uniform"), batch_size=10), num_workers=num_workers)
    times = Counter(n for batch in islice(loader, 36) for n in batch.tolist())
    loader.close()
    assert len(times) == 120
    assert set(times.values()) == {3}


class ByWorker(Numbers):
    def __iter__(self):
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return islice(super().__iter__(), part, None, parts)


def test_one_that_splits_itself_may_have_fewer_samples_than_there_are_workers():
    loader = MixedLoader(
        MixedStream([ByWorker(0, 2), ByWorker(1, 60)], FixedMix("uniform"), batch_size=4), num_workers=3
    )
    times = Counter(n for batch in islice(loader, 30) for n in batch.tolist())
    loader.close()
    assert times[0] == times[1] == 30
    assert {times[GROUP + n] for n in range(60)} == {1}


def test_a_loader_is_no_source_of_samples():
    with pytest.raises(TypeError, match=r"sources: 'web' must be .* got DataLoader; it gives batches.*loader\.dataset"):
        MixedStream({"web": DataLoader(range(9), batch_size=3), "b": range(9)}, FixedMix(), batch_size=2)
    samples = DataLoader(range(9), batch_size=None)
    assert len(next(iter(MixedLoader(MixedStream([samples, range(9)], FixedMix("uniform"), batch_size=2))))) == 2


def test_lists_that_are_split_by_process_already_are_noticed_at_the_first_update(tmp_path):
    def train(rank):
        forks.gloo(rank, 2, tmp_path)
        for web in ([*range(40)], [*range(40)][rank::2]):
            stream = MixedStream([web, [*range(100, 140)]], Learn2Mix(), batch_size=4)
            for batch in islice(MixedLoader(stream), 3):
                stream.observe(1.0 + batch)

    for outcome in forks.outcomes(train, 2, tmp_path):
        assert "rank 1 has another sources than rank 0. Give each the same data" in outcome.error


class ByArgument(Numbers):
    """Split by what its user told it, and perhaps by worker as well."""

    def __init__(self, group, size, rank=0, by_worker=False):
        super().__init__(group, size)
        self.rank, self.by_worker = rank, by_worker

    def __iter__(self):
        info = get_worker_info() if self.by_worker else None
        part = islice(super().__iter__(), self.rank, None, 2)
        return part if info is None else islice(part, info.id, None, info.num_workers)


def errors_of(folder, make_sources, num_workers):
    """What ends the loops of two processes over sources that each makes."""

    def train(rank):
        forks.gloo(rank, 2, folder)
        loader = MixedLoader(
            MixedStream(make_sources(rank), FixedMix("uniform"), batch_size=4), num_workers=num_workers[rank]
        )
        for batch in islice(loader, 6):
            loader.observe(torch.ones(len(batch)))

    return [outcome.error for outcome in forks.outcomes(train, 2, folder)]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("by_worker", [False, True])
def test_sources_that_were_told_their_rank_are_noticed_at_the_first_update(tmp_path, num_workers, by_worker):
    def sources(rank):
        return {"web": ByArgument(0, 80, rank, by_worker), "books": Numbers(1, 80)}

    for error in errors_of(tmp_path, sources, 2 * [num_workers]):
        assert "rank 1 has another first sample of 'web' than rank 0. Give each the same data" in error
        assert "torch.distributed.get_rank() in its __iter__" in error


def test_sources_that_are_split_by_worker_need_as_many_on_every_process(tmp_path):
    def sources(rank):
        return [ByArgument(0, 80, 0, True), Numbers(1, 80)]

    for error in errors_of(tmp_path, sources, [2, 3]):
        assert "rank 1 has another number of workers than rank 0" in error


def test_where_none_is_split_by_worker_they_may_have_other_numbers(tmp_path):
    assert errors_of(tmp_path, lambda rank: [Numbers(0, 80), Numbers(1, 80)], [0, 2]) == ["", ""]
