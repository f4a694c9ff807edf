"""Ctrl-C, and workers that end before the loop does: the next iteration has the batches that it would have had."""

import os
import signal
import time

import numpy as np
import pytest

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream

LABELS = np.repeat([0, 1], [30, 10])
KINDS = {
    "sampler": {},
    "kept": {"persistent_workers": True},
    "zero lag": {"zero_lag": True},
    "stream": {},
    "pinned": {"pin_memory": True},
}


def is_first(path):
    """Whether no other process asked before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def begin(path):
    """Put the file there, whole at once."""
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)


class Ends:
    """Samples that are their indices; once a file is there, a worker that reads one ends, by Ctrl-C or killed alone."""

    def __init__(self, path, how=None):
        self.path, self.how = path, how

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        if self.path.exists() and os.getpid() != int(self.path.read_text()):
            # The loop waits by then: what comes while it is elsewhere is raised there, and in a __del__ swallowed.
            time.sleep(0.2)
            if self.how != "interrupted":
                os.kill(os.getpid(), signal.SIGKILL)
            if is_first(self.path.with_suffix(".told")):  # told twice, the loop would be over by then
                os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.3)
            raise KeyboardInterrupt
        return index


class Part(Ends):
    """The samples of one group, as a source of a stream."""

    def __init__(self, path, how, group):
        super().__init__(path, how)
        self.indices = np.flatnonzero(group == LABELS).tolist()

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, place):
        return super().__getitem__(self.indices[place])


def make_loader(kind, num_workers, path, how=None):
    settings = KINDS[kind] if num_workers else {}
    if kind == "stream":
        sources = [Part(path, how, group) for group in (0, 1)]
        stream = MixedStream(sources, FixedMix("uniform"), batch_size=4, shuffle_buffer=50)
        return MixedLoader(stream, num_workers=num_workers, **settings)
    sampler = MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=4)
    return MixedLoader(Ends(path, how), sampler, num_workers=num_workers, **settings)


def take(batches, count):
    return [next(batches).tolist() for _ in range(count)]


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("how", "error"), [("interrupted", KeyboardInterrupt), ("killed", RuntimeError)])
def test_the_next_iteration_has_the_batches_that_it_would_have(kind, how, error, tmp_path):
    path = tmp_path / "ends"
    loader, without = make_loader(kind, 2, path, how), make_loader(kind, 0, path)
    batches, expected = iter(loader), iter(without)
    assert take(batches, 2) == take(expected, 2)
    begin(path)
    with pytest.raises(error) as broken:  # held, as a notebook holds the last error with its frames
        take(batches, 20)
    path.unlink()
    assert broken.value is not None
    # A loop that does not observe has trained on what it got, and the next epoch begins after it.
    loader.load_state_dict(without.state_dict(), strict=True)
    assert take(iter(loader), 5) == take(iter(without), 5)


@pytest.mark.parametrize("kind", ["sampler", "zero lag", "stream"])
def test_the_same_iteration_says_that_they_have_ended(kind, tmp_path):
    path = tmp_path / "ends"
    batches = iter(make_loader(kind, 2, path, "killed"))
    next(batches)  # killed while they start, they may raise torch's error in the middle of it
    begin(path)
    with pytest.raises(RuntimeError, match=r"exited unexpectedly|killed by signal"):
        take(batches, 20)
    with pytest.raises(RuntimeError, match="worker processes have ended"):
        next(batches)


@pytest.mark.parametrize("kind", ["kept", "zero lag", "stream"])
def test_close_ends_them_though_an_error_holds_the_iteration(kind, tmp_path):
    loader = make_loader(kind, 2, tmp_path / "ends")
    batches, before = iter(loader), set(_children())
    next(batches)
    children = set(_children()) - before
    assert len(children) == 2
    loader.close()
    assert not children & set(_children())
    with pytest.raises(RuntimeError, match="worker processes have ended"):
        take(batches, 20)


class FailsOnce:
    """Samples that can only be iterated; once, reading one of them raises an error."""

    def __init__(self, first, size, at=None, error=None):
        self.samples, self.at, self.error = range(first, first + size), at, error

    def __iter__(self):
        for sample in self.samples:
            if sample == self.at:
                self.at = None
                raise self.error
            yield sample


@pytest.mark.parametrize("shuffle_buffer", [0, 4])
@pytest.mark.parametrize(("error", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, RuntimeError)])
def test_a_source_that_is_read_when_it_comes_has_not_ended(error, raised, shuffle_buffer):
    def make(at):
        sources = {"a": FailsOnce(0, 20, at, error), "b": FailsOnce(100, 6)}
        return MixedStream(sources, FixedMix("uniform"), batch_size=4, shuffle_buffer=shuffle_buffer)

    stream, unbroken = make(at=15), make(at=None)
    loader, expected = MixedLoader(stream), iter(MixedLoader(unbroken))
    given = []
    with pytest.raises(raised):
        for batch in loader:
            given.append(batch.tolist())
    given += take(iter(loader), 30 - len(given))
    assert given == take(expected, 30)
    assert stream.passes.tolist() == unbroken.passes.tolist()


def _children():
    """The processes that this one started and that are not over."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            yield pid


