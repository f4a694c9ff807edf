"""Zero lag costs nothing and changes nothing: what travels from worker to loop, whatever samples are and mixes do."""

import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import forks
from helpers import Scripted, mixes
from learn2mix import FixedMix, MixedBatchSampler, MixedLoader
from test_stacking import Point, alike

LABELS = np.repeat([0, 1, 2, 3], [40, 15, 5, 2])
JUMPS = [[0.7, 0.1, 0.1, 0.1], [0.68, 0.12, 0.1, 0.1], [0, 0, 0, 1], [0.25] * 4, [0.25] * 4, [0.1, 0.6, 0.2, 0.1]]
JUMPS += [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0]]  # so that chunks of one group meet


class Made:
    """Samples that a function makes of their indices."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return self.make(index)


class MadeAtOnce(Made):
    def __getitem__(self, index):
        raise NotImplementedError

    def __getitems__(self, indices):
        return [self.make(index) for index in indices]


def small(index):
    return torch.full((3,), float(index)), index, f"name {index}"


def large(index):
    return {"image": torch.full((60, 60), index), "point": Point(np.float32(index), np.full((2, 2), index))}


def row_of_500(index):
    return torch.full((500,), index)


def of_two_kinds(index):
    return small(index)[0], (index / 2 if LABELS[index] else index)


def of_many_lengths(index):
    return torch.full((index + 1,), index)


def without_none(index):
    return index if index % 4 else None


def sampler_of(mixer=None, **arguments):
    return MixedBatchSampler(LABELS, mixer or Scripted(JUMPS), **{"batch_size": 8, "seed": 3, **arguments})


def two_epochs(data, num_workers, collate_fn=None, **arguments):
    zero_lag = {"zero_lag": True} if num_workers else {}
    sampler = arguments.pop("sampler", None) or sampler_of()
    loader = MixedLoader(data, sampler, num_workers=num_workers, collate_fn=collate_fn, **zero_lag, **arguments)
    batches = []
    for _ in range(2):
        for batch in loader:
            sampler.observe(None)
            assert sampler.lag == 0
            batches.append(batch)
    return batches


@pytest.mark.parametrize("data", [Made, MadeAtOnce])
@pytest.mark.parametrize(("num_workers", "prefetch_factor"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("collate_fn", [None, list])
@pytest.mark.parametrize("make", [small, large, of_two_kinds])
def test_batches_are_those_of_no_workers(make, collate_fn, num_workers, prefetch_factor, data):
    ours = two_epochs(data(make), num_workers, collate_fn, prefetch_factor=prefetch_factor)
    assert alike(ours, two_epochs(Made(make), 0, collate_fn))


def test_so_they_are_where_samples_differ_in_length_and_the_user_collates():
    ours = two_epochs(Made(of_many_lengths), 2, list)
    assert alike(ours, two_epochs(Made(of_many_lengths), 0, list))


@pytest.mark.parametrize("make", [small, large])
def test_so_they_are_where_workers_are_not_forked(make, unforked):
    ours = two_epochs(Made(make), 1, multiprocessing_context=unforked)
    assert alike(ours, two_epochs(Made(make), 0))


@settings(max_examples=8)
@given(st.lists(mixes(4), min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 3), st.integers(1, 2))
def test_so_they_are_under_any_mixes_and_on_any_process(script, batch_size, num_replicas, num_workers):
    def sampler():
        parts = {"num_replicas": num_replicas, "rank": num_replicas - 1, "num_batches": 7}
        return sampler_of(Scripted(script), batch_size=batch_size, **parts)

    ours = two_epochs(Made(small), num_workers, sampler=sampler())
    assert alike(ours, two_epochs(Made(small), 0, sampler=sampler()))


@pytest.mark.parametrize("make", [without_none, of_many_lengths])
def test_what_cannot_be_collated_is_the_error_that_it_is_without_workers(make):
    errors = []
    for num_workers in (0, 2):
        with pytest.raises((RuntimeError, TypeError)) as raised:
            two_epochs(Made(make), num_workers, sampler=sampler_of(FixedMix()))
        errors.append((raised.type, str(raised.value)))
    assert errors[0] == errors[1]


def test_batches_can_be_written_to_and_belong_to_nobody_else():
    for make, name in ((large, "image"), (small, 0)):
        loader = MixedLoader(Made(make), sampler_of(FixedMix()), num_workers=2, zero_lag=True)
        for batch, indices in zip(loader, sampler_of(FixedMix()), strict=True):
            rows = batch[name].flatten(1)
            assert rows[:, 0].tolist() == rows[:, -1].tolist() == indices
            batch[name] += 1000


class TooFew(MadeAtOnce):
    def __getitems__(self, indices):
        return [self.make(index) for index in indices][:-1]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (TooFew(small), ValueError, "__getitems__ must return"),
        (Made(lambda index: lambda: index), Exception, "[Pp]ickle"),
    ],
    ids=["too few samples", "a sample that cannot be sent"],
)
def test_what_cannot_be_sent_is_an_error_and_not_a_wait(data, error, message):
    loader = MixedLoader(data, sampler_of(FixedMix()), num_workers=1, zero_lag=True, collate_fn=list, timeout=20)
    with pytest.raises(error, match=message):
        next(iter(loader))


def test_a_sample_that_cannot_be_sent_costs_its_batch_and_no_other():
    wanted = list(sampler_of(FixedMix()))
    bad = wanted[4][0]
    data = Made(lambda index: index if index != bad else lambda: index)
    batches = iter(MixedLoader(data, sampler_of(FixedMix()), num_workers=2, zero_lag=True, collate_fn=list))
    for number, indices in enumerate(wanted):
        if number == 4:
            with pytest.raises(Exception, match=r"[Pp]ickle"):
                next(batches)
            break
        assert next(batches) == indices
    assert [next(batches) for _ in wanted[5:]] == wanted[5:]


def test_an_error_of_a_class_that_cannot_be_sent_is_that_of_its_sample():
    def make(index):
        if index == 5:
            raise type("NoSuchKey", (Exception,), {})("no key a/b")
        return index

    loader = MixedLoader(Made(make), sampler_of(FixedMix()), num_workers=1, zero_lag=True, timeout=20)
    with pytest.raises(RuntimeError, match="NoSuchKey: no key a/b"):
        list(loader)
    loader = MixedLoader(Made(make), sampler_of(FixedMix()), num_workers=1, zero_lag=True, on_error="skip")
    with pytest.warns(UserWarning, match="skipped sample 5: NoSuchKey: no key a/b"):
        found = [index for batch in loader for index in batch.tolist()]
    assert list(loader.skipped) == ["sample 5: NoSuchKey: no key a/b"]
    assert found == [index for batch in sampler_of(FixedMix()) for index in batch if index != 5]


@given(
    mixes(4), mixes(4), st.integers(1, 9), st.sampled_from(["shuffled", "grouped"]), st.sampled_from([(1, 0), (3, 1)])
)
def test_what_is_foreseen_comes_as_long_as_the_mix_stays(before, after, batch_size, order, part):
    """So that workers collate whole batches: of a fixed mix all, and after a jump of the mix those that follow."""
    mixer, num_ahead = Scripted([before] * 6 + [after] * 9), 4
    parts = {"order": order, "num_replicas": part[0], "rank": part[1]}
    sampler = sampler_of(mixer, batch_size=batch_size, num_batches=5, **parts)
    foreseen, batches = [], []
    for _ in range(3):
        for batch in sampler:
            batches.append(batch)
            foreseen.append([indices.tolist() for indices in sampler.foresee(num_ahead)])
    for number, ahead in enumerate(foreseen):
        stays = min(num_ahead, (6 if number < 6 else 15) - number - 1)
        assert len(ahead) == num_ahead
        assert ahead[:stays] == batches[number + 1 :][:stays]


def test_so_it_does_after_an_epoch_that_was_left_and_a_state_that_was_loaded():
    sampler = sampler_of(FixedMix())

    def foreseen_and_drawn(num_observed):
        batches, foreseen, drawn = iter(sampler), [], []
        for number in range(3):
            drawn.append(next(batches))
            foreseen.append(sampler.foresee(2)[0].tolist())
            if number < num_observed:
                sampler.observe(None)
        assert foreseen[:-1] == drawn[1:]
        return drawn

    drawn = foreseen_and_drawn(num_observed=1)
    assert foreseen_and_drawn(num_observed=3)[:2] == drawn[1:], "two batches were taken back"
    sampler.load_state_dict(sampler.state_dict() | {"seed": 4})
    assert foreseen_and_drawn(num_observed=0)[:2] != drawn[1:]


@pytest.mark.gpu
def test_batches_are_pinned_whether_they_were_foreseen_or_not():
    ours = two_epochs(Made(large), 2, pin_memory=True)
    assert all(batch["image"].is_pinned() for batch in ours)
    assert alike(ours, two_epochs(Made(large), 0))


@pytest.mark.skipif(sys.platform != "linux", reason="counts the files of /proc")
def test_few_files_are_open_however_many_large_tensors_a_sample_has(tmp_path):
    def most_open(_rank):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        data = Made(lambda index: [torch.full((90, 90), index + part) for part in range(12)])
        script = np.random.default_rng(0).dirichlet([1] * 4, size=40)
        sampler = sampler_of(Scripted(script), num_batches=40)
        loader = MixedLoader(data, sampler, num_workers=2, prefetch_factor=4, zero_lag=True)
        most = 0
        for _ in loader:
            loader.observe(None)
            most = max(most, len(os.listdir("/proc/self/fd")))
        return most

    (most,) = forks.results(most_open, 1, tmp_path)
    assert most < 100


def start(train, folder):
    """Train in a process of its own until it has its first batch; the process, and all that it has started by then."""
    begun = folder / "begun"
    command = forks.Command(lambda: train(begun.touch), folder)
    deadline = time.monotonic() + forks.TIMEOUT
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    started = psutil.Process(command.pid).children(recursive=True)
    assert len(started) >= 2
    return command, started


def assert_all_end(processes):
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /dev/shm")
@pytest.mark.parametrize("killed", ["the loop", "a worker"])
def test_no_memory_and_no_process_outlives_a_kill(killed, tmp_path):
    def train(tell):
        loader = MixedLoader(Made(large), sampler_of(), num_workers=2, zero_lag=True)
        while True:
            for _ in loader:
                loader.observe(None)
                tell()

    before = set(os.listdir("/dev/shm"))
    command, workers = start(train, tmp_path)
    os.kill(command.pid if killed == "the loop" else workers[-1].pid, signal.SIGKILL)
    code, _ = command.wait()
    assert code not in (0, None)
    assert_all_end(workers)
    names = {f"_{id_of}_" for id_of in (command.pid, *(worker.pid for worker in workers))}
    left = [name for name in set(os.listdir("/dev/shm")) - before if any(part in name for part in names)]
    assert left == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
@pytest.mark.parametrize(("context", "zero_lag"), [("fork", False), ("fork", True), ("forkserver", False)])
def test_workers_end_with_a_loop_that_is_killed_while_answers_wait_for_it(context, zero_lag, tmp_path):
    def train(tell):
        multiprocessing.get_context("forkserver").set_forkserver_preload(["test_zero_lag"])
        how = {"multiprocessing_context": context, "prefetch_factor": 16, "zero_lag": zero_lag}
        loader = MixedLoader(Made(row_of_500), sampler_of(), num_workers=2, **how)
        for _ in loader:
            loader.observe(None)
            time.sleep(1)  # the answers, of 32 kB each, fill the pipe
            tell()
            time.sleep(600)

    command, started = start(train, tmp_path)
    os.kill(command.pid, signal.SIGKILL)
    assert_all_end(started)
