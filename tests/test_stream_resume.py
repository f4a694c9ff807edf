"""Law 4 for streams: a run that is stopped and resumed has the batches, by the mixes, of one that goes on unbroken."""

import copy
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from types import ModuleType

import numpy as np
import pytest
from torch.utils.data import get_worker_info

from helpers import same_state, through_a_file
from learn2mix import AlternatingMix, AnnealedMix, FixedMix, Learn2Mix, MixedStream
from pairs import pairs
from streams import (
    MORE_WORKERS_THAN_CORES,
    Numbers,
    Step,
    Uneven,
    groups_of,
    load,
    losses_of,
    opened,
    sources,
    train,
    training,
)

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)

EPOCH = 9  # batches, where the stream has no end
TOTAL = 3 * EPOCH + 3

MIXERS = {
    "step": lambda: Learn2Mix(0.3),
    "seven steps": lambda: Learn2Mix(0.3, every=7),
    "epoch": lambda: Learn2Mix(0.3, every="epoch"),
    "annealed": lambda: AnnealedMix([0.8, 0.1, 0.1], [0.1, 0.1, 0.8], num_steps=25),
    "alternating": lambda: AlternatingMix(every="epoch"),
    "fixed": lambda: FixedMix("uniform"),
}


def make(mixer: str, **settings) -> MixedStream:
    return MixedStream(sources(37, 20, 11), MIXERS[mixer](), **{"batch_size": 5, "seed": 3} | settings)


def stepping(stream: MixedStream, num_workers: int, done: int = 0) -> Iterator[Step]:
    """Epochs of EPOCH batches or to the end of the stream, for ever; the first may have begun."""
    while True:
        left = EPOCH - done % EPOCH if stream.on_exhausted == "restart" else None
        for step in islice(training(stream, num_workers), left):
            done += 1
            if left is not None and done % EPOCH == 0:
                stream.finish_epoch()
            yield step
        stream.finish_epoch()


def run(stream: MixedStream, steps: int, num_workers: int, done: int = 0) -> list[Step]:
    return list(islice(stepping(stream, num_workers, done), steps))


def resumed(state, mixer: str, **settings) -> MixedStream:
    """A fresh stream, as a new process would make it; the seed comes from the state."""
    stream = make(mixer, **settings | {"seed": 0})
    stream.load_state_dict(through_a_file(state))
    assert same_state(stream.state_dict(), state), "saved again at once"
    return stream


@pytest.mark.parametrize(
    ("mixer", "num_workers"),
    [*((mixer, 0) for mixer in MIXERS), *((mixer, 2) for mixer in ("seven steps", "epoch", "annealed"))],
)
def test_a_run_stopped_after_any_batch_goes_on_unbroken(mixer, num_workers):
    """By a state that is saved while the run goes on, as a checkpoint is, and by one of a run that was left."""
    unbroken, stream = [], make(mixer)
    saved = [stream.state_dict()]
    for step in islice(stepping(stream, num_workers), TOTAL):
        unbroken.append(step)
        saved.append(stream.state_dict())
    if num_workers == 0:
        stops = [*(("saved", stop) for stop in range(TOTAL)), *(("left", stop) for stop in range(0, TOTAL, 4))]
    else:
        stops = [("saved", 1), ("saved", 5), ("saved", 9), ("left", 10), ("saved", 19)]
    for how, stop in stops:
        state = saved[stop]
        if how == "left":
            stopped = make(mixer)
            assert run(stopped, stop, num_workers) == unbroken[:stop]
            state = stopped.state_dict()
        # An epoch more shows it; some go on to the end for all.
        steps = TOTAL - stop if stop % 10 == 1 else min(EPOCH + 1, TOTAL - stop)
        after = run(resumed(state, mixer), steps, num_workers, done=stop)
        assert after == unbroken[stop : stop + steps], (how, stop)


