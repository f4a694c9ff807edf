"""Law 9: batches that are never observed, or never reach the loop, are an error or a warning that says so."""

import copy
import itertools
import queue
import threading
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from helpers import messages
from learn2mix import AlternatingMix, FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader
from loops import EPOCH, KINDS, LABELS, Data, Loop, Slow, by_hand, first_batches, make, sampler_of


def leaving_out(*steps):
    def run(loop):
        for step, batch in enumerate(loop.loader):
            if step not in steps:
                loop(batch)

    return run


def every_second(loop):
    for step, batch in enumerate(loop.loader):
        if step % 2:
            loop(batch)


def one_ahead_unsaid(loop):
    batches = iter(loop.loader)
    following = next(batches)
    for _ in range(EPOCH):
        batch, following = following, next(batches, None)
        loop(batch)


def twice_a_batch(loop):
    for batch in loop.loader:
        loop(batch)
        loop(batch)


def cycles(loop):
    for batch in itertools.islice(itertools.cycle(loop.loader), 9):
        loop(batch)


def validates_within(loop):
    for batch in loop.loader:
        loop(batch)
        for _ in loop.loader:
            pass


ERRORS = {
    "a warm-up": (leaving_out(0, 1, 2), RuntimeError, r"[23] batch\(es\) before this one were never observed", 1),
    "the first": (leaving_out(0), RuntimeError, r"1 batch\(es\) before this one were never observed", 1),
    "one in the middle": (leaving_out(3), RuntimeError, r"1 batch\(es\) before this one were never observed", 3),
    "two in the middle": (leaving_out(2, 3), RuntimeError, r"2 batch\(es\) before this one were never observed", 2),
    "every second": (every_second, RuntimeError, r"batch\(es\) before this one were never observed", 1),
    "one ahead": (one_ahead_unsaid, RuntimeError, r"fetch_ahead = n", 1),
    "twice a batch": (twice_a_batch, ValueError, "every batch handed out so far was observed", 1),
    "a cycle": (cycles, ValueError, r"itertools.cycle.* make a new iterator each epoch", 6),
    "validation within": (validates_within, RuntimeError, "this iterator is out of date.* make two loaders", 1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_loop_that_leaves_batches_out_is_stopped_at_the_first_that_it_observes_after_that(loop, name):
    run, error, message, num_observed = ERRORS[name]
    with pytest.raises(error, match=message):
        run(loop)
    assert len(loop.sampler.mixer.told) == num_observed


WARNINGS = {
    "the last": (leaving_out(5), r"1 batch\(es\) of the last 6 were never observed"),
    "all but the last": (leaving_out(0, 1, 2, 3, 4), r"5 batch\(es\) of the last 6 were never observed"),
    "all but the third, and goes": (
        lambda loop: leaves_behind(loop, 3),
        r"batch\(es\) of the last 3 were never observed",
    ),
}


def leaves_behind(loop, num_batches):
    for number, batch in enumerate(loop.loader, 1):
        if number == num_batches:
            loop(batch)
            break


@pytest.mark.parametrize("name", WARNINGS)
def test_what_can_be_known_at_the_end_only_is_told_then(loop, name):
    run, message = WARNINGS[name]
    with pytest.warns(UserWarning, match=message):
        run(loop)


def test_a_thread_that_begins_the_next_epoch_before_this_one_is_observed_is_told(loop):
    ready = queue.Queue()

    def fetch():
        for _ in range(2):
            for batch in loop.loader:
                ready.put(batch)

    def fetch_in_a_thread():
        thread = threading.Thread(target=fetch)
        thread.start()
        thread.join()

    with pytest.warns(UserWarning, match=r"none of the 6 batches handed out was observed"):
        fetch_in_a_thread()
    loop(ready.get())  # of the first epoch
    with pytest.warns(UserWarning, match=r"of the last 6 were never observed"):
        iter(loop.loader)


@pytest.mark.parametrize("num_ahead", [1, 2])
def test_a_loop_that_fetches_ahead_over_the_end_of_an_epoch_is_stopped_there(loop, num_ahead):
    """As a prefetcher around an iterator without end; within an epoch, and where its last are dropped, it is exact."""

    def without_end():
        while True:
            yield from loop.loader

    loop.sampler.fetch_ahead = num_ahead
    batches = without_end()
    waiting = [next(batches) for _ in range(num_ahead)]
    for _ in range(EPOCH - num_ahead):
        waiting.append(next(batches))
        loop(waiting.pop(0))
    with pytest.warns(UserWarning, match=rf"{num_ahead} batch\(es\) of the last 6 were never observed"):
        waiting.append(next(batches))
    with pytest.raises(RuntimeError, match=rf"{num_ahead} batch\(es\) of the last epoch.* not around an iterator"):
        loop(waiting.pop(0))


@pytest.mark.parametrize("num_ahead", [1, 2])
def test_so_is_one_that_keeps_what_it_fetched_where_it_cuts_an_epoch_short(loop, num_ahead):
    """As torchtnt does with max_steps_per_epoch."""
    loop.sampler.fetch_ahead = num_ahead
    batches = iter(loop.loader)
    waiting = [next(batches) for _ in range(num_ahead)]
    for _ in range(3):
        waiting.append(next(batches))
        loop(waiting.pop(0))
    waiting.append(next(iter(loop.loader)))
    with pytest.raises(RuntimeError, match=rf"{num_ahead} batch\(es\) of the last epoch.* num_batches"):
        loop(waiting.pop(0))


def test_one_that_drops_what_it_fetched_where_it_cuts_an_epoch_short_goes_on(loop):
    loop.sampler.fetch_ahead = 1
    for _ in range(2):
        for batch, _ in itertools.islice(itertools.pairwise(loop.loader), 3):
            loop(batch)
    loop.check(6)


@pytest.mark.parametrize("kind", [MixedLoader, lambda dataset, sampler: DataLoader(dataset, batch_sampler=sampler)])
def test_one_that_observes_nothing_has_not_trained_on_what_it_fetched_ahead(kind):
    """That comes first after a stop, and after an epoch that is cut short."""

    def begin(state=None):
        sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=5, seed=3)
        sampler.fetch_ahead = 1
        if state is not None:
            sampler.load_state_dict(state)
        return sampler, kind(Data(), sampler)

    whole = [batch.tolist() for batch in begin()[1]]
    sampler, loader = begin()
    first = [batch.tolist() for batch, _ in itertools.islice(itertools.pairwise(loader), 3)]
    _, resumed = begin(sampler.state_dict())
    assert first + [batch.tolist() for batch in resumed] == whole
    assert first + [batch.tolist() for batch in itertools.islice(loader, EPOCH - 3)] == whole


def test_losses_of_a_copy_s_batches_say_whom_to_tell(loop):
    """As of a loader in the place of ours, which Opacus makes of a DataLoader."""
    for batch in copy.deepcopy(loop.loader):
        with pytest.raises(ValueError, match=r"losses: no batch has been handed out yet.* of a copy \(copy.deepcopy"):
            loop(batch)
        break


def test_a_loop_that_fetches_ahead_and_drops_the_last_of_an_epoch_goes_on(loop):
    def two_epochs():
        for _ in range(2):
            for batch, _ in itertools.pairwise(loop.loader):
                loop(batch)

    loop.sampler.fetch_ahead = 1
    with pytest.warns(UserWarning, match=r"1 batch\(es\) of the last 6 were never observed"):
        two_epochs()
    loop.check(2 * (EPOCH - 1))


@pytest.mark.parametrize("num_ahead", [1, 2])
def test_a_loop_that_trains_on_what_it_fetched_last_after_the_loader_has_ended_is_told_nothing(loop, num_ahead):
    """As one around timm's PrefetchLoader, which has one batch more than it has given when its loader ends."""
    loop.sampler.fetch_ahead = num_ahead

    def ahead():
        waiting = []
        for batch in loop.loader:
            waiting.append(batch)
            if len(waiting) > num_ahead:
                yield waiting.pop(0)
        yield from waiting

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for batch in ahead():
                loop(batch)
    assert messages(caught) == []
    loop.check(2 * EPOCH)


def test_a_loop_that_stops_to_observe_is_told_before_it_trains_on_the_same_batches_for_long(loop):
    for batch in loop.loader:
        loop(batch)
    for _ in loop.loader:
        pass
    for _ in loop.loader:
        pass
    with pytest.warns(UserWarning, match=r"6 batch\(es\) of the last 6 were never observed.* call observe\(None\)"):
        iter(loop.loader)


# ------------------------------------------------------------------ on the way to the loop


class SkipsFirst:
    """As Accelerate's skip_first_batches, and others, do."""

    def __init__(self, sampler, num_skipped):
        self.sampler, self.num_skipped = sampler, num_skipped

    def __len__(self):
        return len(self.sampler) - self.num_skipped

    def __iter__(self):
        return itertools.islice(iter(self.sampler), self.num_skipped, None)


@pytest.mark.parametrize("num_skipped", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_batches_that_a_wrapper_skips_are_noticed_at_the_first_observation(kind, num_skipped):
    loop = make(kind, wrap=lambda sampler: SkipsFirst(sampler, num_skipped))
    with pytest.raises(RuntimeError, match=rf"{num_skipped} batch\(es\) were drawn .* never reached the loop"):
        for batch in loop.loader:
            loop(batch)
    assert loop.sampler.mixer.told == []


def test_a_mix_that_moves_by_itself_is_not_asked_of_another_batch_than_that_in_training():
    def trained(mixer):
        sampler = MixedBatchSampler(LABELS, mixer, batch_size=5)
        for _ in DataLoader(Data(), batch_sampler=SkipsFirst(sampler, 3)):
            sampler.log_mix()

    with pytest.raises(RuntimeError, match=r"log_mix: 3 batch\(es\) were drawn .* never reached the loop"):
        trained(AlternatingMix(every=1))
    trained(FixedMix())  # every batch has the same


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("trained", [2, EPOCH - 3])
def test_a_loop_that_observes_nothing_does_not_get_again_what_it_has_after_those_it_skipped(num_workers, trained):
    def fresh():
        return MixedBatchSampler(LABELS, FixedMix(), batch_size=5)

    whole, alone = list(fresh()), fresh()
    assert list(itertools.islice(iter(alone), 3 + trained)) == whole[: 3 + trained]  # and leaves the epoch there
    sampler = fresh()
    loader = DataLoader(Data(), batch_sampler=SkipsFirst(sampler, 3), num_workers=num_workers, collate_fn=list)
    assert list(itertools.islice(iter(loader), trained)) == whole[3 : 3 + trained]
    assert list(sampler) == list(alone)


def test_a_batch_that_failed_waits_for_no_observation_of_a_mixed_loader():
    loader = MixedLoader(Data(), MixedBatchSampler(LABELS, Learn2Mix(), batch_size=5))
    next(batches := iter(loader))
    loader.observe(torch.ones(5))
    with pytest.raises(ValueError, match=r"a batch that fails is not handed out .* go on without observe\(None\)"):
        loader.observe(None)
    assert next(batches) is not None


def test_accelerate_s_skip_is_noticed_too(loop):
    accelerate = pytest.importorskip("accelerate")
    with pytest.raises(RuntimeError, match=r"2 batch\(es\) were drawn .* never reached the loop"):
        for batch in accelerate.skip_first_batches(loop.loader, 2):
            loop(batch)
    assert loop.sampler.mixer.told == []


class Repeats:
    """As timm's MultiEpochsDataLoader and ultralytics' InfiniteDataLoader have it (pytorch/pytorch#15849)."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __iter__(self):
        while True:
            yield from self.sampler


def test_one_iterator_for_all_epochs_is_exact_without_workers():
    loop = make("plain, no workers", wrap=Repeats)
    for batch in itertools.islice(loop.loader, 3 * EPOCH):
        loop(batch)
    loop.check(3 * EPOCH)


def test_and_with_workers_an_error_before_losses_find_another_batch():
    loop = make("plain, 2 workers", wrap=Repeats)
    with pytest.raises(RuntimeError, match=r"InfiniteDataLoader.* persistent_workers=True"):
        for batch in itertools.islice(loop.loader, 3 * EPOCH):
            loop(batch)
    loop.check(len(loop.true))


class BeginsLate(Repeats):
    """Asks for the sampler's iterator when the first batch is drawn, as Accelerate's wrappers do."""

    def __iter__(self):
        yield from self.sampler


@pytest.mark.parametrize("wrap", [lambda sampler: sampler, BeginsLate])
def test_workers_that_torch_keeps_for_the_next_epoch_are_no_such_iterator(wrap):
    sampler = sampler_of()
    loop = Loop(DataLoader(Data(), batch_sampler=wrap(sampler), num_workers=2, persistent_workers=True), sampler)
    for _ in range(3):
        for batch in itertools.islice(loop.loader, 3):  # others are on their way when the next epoch begins
            loop(batch)
    loop.check(9)


class Shared(DistributedSampler):
    """As catalyst's DistributedSamplerWrapper, copied into many projects (pytorch/pytorch#23430)."""

    def __init__(self, sampler):
        super().__init__(sampler, num_replicas=2, rank=0)
        self.sampler = sampler

    def __iter__(self):
        batches = list(self.sampler)
        return (batches[number] for number in super().__iter__())

    def __len__(self):
        return self.num_samples


@pytest.mark.parametrize("used_as", ["batch_sampler", "sampler"])
def test_a_wrapper_that_splits_the_batches_once_more_is_refused_before_the_first(used_as):
    sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=5, num_replicas=2, rank=0)
    with pytest.raises(RuntimeError, match=r"a Shared gives each of 2 processes some of its batches.* without it"):
        next(iter(DataLoader(Data(), **{used_as: Shared(sampler)})))


class Broken(Data):
    def __init__(self, index):
        self.index = index

    def __getitem__(self, index):
        if index == self.index:
            raise OSError("cannot be read")
        return index


def batches_that_come(loader):
    """Go on after a batch that failed; None in its place."""
    batches = iter(loader)
    while True:
        try:
            yield next(batches)
        except StopIteration:
            return
        except OSError:
            yield None


@pytest.mark.parametrize("number", [0, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_batch_that_failed(kind, number):
    loop = make(kind, Broken(first_batches()[number][0]))
    if "mixed" in kind or number == 5:
        for batch in batches_that_come(loop.loader):
            if batch is not None:
                loop(batch)
        loop.check(EPOCH - 1)
        return
    with pytest.raises(RuntimeError, match=r"1 batch\(es\) .* never reached the loop .*a batch that failed"):
        for batch in batches_that_come(loop.loader):
            if batch is not None:
                loop(batch)
    assert len(loop.sampler.mixer.told) == number


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_batch_that_failed_may_be_told_at_once(kind, number):
    loop = make(kind, Broken(first_batches()[number][0]))
    for batch in batches_that_come(loop.loader):
        if batch is None:
            loop.sampler.observe(None)
        else:
            loop(batch)
    loop.check(EPOCH - 1)


def test_torch_s_loader_out_of_order_is_an_error_and_ours_is_exact():
    data = Slow(first_batches()[0][0])
    sampler = sampler_of()
    loop = Loop(DataLoader(data, batch_sampler=sampler, num_workers=2, in_order=False), sampler)
    with pytest.raises(RuntimeError, match=r"in_order=False .* use MixedLoader\(dataset, sampler, in_order=False\)"):
        by_hand(loop)
    assert sampler.mixer.told == []
    sampler = sampler_of()
    loop = Loop(MixedLoader(data, sampler, num_workers=2, in_order=False), sampler)
    for _ in range(3):
        by_hand(loop)
    loop.check(3 * EPOCH)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_more_batches_ahead_than_are_kept_is_an_error(kind):
    loop = make(kind, num_batches=1100)
    iterator = iter(loop.loader)
    with pytest.warns(UserWarning, match=r"none of the 10.. batches handed out was observed"):
        batches = list(itertools.islice(iterator, 1090))
    with pytest.raises(RuntimeError, match=r"batch\(es\) before this one were never observed"):
        loop(batches[0])
    assert loop.sampler.mixer.told == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_skips_once_more_after_a_state_was_loaded_is_told_that_this_goes_on_by_itself(kind):
    """As ignite's DeterministicEngine does."""
    first = make(kind)
    for batch in itertools.islice(first.loader, 2):
        first(batch)
    resumed = make(kind)
    resumed.sampler.load_state_dict(first.sampler.state_dict())
    with pytest.raises(RuntimeError, match=r"let it skip nothing: a state that was loaded goes on by itself"):
        for batch in itertools.islice(resumed.loader, 2, None):
            resumed(batch)
