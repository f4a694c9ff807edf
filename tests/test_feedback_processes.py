"""Feedback on several processes: each holds what one process would hold, and each can save it alone."""

import copy
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.distributed as dist

import forks
from fake_accelerator import FakeAccelerator
from helpers import NAN, same_state, through_a_file
from observing import CUT, Batch, by_hand, make, make_batches, observe

SETTINGS = [(every, min_groups) for every in (1, 3, "epoch") for min_groups in (1, 2)]


def on_processes(function, num_processes, folder):
    """What a function of rank and number returns on each of some processes that know of each other."""

    def in_process(rank):
        forks.gloo(rank, num_processes, folder, timeout=20)
        return function(rank, num_processes)

    folder.mkdir(exist_ok=True)
    return forks.results(in_process, num_processes, folder)


def place(device):
    if device == "cpu":
        return nullcontext(), lambda tensor: tensor
    accelerator = FakeAccelerator(device)
    return accelerator, accelerator.put


def test_a_state_says_that_it_lacks_the_second_part_of_a_batch(tmp_path):
    def train(rank, num_processes):
        feedback, said = make(1, 1), []
        for part in range(2):
            feedback.add(torch.ones(1), np.array([part]), batch=0)
            if part == 0:
                feedback.step(False, dict)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                feedback.state_dict()
            said.append([str(warning.message) for warning in caught])
        return said

    for first, (second,) in on_processes(train, 2, tmp_path):
        assert first == []
        assert "it lacks losses of a part of a batch" in second
        assert "in one call (torch.cat)" in second


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_batch_in_parts_loses_none(tmp_path, device):
    """The first part counts the batch; the others are pooled with what comes next."""

    def train(rank, num_processes):
        context, put = place(device)
        with context:
            feedback = make(1, 1)
            for step in range(3):
                for part in range(3):
                    losses = torch.tensor([step + part + rank + 1.0, 10.0 * part])
                    feedback.add(put(losses), np.array([0, 1 + rank]), batch=step)
                    if part == 0:
                        feedback.step(False, dict)
            feedback.end_epoch()
        return feedback.mixer.updates

    updates, others = on_processes(train, 2, tmp_path)
    assert str(updates) == str(others)
    parts = [[(0, 0)], [(0, 1), (0, 2), (1, 0)], [(1, 1), (1, 2), (2, 0)]]
    firsts = [np.mean([step + part + rank + 1.0 for step, part in some for rank in (0, 1)]) for some in parts]
    rests = [np.mean([10.0 * part for _, part in some]) for some in parts]
    wanted = [[first, rest, rest] for first, rest in zip(firsts, rests, strict=True)]
    np.testing.assert_allclose([list(update)[:3] for update in updates], wanted)


