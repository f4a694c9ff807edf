"""torchdata's StatefulDataLoader in a plain loop: its snapshots go on exactly, or say that they lack losses."""

from functools import cache

import pytest
import torch

from learn2mix import FixedMix, Learn2Mix, MixedStream
from runs import LOSSES, make, resumed

stateful = pytest.importorskip("torchdata.stateful_dataloader")

TOTAL = 20
pytestmark = pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")


class Indices:
    def __len__(self):
        return 30

    def __getitem__(self, index):
        return index


def make_loader(sampler, num_workers, **settings):
    return stateful.StatefulDataLoader(Indices(), batch_sampler=sampler, num_workers=num_workers, **settings)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_in_its_workers_goes_on_by_the_loader_s_state_where_the_mix_follows_no_losses(num_workers):
    def loader_of(mixer):
        stream = MixedStream([range(30), range(50, 80)], mixer, batch_size=5)
        return stateful.StatefulDataLoader(stream, batch_size=None, num_workers=num_workers)

    batches = iter(loader := loader_of(FixedMix([0.6, 0.4])))
    assert [sum(number < 50 for number in next(batches).tolist()) for _ in range(7)] == [3] * 7
    state, rest = loader.state_dict(), [next(batches).tolist() for _ in range(9)]
    (resumed := loader_of(FixedMix([0.6, 0.4]))).load_state_dict(state)
    assert [batch.tolist() for batch, _ in zip(resumed, rest, strict=False)] == rest
    if num_workers:
        with pytest.raises(RuntimeError, match=r"state_dict behind; use MixedLoader\(stream, num_workers=2"):
            next(iter(loader_of(Learn2Mix())))


def train(loader, sampler, num_steps, observe=True):
    """Indices and mix of each batch, over as many epochs as it takes."""
    steps = []
    while len(steps) < num_steps:
        for batch in loader:
            mix = sampler.mixer.proportions.tolist()
            if observe:
                sampler.observe(LOSSES[batch.numpy()])
                mix = sampler.last_observed.proportions.tolist()
            steps.append((batch.tolist(), mix))
            if len(steps) == num_steps:
                break
    return steps


@cache
def unbroken_run(mixer, num_workers, observe, **settings):
    sampler = make(mixer)
    return train(make_loader(sampler, num_workers, **settings), sampler, TOTAL, observe)


def stopped_after(stop, mixer, num_workers, observe=True, **settings):
    """The rest of an unbroken run, and the states of the sampler and of the loader of one that stops."""
    unbroken = unbroken_run(mixer, num_workers, observe, **settings)
    sampler = make(mixer)
    loader = make_loader(sampler, num_workers, **settings)
    assert train(loader, sampler, stop, observe) == unbroken[:stop]
    return unbroken[stop:], sampler.state_dict(), loader.state_dict()


@pytest.mark.parametrize("mixer", ["step", "epoch", "fixed"])
@pytest.mark.parametrize(("num_workers", "stop"), [(0, 5), (0, 6), (2, 2), (2, 5), (2, 6)])
def test_the_sampler_s_own_state_goes_on(num_workers, stop, mixer):
    rest, state, _ = stopped_after(stop, mixer, num_workers)
    sampler = resumed(state, mixer)
    assert train(make_loader(sampler, num_workers), sampler, TOTAL - stop) == rest


@pytest.mark.parametrize("mixer", ["step", "epoch", "fixed"])
@pytest.mark.parametrize("stop", [1, 5, 6, 8])
def test_without_workers_the_loader_s_state_goes_on_too(stop, mixer):
    rest, _, state = stopped_after(stop, mixer, num_workers=0)
    sampler = make(mixer)
    loader = make_loader(sampler, 0)
    loader.load_state_dict(state)
    assert train(loader, sampler, TOTAL - stop) == rest


