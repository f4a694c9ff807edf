"""States of something else are refused, and what may differ from run to run may."""

import io
import re
from itertools import islice

import numpy as np
import pytest
import torch

from helpers import same_state, through_a_file, train
from learn2mix import (
    AnnealedMix,
    FadingMix,
    FixedMix,
    Learn2Mix,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    OnlineDataMixing,
)
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


LOSS_OF = {"a": 0.5, "b": 1.0, "c": 4.0, "d": 2.0}  # of each sample of a group, always


def loader_of(kind, names, mixer):
    samples = [ord(name) for name in names for _ in range(40)]
    if kind == "stream":
        return MixedLoader(MixedStream({name: [ord(name)] * 40 for name in names}, mixer, batch_size=8))
    return MixedLoader(samples, MixedBatchSampler([chr(one) for one in samples], mixer, batch_size=8))


def train_by_name(loader, num_batches):
    for batch in islice(loader, num_batches):
        loader.observe([LOSS_OF[chr(sample)] for sample in batch.tolist()])


@pytest.mark.filterwarnings("ignore:.*The mix and the passes", "ignore:.*saved with other settings")
@pytest.mark.parametrize("kind", ["stream", "sampler"])
@pytest.mark.parametrize("now", ["ba", "abc", "bd", "cdab"])
@pytest.mark.parametrize("mixer", [FixedMix, lambda: Learn2Mix(every=5)], ids=["never updated", "in the middle"])
def test_the_losses_since_the_last_update_go_to_no_other_groups(mixer, now, kind):
    before, after = loader_of(kind, "ab", mixer()), loader_of(kind, now, mixer())
    train_by_name(before, 8)
    after.load_state_dict(before.state_dict(), strict=False)
    train_by_name(after, 7)
    pool = after.state_dict()["feedback"]
    sums, counts = (np.array(pool["pool"].get(entry, np.zeros(len(now)))) for entry in ("sums", "counts"))
    true = np.array([LOSS_OF[name] for name in after.sampler.group_names])
    assert sums.tolist() == (true * counts).tolist()
    if after.mixer.needs_losses:
        assert after.sampler.group_losses.tolist() == true.tolist()


@pytest.mark.filterwarnings("ignore:.*The mix and the passes", "ignore:.*saved with other settings")
@pytest.mark.parametrize("kind", ["stream", "sampler"])
@pytest.mark.parametrize("now", ["ba", "abc", "bd", "cdab"])
@pytest.mark.parametrize("inside", [False, True])
def test_losses_that_a_mixer_remembers_go_by_the_names_of_the_groups(inside, now, kind):
    def rule():
        return Learn2Mix(0.1, memory=0.9)

    def mixer():
        return AnnealedMix("uniform", rule(), num_steps=99) if inside else rule()

    before, after = loader_of(kind, "ab", mixer()), loader_of(kind, now, mixer())
    train_by_name(before, 8)
    after.load_state_dict(before.state_dict(), strict=False)
    state = after.state_dict()["feedback"]["mixer"]
    state = state["mixers"]["end"] if inside else state
    names = after.sampler.group_names
    assert state["remembered"] == [LOSS_OF[name] if name in "ab" else None for name in names]
    old, shares = before.state_dict()["feedback"]["mixer"], dict(zip(names, state["proportions"], strict=True))
    old = dict(zip("ab", (old["mixers"]["end"] if inside else old)["proportions"], strict=True))
    stay = [name for name in names if name in old]
    kept = len(stay) / len(names) / sum(old[name] for name in stay)
    assert shares == pytest.approx({name: old[name] * kept if name in old else 1 / len(names) for name in names})


@pytest.mark.filterwarnings("ignore:.*The mix and the passes")
def test_so_do_rewards():
    before, after = loader_of("stream", "abc", OnlineDataMixing()), loader_of("stream", "cab", OnlineDataMixing())
    train_by_name(before, 8)
    after.load_state_dict(before.state_dict())
    rewards = dict(zip("abc", before.state_dict()["feedback"]["mixer"]["rewards"], strict=True))
    assert after.state_dict()["feedback"]["mixer"]["rewards"] == [rewards[name] for name in "cab"]
    other = loader_of("stream", "abd", OnlineDataMixing())
    other.load_state_dict(before.state_dict())
    assert other.state_dict()["feedback"]["mixer"]["rewards"] == [0, 0, 0]


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


@pytest.mark.parametrize("kind", [MixedBatchSampler, MixedStream])
def test_a_subclass_may_add_to_its_state(kind):
    class Noted(kind):
        note = ""

        def state_dict(self):
            return super().state_dict() | {"note": self.note}

        def load_state_dict(self, state, **settings):
            super().load_state_dict(state, **settings)
            self.note = state["note"]

    data = LABELS if kind is MixedBatchSampler else {"a": [1, 2], "b": [3]}
    saved, fresh = (Noted(data, FixedMix("uniform"), batch_size=5) for _ in range(2))
    saved.note = "hello"
    next(iter(saved))
    fresh.load_state_dict(saved.state_dict())
    assert fresh.note == "hello"
    assert same_state(fresh.state_dict(), saved.state_dict())
