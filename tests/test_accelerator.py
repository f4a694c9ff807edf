"""On an accelerator the losses travel while the next batch trains; simulated, for the tests need none.

A tensor here says that it is on another device until it is moved to the CPU, so the code takes the path of a device
that must not be waited for: an update arrives one observed batch later, and at the end of an epoch at the latest.
"""

import numpy as np
import pytest
import torch

import reference
from helpers import counts_of, through_a_file
from learn2mix import Learn2Mix, MixedBatchSampler

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [24, 10, 6]))
PRIOR = [0.6, 0.25, 0.15]


class Device:
    type = "accelerator"

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return OnAccelerator.__torch_function__(func, types, args, kwargs)


DEVICE = Device()


class OnAccelerator(torch.Tensor):
    """A tensor that says it is on an accelerator; so is all that is computed from it, until it is moved."""

    @property
    def device(self):
        return DEVICE

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch.Tensor.to and args[1] is DEVICE:
                return args[0].as_subclass(OnAccelerator)
            to_cpu = func is torch.Tensor.cpu or (func is torch.Tensor.to and args[1] == "cpu")
            result = func(*args, **kwargs)
        stays = not to_cpu and kwargs.get("device") != "cpu"
        return result.as_subclass(OnAccelerator if stays else torch.Tensor) if torch.is_tensor(result) else result


def loss_of(step: int, group: int, place: int) -> float:
    return [1.0 + place % 3, 0.25 * (step % 4), 8.0 / (step + 1)][group]


def make(every) -> MixedBatchSampler:
    return MixedBatchSampler(LABELS, Learn2Mix(0.3, every=every), batch_size=5)


def run(sampler, first, stop):
    """Train on the batches from ``first`` up to ``stop``; the mix and the counts of each."""
    trace = []
    while first < stop:
        for batch in sampler:
            losses = [loss_of(first, group, place) for place, group in enumerate(LABELS[batch].tolist())]
            mix = sampler.mixer.proportions
            sampler.observe(torch.tensor(losses, dtype=torch.float64).as_subclass(OnAccelerator))
            trace.append((mix.tolist(), counts_of(batch, LABELS, 3)))
            first += 1
            if first == stop:
                break
    return trace


@pytest.mark.parametrize("every", ["step", "epoch", 3])
def test_an_update_arrives_one_batch_later_and_at_the_end_of_an_epoch_at_the_latest(every):
    trace = run(make(every), 0, 24)
    # Not to know of the last update is what composing one batch ahead is, too.
    expected = reference.train(
        PRIOR, loss_of, batch_size=5, num_batches=8, num_epochs=3, mixing_rate=0.3, every=every, lag=1
    )
    assert [counts for _, counts in trace] == [counts for _, counts in expected]
    np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in expected], rtol=0, atol=1e-12)


def spoil(sampler, spoilt, num_batches, through=lambda sampler: sampler):
    """Observe batches of which some have bad losses: ``{batch: (place, value)}``."""
    for number in range(num_batches):
        batch = next(iter(sampler))
        losses = torch.ones(5, dtype=torch.float64)
        for place, value in spoilt.get(number, {}).items():
            losses[place] = value
        sampler.observe(losses.as_subclass(OnAccelerator))
        sampler = through(sampler)
    return batch


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({2: {0: NAN}, 4: {4: NAN}}, r"batch 2 has NaN or infinite losses in 1 of 3 groups \(0\)"),
        ({2: {4: -1.0}, 4: {0: NAN}}, r"batch 2 has negative losses in 1 of 3 groups \(2\)"),
        ({1: {0: INF, 4: NAN}, 2: {0: NAN}}, r"batch 1 has NaN or infinite losses in 2 of 3 groups \(0, 2\)"),
        ({3: {0: NAN}}, r"batch 3 has NaN or infinite losses in 1 of 3 groups \(0\)"),
    ],
)
@pytest.mark.parametrize("stopped", [False, True])
def test_an_error_names_the_earliest_bad_batch_and_its_groups_also_after_a_stop(spoilt, message, stopped):
    def again(sampler):
        if not stopped:
            return sampler
        fresh = spoilable()
        fresh.load_state_dict(through_a_file(sampler.state_dict()))
        return fresh

    def spoilable():
        return MixedBatchSampler(sorted(LABELS), Learn2Mix(0.3, initial=[0.6, 0.2, 0.2], every=5), batch_size=5)

    with pytest.raises(ValueError, match=message):
        spoil(spoilable(), spoilt, 8, again)


def test_the_mix_stays_until_the_next_batch_is_observed():
    sampler = make("step")
    batches = iter(sampler)
    mixes = []
    for _ in range(3):
        next(batches)
        sampler.observe(torch.ones(5).as_subclass(OnAccelerator))
        mixes.append(sampler.mixer.proportions.tolist())
    assert mixes[0] == pytest.approx(PRIOR)
    assert mixes[0] != mixes[1] != mixes[2]


@pytest.mark.parametrize("every", ["step", "epoch", 3])
@pytest.mark.parametrize("stop", range(0, 17))
def test_what_is_on_its_way_survives_a_stop(every, stop):
    unbroken = run(make(every), 0, 20)
    stopped, fresh = make(every), make(every)
    before = run(stopped, 0, stop)
    fresh.load_state_dict(through_a_file(stopped.state_dict()))
    assert before + run(fresh, stop, 20) == unbroken


def test_an_epoch_that_is_left_early_loses_no_update():
    sampler = make("step")
    run(sampler, 0, 3)
    expected = reference.train(PRIOR, loss_of, batch_size=5, num_batches=4, num_epochs=1, mixing_rate=0.3, lag=1)
    mix = reference.update_proportions(
        reference.update_proportions(expected[2][0], pooled(1, expected), 0.3), pooled(2, expected), 0.3
    )
    iter(sampler)
    np.testing.assert_allclose(sampler.mixer.proportions, mix, rtol=0, atol=1e-12)


def pooled(step, trace):
    groups = [group for group, count in enumerate(trace[step][1]) for _ in range(count)]
    return reference.pooled_means([(group, loss_of(step, group, i)) for i, group in enumerate(groups)], 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_bad_losses_are_named_one_batch_later_and_the_mix_stays(value):
    sampler = make("step")
    run(sampler, 0, 3)
    batches = iter(sampler)
    before = sampler.mixer.proportions.tolist()
    batch = next(batches)
    losses = torch.ones(5)
    losses[0] = value
    sampler.observe(losses.as_subclass(OnAccelerator))
    next(batches)
    kind = "negative" if value < 0 and value == value else "NaN or infinite"
    with pytest.raises(ValueError, match=rf"batch 3 has {kind} losses in 1 of 3 groups \({LABELS[batch[0]]}\)"):
        sampler.observe(torch.ones(5).as_subclass(OnAccelerator))
    assert sampler.mixer.proportions.tolist() == before