@pytest.mark.parametrize("mixer", ["step", "fixed"])
@pytest.mark.parametrize(("stop", "snapshots"), [(1, 1), (5, 1), (6, 1), (3, 4), (5, 4)])
def test_with_workers_the_loader_s_state_lacks_losses_and_says_so(stop, snapshots, mixer):
    _, own, state = stopped_after(stop, mixer, num_workers=2, snapshot_every_n_steps=snapshots)
    sampler = resumed(own, mixer)  # in vain: the loader's state is loaded when its iterator is made, after this one
    loader = make_loader(sampler, 2, snapshot_every_n_steps=snapshots)
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"save and load sampler.state_dict\(\), and not the loader's"):
        train(loader, sampler, 1)


@pytest.mark.parametrize(("num_workers", "stop"), [(0, 2), (0, 6), (0, 8), (2, 2), (2, 5), (2, 6), (2, 8)])
def test_a_loop_that_never_observes_goes_on_by_the_loader_s_state(num_workers, stop):
    rest, _, state = stopped_after(stop, "fixed", num_workers, observe=False)
    sampler = make("fixed")
    loader = make_loader(sampler, num_workers)
    loader.load_state_dict(state)
    assert train(loader, sampler, TOTAL - stop, observe=False) == rest


def test_the_sampler_s_state_loaded_after_the_loader_s_iterator_was_made_goes_on():
    # As MixingCallback does: Lightning restores the loader, then the callback its sampler, and iterates anew.
    rest, own, state = stopped_after(8, "step", num_workers=2)
    sampler = make("step")
    loader = make_loader(sampler, 2)
    loader.load_state_dict(state)
    iter(loader)
    sampler.load_state_dict(own)
    assert train(loader, sampler, TOTAL - 8) == rest


class TestNodes:
    """Pipelines of torchdata.nodes. A Prefetcher's thread takes a snapshot when it has fetched a batch."""

    @pytest.fixture(autouse=True)
    def threads_end(self):
        """Else such a thread may be the one that collects its mapper, whose destructor then waits for itself."""
        self.prefetchers = []
        yield
        for prefetcher in self.prefetchers:
            prefetcher._it._shutdown()

    def make(self, sampler, *, threads):
        nodes = pytest.importorskip("torchdata.nodes")
        node = nodes.ParallelMapper(nodes.SamplerWrapper(sampler), torch.tensor, num_workers=0)
        if threads:
            node = nodes.Prefetcher(node, 3)
            self.prefetchers.append(node)
        return nodes.Loader(node)

    def stopped(self, mixer, observe, *, threads, stop=4):
        """The rest of an unbroken run, and the state of the loader of one that stops."""
        sampler = make(mixer)
        unbroken = train(self.make(sampler, threads=threads), sampler, TOTAL, observe)
        sampler = make(mixer)
        loader = self.make(sampler, threads=threads)
        train(loader, sampler, stop, observe)
        return unbroken[stop:], loader.state_dict()

    @pytest.mark.parametrize(
        ("mixer", "observe", "threads"), [("step", True, False), ("fixed", False, False), ("fixed", False, True)]
    )
    def test_a_snapshot_that_lacks_no_losses_goes_on(self, mixer, observe, threads):
        rest, state = self.stopped(mixer, observe, threads=threads)
        sampler = make(mixer)
        loader = self.make(sampler, threads=threads)
        loader.load_state_dict(state)
        assert train(loader, sampler, len(rest), observe) == rest

    def test_one_that_a_thread_took_ahead_of_the_losses_says_so(self):
        sampler = make("step")
        loader = self.make(sampler, threads=True)
        train(loader, sampler, 1)  # the thread is not at the end of the epoch yet
        resumed = make("step")
        anew = self.make(resumed, threads=True)
        anew.load_state_dict(loader.state_dict())
        with pytest.raises(RuntimeError, match=r"torchdata\.nodes.*save and load sampler\.state_dict\(\)"):
            train(anew, resumed, 1)
