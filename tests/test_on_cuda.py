"""A plain loop on a real CUDA device: batches, mixes and errors are those of the CPU, the losses one batch later."""

import threading
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from helpers import reset_default_device, same_state
from learn2mix import (
    Learn2Mix,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    ReweightedLoss,
)
from learn2mix.data import InMemory
from learn2mix.feedback import pending
from on_device import (
    DEVICE,
    EPOCH,
    LABELS,
    LATE,
    MARKS,
    ON_CUDA,
    PRIOR,
    Data,
    Told,
    check,
    check_told,
    expected,
    make_sampler,
    of_group,
    put,
    run,
)

pytestmark = [*MARKS, pytest.mark.gpu]


@pytest.fixture(autouse=True)
def device_in_use():
    """As in a loop that has made its model."""
    torch.zeros(1, device=DEVICE)
    yield
    reset_default_device()
    torch.use_deterministic_algorithms(False)


def loader_of(kind, sampler):
    """A loader, and how many batches it composes ahead."""
    workers = {"num_workers": 1, "prefetch_factor": 3}
    there = {"device": DEVICE}
    if kind == "in memory":
        return MixedLoader(InMemory(np.arange(40), LABELS), sampler, **there), 0
    of_kind = {
        "plain": (DataLoader, {}, 0),
        "plain, pinned": (DataLoader, {"pin_memory": ON_CUDA}, 0),
        "plain, workers": (DataLoader, workers, 3),
        "plain, workers, pinned": (DataLoader, workers | {"pin_memory": ON_CUDA}, 3),
        "mixed": (MixedLoader, there, 0),
        "mixed, pinned": (MixedLoader, there | {"pin_memory": ON_CUDA}, 0),
        "mixed, workers": (MixedLoader, there | workers, 3),
        "mixed, workers, pinned": (MixedLoader, there | workers | {"pin_memory": ON_CUDA}, 3),
        "mixed, spawned": (MixedLoader, there | workers | {"multiprocessing_context": "spawn"}, 3),
        "zero lag": (MixedLoader, there | workers | {"zero_lag": True}, 0),
        "zero lag, pinned": (MixedLoader, there | workers | {"zero_lag": True, "pin_memory": ON_CUDA}, 0),
    }
    make, settings, ahead = of_kind[kind]
    if kind == "mixed, spawned":
        settings = settings | {"persistent_workers": True}
    if make is DataLoader:
        return DataLoader(Data(), batch_sampler=sampler, **settings), ahead
    return MixedLoader(Data(), sampler, **settings), ahead


