"""A thread that fetches ahead, still at work on the epoch that the loop has left: it takes nothing of the next one."""

import copy
import pickle
import queue
import sys
import threading
import time
from itertools import islice

import numpy as np
import pytest

from learn2mix import FixedMix, MixedBatchSampler, MixedLoader, MixedStream
from learn2mix.workers.pipeline import Pipeline
from loops import EPOCH, LABELS, LOSSES, Data, Heard, Loop

SOURCES = [np.flatnonzero(group == LABELS).tolist() for group in range(3)]


class Held(Heard):
    """Waits before the mix of one batch, in the thread that fetches it."""

    def __init__(self, number):
        super().__init__()
        self.number, self.waits, self.may_go_on = number, threading.Event(), threading.Event()

    def seek(self, batch, epoch):
        if batch == self.number and not self.waits.is_set():
            self.waits.set()
            assert self.may_go_on.wait(60)

    def go_on_soon(self):
        assert self.waits.wait(60)
        threading.Timer(0.2, self.may_go_on.set).start()


class InThread:
    """What prefetch_generator does: fetches in a thread, into a queue, also after the loop has gone on."""

    def __init__(self, batches, room=0):
        self.queue, self.batches = queue.Queue(room), batches
        self.thread = threading.Thread(target=self.fetch, daemon=True)
        self.thread.start()

    def fetch(self):
        try:
            for batch in self.batches:
                self.queue.put(batch)
        except RuntimeError:  # out of date, once the loop has gone on
            return
        finally:
            self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


def sampler_of(mixer):
    return MixedBatchSampler(LABELS, mixer, batch_size=5, seed=3)


KINDS = {
    "no workers": lambda mixer: MixedLoader(Data(), sampler_of(mixer)),
    "2 workers": lambda mixer: MixedLoader(Data(), sampler_of(mixer), num_workers=2, prefetch_factor=1),
    "2 workers that stay": lambda mixer: MixedLoader(
        Data(), sampler_of(mixer), num_workers=2, prefetch_factor=1, persistent_workers=True
    ),
    "zero lag": lambda mixer: MixedLoader(Data(), sampler_of(mixer), num_workers=2, zero_lag=True),
    "a stream": lambda mixer: MixedLoader(MixedStream(SOURCES, mixer, batch_size=5)),
    "a stream, 2 workers": lambda mixer: MixedLoader(
        MixedStream(SOURCES, mixer, batch_size=5), num_workers=2, prefetch_factor=1
    ),
}


@pytest.mark.filterwarnings("ignore:.*batch.* were never observed")  # of the epoch that is left
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_epoch_has_all_its_batches_and_each_loss_its_batch(kind):
    mixer = Held(number=3)  # with 2 workers, two are on their way when the first comes
    loader = KINDS[kind](mixer)
    loop = Loop(loader, loader.sampler)
    left = InThread(loader)
    first = next(iter(left))
    mixer.go_on_soon()
    loop(first)
    batches = iter(loader)
    left.thread.join()
    for batch in islice(InThread(islice(batches, EPOCH)), EPOCH):
        loop(batch)
    loop.check(1 + EPOCH)
    loader.close()


def test_answers_to_later_requests_go_to_whoever_sent_these():
    class Echo:
        def __getitem__(self, request):
            return request

    pipeline = Pipeline(Echo(), None, num_workers=0, loader_args={}, rank=0)
    first, second = pipeline.answers(iter("ab")), pipeline.answers(iter("cd"))
    assert [next(first), next(second)] == ["a", "c"]
    assert [list(first), list(second)] == [[], ["d"]]


@pytest.fixture
def restless():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
@pytest.mark.filterwarnings("ignore:.*batch.* were never observed")
@pytest.mark.parametrize("kind", ["no workers", "a stream"])
def test_many_epochs_that_are_left_while_a_thread_fetches(kind):
    loader = KINDS[kind](Heard())
    loop = Loop(loader, loader.sampler)
    for _ in range(100):
        for batch in islice(InThread(loader, room=2), 3):
            loop(batch)
    loop.check(300)


def test_a_state_that_cannot_tell_what_was_trained_on_says_so():
    """Of batches that a thread fetches for a loop that observes nothing; with ``observe(None)`` it can."""
    loader = KINDS["no workers"](FixedMix())
    fetched = InThread(islice(loader, 3))
    fetched.thread.join()
    with pytest.warns(UserWarning, match=r"another thread fetches its batches.* call observe\(None\) after each step"):
        loader.state_dict()
    loader.observe(None)
    assert loader.state_dict()["composed"] == 1


class Alone(Heard):
    """Takes its time over an update, and notes whether a mix was asked for meanwhile."""

    updates, overlaps = False, 0

    def update(self, losses):
        self.updates = True
        time.sleep(0.02)
        self.updates = False

    def seek(self, batch, epoch):
        self.overlaps += self.updates


@pytest.mark.parametrize("kind", ["no workers", "a stream"])
def test_a_rule_is_not_asked_for_a_mix_while_it_moves_it(kind):
    loader = KINDS[kind](Alone())
    for batch in InThread(islice(loader, EPOCH), room=1):
        loader.observe(LOSSES[batch.numpy()])
    assert loader.mixer.overlaps == 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))])
def test_a_copy_made_in_the_middle_of_a_batch_is_free_for_another_thread(copied):
    sampler = sampler_of(FixedMix())
    with sampler._lock:
        assert len(list(InThread(copied(sampler)))) == EPOCH


def test_two_threads_that_take_batches_of_one_iteration_are_told_so():
    class Waits(Data):
        waits, may_go_on = threading.Event(), threading.Event()

        def __getitem__(self, index):
            self.waits.set()
            assert self.may_go_on.wait(60)
            return index

    data, sampler = Waits(), sampler_of(FixedMix())
    batches = iter(MixedLoader(data, sampler))
    other = InThread(batches)
    assert data.waits.wait(60)
    try:
        with pytest.raises(RuntimeError, match="two threads take batches of one iteration"):
            next(batches)
    finally:
        data.may_go_on.set()
    assert [batch.tolist() for batch in other] == list(sampler_of(FixedMix())), "and the first goes on"
