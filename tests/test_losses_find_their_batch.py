"""Law 9: losses are credited to the groups that they are of, or an error or warning says why not."""

import gc
import itertools
import queue
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, Mixer

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [17, 9, 4]))
LOSSES = 1.0 + np.random.default_rng(1).random(30)  # no two are the same
EPOCH = 6  # batches: 30 samples, 5 at a time


class Data:
    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return index


class Heard(Mixer):
    """Keeps the losses of the groups that it is told of, batch by batch; a mix of its own."""

    needs_losses = True

    def __init__(self):
        self.told = []

    def due(self, num_batches, epoch_ended):
        return True

    def update(self, losses):
        self.told.append(losses.tolist())


def means_of(indices):
    """The true losses of the groups of a batch."""
    groups, losses = LABELS[indices], LOSSES[indices]
    return [losses[groups == group].mean() if (groups == group).any() else np.nan for group in range(3)]


class Loop:
    """A loader, and what should be credited; a loop calls it with a batch to observe it."""

    def __init__(self, loader, sampler):
        self.loader, self.sampler, self.true = loader, sampler, []

    def __call__(self, batch, known=True):
        self.sampler.observe(LOSSES[batch.numpy()] if known else None)
        if known:
            self.true.append(means_of(batch.numpy()))

    def check(self, num_observed):
        """All that was observed was credited to the groups that it is of."""
        assert len(self.true) == num_observed > 0
        np.testing.assert_allclose(self.sampler.mixer.told, self.true, rtol=1e-12)


def sampler_of(**settings):
    return MixedBatchSampler(LABELS, Heard(), **{"batch_size": 5, "seed": 3, **settings})


KINDS = ["plain, no workers", "plain, 2 workers", "mixed, no workers", "mixed, 2 workers"]


def make(kind, data=None, wrap=lambda sampler: sampler, **settings):
    sampler, num_workers = sampler_of(**settings), 2 if "2" in kind else 0
    if "plain" in kind:
        return Loop(DataLoader(data or Data(), batch_sampler=wrap(sampler), num_workers=num_workers), sampler)
    return Loop(MixedLoader(data or Data(), sampler, num_workers=num_workers), sampler)


@pytest.fixture(params=KINDS)
def loop(request):
    return make(request.param)


def progress(batches):
    """What tqdm and its like are."""
    yield from batches


# ------------------------------------------------------------------ loops that are right


def by_hand(loop):
    batches = iter(loop.loader)
    while True:
        try:
            loop(next(batches))
        except StopIteration:
            return


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
    for _ in range(3):
        run(loop)
    loop.check(3 * num_observed)


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


# ------------------------------------------------------------------ loops that leave batches out


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


def test_accelerate_s_skip_is_noticed_too(loop):
    accelerate = pytest.importorskip("accelerate")
    with pytest.raises(RuntimeError, match=r"2 batch\(es\) were drawn .* never reached the loop"):
        for batch in accelerate.skip_first_batches(loop.loader, 2):
            loop(batch)
    assert loop.sampler.mixer.told == []


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


def first_batches():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(sampler_of())


class Slow(Data):
    def __init__(self, index):
        self.index = index

    def __getitem__(self, index):
        if index == self.index:
            time.sleep(0.3)
        return index


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
    batches = list(itertools.islice(iterator, 1090))
    with pytest.raises(RuntimeError, match=r"batch\(es\) before this one were never observed"):
        loop(batches[0])
    assert loop.sampler.mixer.told == []


# ------------------------------------------------------------------ nobody observes


def one_epoch(loader):
    for _ in loader:
        pass


def left_early(loader):
    for number, _ in enumerate(loader, 1):
        if number == 3:
            break


def by_next(loader):
    batches = iter(loader)
    for _ in range(3):
        next(batches)


@pytest.mark.parametrize("run", [one_epoch, left_early, by_next])
def test_an_adaptive_mix_that_nobody_observes_is_told_once_and_at_once(loop, run):
    with pytest.warns(UserWarning, match=r"Heard follows losses, but none of the \d batches handed out was observed"):
        run(loop.loader)
    run(loop.loader)


