"""Epochs that a loop leaves early, peeks at a loader, and iterators that are out of date."""

import pytest
from torch.utils.data import DataLoader

from helpers import same_state, train
from learn2mix import AlternatingMix, FadingMix, Learn2Mix, MixedBatchSampler, MixedLoader
from runs import LOSSES, epochs_of, make, once_a_pass, resumed


def of_torch(sampler, num_workers):
    return DataLoader(range(30), batch_sampler=sampler, num_workers=num_workers)


def of_ours(sampler, num_workers):
    return MixedLoader(range(30), sampler, num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mixer", ["step", "epoch", "three steps"])
def test_an_epoch_that_is_left_early_loses_and_doubles_no_sample(mixer, num_workers):
    sampler = make(mixer)
    epochs = epochs_of(sampler, [2, 6, 4, 1, 6], num_workers)
    assert once_a_pass([step for epoch in epochs for step in epoch])
    assert sampler.state_dict()["composed"] == 2 + 6 + 4 + 1 + 6
    assert sampler.state_dict()["epoch"] == 5


def test_batches_composed_ahead_in_an_epoch_that_is_left_early_are_composed_anew_by_the_new_mix():
    # With workers the mix lags; the first batch of the next epoch follows the losses of all batches trained on.
    sampler = make("step")
    train(sampler, 3, LOSSES, num_workers=2)
    newest = sampler.mixer.proportions.tolist()
    assert sampler.lag == 3
    ((_, mix),) = train(sampler, 1, LOSSES)
    assert mix == newest


def test_an_epoch_that_is_left_early_ends_for_the_mixer_too():
    sampler = make("epoch")
    train(sampler, 2, LOSSES)
    assert sampler.mixer.proportions.tolist() == sampler.mixer.prior.tolist()
    iter(sampler)
    assert sampler.mixer.proportions.tolist() != sampler.mixer.prior.tolist()


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mixer", ["step", "epoch"])
def test_a_resumed_run_that_leaves_an_epoch_early_goes_on_as_the_unbroken_run_does(mixer, num_workers):
    unbroken = make(mixer)
    expected = epochs_of(unbroken, [3, 4], num_workers)
    stopped = make(mixer)
    train(stopped, 2, LOSSES, num_workers=num_workers)  # one batch before the loop leaves the epoch
    sampler = resumed(stopped.state_dict(), mixer)
    assert epochs_of(sampler, [1, 4], num_workers) == [expected[0][2:], expected[1]]


@pytest.mark.parametrize("mixer", ["step", "epoch"])
def test_a_run_resumed_where_an_epoch_is_to_be_cut_short_can_end_it(mixer):
    unbroken = make(mixer)
    expected = epochs_of(unbroken, [3, 6])[1]
    stopped = make(mixer)
    train(stopped, 3, LOSSES)
    sampler = resumed(stopped.state_dict(), mixer)
    sampler.finish_epoch()
    assert train(sampler, 6, LOSSES) == expected
    assert sampler.state_dict()["epoch"] == 2


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("where", ["between epochs", "after loading"])
def test_a_peek_at_the_loader_changes_nothing(num_workers, where):
    unbroken = train(make("step"), 14, LOSSES, num_workers=num_workers)
    sampler = make("step")
    done = 6 if where == "between epochs" else 8
    before = train(sampler, done, LOSSES, num_workers=num_workers)
    if where == "after loading":
        sampler = resumed(sampler.state_dict(), "step")
    without = {"ahead": [], "ahead_trained": []}  # the batch looked at waits, to be composed again as it is
    state = sampler.state_dict() | without
    loader = DataLoader(range(30), batch_sampler=sampler, num_workers=num_workers)
    for _ in range(2):
        assert next(iter(loader)).tolist() == unbroken[done][0]
        assert same_state(resumed(sampler.state_dict(), "step").state_dict() | without, state)
    assert before + train(sampler, 14 - done, LOSSES, num_workers=num_workers) == unbroken


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("load", [of_torch, of_ours])
@pytest.mark.parametrize("mixer", [AlternatingMix, FadingMix, Learn2Mix])
def test_so_it_is_where_workers_have_composed_the_whole_epoch(mixer, load, num_workers):
    def groups(looks: int) -> list[list[int]]:
        sampler = MixedBatchSampler([0] * 20 + [1] * 10, mixer(), batch_size=5, num_batches=3)
        loader, drawn = load(sampler, num_workers), []
        for _ in range(looks):
            next(iter(loader))
        for _ in range(2):
            for batch in loader:
                drawn.append(batch.tolist())
                sampler.observe(1.0 + batch)
        return drawn

    assert groups(looks=2) == groups(looks=0)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_batches", [3, 9])
def test_so_it_is_where_accelerate_fetches_one_batch_ahead(num_batches, num_workers):
    accelerate = pytest.importorskip("accelerate")

    def batches(looks: int) -> list[list[int]]:
        sampler = MixedBatchSampler([0] * 20 + [1] * 10, Learn2Mix(), batch_size=5, num_batches=num_batches)
        loader, drawn = accelerate.Accelerator(cpu=True).prepare(of_torch(sampler, num_workers)), []
        for _ in range(looks):
            next(iter(loader))
        for batch in loader:
            drawn.append(batch.tolist())
            sampler.observe(1.0 + batch)
        return drawn

    assert batches(looks=2) == batches(looks=0)


def test_an_iterator_that_a_newer_one_has_replaced_is_out_of_date():
    sampler = make("step")
    old = iter(sampler)
    next(old)
    new = iter(sampler)
    next(new)
    with pytest.raises(RuntimeError, match="this iterator is out of date"):
        next(old)


def test_an_iterator_from_before_a_state_was_loaded_is_out_of_date():
    sampler = make("step")
    old = iter(sampler)
    next(old)
    sampler.load_state_dict(make("step").state_dict())
    with pytest.raises(RuntimeError, match="this iterator is out of date"):
        next(old)
