"""Law 4: a run that is stopped and resumed draws the batches, by the mixes, of the run that goes on unbroken."""

import numpy as np
import pytest
import torch
from helpers import Step, same_state, stepping, through_a_file, train
from torch.utils.data import DataLoader

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler

NUM_BATCHES = 6
TOTAL = 3 * NUM_BATCHES + 2  # steps of a whole run: three epochs, and into the fourth
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [17, 9, 4]))
LOSSES = np.random.default_rng(1).random(30) * (1 + 3.0 * LABELS)

MIXERS = {
    "step": lambda: Learn2Mix(0.3),
    "epoch": lambda: Learn2Mix(0.3, every="epoch"),
    "three steps": lambda: Learn2Mix(0.3, every=3),
    "seven steps": lambda: Learn2Mix(0.3, every=7),
    "floor": lambda: Learn2Mix(0.5, initial="uniform", floor=0.2),
    "fixed": lambda: FixedMix("uniform"),
}


def make(mixer: str, seed: int = 5) -> MixedBatchSampler:
    return MixedBatchSampler(LABELS, MIXERS[mixer](), batch_size=5, seed=seed)


def resumed(state, mixer: str) -> MixedBatchSampler:
    """A fresh sampler, as a new process would make it, that goes on from a state; the seed comes from the state."""
    sampler = make(mixer, seed=0)
    sampler.load_state_dict(through_a_file(state))
    return sampler


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("stop", range(TOTAL))
def test_a_run_stopped_after_any_batch_goes_on_unbroken(mixer, stop):
    unbroken = train(make(mixer), TOTAL, LOSSES)
    stopped = make(mixer)
    before = train(stopped, stop, LOSSES)
    after = train(resumed(stopped.state_dict(), mixer), TOTAL - stop, LOSSES)
    assert before + after == unbroken


@pytest.mark.parametrize("mixer", ["step", "three steps"])
@pytest.mark.parametrize("stop", [1, 5, 6, 10])
def test_a_run_with_workers_stopped_after_any_batch_goes_on_unbroken(mixer, stop):
    unbroken = train(make(mixer), TOTAL, LOSSES, num_workers=2, prefetch_factor=1)
    stopped = make(mixer)
    before = train(stopped, stop, LOSSES, num_workers=2, prefetch_factor=1)
    state = stopped.state_dict()
    assert len(state["ahead"]) == min(2, -stop % NUM_BATCHES)
    after = train(resumed(state, mixer), TOTAL - stop, LOSSES, num_workers=2, prefetch_factor=1)
    assert before + after == unbroken


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 4, 5, 6, 11])
def test_a_run_stopped_between_a_batch_and_its_losses_trains_on_that_batch_again(num_workers, stop):
    unbroken = train(make("step"), TOTAL, LOSSES, num_workers=num_workers)
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
    unbroken = train(make("step"), TOTAL, LOSSES, num_workers=num_workers)
    stopped = make("step")
    stopped.observing = True
    next(iter(DataLoader(range(30), batch_sampler=stopped, num_workers=num_workers)))
    after = train(resumed(stopped.state_dict(), "step"), TOTAL, LOSSES, num_workers=num_workers)
    assert after == unbroken


@pytest.mark.parametrize("num_workers", [(0, 2), (2, 0), (1, 2), (2, 1)], ids="{0[0]} to {0[1]}".format)
@pytest.mark.parametrize("mixer", ["epoch", "fixed"])
def test_another_number_of_workers_changes_nothing_where_the_mix_does_not_move_within_an_epoch(mixer, num_workers):
    unbroken = train(make(mixer), TOTAL, LOSSES)
    stopped = make(mixer)
    before = train(stopped, 8, LOSSES, num_workers=num_workers[0])
    after = train(resumed(stopped.state_dict(), mixer), TOTAL - 8, LOSSES, num_workers=num_workers[1])
    assert before + after == unbroken


