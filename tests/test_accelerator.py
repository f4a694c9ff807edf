"""On an accelerator the losses travel while the next batch trains; simulated, for the tests need none.

An update arrives one observed batch later, and at the end of an epoch at the latest; the host waits for nothing else.
"""

import numpy as np
import pytest
import torch

import reference
from fake_accelerator import GARBAGE, FakeAccelerator
from helpers import counts_of, through_a_file
from learn2mix import AnnealedMix, Learn2Mix, MixAdjustedLoss, MixedBatchSampler, ReweightedLoss
from observing import Batch, make, make_batches, observe

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [24, 10, 6]))
PRIOR = [0.6, 0.25, 0.15]


def loss_of(step: int, group: int, place: int) -> float:
    return [1.0 + place % 3, 0.25 * (step % 4), 8.0 / (step + 1)][group]


def make_sampler(every) -> MixedBatchSampler:
    return MixedBatchSampler(LABELS, Learn2Mix(0.3, every=every), batch_size=5, order="grouped")


def run(sampler, first, stop):
    """Train on the batches from ``first`` up to ``stop``; the mix and the counts of each."""
    trace = []
    with FakeAccelerator("cuda:1") as gpu:
        while first < stop:
            for batch in sampler:
                losses = [loss_of(first, group, place) for place, group in enumerate(LABELS[batch].tolist())]
                mix = sampler.mixer.proportions
                sampler.observe(gpu.put(torch.tensor(losses, dtype=torch.float64)))
                trace.append((mix.tolist(), counts_of(batch, LABELS, 3)))
                first += 1
                if first == stop:
                    break
    assert gpu.waits == []
    return trace


@pytest.mark.parametrize("every", ["step", "epoch", 3])
def test_an_update_arrives_one_batch_later_and_at_the_end_of_an_epoch_at_the_latest(every):
    trace = run(make_sampler(every), 0, 24)
    # Not to know of the last update is what composing one batch ahead is, too.
    expected = reference.train(
        PRIOR, loss_of, batch_size=5, num_batches=8, num_epochs=3, mixing_rate=0.3, every=every, lag=1
    )
    assert [counts for _, counts in trace] == [counts for _, counts in expected]
    np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in expected], rtol=0, atol=1e-12)


@pytest.mark.parametrize("every", ["step", "epoch", 3])
@pytest.mark.parametrize("stop", range(0, 17, 2))
def test_what_is_under_way_survives_a_stop(every, stop):
    unbroken = run(make_sampler(every), 0, 20)
    stopped, fresh = make_sampler(every), make_sampler(every)
    before = run(stopped, 0, stop)
    fresh.load_state_dict(through_a_file(stopped.state_dict()))
    assert before + run(fresh, stop, 20) == unbroken


def test_so_does_one_of_a_rule_within_another():
    def sampler():
        mixer = AnnealedMix("uniform", Learn2Mix(0.3), num_steps=12)
        return MixedBatchSampler(LABELS, mixer, batch_size=5, order="grouped")

    unbroken, stopped, fresh = run(sampler(), 0, 12), sampler(), sampler()
    before = run(stopped, 0, 5)
    fresh.load_state_dict(through_a_file(stopped.state_dict()))
    assert before + run(fresh, 5, 12) == unbroken


