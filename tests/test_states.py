"""States of something else are refused, and what may differ from run to run may."""

import io
import re

import numpy as np
import pytest
import torch

from helpers import same_state, through_a_file, train
from learn2mix import FadingMix, FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream
from runs import LABELS, LOSSES, make


def other_state(**settings):
    return trained(**settings).state_dict()


def trained(**settings):
    arguments = {"groups": LABELS, "mixer": Learn2Mix(), "batch_size": 5} | settings
    sampler = MixedBatchSampler(arguments.pop("groups"), arguments.pop("mixer"), **arguments)
    train(sampler, 3, np.ones(sampler.partition.num_samples))
    return sampler


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


def test_another_rule_goes_on_at_the_mix_of_a_state():
    """By the line that the error gives: a mix that stays from here on."""
    moved = trained(mixer=Learn2Mix(0.5))
    state = moved.state_dict()
    with pytest.raises(ValueError, match="to go on with another rule") as error:
        MixedBatchSampler(LABELS, FixedMix(), batch_size=5).load_state_dict(state)
    (line,) = re.findall(r"FixedMix\(state.*?\)", str(error.value))
    frozen = MixedBatchSampler(LABELS, eval(line, {"FixedMix": FixedMix, "state": state}), batch_size=5)
    assert frozen.mixer.proportions.tolist() == moved.mixer.proportions.tolist() != moved.mixer.prior.tolist()


def test_a_state_beyond_the_end_of_an_epoch_is_refused():
    state = other_state(num_batches=6)
    short = MixedBatchSampler(LABELS, Learn2Mix(), batch_size=5, num_batches=2)
    with pytest.raises(ValueError, match="state: saved at batch 3 of an epoch, but an epoch has 2"):
        short.load_state_dict(state)


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="state: its version is 0"):
        make("step").load_state_dict(make("step").state_dict() | {"version": 0})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "got NoneType$"),
        ([1], "got list$"),
        ("run.pt", r"got str; read the file: torch\.load\('run\.pt', weights_only=True\)"),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    stream = MixedStream([range(9), range(9)], Learn2Mix(), batch_size=3)
    for owner in (make("step"), MixedLoader(LABELS, make("step")), stream, MixedLoader(stream)):
        with pytest.raises(TypeError, match=f"state must be what .* {message}"):
            owner.load_state_dict(state)


def test_a_state_loaded_onto_another_device_goes_on():
    """As torch.load(path, map_location=device) leaves it; "meta" stands for the device."""
    sampler, resumed = make("step"), make("step")
    train(sampler, 8, LOSSES)
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, map_location="meta", weights_only=True))
    assert train(resumed, 8, LOSSES) == train(sampler, 8, LOSSES)
    assert resumed.history.to_dict() == sampler.history.to_dict()


def test_a_state_saved_without_a_floor_is_lifted_to_one():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(1.0, every=1), batch_size=5)
    train(sampler, 4, np.where(LABELS == 0, 1.0, 0.0))
    floored = MixedBatchSampler(LABELS, Learn2Mix(0.1, floor=0.2), batch_size=5)
    with pytest.warns(UserWarning, match=r"floor: 0\.0 in the state, 0\.2 here"):
        floored.load_state_dict(sampler.state_dict())
    train(floored, 12, LOSSES)
    assert floored.mixer.proportions.min() >= 0.2 - 1e-12


@pytest.mark.parametrize("now", [[0, 1, 2], [1, 2], [0, 2], [3, 1]], ids=str)
def test_a_mix_that_follows_the_draws_goes_on_where_classes_have_come_or_gone(now):
    """As in class-incremental learning: a new class has an even share, the others keep theirs to each other."""
    before = MixedBatchSampler([0] * 90 + [1] * 20, FadingMix(5.0), batch_size=11)
    assert len(list(before)) == 10
    sizes = {0: 90, 1: 20, 2: 10, 3: 10}
    labels = np.repeat(sorted(now), [sizes[name] for name in sorted(now)])
    after = MixedBatchSampler(labels, FadingMix(5.0), batch_size=11)
    with pytest.warns(UserWarning, match="The mix and the passes"):
        after.load_state_dict(before.state_dict(), strict=False)
    next(iter(after))
    old = dict(zip(before.group_names, before.mixer.proportions, strict=True))
    passes = dict(zip(before.group_names, before.draws / before.partition.sizes, strict=True))
    stay = [name for name in after.group_names if name in old]
    share = len(stay) / len(now) / sum(old[name] for name in stay)
    mix = np.array([old[name] * share if name in old else 1 / len(now) for name in after.group_names])
    repeats = np.array([passes.get(name, 0.0) for name in after.group_names])
    left = np.exp(-(repeats - repeats.min()) / 5.0)
    assert after.mixer.proportions == pytest.approx(mix + 0.1 * (left / left.sum() - mix), abs=1e-12)


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