@pytest.mark.parametrize("mode", ["stop_first", "stop_all"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_also_where_epochs_end_with_the_data(mode, num_workers):
    settings = {"on_exhausted": mode, "batch_size": 4}
    whole = make("fixed", **settings)
    unbroken = run(whole, 40, num_workers)
    assert whole.state_dict()["epoch"] >= 1
    for stop in (1, 6, 7, 8, 22, 28, 29) if num_workers == 0 else (6, 7, 22, 29):
        stopped = make("fixed", **settings)
        before = run(stopped, stop, num_workers)
        after = run(resumed(stopped.state_dict(), "fixed", **settings), 40 - stop, num_workers, done=stop)
        assert before + after == unbroken, stop


@pytest.mark.parametrize("num_workers", [0, 2])
def test_also_after_a_whole_epoch_of_data(num_workers):
    stream = make("step", on_exhausted="stop_first")
    first = list(training(stream, num_workers))
    state = stream.state_dict()
    second = list(training(resumed(state, "step", on_exhausted="stop_first"), num_workers))
    assert len(second) >= len(first) // 2 > 0
    assert second == list(training(stream, num_workers))


@cache
def unbroken_run(mixer, steps, num_workers, **settings):
    """One that nothing stops."""
    return run(make(mixer, **settings), steps, num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 12, 25])
def test_also_shuffled_and_over_many_passes(num_workers, stop):
    settings = {"shuffle_buffer": 6, "batch_size": 30}
    unbroken = unbroken_run("step", 30, num_workers, **settings)
    stopped = make("step", **settings)
    before = run(stopped, stop, num_workers)
    again = resumed(stopped.state_dict(), "step", **settings)
    assert before + run(again, 30 - stop, num_workers, done=stop) == unbroken


@pytest.mark.parametrize("num_workers", [0, 2])
def test_also_twice_and_where_the_workers_are_slow(num_workers):
    unbroken, steps, stream = unbroken_run("step", TOTAL, num_workers), [], make("step")
    for stop in (4, 11, TOTAL):
        steps += run(stream, stop - len(steps), num_workers, done=len(steps))
        state = through_a_file(stream.state_dict())
        stream = MixedStream(sources(37, 20, 11, kind=Uneven), Learn2Mix(0.3), batch_size=5)
        stream.load_state_dict(state)
    assert steps == unbroken


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_composed_ahead_are_neither_lost_nor_doubled(num_workers):
    """Each pass has all its samples, though a new iteration begins every four batches."""
    stream, drawn = make("fixed"), []
    for _ in range(12):
        drawn += [sample for samples, _ in train(stream, 4, num_workers) for sample in samples]
    for group, size in enumerate((37, 20, 11)):
        mine = [sample - group * 1_000_000 for sample in drawn if sample // 1_000_000 == group]
        assert mine == (list(range(size)) * (len(mine) // size + 1))[: len(mine)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_loader_for_all_epochs_has_the_batches_of_a_new_one_for_each(num_workers):
    fresh, kept = make("step"), make("step")
    loader = load(kept, num_workers)
    for _ in range(4):
        expected = train(fresh, 5, num_workers)
        seen = []
        for batch in islice(loader, 5):
            kept.observe(losses_of(batch))
            seen.append((batch.tolist(), kept.last_observed.proportions.tolist()))
        assert seen == expected


def test_workers_started_before_a_state_was_loaded_do_not_get_in_its_way():
    """As under Lightning, where the first iterator is there before a callback can load anything."""
    stopped = make("step")
    train(stopped, 7, 2)
    expected = train(stopped, 6, 2)
    stopped = make("step")
    train(stopped, 7, 2)
    stream = make("step")
    early = load(stream, 2)
    next(iter(early))
    stream.load_state_dict(stopped.state_dict())
    stream.finish_epoch()
    assert train(stream, 6, 2) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_stopped_between_a_batch_and_its_losses_trains_on_that_batch_again(num_workers):
    unbroken = run(make("step"), 8, num_workers)
    stream = make("step")
    with opened(stream, num_workers) as batches:
        for batch in islice(batches, 4):
            stream.observe(losses_of(batch))
        next(batches)
        state = stream.state_dict()
    assert run(resumed(state, "step"), 4, num_workers, done=4) == unbroken[4:]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_without_losses_a_batch_counts_as_trained_on_once_the_loop_has_it(num_workers):
    stream = make("fixed")
    first = [batch.tolist() for batch in islice(load(stream, num_workers), 6)]
    again = resumed(stream.state_dict(), "fixed")
    second = [batch.tolist() for batch in islice(load(again, num_workers), 6)]
    assert first + second == [batch.tolist() for batch in islice(load(make("fixed"), num_workers), 12)]


def test_states_are_small_safe_and_the_same_on_every_process():
    def state_of(rank):
        stream = make("annealed", num_replicas=3, rank=rank)
        for _ in islice(stream, 12):
            stream.observe(None)
        return stream.state_dict()

    states = [state_of(rank) for rank in range(3)]
    assert all(same_state(state, states[0]) for state in states)

    def leaves(value):
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]

    assert {type(leaf) for leaf in leaves(states[0])} <= {int, float, str, bool, type(None)}
    stream = make("step")
    train(stream, 30, 2)
    state = stream.state_dict()
    del state["history"]  # bounded too: test_history.py
    assert len(leaves(state)) < 150


OTHERS = {
    "global_batch_size": lambda: make("step", batch_size=6),
    "on_exhausted": lambda: make("step", on_exhausted="stop_all"),
    "FixedMix": lambda: make("fixed"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_changed(what):
    saved, stream, untouched = make("step"), OTHERS[what](), OTHERS[what]()
    train(saved, 7)
    before = stream.state_dict()
    with pytest.raises(ValueError, match=what):
        stream.load_state_dict(saved.state_dict())
    assert same_state(stream.state_dict(), before)
    assert train(stream, 5) == train(untouched, 5)


def test_another_batch_size_is_possible_on_request():
    saved, stream = make("step"), make("step", batch_size=6)
    drawn = [sample for samples, _ in train(saved, 7) for sample in samples]
    with pytest.warns(UserWarning, match=r"its global_batch_size is 5, .* 6\. The mix and the passes .* go on"):
        stream.load_state_dict(saved.state_dict(), strict=False)
    assert stream.mixer.proportions.tolist() == saved.mixer.proportions.tolist()
    drawn += [sample for samples, _ in train(stream, 3) for sample in samples]
    assert once_a_pass(drawn, (37, 20, 11))


def test_other_numbers_of_samples_for_each_source_are_told():
    saved, same, other = (make("step", batch_size={"a": 5, "b": 5, "c": last}) for last in (2, 2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same.load_state_dict(saved.state_dict())
    with pytest.warns(UserWarning, match=r"batch_sizes: \[5.0, 5.0, 2.0\] in the state, \[5.0, 5.0, 4.0\] here"):
        other.load_state_dict(saved.state_dict())


def test_other_sources_go_on_by_name():
    first = {"a": Numbers(0, 37), "b": Numbers(1, 20)}
    saved = MixedStream(first, Learn2Mix(0.3), batch_size=5)
    train(saved, 6)
    share = saved.mixer.proportions
    more = {"c": Numbers(2, 11), "a": first["a"], "b": first["b"]}
    stream = MixedStream(more, Learn2Mix(0.3), batch_size=5)
    with pytest.warns(UserWarning, match=r"its sources are \['a', 'b'\]"):
        stream.load_state_dict(saved.state_dict())
    mix = stream.mixer.proportions
    assert mix[0] == pytest.approx(1 / 3)
    assert mix[1] / mix[2] == pytest.approx(share[0] / share[1])
    assert stream.draws.tolist() == [0, *saved.draws.tolist()]
    fewer = MixedStream({"b": first["b"], "c": more["c"]}, Learn2Mix(0.3), batch_size=5)
    with pytest.warns(UserWarning, match="its sources are"):
        fewer.load_state_dict(stream.state_dict())
    assert fewer.draws.tolist() == [saved.draws[1], 0]
    assert len(train(fewer, 5, 2)) == 5


def once_a_pass(drawn, sizes):
    """Whether no sample of a group comes twice before all have come once."""
    times = Counter(drawn)
    return all(
        max(counts) - min(counts) <= 1
        for counts in ([times[group * 1_000_000 + n] for n in range(size)] for group, size in enumerate(sizes))
    )


@pytest.mark.parametrize(
    ("workers", "mode", "mixer"),
    pairs([(0, 2), (2, 1), (2, 3), (3, 0)], ["restart", "stop_first", "drop"], ["seven steps", "fixed"]),
)
def test_law_4_also_with_another_number_of_workers(workers, mode, mixer):
    """No sample is missed or doubled; where nothing lags the batches are the same."""
    before, after = workers
    stream = make(mixer, on_exhausted=mode)
    drawn = train(stream, 4, before)
    again = resumed(stream.state_dict(), mixer, on_exhausted=mode)
    drawn += train(again, 6, after)
    assert once_a_pass([sample for samples, _ in drawn for sample in samples], (37, 20, 11))
    if mixer == "fixed":
        assert drawn == train(make(mixer, on_exhausted=mode), 10)


def test_where_each_epoch_begins_anew_it_may_have_another_number_of_workers():
    stream, drawn = make("annealed", on_exhausted="stop_first"), []
    for num_workers in (0, 2, 1, 4, 2):
        start = len(drawn)
        for batch in load(stream, num_workers):
            stream.observe(None)
            drawn.append((batch.tolist(), stream.last_observed.number))
            assert stream.last_observed.number == len(drawn) - 1, "the schedule goes on"
        assert drawn[start][0][0] == 0
    share = 0.1 + 0.7 * stream.last_observed.number / 24
    np.testing.assert_allclose(stream.last_observed.proportions, [0.9 - share, 0.1, share])


class Files(Numbers):
    """Shards of different sizes."""

    def shard(self, num_shards, index):
        numbers, cut = list(self), self.size // 5
        return (numbers[:cut], numbers[cut:])[index]

    num_shards = 2


def of_files():
    return MixedStream([Files(0, 40), Files(1, 30)], Learn2Mix(0.3), batch_size=5)


@pytest.fixture(scope="module")
def unbroken_of_files():
    return list(islice(training(of_files(), 2), 45))


@pytest.mark.parametrize("stop", range(1, 40, 5))
def test_also_where_shards_differ_in_size(stop, unbroken_of_files):
    stopped = of_files()
    before = list(islice(training(stopped, 2), stop))
    again = of_files()
    again.load_state_dict(through_a_file(stopped.state_dict()))
    assert before + list(islice(training(again, 2), 45 - stop)) == unbroken_of_files


class Parts(Numbers):
    """Shards that end soon."""

    num_shards = 2

    def shard(self, num_shards, index):
        numbers, cut = list(self), self.size // 3
        return (numbers[:cut], numbers[cut:])[index]


@pytest.mark.parametrize("stop", [3, 5, 11, 14])
@pytest.mark.parametrize("how", ["copied", "left", "its own state loaded"])
def test_also_where_kept_workers_have_read_shards_to_their_ends(stop, how):
    """They know lengths by then that an unbroken run does not know yet; what they plan is the same."""

    def fresh():
        return MixedStream([Parts(0, 23), Parts(1, 11), Parts(2, 6)], FixedMix("uniform"), batch_size=5)

    def go_on(loader, number):
        drawn = []
        for batch in islice(loader, number):
            loader.observe(losses_of(batch))
            drawn.append(batch.tolist())
        return drawn

    unbroken = go_on(load(fresh(), 2), 24)
    loader = load(fresh(), 2)
    before = go_on(loader, stop)
    if how == "copied":
        loader = copy.deepcopy(loader)
    if how == "its own state loaded":
        loader.load_state_dict(through_a_file(loader.state_dict()))
    assert before + go_on(loader, 24 - stop) == unbroken


class Resumable(Numbers):
    """Has a state of its own, and counts what it reads."""

    read = 0

    def __init__(self, group, size):
        super().__init__(group, size)
        self.at = 0

    def __iter__(self):
        first, self.at = self.at, 0
        for number in range(first, self.size):
            type(self).read += 1
            self.at = number + 1
            yield self.group * 1_000_000 + number
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class OfOwnPackage(Resumable):
    __module__ = "datasets.mine"  # a name that many give their own, too


@pytest.mark.parametrize(("stop", "kind"), [(3, Resumable), (20, Resumable), (33, Resumable), (20, OfOwnPackage)])
def test_a_source_with_a_state_resumes_by_it_and_not_by_reading(stop, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))

    def fresh():
        return MixedStream([kind(0, 100), kind(1, 90)], FixedMix([0.5, 0.5]), batch_size=10)

    unbroken = train(fresh(), stop + 5)
    stopped = fresh()
    before = train(stopped, stop)
    again = fresh()
    again.load_state_dict(through_a_file(stopped.state_dict()))
    kind.read = 0
    assert before + train(again, 5) == unbroken
    assert kind.read <= 50 + 2, "what is drawn, and no more"


class GoesOn(Resumable):
    """Goes on where it is, also without a state that was loaded, as many do; of its own part, if it asks for it."""

    asks = False

    def __iter__(self):
        worker = get_worker_info() if self.asks else None
        part, num_parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        numbers = list(Numbers.__iter__(self))[part::num_parts]
        while self.at < len(numbers):
            self.at += 1
            yield numbers[self.at - 1]
        self.at = 0


class GoesOnInParts(GoesOn):
    asks = True


class ItselfInParts(Resumable):
    """Returns itself when it is iterated: at its beginning, unless a state was just loaded, and of its own part."""

    loaded = False

    def __iter__(self):
        worker = get_worker_info()
        part, num_parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        self.numbers = list(super(Resumable, self).__iter__())[part::num_parts]
        self.at, self.loaded = self.at if self.loaded else 0, False
        return self

    def __next__(self):
        if self.at == len(self.numbers):
            raise StopIteration
        self.at += 1
        return self.numbers[self.at - 1]

    def load_state_dict(self, state):
        self.at, self.loaded = state["at"], True


@pytest.mark.parametrize("kind", [GoesOn, GoesOnInParts, ItselfInParts])
@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 0), (2, 3), (0, 2)])
def test_a_source_that_counts_where_it_is_loses_nothing_where_several_workers_look_at_it(kind, before, after):
    def fresh():
        return MixedStream([kind(0, 60), kind(1, 60)], FixedMix([0.5, 0.5]), batch_size=6)

    stopped = fresh()
    drawn = train(stopped, 9, before)
    again = fresh()
    again.load_state_dict(through_a_file(stopped.state_dict()))
    drawn += train(again, 31, after)
    assert drawn == train(fresh(), 40, before)
    assert Counter(number for batch, _ in drawn for number in batch) == dict.fromkeys(
        [*Numbers(0, 60), *Numbers(1, 60)], 2
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_it_begins_anew_with_each_epoch_and_where_a_state_is_loaded(num_workers):
    def fresh(**settings):
        return MixedStream([GoesOn(0, 60), GoesOn(1, 31)], FixedMix([0.5, 0.5]), batch_size=6, **settings)

    stream = fresh(on_exhausted="stop_first")
    epochs = [[samples for samples, _ in training(stream, num_workers)] for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2]
    assert len(epochs[0]) == 10
    stream = fresh()
    before, state = train(stream, 7, num_workers), stream.state_dict()
    loader = load(stream, num_workers)  # whose workers stay
    unbroken = train(fresh(), 120, num_workers)
    for further in (9, 60):  # samples of the first are still kept, those of the second are read again
        for batch in islice(loader, further):
            stream.observe(losses_of(batch))
        stream.load_state_dict(through_a_file(state))
    again = []
    for batch in islice(loader, 113):
        stream.observe(losses_of(batch))
        again.append(batch.tolist())
    assert again == [samples for samples, _ in unbroken[len(before) :]]


class Told(Numbers):
    """Has a state that only a loader of its own can ask for, which counts the samples, as litData's and mosaicml's."""

    def state_dict(self, num_samples, from_beginning):
        raise AssertionError("a stream cannot know")

    def load_state_dict(self, state):
        raise AssertionError("it has no state that fits")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_source_whose_state_has_to_be_told_where_it_is_is_read_again(num_workers):
    def fresh():
        return MixedStream([Told(0, 40), Told(1, 30)], FixedMix("uniform"), batch_size=5)

    stopped = fresh()
    before = train(stopped, 11, num_workers)
    again = fresh()
    again.load_state_dict(through_a_file(stopped.state_dict()))
    assert before + train(again, 9, num_workers) == train(fresh(), 20, num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_iteration_of_which_nothing_was_trained_on_is_no_epoch(num_workers):
    stream, groups = make("alternating"), []
    for num_steps in (4, 0, 0, 4, 0, 4):
        with opened(stream, num_workers) as batches:
            groups += [groups_of(next(batches))[0]] if num_steps == 0 else []
            for batch in islice(batches, num_steps):
                stream.observe(None)
                groups.append(groups_of(batch)[0])
    assert groups == [0] * 4 + [1] * 2 + [1] * 4 + [2] + [2] * 4


def test_a_resumed_run_reads_no_more_than_two_passes():
    class Counted(Numbers):
        read = 0

        def __iter__(self):
            for sample in super().__iter__():
                self.read += 1
                yield sample

    def fresh():
        both = [Counted(0, 50), Counted(1, 30)]
        return both, MixedStream(both, FixedMix(), batch_size=4)

    _, stream = fresh()
    unbroken = train(stream, 500)
    _, stream = fresh()
    before = train(stream, 400)
    both, again = fresh()
    again.load_state_dict(stream.state_dict())
    assert before + train(again, 1) == unbroken[:401]
    assert both[0].read <= 100
    assert both[1].read <= 60


def test_workers_go_on_where_the_process_itself_left_off():
    stream = make("fixed")
    batches = [samples for num_workers in (0, 1, 3, 0, 2) for samples, _ in train(stream, 4, num_workers)]
    assert batches == [samples for samples, _ in train(make("fixed"), 20)]


@pytest.mark.parametrize(
    "names", [["web", "books"], [np.str_("web"), np.str_("books")], np.arange(2), [("web", 1), ("web", np.int64(2))]]
)
def test_a_state_loads_safely_whatever_the_names_are(names):
    def make():
        return MixedStream(dict(zip(names, [range(9), range(9)], strict=True)), FixedMix(), batch_size=2)

    make().load_state_dict(through_a_file(make().state_dict()))
