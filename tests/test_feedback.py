"""Feedback on one process: losses are pooled by sample, and an update comes when it is due, on any device."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from fake_accelerator import FakeAccelerator
from helpers import NAN, reset_default_device, same_state, through_a_file
from observing import CUT, Batch, by_hand, make, make_batches, observe
from pairs import pairs

DEVICES = ["cpu", "cuda:1", "mps"]


def place(device):
    """A context in which a device is there, and what puts a tensor on it."""
    if device == "cpu":
        return nullcontext(), lambda tensor: tensor
    accelerator = FakeAccelerator(device)
    return accelerator, accelerator.put


def run(feedback, batches, device="cpu", *, weighted=False):
    """The updates that were made by the time each batch has been observed."""
    context, put = place(device)
    trace = []
    with context:
        for batch in batches:
            observe(feedback, batch, put, weighted=weighted)
            trace.append([list(update) for update in feedback.mixer.updates])
    return trace


def assert_same(found, expected):
    assert [len(updates) for updates in found] == [len(updates) for updates in expected]
    as_numbers = [
        [[NAN if loss is None else loss for loss in update] for update in trace[-1]] for trace in (found, expected)
    ]
    np.testing.assert_allclose(*as_numbers, rtol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("every", [1, 3, "epoch"])
@pytest.mark.parametrize("min_groups", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_updates_are_those_of_plain_loops(device, every, min_groups, weighted, seed):
    batches = make_batches(seed, weighted=weighted)
    expected = by_hand(batches, every, min_groups, late=device != "cpu")
    assert len(expected[-1]) > 1
    assert_same(run(make(every, min_groups), batches, device, weighted=weighted), expected)


@pytest.mark.parametrize(("device", "every", "seed"), pairs(DEVICES, [1, 3, "epoch"], range(2)))
def test_a_stop_anywhere_changes_nothing(device, every, seed):
    batches = make_batches(seed)
    unbroken = run(make(every, 2), batches, device)
    for stop in range(len(batches) + 1):
        stopped, resumed = make(every, 2), make(every, 2)
        before = run(stopped, batches[:stop], device)
        assert before == unbroken[:stop]
        resumed.load_state_dict(through_a_file(stopped.state_dict()))
        resumed.mixer.updates = list(stopped.mixer.updates)
        assert same_state(resumed.state_dict(), stopped.state_dict())
        assert run(resumed, batches[stop:], device) == unbroken[stop:]
        assert run(stopped, batches[stop:], device) == unbroken[stop:]  # to save changes nothing either


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda feedback: pickle.loads(pickle.dumps(feedback))])
def test_a_copy_goes_on_by_itself(device, again):
    batches = make_batches(0)
    unbroken = run(make(3), batches, device)
    feedback = make(3)
    run(feedback, batches[:6], device)
    other = again(feedback)
    assert run(other, batches[6:], device) == unbroken[6:]
    assert run(feedback, batches[6:], device) == unbroken[6:]


def test_a_rule_that_compares_groups_waits_for_two_of_them_and_moves_at_batch_size_1():
    feedback = make(1, min_groups=2)
    trace = run(feedback, [Batch([(group, loss, 1.0)]) for group, loss in [(0, 1.0), (0, 3.0), (2, 4.0), (1, 8.0)]])
    assert trace == [[], [], [[2.0, None, 4.0]], [[2.0, None, 4.0]]]
    run(feedback, [Batch([], ended=True)])
    assert feedback.mixer.updates[1:] == [[None, 8.0, None]]  # the epoch ended


def test_a_mixer_that_names_no_number_of_groups_needs_one():
    feedback = make(1)
    del feedback.mixer.min_groups
    assert run(feedback, [Batch([]), Batch([(1, 2.0, 1.0)])]) == [[], [[None, 2.0, None]]]


def test_group_losses_are_the_last_known_ones_and_read_only():
    feedback = make(1)
    assert np.isnan(feedback.group_losses).all()
    run(feedback, [Batch([(0, 1.0, 1.0), (2, 3.0, 1.0)]), Batch([]), CUT])
    np.testing.assert_array_equal(feedback.group_losses, [1.0, NAN, 3.0])
    with pytest.raises(ValueError, match="read-only"):
        feedback.group_losses[0] = 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("device", DEVICES)
def test_losses_of_any_precision_are_summed_in_a_higher_one(dtype, device):
    feedback = make("epoch")
    if device == "mps" and dtype == torch.float64:
        return  # there are none
    context, put = place(device)
    with context:
        for number in range(300):
            feedback.add(put(torch.full((64,), 1 / 64, dtype=dtype)), np.repeat([1], 64), batch=number)
            feedback.step(False, dict)
        feedback.end_epoch()
    assert feedback.mixer.updates == [[None, 1 / 64, None]]


def bad(value, weight=1.0):
    return [(0, 1.0, 1.0), (1, value, weight)]


BAD = [
    (NAN, 1.0, r"losses must be finite and at least 0: batch 2 has NaN or infinite losses in 1 of 3 groups \('b'\)"),
    (float("inf"), 1.0, r"batch 2 has NaN or infinite losses in 1 of 3 groups \('b'\); the mix stays"),
    (-1.0, 1.0, r"batch 2 has negative losses in 1 of 3 groups \('b'\); the mix stays as it was; add a constant"),
    (-1.0, 2.0, r"batch 2 has negative losses in 1 of 3 groups \('b'\)"),
    (1.0, -1.0, r"weights must be finite and at least 0: batch 2 has others in 1 of 3 groups \('b'\)"),
    (1.0, NAN, "weights must be finite and at least 0"),
    (1.0, float("inf"), "weights must be finite and at least 0"),
]


@pytest.mark.parametrize(("value", "weight", "message"), BAD)
@pytest.mark.parametrize("every", [1, 3, "epoch"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stopped", [False, True])
def test_unusable_losses_are_named_and_left_out(value, weight, message, every, device, stopped):
    feedback, weighted = make(every), weight != 1.0
    good = [Batch([(0, 1.0, 1.0), (2, 4.0, 1.0)], number=number) for number in (0, 1, 3)]
    run(feedback, good[:2], device)
    mix = feedback.mixer.proportions.tolist()
    if device == "cpu":
        with pytest.raises(ValueError, match=message):
            run(feedback, [Batch(bad(value, weight), number=2)], device, weighted=weighted)
        assert feedback.mixer.proportions.tolist() == mix
        run(feedback, good[2:], device)
    else:
        run(feedback, [Batch(bad(value, weight), number=2)], device, weighted=weighted)
        mix = feedback.mixer.proportions.tolist()
        if stopped:
            state, feedback = feedback.state_dict(), make(every)
            feedback.load_state_dict(through_a_file(state))
        with pytest.raises(ValueError, match=message):
            run(feedback, good[2:], device)
        assert feedback.mixer.proportions.tolist() == mix
    run(feedback, [Batch([], ended=True)], device)
    assert feedback.mixer.updates[-1] == [1.0, None, 4.0]  # the others of its update count


@pytest.mark.parametrize("device", DEVICES)
def test_a_loss_below_0_by_rounding_counts_as_0(device):
    feedback = make("epoch")
    assert run(feedback, [Batch([(0, -1e-5, 1.0), (0, 1.0, 1.0)], ended=True)], device)[-1] == [[0.5, None, None]]


@pytest.mark.parametrize("value", [NAN, float("inf"), -5.0, 7.0])
@pytest.mark.parametrize("device", DEVICES)
def test_a_sample_of_weight_0_counts_for_nothing_whatever_its_loss(value, device):
    """The mean over the tokens of a sample that has none is 0 / 0."""
    batch = Batch([(0, 1.0, 2.0), (0, value, 0.0), (1, value, 0.0)], ended=True)
    assert run(make("epoch"), [batch], device, weighted=True)[-1] == [[1.0, None, None]]


def test_sums_that_grow_too_large_are_an_error_and_not_an_infinite_mean():
    feedback = make("epoch")
    large = torch.tensor([1e308], dtype=torch.float64)
    feedback.add(large, np.array([0]), batch=0)
    with pytest.raises(ValueError, match="losses must be finite when summed"):
        feedback.add(large, np.array([0]), batch=1)
    feedback.step(False, dict)
    run(feedback, [CUT])
    assert feedback.mixer.updates == [[pytest.approx(1e308), None, None]]


@pytest.mark.parametrize("device", DEVICES)
def test_losses_made_in_inference_mode_are_taken_in_it_and_outside(device):
    feedback, batches = make("epoch"), make_batches(1)
    context, put = place(device)
    with context:
        for number, batch in enumerate(batches):
            with torch.inference_mode(number % 3 == 0):
                observe(feedback, batch, lambda tensor, made=number % 2: inference(put(tensor), made))
    assert feedback.mixer.updates == by_hand(batches, "epoch")[-1]


def inference(tensor, made):
    with torch.inference_mode(bool(made)):
        return tensor * 1


@pytest.mark.parametrize("setting", ["block", "default"])
def test_another_default_device_breaks_nothing(setting):
    batches = make_batches(2)
    losses = [
        None if batch == CUT or not batch.samples else torch.tensor([s[1] for s in batch.samples]) for batch in batches
    ]
    try:
        if setting == "default":
            torch.set_default_device("meta")
        with torch.device("meta") if setting == "block" else nullcontext():
            feedback = make(2)
            for batch, of_batch in zip(batches, losses, strict=True):
                observe(feedback, batch, lambda _, of_batch=of_batch: of_batch)
            again = make(2)
            again.load_state_dict(feedback.state_dict())
    finally:
        reset_default_device()
    assert feedback.mixer.updates == by_hand(batches, 2)[-1]
    assert same_state(again.state_dict(), feedback.state_dict())


def test_the_tensors_of_a_state_lie_on_the_cpu_and_come_back_from_anywhere():
    feedback = make("epoch")
    run(feedback, make_batches(0)[:2], "cuda:1")
    state = feedback.state_dict()
    assert {tensor.device.type for tensor in state["pool"].values()} == {"cpu"}
    assert make("epoch").state_dict()["pool"] == {}, "nothing that a map_location could move"
    elsewhere = state | {
        "pooled": [],
        "pool": {name: OnAnotherDevice(tensor) for name, tensor in state["pool"].items()},
    }
    again = make("epoch")
    again.load_state_dict(elsewhere)
    assert same_state(again.state_dict(), state)


class OnAnotherDevice:
    """A tensor that has to be fetched: NumPy cannot read it where it is."""

    is_meta, is_nested, layout = False, False, torch.strided

    def __init__(self, tensor):
        self.tensor = tensor

    def detach(self):
        return self

    def cpu(self):
        return self.tensor


def test_a_state_of_other_groups_or_of_another_mixer_changes_nothing():
    feedback = make("epoch")
    run(feedback, make_batches(0)[:3])
    before = feedback.state_dict()
    others = [before | {"group_losses": [None]}, before | {"mixer": before["mixer"] | {"mixer": "FixedMix"}}]
    for other in others:
        with pytest.raises(ValueError, match="state: "):
            feedback.load_state_dict(other | {"num_observed": 17})
    assert same_state(feedback.state_dict(), before)


NEVER = (1 << 63) - 1


def version_1(feedback, *, sums, counts, spoilt=(NEVER,) * 3, on_its_way=False, num_batches):
    """A state as version 1 saved it."""
    pool = {
        "sums": torch.tensor(sums, dtype=torch.float64),
        "counts": torch.tensor(counts),
        "spoilt": torch.tensor(spoilt),
    }
    empty = {name: torch.zeros_like(values) for name, values in pool.items()} | {"spoilt": torch.tensor((NEVER,) * 3)}
    return {
        "mixer": feedback.mixer.state_dict(),
        "pool": empty if on_its_way else pool,
        "on_its_way": pool if on_its_way else None,
        "num_batches": num_batches,
        "group_losses": torch.tensor([1.0, NAN, 2.0], dtype=torch.float64),
    }


def test_a_state_of_version_1_goes_on():
    feedback = make(3)
    state = version_1(feedback, sums=[6.0, 0.0, 1.0], counts=[2, 0, 4], num_batches=2)
    feedback.load_state_dict(through_a_file(state))
    np.testing.assert_array_equal(feedback.group_losses, [1.0, NAN, 2.0])
    run(feedback, [Batch([(0, 3.0, 1.0)])])
    assert feedback.mixer.updates == [[3.0, None, 0.25]]


def test_a_state_of_version_1_with_sums_on_their_way_from_an_accelerator_goes_on():
    feedback = make(3)
    state = version_1(feedback, sums=[6.0, 0.0, 1.0], counts=[2, 0, 4], on_its_way=True, num_batches=0)
    feedback.load_state_dict(through_a_file(state))
    batches = [Batch([(0, 1.0, 1.0)]), Batch([(0, 2.0, 1.0)]), Batch([(0, 3.0, 1.0)]), Batch([(0, 9.0, 1.0)])]
    assert run(feedback, batches, "cuda:1")[0] == [[3.0, None, 0.25]]
    assert feedback.mixer.updates == [[3.0, None, 0.25], [2.0, None, None]]


@pytest.mark.parametrize("on_its_way", [False, True])
def test_a_state_of_version_1_with_unusable_losses_names_the_earliest_batch(on_its_way):
    feedback = make("epoch")
    state = version_1(
        feedback,
        sums=[NAN, 2.0, -float("inf")],
        counts=[1, 1, 3],
        spoilt=[5, NEVER, 3],
        on_its_way=on_its_way,
        num_batches=4,
    )
    feedback.load_state_dict(through_a_file(state))
    with pytest.raises(ValueError, match=r"batch 3 has negative losses in 1 of 3 groups \('c'\)"):
        run(feedback, [Batch([])])