@pytest.mark.parametrize("num_processes", [2, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_updates_are_those_of_plain_loops_over_all_samples(tmp_path, num_processes, device):
    cases = [(setting, weighted, num_processes) for setting in SETTINGS for weighted in (False, True)]  # and a seed

    def train(rank, num_processes):
        found = []
        for (every, min_groups), weighted, seed in cases:
            context, put = place(device)
            with context:
                feedback, trace = make(every, min_groups), []
                for batch in make_batches(seed, weighted=weighted):
                    part = slice(rank, None, num_processes)  # often none
                    observe(feedback, batch, put, weighted=weighted, part=part)
                    trace.append(list(feedback.mixer.updates))
            found.append((trace, str(feedback.group_losses)))
        return found

    ranks = on_processes(train, num_processes, tmp_path)
    assert all(found == ranks[0] for found in ranks)
    for ((every, min_groups), weighted, seed), (trace, _) in zip(cases, ranks[0], strict=True):
        # Here all processes wait one batch, also after one of which nobody knows the losses.
        expected = by_hand(make_batches(seed, weighted=weighted), every, min_groups, late=device != "cpu", always=True)
        assert [len(updates) for updates in trace] == [len(updates) for updates in expected]
        flat = [np.array(updates[-1], dtype=float) for updates in (trace, expected)]
        np.testing.assert_allclose(*flat, rtol=1e-12)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_any_process_may_save_alone_at_any_time_and_any_number_goes_on(tmp_path, device):
    batches, cases = make_batches(3, num_epochs=2), [(every, stop) for every in (4, "epoch") for stop in range(8)]

    def train(rank, num_processes, states=None):
        found = []
        for number, (every, stop) in enumerate(cases):
            context, put = place(device)
            with context:
                feedback = make(every, 2)
                if states is not None:
                    feedback.load_state_dict(states[number])
                saved = None
                for at, batch in enumerate(batches):
                    if states is None or at >= stop:
                        observe(feedback, batch, put, part=slice(rank, None, num_processes))
                    gradients = torch.full((6,), float(rank + 1))
                    if num_processes > 1:
                        dist.all_reduce(gradients)  # as a model's, on the same group
                        assert gradients[0].item() == num_processes * (num_processes + 1) / 2
                    if at + 1 == stop and (rank == 0 or number % 2):  # by rank 0 alone, or by all
                        assert copy.deepcopy(feedback).group_losses.shape == (3,)  # what is under way has no copy
                        saved = feedback.state_dict()
            found.append((saved, feedback.state_dict(), feedback.mixer.updates))
        return found

    two = on_processes(train, 2, tmp_path / "two")
    states = [through_a_file(saved) for saved, _, _ in two[0]]
    states[0] = states[8] = through_a_file(make(4, 2).state_dict())  # nothing was observed yet
    for saved, (other, _, _) in zip(states, two[1], strict=True):
        assert other is None or same_state(saved, other)
    for num_processes in (1, 2, 3):
        go_on = lambda rank, number: train(rank, number, states)  # noqa: E731
        for resumed in on_processes(go_on, num_processes, tmp_path / f"{num_processes}"):
            for (_, end, updates), (_, unbroken, all_updates) in zip(resumed, two[0], strict=True):
                if (device, num_processes) == ("cuda:1", 1):
                    continue  # one process makes the update after a batch without losses at once
                assert same_state(end, unbroken)
                assert updates == all_updates[len(all_updates) - len(updates) :]


def observe_all(feedback, batches, rank):
    """What was raised, and after how many batches."""
    for at, batch in enumerate(batches):
        try:
            observe(feedback, batch, part=slice(rank, None, 2))
        except (ValueError, RuntimeError) as error:
            return at, f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("every", [1, "epoch"])
def test_unusable_losses_of_one_process_stop_all_at_the_same_batch_and_name_it(tmp_path, every):
    good = [(0, 1.0, 1.0), (1, 1.0, 1.0)]
    batches = [Batch(good, number=number) for number in range(6)]
    batches[2] = Batch([(0, 1.0, 1.0), (1, NAN, 1.0)], number=2)  # the second process has it
    batches[3] = Batch([(0, -1.0, 1.0)], number=3)  # the first, alone

    def train(rank, num_processes):
        feedback = make(every)
        first = observe_all(feedback, batches, rank)
        saved = make(every)
        saved_alone = None
        for at, batch in enumerate(batches[:3]):
            try:
                observe(saved, batch, part=slice(rank, None, 2))
            except ValueError:
                assert (every, at) == (1, 2)
        if rank == 0:
            saved_alone = saved.state_dict()  # raises nothing, for the others would not
        second = observe_all(saved, batches[3:], rank)
        return first, feedback.mixer.updates, second, saved_alone

    one, other = on_processes(train, 2, tmp_path)
    assert one[:3] == other[:3]
    (at, message), updates, (later, _), saved = one
    assert at == (2 if every == 1 else 3)
    assert "batch 2 has NaN or infinite losses in 1 of 3 groups ('b'); the mix stays as it was" in message
    assert updates == [[1.0, 1.0, None]] * (2 if every == 1 else 0)
    assert later == 0
    if every == "epoch":
        resumed = make(every)
        resumed.load_state_dict(through_a_file(saved))
        with pytest.raises(ValueError, match="batch 2 has NaN"):
            observe(resumed, batches[4])


def test_a_bad_batch_of_which_other_processes_know_no_losses_is_named_by_all(tmp_path):
    def train(rank, num_processes):
        feedback = make("epoch")
        batches = [Batch([(0, 1.0, 1.0)], number=number) for number in range(9)]
        batches[7] = Batch([(0, -1.0, 1.0)], number=7)
        return observe_all(feedback, batches, rank)

    found = on_processes(train, 2, tmp_path)
    assert found[0] == found[1]
    assert found[0][0] == 8
    assert "batch 7 has negative losses in 1 of 3 groups ('a')" in found[0][1]


def test_processes_that_do_not_match_all_raise_and_name_what_differs(tmp_path):
    def train(rank, num_processes):
        found = []
        for every in (1, "epoch"):
            for differing in ("seed", "mix"):
                feedback = make(every)
                if differing == "mix" and rank == 2:
                    feedback.mixer.proportions = [0.25, 0.25, 0.5]
                seed = 5 if differing == "seed" and rank == 1 else 1
                try:
                    for step in range(4):
                        feedback.add(torch.ones(1), np.array([0]), batch=step)
                        feedback.step(step == 3, lambda seed=seed: {"seed": seed, "epoch": 0})
                        if rank == 0:
                            feedback.state_dict()  # raises nothing
                except RuntimeError as error:
                    found.append((step, str(error)))
        return found

    ranks = on_processes(train, 3, tmp_path)
    assert ranks[0] == ranks[1] == ranks[2]
    (now, seed), (at_once, mix), (later, _), (late, _) = ranks[0]
    assert (now, at_once, later, late) == (0, 0, 1, 1)
    assert seed.startswith("the processes have come apart: rank 1 has another seed than rank 0. Give each the same")
    assert seed.endswith("(rank 0: seed 1; rank 1: seed 5)")
    assert mix.startswith("the processes have come apart: rank 2 has another mix than rank 0. Give each the same")


def test_a_process_alone_at_the_end_of_an_epoch_that_was_left_early_waits_for_nobody(tmp_path):
    def train(rank, num_processes):
        feedback = make("epoch")
        for batch in [Batch([(0, 1.0, 1.0), (1, 3.0, 1.0)]), CUT] * 2:
            if batch == CUT:
                dist.barrier()
            observe(feedback, batch, part=slice(rank, None, 2))
        return feedback.mixer.updates

    assert on_processes(train, 2, tmp_path) == [[[1.0, 3.0, None]] * 2] * 2