class Torn:
    """A batch that cannot be read, as a tensor is whose process has gone, or (with ``pid`` None) for another reason."""

    def __init__(self, pid):
        self.pid = pid

    def __reduce__(self):
        return fail_to_read, (self.pid,)


def fail_to_read(pid):
    if pid is not None:
        os.kill(pid, signal.SIGUSR1)
    raise ConnectionResetError("reset by peer")


def leave_when_told(worker):
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))  # with 0, or torch would tell it before we can


@pytest.mark.parametrize("dies", [True, False])
def test_a_worker_that_is_gone_when_its_batch_is_read_is_named(dies, tmp_path):
    data, sampler = Ends(tmp_path / "ends"), MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=4)
    torn = lambda _: Torn(os.getpid() if dies else None)  # noqa: E731
    loader = MixedLoader(data, sampler, num_workers=1, collate_fn=torn, worker_init_fn=leave_when_told)
    error, text = (RuntimeError, "exited unexpectedly") if dies else (ConnectionResetError, "reset by peer")
    with pytest.raises(error, match=text):
        next(iter(loader))


class Waits:
    """Samples that are their indices; one is read once a file is there."""

    def __init__(self, path, size, first=0):
        self.path, self.size, self.first = path, size, first

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        while index == 9 and not self.path.exists():
            time.sleep(0.01)
        return self.first + index


@pytest.mark.parametrize("kind", ["kept", "stream"])
def test_a_batch_that_is_waited_for_too_long_still_comes(kind, tmp_path):
    path, settings = tmp_path / "go", {"num_workers": 2, "timeout": 0.2}
    if kind == "stream":
        both = [Waits(path, 20), Waits(path.parent, 20, 100)]
        loader = MixedLoader(MixedStream(both, FixedMix("uniform"), batch_size=4, on_exhausted="drop"), **settings)
    else:
        sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=4)
        loader = MixedLoader(Waits(path, 40), sampler, persistent_workers=True, **settings)
    batches, given, errors = iter(loader), [], []
    while len(given) < 40:
        try:
            given += next(batches).tolist()
        except RuntimeError as error:
            errors.append(str(error))
            if len(errors) == 2:
                path.touch()
    assert len(errors) >= 2
    assert set(errors) == {"DataLoader timed out after 0.2 seconds"}
    assert next(batches, None) is None
    assert len(set(given)) == 40
    assert sum(len(batch) for batch in loader) == 40
    loader.close()


class Interrupted(Learn2Mix):
    """While it moves the mix a signal comes."""

    def __init__(self, interrupt):
        super().__init__(0.3)
        self._interrupt = interrupt

    def update(self, losses, info=None):
        self._interrupt()
        super().update(losses)


def made(kind, mixer):
    if kind == "sampler":
        return MixedLoader(range(40), MixedBatchSampler(LABELS, mixer, batch_size=8))
    return MixedLoader(MixedStream({0: range(30), 1: range(10)}, mixer, batch_size=8))


HALF = "its state is taken in the middle of a batch"


@pytest.mark.parametrize("kind", ["sampler", "stream"])
def test_a_state_that_a_signal_handler_takes_in_the_middle_of_a_batch_says_so(kind):
    loader = made(kind, Interrupted(lambda: signal.raise_signal(signal.SIGUSR1)))
    states = []
    before = signal.signal(signal.SIGUSR1, lambda *_: states.append(loader.state_dict()))
    try:
        batches = iter(loader)
        next(batches)
        with pytest.warns(UserWarning, match=HALF):
            loader.observe(np.ones(8))
        next(batches)
        signal.raise_signal(signal.SIGUSR1)  # between a batch and its losses, where a state is whole: no warning
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(states) == 2
    again = made(kind, Interrupted(lambda: None))
    again.load_state_dict(states[1], strict=True)
    assert again.state_dict() == states[1], "which is whole"


@pytest.mark.parametrize("kind", ["sampler", "stream"])
def test_so_does_one_that_is_taken_after_ctrl_c_in_the_middle_of_a_batch(kind):
    loader = made(kind, Interrupted(lambda: signal.raise_signal(signal.SIGINT)))
    whole = loader.state_dict()
    next(iter(loader))
    with pytest.raises(KeyboardInterrupt):
        loader.observe(np.ones(8))
    with pytest.warns(UserWarning, match=HALF):
        loader.state_dict()
    loader.state_dict()  # said once
    with pytest.raises(KeyboardInterrupt):
        next(iter(loader)), loader.observe(np.ones(8))
    loader.load_state_dict(whole)
    assert loader.state_dict() == whole, "which is whole"
