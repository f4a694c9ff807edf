"""Law 9: in a loop that can be followed, losses are credited to the groups that they are of."""

import gc
import itertools
import queue
import threading
import weakref

import numpy as np
import pytest
from torch.utils.data import DataLoader

from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader
from loops import EPOCH, KINDS, LABELS, LOSSES, Data, Loop, by_hand, make, sampler_of


def test_a_batch_size_that_is_set_in_the_middle_of_an_epoch_is_that_of_the_next_batches():
    """As a ramp of the batch size sets it: batches that were composed or foreseen by then keep their losses."""
    sampler, sizes = sampler_of(num_batches=EPOCH * 3), []
    loop = Loop(MixedLoader(Data(), sampler), sampler)
    for batch in loop.loader:
        if len(sizes) == EPOCH:
            sampler.batch_size = 10
        loop(batch)
        sizes.append(len(batch))
    assert sizes == [5] * (EPOCH + 1) + [10] * (2 * EPOCH - 1)
    loop.check(3 * EPOCH)


def progress(batches):
    """What tqdm and its like are."""
    yield from batches


def accumulates(loop):
    for step, batch in enumerate(progress(loop.loader)):
        loop(batch)
        if step % 4 == 3:
            loop.steps = step


def fetches_then_trains(num, with_end=True):
    """As Hugging Face's Trainer does where it accumulates gradients."""

    def run(loop):
        batches, left = iter(loop.loader), EPOCH
        while left:
            for batch in [next(batches) for _ in range(min(num, left))]:
                loop(batch)
                left -= 1
        assert next(batches, None) is None or not with_end

    return run


def in_chunks(loop):
    batches = iter(loop.loader)
    while chunk := list(itertools.islice(batches, 4)):
        for batch in chunk:
            loop(batch)


def all_at_once(loop):
    for batch in list(loop.loader):
        loop(batch)


def some_without_losses(loop):
    for step, batch in enumerate(loop.loader):
        if step in (0, 3, 5):
            loop(batch, known=False)
            continue
        loop(batch)


def steps_that_fail(loop):
    for step, batch in enumerate(loop.loader):
        try:
            if step == 2:
                raise FloatingPointError("overflow")
            loop(batch)
        except FloatingPointError:
            loop(batch, known=False)


def one_ahead(loop):
    loop.sampler.fetch_ahead = 1
    batches = iter(loop.loader)
    following = next(batches)
    while following is not None:
        batch, following = following, next(batches, None)
        loop(batch)


def beside(num_others):
    def run(loop):
        for batch, _ in zip(loop.loader, range(num_others), strict=False):
            loop(batch)

    return run


def left_after(num_batches):
    def run(loop):
        for number, batch in enumerate(loop.loader, 1):
            loop(batch)
            if number == num_batches:
                break

    return run


def left_before(num_batches):
    def run(loop):
        for number, batch in enumerate(loop.loader):
            if number == num_batches:
                break
            loop(batch)

    return run


def then_evaluates(loop):
    for batch in loop.loader:
        loop(batch)
    for _ in loop.loader:
        pass


def looks_first(loop):
    next(iter(loop.loader))
    for batch in loop.loader:
        loop(batch)


def in_a_thread(size):
    def run(loop):
        ready = queue.Queue(size)

        def fetch():
            for batch in loop.loader:
                ready.put(batch)
            ready.put(None)

        thread = threading.Thread(target=fetch)
        thread.start()
        while (batch := ready.get()) is not None:
            loop(batch)
        thread.join()

    return run


RIGHT = {
    "by hand": (by_hand, 6),
    "accumulates": (accumulates, 6),
    "fetches 2, trains on 2": (fetches_then_trains(2), 6),
    "fetches 4, trains on 4": (fetches_then_trains(4), 6),
    "fetches 6, trains on 6": (fetches_then_trains(6, with_end=False), 6),
    "in chunks": (in_chunks, 6),
    "some without losses": (some_without_losses, 3),
    "steps that fail": (steps_that_fail, 5),
    "one ahead": (one_ahead, 6),
    "beside a shorter loader": (beside(3), 3),
    "beside one of the same length": (beside(EPOCH), 6),
    "beside a longer loader": (beside(9), 6),
    "left after 2 batches": (left_after(2), 2),
    "left after 1 batch": (left_after(1), 1),
    "left before the third batch": (left_before(2), 2),
    "evaluates on the same loader": (then_evaluates, 6),
    "looks first": (looks_first, 6),
    "in a thread": (in_a_thread(1), 6),
    "far ahead in a thread": (in_a_thread(9), 6),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_loop_that_can_be_followed_is_credited_exactly_and_told_nothing(loop, name):
    run, num_observed = RIGHT[name]
    for _ in range(2):
        run(loop)
    loop.check(2 * num_observed)


@pytest.mark.parametrize("first", ["by hand", "in chunks", "left after 2 batches", "evaluates on the same loader"])
@pytest.mark.parametrize(
    "second", ["one ahead", "fetches 4, trains on 4", "left before the third batch", "in a thread"]
)
def test_also_if_it_is_another_loop_in_the_next_epoch(first, second):
    loop = make("plain, 2 workers")
    for name in (first, second, first):
        loop.sampler.fetch_ahead = 0
        RIGHT[name][0](loop)
    loop.check(2 * RIGHT[first][1] + RIGHT[second][1])


def test_batches_may_be_fetched_all_at_once_though_it_looks_as_if_nobody_would_observe_them(loop):
    with pytest.warns(UserWarning, match="none of the 6 batches handed out was observed"):
        all_at_once(loop)
    all_at_once(loop)
    all_at_once(loop)
    loop.check(3 * EPOCH)


def test_a_single_batch_is_observed_when_its_iterator_is_gone(loop):
    for _ in range(2):
        loop(next(iter(loop.loader)))
    loop.check(2)


def test_a_mixer_has_one_live_sampler():
    mixer = Learn2Mix()
    first = MixedBatchSampler(LABELS, mixer, batch_size=5)
    with pytest.raises(ValueError, match="already belongs to a MixedBatchSampler that is in use; make a new mixer"):
        MixedBatchSampler(LABELS, mixer, batch_size=5)
    for _ in first:
        first.observe(np.arange(5.0))
    del first
    assert MixedBatchSampler(LABELS, mixer, batch_size=5).mixer.proportions.tolist() == mixer.prior.tolist()


def test_two_loaders_side_by_side_each_hear_their_own():
    one, other = make(KINDS[1]), make(KINDS[3], seed=9)
    for batch, another in zip(one.loader, other.loader, strict=True):
        other(another)
        one(batch)
    one.check(EPOCH)
    other.check(EPOCH)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_watches_a_loader_keeps_nothing_alive(num_workers):
    """Neither torch's iterator, whose workers end with it, nor a loader of ours that the user's function deletes."""
    gc.collect()
    gc.disable()
    try:
        loader = DataLoader(Data(), batch_sampler=(sampler := sampler_of()), num_workers=num_workers)
        iterator = iter(loader)
        sampler.observe(LOSSES[next(iterator).numpy()])
        ours = MixedLoader(Data(), sampler_of(), num_workers=num_workers)
        batches = iter(ours)
        ours.observe(LOSSES[next(batches).numpy()])
        alive = [weakref.ref(part) for part in (iterator, batches, ours)]
        del iterator, batches, ours
        assert [part() for part in alive] == [None] * 3
    finally:
        gc.enable()