@pytest.mark.parametrize("run", [one_epoch, left_early, by_next])
def test_so_is_a_loop_over_the_bare_sampler(run):
    with pytest.warns(
        UserWarning, match=r"Learn2Mix follows losses, but none of the \d batches handed out was observed"
    ):
        run(MixedBatchSampler(LABELS, Learn2Mix(), batch_size=5))


@pytest.mark.parametrize("run", [one_epoch, left_early, by_next])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mix_that_needs_no_losses_needs_no_observations(run, num_workers):
    for loader_of in (
        lambda sampler: DataLoader(Data(), batch_sampler=sampler, num_workers=num_workers),
        lambda sampler: MixedLoader(Data(), sampler, num_workers=num_workers),
    ):
        loader = loader_of(MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=5))
        for _ in range(3):
            run(loader)


# ------------------------------------------------------------------ groups= says what the losses are of


def told(loop):
    return loop.sampler.mixer.told


@pytest.mark.parametrize("kind", KINDS)
class TestGroups:
    def test_two_views_of_each_sample(self, kind):
        loop = make(kind)
        for batch in loop.loader:
            both = np.concatenate([batch.numpy(), batch.numpy()])
            loop.sampler.observe(LOSSES[both], groups=LABELS[both])
            loop.true.append(means_of(batch.numpy()))
        loop.check(EPOCH)

    def test_samples_in_another_order_and_only_some(self, kind):
        loop = make(kind)
        for batch in loop.loader:
            some = batch.numpy()[::-1][:3]
            loop.sampler.observe(torch.from_numpy(LOSSES[some]), groups=torch.from_numpy(LABELS[some]))
            loop.true.append(means_of(some))
        loop.check(EPOCH)

    def test_losses_of_another_loader(self, kind):
        loop, others = make(kind), np.array([3, 14, 15])
        for _ in loop.loader:
            loop.sampler.observe(LOSSES[others], groups=LABELS[others].tolist())
            loop.true.append(means_of(others))
        loop.check(EPOCH)

    def test_a_batch_in_parts_counts_once(self, kind):
        """With its first part; the others are pooled with what comes next."""
        loop, parts = make(kind), []
        for _ in range(2):
            for batch in loop.loader:
                parts += [batch.numpy()[:2], batch.numpy()[2:]]
                for part in parts[-2:]:
                    loop.sampler.observe(LOSSES[part], groups=LABELS[part])
            assert loop.sampler.lag == 0
        pairs = zip([parts[0][:0], *parts[1::2]], parts[::2], strict=False)
        loop.true = [means_of(np.concatenate(pair)) for pair in pairs]
        loop.check(2 * EPOCH)

    def test_batches_may_be_left_out(self, kind):
        loop = make(kind)
        for _ in range(2):
            for step, batch in enumerate(loop.loader):
                if step in (0, 3):
                    continue
                loop.sampler.observe(LOSSES[batch.numpy()], groups=LABELS[batch.numpy()])
                loop.true.append(means_of(batch.numpy()))
        loop.check(2 * (EPOCH - 2))

    def test_weights_say_what_each_sample_counts(self, kind):
        loop, tokens = make(kind), np.arange(30.0) % 7
        for batch in loop.loader:
            index = batch.numpy()
            loop.sampler.observe(LOSSES[index], weights=tokens[index])
            of = [index[(LABELS[index] == group) & (tokens[index] > 0)] for group in range(3)]
            loop.true.append([np.average(LOSSES[i], weights=tokens[i]) if len(i) else np.nan for i in of])
        loop.check(EPOCH)

    def test_an_unknown_group_is_an_error(self, kind):
        loop = make(kind)
        with pytest.raises(ValueError, match="groups: there is no group 7; the groups are 0, 1, 2"):
            for _ in loop.loader:
                loop.sampler.observe([1.0, 2.0], groups=[0, 7])
        assert told(loop) == []


def test_the_groups_have_the_users_names():
    names = np.array(["cat", "dog", "owl"])
    sampler = MixedBatchSampler(names[LABELS], Heard(), batch_size=5)
    for batch in sampler:
        sampler.observe(LOSSES[batch], groups=names[LABELS[batch]])
        np.testing.assert_allclose(sampler.mixer.told[-1], means_of(batch))


# ------------------------------------------------------------------ several samplers


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