@pytest.mark.parametrize("num_workers", [(2, 0), (1, 2), (2, 1)], ids="{0[0]} to {0[1]}".format)
def test_another_number_of_workers_trains_on_the_batches_composed_ahead(num_workers):
    unbroken = train(make("step"), TOTAL, LOSSES, num_workers=num_workers[0])
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


def once_a_pass(steps: list[Step]) -> bool:
    """Whether no sample of a group came twice before all had come, and none was left out."""
    for group in range(3):
        members = set(np.flatnonzero(group == LABELS).tolist())
        drawn = [index for indices, _ in steps for index in indices if index in members]
        passes = [drawn[start : start + len(members)] for start in range(0, len(drawn), len(members))]
        if not all(len(set(one)) == len(one) for one in passes):
            return False
    return True


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


def epochs_of(sampler, lengths, num_workers=0) -> list[list[Step]]:
    """Train on epochs that a loop leaves early."""
    return [train(sampler, length, LOSSES, num_workers=num_workers) for length in lengths]


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
    state = sampler.state_dict()
    loader = DataLoader(range(30), batch_sampler=sampler, num_workers=num_workers)
    for _ in range(2):
        assert next(iter(loader)).tolist() == unbroken[done][0]
        assert same_state(resumed(sampler.state_dict(), "step").state_dict() | {"ahead": 0}, state | {"ahead": 0})
    assert before + train(sampler, 14 - done, LOSSES, num_workers=num_workers) == unbroken


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


def other_state(**settings):
    arguments = {"groups": LABELS, "mixer": Learn2Mix(), "batch_size": 5} | settings
    sampler = MixedBatchSampler(arguments.pop("groups"), arguments.pop("mixer"), **arguments)
    train(sampler, 3, np.ones(sampler.partition.num_samples))
    return sampler.state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": LABELS[::-1]}, "state: its fingerprint is .* load it into a sampler of the same data"),
        ({"groups": [0, 1] * 15}, "state: its num_groups is 2, but this sampler's is 3"),
        ({"batch_size": 4}, "state: its global_batch_size is 4, but this sampler's is 5"),
        ({"mixer": FixedMix()}, "state: saved by a FixedMix mixer, but this sampler has a Learn2Mix"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(settings, message):
    sampler = make("step")
    train(sampler, 8, LOSSES)
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict(other_state(**settings))
    assert same_state(sampler.state_dict(), before)


def test_a_state_beyond_the_end_of_an_epoch_is_refused():
    state = other_state(num_batches=6)
    short = MixedBatchSampler(LABELS, Learn2Mix(), batch_size=5, num_batches=2)
    with pytest.raises(ValueError, match="state: saved at batch 3 of an epoch, but an epoch has 2"):
        short.load_state_dict(state)


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="state: its version is 0"):
        make("step").load_state_dict(make("step").state_dict() | {"version": 0})


def test_a_state_saved_without_a_floor_is_lifted_to_one():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(1.0, every=1), batch_size=5)
    train(sampler, 4, np.where(LABELS == 0, 1.0, 0.0))
    floored = MixedBatchSampler(LABELS, Learn2Mix(0.1, floor=0.2), batch_size=5)
    floored.load_state_dict(sampler.state_dict())
    train(floored, 12, LOSSES)
    assert floored.mixer.proportions.min() >= 0.2 - 1e-12


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_state_resumes_on_another_number_of_processes(num_replicas):
    batches = []
    whole = MixedBatchSampler(LABELS, FixedMix(), batch_size=6)
    for batch in whole:
        batches.append(sorted(batch))
        whole.observe(None)
        if len(batches) == 2:
            state = whole.state_dict()
    parts = []
    for rank in range(num_replicas):
        part = MixedBatchSampler(LABELS, FixedMix(), batch_size=6 // num_replicas, num_replicas=num_replicas, rank=rank)
        part.load_state_dict(through_a_file(state))
        parts.append(list(part))
    assert [sorted(index for piece in pieces for index in piece) for pieces in zip(*parts, strict=True)] == batches[2:]


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
