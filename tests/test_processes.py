"""Law 3 with a mix that follows the losses: processes sum them, so all of them hold the mix that one would hold."""

import re
from functools import partial

import numpy as np
import pytest
import torch.distributed as dist

import forks
from helpers import same_state
from learn2mix import Learn2Mix, MixedBatchSampler

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [33, 10, 5]))
LOSSES = np.random.default_rng(1).integers(0, 40, 48) / 8  # sums of eighths are exact in any order
WHOLE = 8  # samples of a global batch


def on_processes(function, num_replicas, folder) -> list:
    """What a function returns on each of some processes of one group."""

    def in_process(rank):
        forks.gloo(rank, num_replicas, folder)
        return function(num_replicas)

    return forks.results(in_process, num_replicas, folder)


def train(num_replicas: int):
    """Steps of an adaptive mix under each way to update it, and the states in the end."""
    steps, states = [], []
    for every in ("step", "epoch", 4):
        sampler = MixedBatchSampler(LABELS, Learn2Mix(0.4, every=every), batch_size=WHOLE // num_replicas)
        for _ in range(3):
            for batch in sampler:
                mix = sampler.mixer.proportions.tolist()
                sampler.observe(LOSSES[batch])
                steps.append((batch, mix))
        states.append(sampler.state_dict())
    return steps, states


@pytest.mark.parametrize("num_replicas", [2, 4])
def test_every_process_holds_the_mix_and_the_batches_that_one_process_would(tmp_path, num_replicas):
    alone, _ = train(1)
    assert len({tuple(mix) for _, mix in alone}) > 10
    ranks = on_processes(train, num_replicas, tmp_path)
    for (batch, mix), *parts in zip(alone, *(steps for steps, _ in ranks), strict=True):
        assert [part_mix for _, part_mix in parts] == [mix] * num_replicas
        assert sorted(index for part, _ in parts for index in part) == sorted(batch)
    for states in zip(*(states for _, states in ranks), strict=True):
        assert all(same_state(state, states[0]) for state in states)


def go_on(num_replicas: int, state=None, num_steps: int = 9):
    """Steps of a run that goes on from a state, and the state in the end, between two updates."""
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.4, every=4), batch_size=WHOLE // num_replicas)
    if state is not None:
        sampler.load_state_dict(state)
    steps = []
    while len(steps) < num_steps:
        for batch in sampler:
            mix = sampler.mixer.proportions.tolist()
            sampler.observe(LOSSES[batch])
            steps.append((sorted(batch), mix))
            if len(steps) == num_steps:
                break
    return steps, sampler.state_dict()


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, before, after):
    unbroken, end = go_on(1, num_steps=19)
    (tmp_path / "stopped").mkdir()
    steps, state = on_processes(go_on, before, tmp_path / "stopped")[-1]
    assert [mix for _, mix in steps] == [mix for _, mix in unbroken[:9]]
    ranks = on_processes(partial(go_on, state=state, num_steps=10), after, tmp_path)
    for (batch, mix), *parts in zip(unbroken[9:], *(steps for steps, _ in ranks), strict=True):
        assert [part_mix for _, part_mix in parts] == [mix] * after
        assert sorted(index for part, _ in parts for index in part) == batch
    assert all(same_state(state, end) for _, state in ranks)


def meet_bad_losses(num_replicas: int):
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.4), batch_size=WHOLE // num_replicas)
    mix = []
    try:
        for step, batch in enumerate(sampler):
            mix = sampler.mixer.proportions.tolist()
            losses = LOSSES[batch]
            sampler.observe(losses * np.nan if (dist.get_rank(), step) == (1, 2) else losses)
    except ValueError as error:
        return str(error), mix, sampler.mixer.proportions.tolist()
    return "nothing was raised", mix, mix


def test_bad_losses_on_one_process_stop_them_all_and_the_mix_stays(tmp_path):
    one, other = on_processes(meet_bad_losses, 2, tmp_path)
    assert one == other
    message, before, after = one
    assert "batch 2 has NaN or infinite losses" in message
    assert after == before


def meet_bad_losses_late(num_replicas: int, stop: bool = False):
    """Losses of several batches of both processes turn bad long before an update is due, at the end of the epoch."""
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.4, every="epoch"), batch_size=WHOLE // num_replicas)
    bad = {(0, 4): np.nan, (1, 2): np.nan, (1, 3): -1.0}
    try:
        for step, batch in enumerate(sampler):
            losses = LOSSES[batch]
            losses[0] = bad.get((dist.get_rank(), step), losses[0])
            sampler.observe(losses)
            if stop and step == 2:
                return sampler.state_dict()
    except ValueError as error:
        return step, str(error)
    return "nothing was raised"


def test_the_earliest_bad_batch_of_all_processes_is_named_one_batch_later(tmp_path):
    one, other = on_processes(meet_bad_losses_late, 2, tmp_path)
    assert one == other
    assert one[0] == 3
    assert re.search(r"batch 2 has NaN or infinite losses in 1 of 3 groups \(\d\); the mix stays as it was", one[1])


def test_and_so_it_is_after_a_stop(tmp_path):
    one, other = on_processes(partial(meet_bad_losses_late, stop=True), 2, tmp_path)
    assert same_state(one, other)
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.4, every="epoch"), batch_size=WHOLE)
    sampler.load_state_dict(one)
    next(iter(sampler))
    with pytest.raises(ValueError, match="batch 2 has NaN or infinite losses in 1 of 3 groups"):
        sampler.observe(np.ones(WHOLE))
