"""Law 9: a mix that follows losses, in a loop that observes nothing."""

import warnings

import pytest
import torch
from torch.utils.data import DataLoader

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader
from loops import LABELS, Data


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


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epochs_of_one_batch_are_told_of_at_the_second(num_workers):
    loader = MixedLoader(Data(), MixedBatchSampler(LABELS, Learn2Mix(), batch_size=30), num_workers=num_workers)
    one_epoch(loader)
    with pytest.warns(UserWarning, match="Learn2Mix follows losses, but none of the 2 batches handed out was observed"):
        one_epoch(loader)


def test_epochs_of_one_batch_that_are_no_longer_observed_are_told_of():
    loader = MixedLoader(Data(), MixedBatchSampler(LABELS, Learn2Mix(), batch_size=30))
    for batch in loader:
        loader.observe(1.0 + batch)
    one_epoch(loader)
    one_epoch(loader)
    with pytest.warns(UserWarning, match=r"1 batch\(es\) of the last 1 were never observed"):
        one_epoch(loader)


def evaluated(loader):
    with torch.no_grad():
        one_epoch(loader)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["plain", "mixed", "of a held-out set"])
def test_an_evaluation_on_what_the_training_draws_from_is_told_once(kind, num_workers):
    sampler = MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=5)
    loader, other = (
        DataLoader(Data(), batch_sampler=sampler, num_workers=num_workers)
        if kind == "plain"
        else MixedLoader(Data(), sampler, num_workers=num_workers)
        for _ in range(2)
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            one_epoch(loader)
            evaluated(other if kind == "of a held-out set" else loader)
        one_epoch(loader)
    (message,) = [str(one.message) for one in told]
    assert "without gradients, as for validation or predictions" in message
    assert "use DataLoader(dataset, batch_size=...)" in message


def test_so_is_one_in_a_loop_that_observes():
    loader = MixedLoader(Data(), MixedBatchSampler(LABELS, Learn2Mix(), batch_size=5))
    for batch in loader:
        loader.observe(1.0 + batch)
    loader.load_state_dict(loader.state_dict())  # also where the run goes on from a state
    with pytest.warns(UserWarning, match="without gradients, as for validation"):
        evaluated(loader)


def test_what_only_evaluates_or_only_looks_is_not():
    sampler = MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=5)
    for _ in range(3):
        evaluated(MixedLoader(Data(), sampler))
    loader = MixedLoader(Data(), MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=5))
    one_epoch(loader)
    with torch.no_grad():
        next(iter(loader))  # as to give lazy layers their shapes
    one_epoch(loader)