def test_an_epoch_that_is_left_early_loses_no_update():
    sampler = make_sampler("step")
    run(sampler, 0, 3)
    expected = reference.train(PRIOR, loss_of, batch_size=5, num_batches=4, num_epochs=1, mixing_rate=0.3, lag=1)
    mix = reference.update_proportions(
        reference.update_proportions(expected[2][0], pooled(1, expected), 0.3), pooled(2, expected), 0.3
    )
    sampler.finish_epoch()
    np.testing.assert_allclose(sampler.mixer.proportions, mix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_in_parts_loses_none(weighted):
    """As on the host: the first part counts the batch, the others are pooled with what comes next."""

    def train(put):
        sampler = make_sampler("step")
        for step in range(2):
            for batch in sampler:
                labels = LABELS[batch]
                losses = torch.tensor([loss_of(step, group, place) for place, group in enumerate(labels)])
                for part in (slice(2), slice(2, 4), slice(4, None)):
                    weights = put(torch.arange(1.0, 6.0)[part]) if weighted else None
                    sampler.observe(put(losses[part]), groups=labels[part], weights=weights)
        return sampler.mixer.proportions, sampler.group_losses

    on_host = train(lambda tensor: tensor)
    with FakeAccelerator("cuda:1") as gpu:
        on_device = train(gpu.put)
    np.testing.assert_array_equal(on_device, on_host)


def test_bad_losses_of_a_part_are_named():
    sampler = make_sampler("step")
    with FakeAccelerator("cuda:1") as gpu:
        batches = iter(sampler)
        labels = LABELS[next(batches)]
        sampler.observe(gpu.put(torch.ones(2)), groups=labels[:2])
        with pytest.raises(ValueError, match="NaN or infinite"):
            sampler.observe(gpu.put(torch.tensor([torch.nan])), groups=labels[2:3])


def test_weights_on_the_host_may_be_written_to_once_observed():
    def train(gpu, after):
        sampler, weights = make_sampler("step"), torch.empty(5)
        for batch in sampler:
            weights.copy_(torch.arange(1.0, 6.0))
            sampler.observe(gpu.put(torch.from_numpy(LABELS[batch] + np.arange(5.0))), weights=weights)
            after(weights)
        return sampler.group_losses

    with FakeAccelerator("cuda:1") as gpu:
        np.testing.assert_array_equal(train(gpu, torch.Tensor.zero_), train(gpu, torch.Tensor.clone))


def pooled(step, trace):
    groups = [group for group, count in enumerate(trace[step][1]) for _ in range(count)]
    return reference.pooled_means([(group, loss_of(step, group, i)) for i, group in enumerate(groups)], 3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("weights_on", ["host", "device"])
def test_a_step_waits_for_nothing_but_the_sums_of_the_batch_before(weighted, weights_on):
    feedback = make(1)
    with FakeAccelerator("cuda:1") as gpu:
        stream = gpu.stream("cuda:1")
        for number, batch in enumerate(make_batches(0, num_epochs=1, length=20, weighted=weighted)[:-1]):
            before = len(stream.tasks)
            put = put_losses_only(gpu) if weighted and weights_on == "host" else gpu.put
            observe(feedback, batch, put, weighted=weighted)
            assert stream.done == before, f"batch {number}"  # what was sent with the batch before has arrived
            num_copies = 2 if weighted and weights_on == "device" else 1  # losses, and their weights
            assert len(stream.tasks) == before + num_copies * bool(batch.samples)
    assert gpu.waits == []
    assert gpu.stream("cuda:0").tasks == []


def put_losses_only(gpu):
    """What puts every second tensor on the device: weights are given before losses."""
    turns = iter([False, True] * 1000)
    return lambda tensor: gpu.put(tensor) if next(turns) else tensor


@pytest.mark.parametrize("num_samples", [5, 1 << 17])
def test_what_a_cuda_graph_would_repeat_is_refused_and_the_batch_waits(num_samples):
    labels = np.arange(2 * num_samples) % 3
    sampler = MixedBatchSampler(labels, Learn2Mix(0.3), batch_size=num_samples)
    with FakeAccelerator("cuda:1") as gpu:
        batch = next(iter(sampler))
        losses, logits = gpu.put(torch.ones(num_samples)), gpu.put(torch.zeros(num_samples, 3))
        adjusted = MixAdjustedLoss().follow(sampler)
        weighted = ReweightedLoss(lambda losses: losses, Learn2Mix(), labels)
        gpu.captures = True
        for call in (
            lambda: sampler.observe(losses),
            lambda: adjusted(logits, gpu.put(torch.from_numpy(labels[batch]))),
            lambda: weighted(losses, groups=labels[batch]),
        ):
            with pytest.raises(RuntimeError, match="outside of a CUDA graph"):
                call()
        gpu.captures = False
        sampler.observe(losses)
    assert sampler.lag == 0


def test_groups_that_cannot_be_written_to_are_taken():
    feedback, groups = make(1), np.array([0, 2])
    groups.flags.writeable = False
    with FakeAccelerator("cuda:1") as gpu:
        feedback.add(gpu.put(torch.tensor([1.0, 2.0])), groups, batch=0)
        feedback.step(True, dict)
    assert feedback.mixer.updates == [[1.0, None, 2.0]]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_samples", [4, 1 << 16, (1 << 16) + 1])
def test_few_losses_are_summed_on_the_host_and_many_on_the_device_to_the_same_means(num_samples, weighted):
    random = np.random.default_rng(0)
    losses, groups = random.integers(0, 64, num_samples) / 16, np.arange(num_samples) % 3
    weights = random.integers(1, 3, num_samples) / 2 if weighted else np.ones(num_samples)
    feedback = make(1)
    with FakeAccelerator("cuda:1") as gpu:
        given = gpu.put(torch.tensor(weights)) if weighted else None
        feedback.add(gpu.put(torch.tensor(losses, dtype=torch.float32)), groups, batch=0, weights=given)
        copied = len(gpu.stream("cuda:1").tasks)
        feedback.step(True, dict)
    mean = np.average
    assert feedback.mixer.updates == [[mean(losses[groups == g], weights=weights[groups == g]) for g in range(3)]]
    assert copied == (1 if num_samples > 1 << 16 else 1 + weighted)  # the sums; or losses, and weights
    assert gpu.waits == []


def test_a_run_may_go_on_on_another_device():
    batches = [Batch([(0, float(step), 1.0), (1, 1.0, 1.0)], number=step) for step in range(8)]
    feedback = make(2)
    for step, device in enumerate(["cpu", "cuda:1", "cuda:1", "cpu", "mps", "cpu", "cuda:1", "cpu"]):
        with FakeAccelerator(device if device != "cpu" else "cuda:1") as gpu:
            observe(feedback, batches[step], gpu.put if device != "cpu" else lambda tensor: tensor)
        other = make(2)
        other.load_state_dict(through_a_file(feedback.state_dict()))
        other.mixer.updates, feedback = feedback.mixer.updates, other
    assert feedback.mixer.updates == [[0.5, 1.0, None], [2.5, 1.0, None], [4.5, 1.0, None], [6.5, 1.0, None]]


def test_the_fake_gives_garbage_to_those_who_do_not_wait():
    with FakeAccelerator("cuda:1") as gpu:
        copied = gpu.put(torch.ones(2)).to("cpu", non_blocking=True)
        elsewhere = torch.cuda.Event()
        elsewhere.record()
        elsewhere.synchronize()
        assert copied.tolist() == pytest.approx([GARBAGE] * 2)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(torch.device("cuda:1")))
        event.synchronize()
        assert copied.tolist() == [1.0, 1.0]
        with pytest.raises(RuntimeError, match="same device"):
            gpu.put(torch.ones(2)) + torch.ones(2)
        gpu.put(torch.ones(2)).cpu()
        torch.ones(2).to("cuda:1", non_blocking=True)
    assert gpu.waits == ["to host", "to device"]