KINDS = ["plain", "plain, pinned", "plain, workers", "plain, workers, pinned", "in memory", "mixed", "mixed, pinned"]
KINDS += ["mixed, workers", "mixed, workers, pinned", "mixed, spawned", "zero lag", "zero lag, pinned"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_loader_follows_the_losses_one_batch_later(kind):
    sampler = make_sampler()
    loader, ahead = loader_of(kind, sampler)
    check(run(sampler, loader, 3 * EPOCH), expected(lag=ahead + LATE))
    first = next(iter(loader))[0]
    assert first.device.type == (DEVICE if isinstance(loader, MixedLoader) else "cpu")


@pytest.mark.parametrize("every", ["step", 3, "epoch"])
@pytest.mark.parametrize("summed_there", [False, True])
def test_however_often_the_mix_is_updated(every, summed_there, monkeypatch):
    if summed_there:  # as more losses than the host takes
        monkeypatch.setattr(pending, "MOST_COPIED", 0)
        torch.use_deterministic_algorithms(True)
    sampler = make_sampler(every)
    check(run(sampler, sampler, 3 * EPOCH), expected(every=every))


def junk_beside(losses):
    return torch.stack([put(losses), put([1e30] * len(losses))], 1)[:, 0]


def late(losses):
    """Losses that are not there yet when they are observed."""
    base = torch.rand(1024, 1024, device=DEVICE)
    busy, found = torch.empty_like(base), put([1e30] * len(losses))
    for _ in range(100 if ON_CUDA else 0):
        torch.mm(base, base, out=busy)
    return found.copy_(put(losses) if not ON_CUDA else torch.tensor(losses).pin_memory().to(DEVICE, non_blocking=True))


FORMS = {str(dtype): partial(put, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)}
FORMS |= {
    "with a gradient": lambda losses: put(losses).requires_grad_() * 1,
    "strided": junk_beside,
    "a list of numbers there": lambda losses: list(put(losses)),
    "late": late,
}


@pytest.mark.parametrize("form", FORMS)
def test_losses_of_any_form(form):
    sampler = make_sampler()
    trace = run(sampler, sampler, 2 * EPOCH, observe=lambda sampler, losses, _: sampler.observe(FORMS[form](losses)))
    check(trace, expected(2))


def test_losses_that_are_one_number_expanded():
    def step_alone(step, group, place):
        return 0.5 + 0.25 * (step % 5)

    sampler = make_sampler()
    expand = lambda sampler, losses, _: sampler.observe(put(losses[:1]).expand(len(losses)))  # noqa: E731
    check(run(sampler, sampler, 2 * EPOCH, observe=expand, loss_of=step_alone), expected(2, loss_of=step_alone))


def in_a_thread(sampler, losses, labels):
    thread = threading.Thread(target=sampler.observe, args=(put(losses),))
    thread.start()
    thread.join()


def overwritten(sampler, losses, labels, static=None):
    static = put(losses)
    weights = torch.full_like(static, 2.0)
    sampler.observe(static, weights=weights)
    static.fill_(1e30)
    weights.fill_(0.0)


def in_inference_mode(sampler, losses, labels):
    with torch.inference_mode():
        sampler.observe(put(losses) * 1)


def on_a_stream_of_its_own(sampler, losses, labels):
    with torch.cuda.stream(torch.cuda.Stream()) if ON_CUDA else nullcontext():
        sampler.observe(late(losses))


def with_groups_there(sampler, losses, labels):
    sampler.observe(put(losses), groups=torch.from_numpy(labels).to(DEVICE))


def with_weights_here(sampler, losses, labels):
    sampler.observe(put(losses), weights=torch.full((len(losses),), 3.0))


WAYS = [in_a_thread, overwritten, in_inference_mode, on_a_stream_of_its_own, with_groups_there, with_weights_here]


@pytest.mark.parametrize("observe", WAYS, ids=lambda way: way.__name__)
def test_losses_observed_in_any_way(observe):
    sampler = make_sampler()
    check(run(sampler, sampler, 2 * EPOCH, observe=observe), expected(2))


def test_losses_that_cannot_be_used_are_named_and_move_nothing():
    sampler, raised = make_sampler(), []
    for batch, value in zip(sampler, [1.0, float("nan"), 1.0, 1.0, float("inf"), 1.0, -1.0, 1.0], strict=True):
        before = sampler.mixer.proportions
        try:
            sampler.observe(put([value * (1 + group) for group in LABELS[batch].tolist()]))
        except ValueError as error:
            raised.append(str(error))
            np.testing.assert_array_equal(sampler.mixer.proportions, before)
            if sampler.lag:  # on the CPU it is the batch itself that is refused
                sampler.observe(None)
    assert len(raised) == len(BAD)
    assert all(named in text for named, text in zip(BAD, raised, strict=True))
    np.testing.assert_array_equal(sampler.group_losses, [1.0, 2.0, 3.0])


BAD = ["batch 1 has NaN or infinite", "batch 4 has NaN or infinite", "batch 6 has negative"]


def saved(state, folder):
    torch.save(state, folder / "state.pt")
    return torch.load(folder / "state.pt", map_location=DEVICE, weights_only=True)


@pytest.mark.parametrize("every", ["step", 3])
@pytest.mark.parametrize("kind", ["mixed", "mixed, workers"])
def test_a_stop_at_any_step_changes_nothing(kind, every, tmp_path):
    unbroken = make_sampler(every)
    wanted = run(unbroken, loader_of(kind, unbroken)[0], 18)
    for stop in (0, 1, 5, 8) if "workers" in kind else range(0, 17, 2):
        stopped, fresh = make_sampler(every), make_sampler(every)
        before = run(stopped, loader_of(kind, stopped)[0], stop)
        loader, _ = loader_of(kind, fresh)
        loader.load_state_dict(saved(stopped.state_dict(), tmp_path))
        assert before + run(fresh, loader, 18, stop) == wanted
        assert same_state(fresh.state_dict(), unbroken.state_dict())


@pytest.mark.parametrize("there_first", [True, False])
@pytest.mark.parametrize("stop", [3, 8, 11])
def test_a_run_goes_on_on_another_device(there_first, stop, tmp_path):
    def here(sampler, losses, _):
        sampler.observe(torch.tensor(losses))

    def there(sampler, losses, _):
        sampler.observe(put(losses))

    one, other = make_sampler("epoch"), make_sampler("epoch")
    before = run(one, one, stop, observe=there if there_first else here)
    other.load_state_dict(saved(one.state_dict(), tmp_path))
    check(before + run(other, other, 24, stop, observe=here if there_first else there), expected(every="epoch"))


def test_with_the_device_as_the_default_for_everything(tmp_path):
    torch.set_default_device(DEVICE)
    for kind in ("plain", "mixed", "mixed, workers", "zero lag", "in memory"):
        sampler, fresh = make_sampler(), make_sampler()
        loader, ahead = loader_of(kind, sampler)
        before = run(sampler, loader, 11)
        fresh.load_state_dict(saved(sampler.state_dict(), tmp_path))
        check(before + run(fresh, loader_of(kind, fresh)[0], 3 * EPOCH, 11), expected(lag=ahead + LATE))
    read = InMemory.of([(np.full(2, index), int(LABELS[index])) for index in range(40)], progress=False)
    assert read[[3, 1]][0].tolist() == [[3, 3], [1, 1]]
    for num_workers in (0, 1):
        unbroken, stopped, fresh = (MixedLoader(make_stream(), num_workers=num_workers) for _ in range(3))
        before = run_stream(stopped, 5)
        fresh.load_state_dict(saved(stopped.state_dict(), tmp_path))
        assert before + run_stream(fresh, 5) == run_stream(unbroken, 10)


def make_stream():
    sources = [[(index, group) for index in range(20)] for group in range(3)]
    return MixedStream(sources, Learn2Mix(0.3, initial=PRIOR), batch_size=8, seed=1)


def run_stream(loader, num_batches):
    batches, trace = iter(loader), []
    for _ in range(num_batches):
        _, groups = next(batches)
        loader.observe(put([of_group(0, group) for group in groups.tolist()]))
        trace.append((groups.tolist(), loader.sampler.last_observed.proportions.tolist()))
    return trace


def test_validation_losses_there():
    def train(place):
        sampler = MixedBatchSampler(LABELS, Learn2Mix(0.3, signal="validation"), batch_size=5)
        for step, _ in enumerate(sampler):
            sampler.observe(place([1.0] * 5))
            sampler.observe_validation(place([1.0])[0], place([1.0, 2.0, float(step)]))
        return sampler.mixer.proportions

    np.testing.assert_array_equal(train(put), train(torch.tensor))
    assert not np.allclose(train(put), PRIOR)


@pytest.mark.parametrize("groups_there", [False, True])
def test_reweighted_losses(groups_there):
    mixer, truth, mix = Told(0.3), [], None
    criterion = ReweightedLoss(lambda losses: losses, mixer, LABELS, num_batches=6).to(DEVICE)
    for step in range(6):
        labels = torch.from_numpy(LABELS[step * 5 : step * 5 + 5])
        losses, mix = put([of_group(step, group) for group in labels.tolist()]), mixer.proportions
        groups = labels.to(DEVICE) if groups_there else labels
        weights = put([mix[group] / PRIOR[group] for group in labels.tolist()])
        torch.testing.assert_close(criterion(losses, groups=groups), (losses * weights).mean())
        truth.append((labels, losses))
    seen = [len(set(labels.tolist())) for labels, _ in truth]
    assert min(seen) > 1, "the oracle knows no batch of one group"
    check_told(mixer, truth, PRIOR)
