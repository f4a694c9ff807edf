"""Law 4: a run that is stopped and resumed draws the batches, by the mixes, of the run that goes on unbroken."""

from functools import cache

import pytest
import torch
from torch.utils.data import DataLoader

from helpers import stepping, through_a_file, train
from runs import LOSSES, MIXERS, NUM_BATCHES, TOTAL, make, once_a_pass, resumed


@cache
def unbroken_run(mixer, **loader_args):
    """The steps of a run that nothing stops."""
    return train(make(mixer), TOTAL, LOSSES, **loader_args)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("stop", range(TOTAL))
def test_a_run_stopped_after_any_batch_goes_on_unbroken(mixer, stop):
    unbroken = unbroken_run(mixer)
    stopped = make(mixer)
    before = train(stopped, stop, LOSSES)
    after = train(resumed(stopped.state_dict(), mixer), TOTAL - stop, LOSSES)
    assert before + after == unbroken


@pytest.mark.parametrize("mixer", ["step", "three steps"])
@pytest.mark.parametrize("stop", [1, 5, 6, 10])
def test_a_run_with_workers_stopped_after_any_batch_goes_on_unbroken(mixer, stop):
    unbroken = unbroken_run(mixer, num_workers=2, prefetch_factor=1)
    stopped = make(mixer)
    before = train(stopped, stop, LOSSES, num_workers=2, prefetch_factor=1)
    state = stopped.state_dict()
    assert len(state["ahead"]) == min(2, -stop % NUM_BATCHES)
    after = train(resumed(state, mixer), TOTAL - stop, LOSSES, num_workers=2, prefetch_factor=1)
    assert before + after == unbroken


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 4, 5, 6, 11])
def test_a_run_stopped_between_a_batch_and_its_losses_trains_on_that_batch_again(num_workers, stop):
    unbroken = unbroken_run("step", num_workers=num_workers)
    stopped = make("step")
    steps = stepping(stopped, LOSSES, num_workers=num_workers)
    before = [next(steps) for _ in range(stop)]
    del steps
    # As the loop would: the next batch is drawn and not yet observed.
    loader = DataLoader(range(30), batch_sampler=stopped, num_workers=num_workers)
    if stop % NUM_BATCHES:
        stopped = resumed(stopped.state_dict(), "step")
        loader = DataLoader(range(30), batch_sampler=stopped, num_workers=num_workers)
    batch = next(iter(loader))
    assert batch.tolist() == unbroken[stop][0]
    after = train(resumed(stopped.state_dict(), "step"), TOTAL - stop, LOSSES, num_workers=num_workers)
    assert before + after == unbroken


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_stopped_before_its_first_losses_starts_anew(num_workers):
    unbroken = unbroken_run("step", num_workers=num_workers)
    stopped = make("step")
    stopped.observing = True
    next(iter(DataLoader(range(30), batch_sampler=stopped, num_workers=num_workers)))
    after = train(resumed(stopped.state_dict(), "step"), TOTAL, LOSSES, num_workers=num_workers)
    assert after == unbroken


@pytest.mark.parametrize("num_workers", [(0, 2), (2, 0), (1, 2), (2, 1)], ids="{0[0]} to {0[1]}".format)
@pytest.mark.parametrize("mixer", ["epoch", "fixed"])
def test_another_number_of_workers_changes_nothing_where_the_mix_does_not_move_within_an_epoch(mixer, num_workers):
    unbroken = unbroken_run(mixer)
    stopped = make(mixer)
    before = train(stopped, 8, LOSSES, num_workers=num_workers[0])
    after = train(resumed(stopped.state_dict(), mixer), TOTAL - 8, LOSSES, num_workers=num_workers[1])
    assert before + after == unbroken


@pytest.mark.parametrize("num_workers", [(2, 0), (1, 2), (2, 1)], ids="{0[0]} to {0[1]}".format)
def test_another_number_of_workers_trains_on_the_batches_composed_ahead(num_workers):
    unbroken = unbroken_run("step", num_workers=num_workers[0])
    stopped = make("step")
    before = train(stopped, 7, LOSSES, num_workers=num_workers[0])
    state = stopped.state_dict()
    ahead = len(state["ahead"])
    assert ahead == min(2 * num_workers[0], 5)
    after = train(resumed(state, "step"), TOTAL - 7, LOSSES, num_workers=num_workers[1])
    assert (before + after)[: 7 + ahead] == unbroken[: 7 + ahead]


def test_a_second_stop_before_the_batches_composed_ahead_are_trained_on_changes_nothing():
    stopped = make("step")
    train(stopped, 7, LOSSES, num_workers=2)
    state = stopped.state_dict()
    unbroken = train(resumed(state, "step"), TOTAL - 7, LOSSES)
    again = resumed(state, "step")
    before = train(again, 1, LOSSES)
    assert len(again.state_dict()["ahead"]) == 3
    assert before + train(resumed(again.state_dict(), "step"), TOTAL - 8, LOSSES) == unbroken


def test_a_stop_with_batches_composed_ahead_loses_and_doubles_no_sample():
    stopped = make("step")
    steps = train(stopped, 8, LOSSES, num_workers=2)
    stopped = resumed(stopped.state_dict(), "step")
    steps += train(stopped, 9, LOSSES, num_workers=1)
    steps += train(resumed(stopped.state_dict(), "step"), 20, LOSSES)
    assert once_a_pass(steps)


@pytest.mark.parametrize("stop", [*range(TOTAL), 3 * NUM_BATCHES])
def test_a_loop_that_never_observes_goes_on_unbroken(stop):
    unbroken = train(make("fixed"), TOTAL, None)
    stopped = make("fixed")
    before = train(stopped, stop, None)
    after = train(resumed(stopped.state_dict(), "fixed"), TOTAL - stop, None)
    assert before + after == unbroken


def test_weights_are_the_same_with_and_without_a_stop():
    def step(model, optimizer, sampler, batch):
        losses = (model(torch.eye(30)[batch]).squeeze(1) - torch.from_numpy(LOSSES[batch]).float()) ** 2
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        sampler.observe(losses)

    def begin():
        model = torch.nn.Linear(30, 1)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        return model, torch.optim.Adam(model.parameters(), lr=0.1), make("step")

    def go_on(run, num_steps):
        while num_steps:
            for batch in run[2]:
                step(*run, batch)
                num_steps -= 1
                if not num_steps:
                    break
        return run

    unbroken, stopped, fresh = go_on(begin(), 20), go_on(begin(), 9), begin()
    for part, saved in zip(fresh, stopped, strict=True):
        part.load_state_dict(through_a_file(saved.state_dict()))
    go_on(fresh, 11)
    assert torch.equal(fresh[0].weight, unbroken[0].weight)
    assert fresh[2].mixer.proportions.tolist() == unbroken[2].mixer.proportions.tolist()
