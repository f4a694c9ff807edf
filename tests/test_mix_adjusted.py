"""The loss that knows its mix: of the very batch, in every loop; at its optimum the same classifier at any mix."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import forks
from helpers import Scripted, reset_default_device
from learn2mix import (
    AlternatingMix,
    AnnealedMix,
    FadingMix,
    FixedMix,
    Learn2Mix,
    MixAdjustedLoss,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    Partition,
)

LABELS = [0] * 30 + [1] * 20 + [2] * 10
PATH = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.125, 0.125, 0.75], [0.75, 0.125, 0.125]]


def by_hand(logits, targets, mix, target):
    """The mean of -log(a_y / t_y e^{z_y} / sum_i a_i / t_i e^{z_i}), a sample at a time."""
    losses = []
    for scores, label in zip(logits.tolist(), targets.tolist(), strict=True):
        weights = [a / t * math.exp(z) for a, t, z in zip(mix, target, scores, strict=True)]
        losses.append(-math.log(weights[label] / sum(weights)))
    return losses


def make(mixer, num_batches=5, **places):
    return MixedBatchSampler(LABELS, mixer, batch_size=8, num_batches=num_batches, seed=1, **places)


def loaders():
    """Every way to the batches of a scripted mix; workers run ahead of the loop."""
    for num_workers in (0, 2):
        sampler = make(Scripted(PATH))
        yield f"MixedLoader, {num_workers}", sampler, MixedLoader(LABELS, sampler, num_workers=num_workers)
        sampler = make(Scripted(PATH))
        yield f"DataLoader, {num_workers}", sampler, DataLoader(LABELS, batch_sampler=sampler, num_workers=num_workers)
        stream = MixedStream([[0] * 30, [1] * 20, [2] * 10], Scripted(PATH), batch_size=8)
        yield f"stream, {num_workers}", stream, MixedLoader(stream, num_workers=num_workers)
    sampler = make(Scripted(PATH))
    yield "zero lag", sampler, MixedLoader(LABELS, sampler, num_workers=1, zero_lag=True)


@pytest.mark.parametrize("observes", [True, False])
def test_the_mix_is_that_of_the_batch_being_trained_on(observes):
    for name, sampler, loader in loaders():
        criterion = MixAdjustedLoss().follow(loader if isinstance(loader, MixedLoader) else sampler)
        batches = iter(loader)
        for mix in PATH:
            targets = torch.as_tensor(next(batches))
            logits = torch.randn(len(targets), 3)
            expected = by_hand(logits, targets, mix, [1 / 3] * 3)
            assert criterion(logits, targets).item() == pytest.approx(np.mean(expected), abs=1e-5), name
            assert criterion.losses.tolist() == pytest.approx(expected, abs=1e-5)
            np.testing.assert_allclose(sampler.log_mix(), np.log(np.array(mix) * 3), rtol=1e-6)
            if observes:
                sampler.observe(criterion.take())


@pytest.mark.parametrize(
    ("target", "mix"),
    [
        ("uniform", [1 / 3] * 3),
        ("prior", [0.5, 1 / 3, 1 / 6]),
        ([0.25, 0.25, 0.5], [0.25, 0.25, 0.5]),
        ({2: 0.5, 1: 0.25, 0: 0.25}, [0.25, 0.25, 0.5]),
    ],
)
def test_a_target_is_a_mix_as_everywhere(target, mix):
    loader = MixedLoader(LABELS, make(Scripted(PATH)))
    criterion = MixAdjustedLoss(target=target).follow(loader)
    targets = next(iter(loader))
    logits = torch.randn(8, 3)
    assert criterion(logits, targets).item() == pytest.approx(np.mean(by_hand(logits, targets, PATH[0], mix)), abs=1e-5)


def test_a_target_without_a_share_for_a_class_that_is_drawn_is_refused():
    loader = MixedLoader(LABELS, make(FixedMix()))
    targets = next(iter(loader))
    with pytest.raises(ValueError, match="target must give a share to every class that is drawn, but class 2 has 0"):
        MixAdjustedLoss(target=[0.5, 0.5, 0.0]).follow(loader)(torch.zeros(8, 3), targets)


def test_a_class_without_a_share_is_left_out_of_the_softmax():
    loader = MixedLoader(LABELS, make(FixedMix([0.5, 0.5, 0.0])))
    criterion = MixAdjustedLoss().follow(loader)
    targets = next(iter(loader))
    logits = torch.randn(8, 3, requires_grad=True)
    loss = criterion(logits, targets)
    assert loss.item() == pytest.approx(F.cross_entropy(logits[:, :2], targets).item(), abs=1e-6)
    loss.backward()
    assert logits.grad[:, 2].tolist() == [0.0] * 8
    assert logits.grad[:, :2].abs().min() > 0


def test_a_class_that_an_earlier_batch_owes_a_sample_counts_by_its_samples():
    # Two batches of one sample each owe the third group 0.4; then it is owed most, though its share has ended.
    sampler = MixedBatchSampler(LABELS, Scripted([[0.4, 0.2, 0.4], [1.0, 0.0, 0.0], [0.9, 0.1, 0.0]]), batch_size=1)
    found = []
    for batch in sampler:
        labels = torch.tensor(LABELS)[batch]
        found.append((labels.tolist(), sampler.log_mix()))
        assert torch.isfinite(F.cross_entropy(torch.zeros(1, 3) + found[-1][1], labels))
        sampler.observe(None)
        if len(found) == 3:
            break
    assert [labels for labels, _ in found] == [[0], [0], [2]]
    assert found[2][1][2].item() == pytest.approx(math.log(3))


def test_in_evaluation_nothing_is_added_and_nothing_is_asked():
    criterion = MixAdjustedLoss().eval()
    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    assert criterion(logits, targets).item() == pytest.approx(F.cross_entropy(logits, targets).item(), abs=1e-6)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_a_validation_in_training_mode_is_told_that_the_mix_is_added(without):
    criterion = MixAdjustedLoss().follow(loader := MixedLoader(LABELS, make(FixedMix())))
    logits, targets = torch.randn(8, 3), next(iter(loader))
    with without(), pytest.warns(UserWarning, match=r"without gradients, .*criterion\.eval\(\) first"):
        adjusted = criterion(logits, targets)
    assert adjusted.item() == criterion(logits, targets).item() != F.cross_entropy(logits, targets).item()
    with without():
        assert criterion.eval()(logits, targets).item() == pytest.approx(F.cross_entropy(logits, targets).item())


def test_it_takes_the_log_of_the_mix_as_an_argument_too():
    sampler = make(Scripted(PATH))
    targets = torch.tensor(LABELS)[next(iter(sampler))]
    logits = torch.randn(8, 3)
    expected = F.cross_entropy(logits + sampler.log_mix(), targets)
    found = MixAdjustedLoss()(logits, targets, log_mix=sampler.log_mix())
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    with pytest.raises(ValueError, match=r"one value per class, shape \(4,\), got \(3,\)"):
        MixAdjustedLoss()(torch.randn(8, 4), targets, log_mix=sampler.log_mix())


@pytest.mark.parametrize("observed", ["adjusted", "plain"])
def test_the_mixer_is_fed_what_was_asked_for(observed):
    loader = MixedLoader(LABELS, make(FixedMix([0.5, 0.25, 0.25])))
    criterion = MixAdjustedLoss(observed=observed).follow(loader)
    targets = next(iter(loader))
    logits = torch.randn(8, 3, requires_grad=True)
    loss = criterion(logits, targets)
    adjusted = by_hand(logits, targets, [0.5, 0.25, 0.25], [1 / 3] * 3)
    plain = F.cross_entropy(logits, targets, reduction="none")
    assert criterion.losses.tolist() == pytest.approx(adjusted if observed == "adjusted" else plain.tolist(), abs=1e-5)
    assert loss.item() == pytest.approx(np.mean(adjusted), abs=1e-5)
    assert not criterion.losses.requires_grad
    assert criterion.num_calls == 1


def test_another_criterion_weights_and_probabilities_as_targets():
    loader = MixedLoader(LABELS, make(FixedMix([0.5, 0.25, 0.25])))
    targets = next(iter(loader))
    logits, weight = torch.randn(8, 3), torch.tensor([1.0, 2.0, 3.0])
    moved = logits + torch.tensor([0.5, 0.25, 0.25]).log()
    criterion = MixAdjustedLoss(nn.CrossEntropyLoss(weight=weight, reduction="none")).follow(loader)
    assert criterion(logits, targets).item() == pytest.approx(F.cross_entropy(moved, targets, weight).item(), abs=1e-6)
    mixed_up = torch.rand(8, 3).softmax(1)
    criterion = MixAdjustedLoss().follow(loader)
    assert criterion(logits, mixed_up).item() == pytest.approx(F.cross_entropy(moved, mixed_up).item(), abs=1e-6)


def test_labels_are_columns_of_the_logits():
    labels = [3] * 5 + [7] * 5
    loader = MixedLoader(labels, MixedBatchSampler(labels, FixedMix([0.25, 0.75]), batch_size=4))
    targets = next(iter(loader))
    logits = torch.randn(4, 10)
    expected = F.cross_entropy(logits[:, [3, 7]] + torch.tensor([0.25, 0.75]).log(), (targets == 7).long())
    assert MixAdjustedLoss().follow(loader)(logits, targets).item() == pytest.approx(expected.item(), abs=1e-6)


def test_names_in_another_order_than_the_classes_are_refused():
    """A batch has as many samples of each, so only the group of each sample shows that names and classes differ."""
    names = ["low", "medium", "high"]  # sorted: high, low, medium
    targets = [0, 1, 2] * 20
    sampler = MixedBatchSampler([names[target] for target in targets], FixedMix("uniform"), batch_size=30)
    loader = MixedLoader(targets, sampler)
    criterion = MixAdjustedLoss().follow(loader)
    with pytest.raises(ValueError, match=r"'high' has the column 0 .* the target 2; make the sampler's groups"):
        criterion(torch.zeros(30, 3), next(iter(loader)))


def test_a_batch_in_another_order_has_the_same_mix():
    loader = MixedLoader(
        LABELS, make(FixedMix([0.5, 0.25, 0.25])), collate_fn=lambda samples: torch.tensor(samples).sort()[0]
    )
    logits, targets = torch.randn(8, 3), next(iter(loader))
    expected = by_hand(logits, targets, [0.5, 0.25, 0.25], [1 / 3] * 3)
    assert MixAdjustedLoss().follow(loader)(logits, targets).item() == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("groups", "num_classes", "message"),
    [
        (Partition.by_class(LABELS, [0, 1] * 30), 3, r"groups must be the classes.*\(0, 0\)"),
        (["web"] * 30 + ["books"] * 30, 3, "groups must be the classes.*3 columns.*2 groups.*'books'"),
        ([0, 1, 2] * 20, 3, "groups must be the classes, but a batch with the groups"),  # domains of the same number
        ([0, 1, 2, 3] * 15, 3, "groups must be the classes.*3 columns.*4 groups"),
    ],
)
def test_groups_that_are_not_the_classes_are_refused(groups, num_classes, message):
    loader = MixedLoader(LABELS, MixedBatchSampler(groups, FixedMix(), batch_size=30, seed=1))
    criterion = MixAdjustedLoss().follow(loader)
    with pytest.raises(ValueError, match=message):
        for batch in loader:
            criterion(torch.zeros(30, num_classes), batch)


def test_what_it_cannot_know_is_an_error_that_says_what_to_do():
    targets = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"criterion.follow\(loader\).*MixingCallback"):
        MixAdjustedLoss()(torch.zeros(2, 3), targets)
    with pytest.raises(TypeError, match=r"source must be .* got list"):
        MixAdjustedLoss().follow([1])
    with pytest.raises(ValueError, match="observed must be"):
        MixAdjustedLoss(observed="both")
    loader = MixedLoader(LABELS, make(FixedMix()))
    with pytest.raises(ValueError, match=r"\(batch_size, num_classes\)"):
        MixAdjustedLoss().follow(loader)(torch.zeros(2, 3, 4), targets)
    with pytest.raises(ValueError, match="no batch yet"):
        loader.log_mix()
    sampler = make(Learn2Mix())
    batches = iter(sampler)
    next(batches)
    sampler.observe(torch.ones(8))
    with pytest.raises(ValueError, match="every batch handed out so far was observed"):
        sampler.log_mix()


@pytest.mark.parametrize("mixer", [Learn2Mix, lambda: AnnealedMix(Learn2Mix(), "uniform", num_steps=4)])
@pytest.mark.parametrize("load", [MixedLoader, lambda data, sampler: DataLoader(data, batch_sampler=sampler)])
def test_a_loop_that_never_observes_is_told_at_its_second_step_where_the_mix_follows_losses(load, mixer):
    sampler = make(mixer())
    loader = load(LABELS, sampler)
    criterion, steps = MixAdjustedLoss().follow(sampler), []
    with pytest.raises(RuntimeError, match=r"log_mix: .* never observed; call observe\(losses\), or observe\(None\)"):
        for batch in loader:
            steps.append([criterion(torch.zeros(8, 3), batch).item() for _ in range(2)])  # as SAM does
    assert len(steps) == 1


def test_a_batch_of_one_class_has_nothing_to_tell_apart():
    """As turns have it: the other classes are left out of the softmax, so that every loss is 0."""
    loader = MixedLoader(LABELS, make(AlternatingMix()))
    criterion, targets = MixAdjustedLoss().follow(loader), next(iter(loader))
    with pytest.warns(UserWarning, match=r"of class 0 only\..* nothing is learned.*floor="):
        assert criterion(torch.randn(8, 3), targets).item() == 0
    assert criterion(torch.randn(8, 3), targets).item() == 0  # told once


def test_a_loop_that_has_several_batches_at_a_time_has_to_observe():
    sampler = make(FixedMix())
    sampler.fetch_ahead = 2
    batches = iter(MixedLoader(LABELS, sampler))
    next(batches)
    next(batches)
    with pytest.raises(RuntimeError, match="several batches at a time"):
        sampler.log_mix()
    sampler.observe(None)
    assert sampler.log_mix().shape == (3,)


def test_a_default_device_changes_nothing():
    loader = MixedLoader(LABELS, make(FixedMix([0.5, 0.25, 0.25])))
    criterion = MixAdjustedLoss().follow(loader)
    targets = next(iter(loader))
    logits = torch.randn(8, 3)
    expected = criterion(logits, targets)
    torch.set_default_device("meta")
    try:
        assert torch.equal(criterion(logits, targets), expected)
    finally:
        reset_default_device()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_neither_does_a_default_type(dtype):
    """Which a Trainer(precision="bf16-true") sets around each step."""
    loader = MixedLoader(LABELS, make(FixedMix([0.5, 0.25, 0.25])))
    logits, targets = torch.randn(8, 3), next(iter(loader))
    torch.set_default_dtype(dtype)
    try:
        loss = MixAdjustedLoss().follow(loader)(logits, targets)
    finally:
        torch.set_default_dtype(torch.float32)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(np.mean(by_hand(logits, targets, [0.5, 0.25, 0.25], [1 / 3] * 3)), abs=1e-6)


def test_a_copy_follows_nothing_and_the_original_goes_on():
    loader = MixedLoader(LABELS, make(FixedMix()))
    criterion = MixAdjustedLoss().follow(loader)
    model = nn.ModuleDict({"criterion": criterion})
    copied = copy.deepcopy(model)["criterion"]
    targets = next(iter(loader))
    assert torch.isfinite(criterion(torch.zeros(8, 3), targets))
    with pytest.raises(ValueError, match="follow"):
        copied(torch.zeros(8, 3), targets)
    assert list(model.state_dict()) == []


def test_a_compiled_step_is_one_graph_and_gives_the_same():
    sampler = make(Scripted(PATH))
    loader = MixedLoader(LABELS, sampler)
    criterion = MixAdjustedLoss().follow(loader)
    graphs = []

    def backend(module, _):
        graphs.append(module)
        return module.forward

    step = torch.compile(lambda logits, targets: criterion(logits, targets), backend=backend, fullgraph=True)
    for batch, mix in zip(loader, PATH, strict=True):
        logits = torch.randn(8, 3, requires_grad=True)
        loss = step(logits, batch)
        assert loss.item() == pytest.approx(np.mean(by_hand(logits, batch, mix, [1 / 3] * 3)), abs=1e-5)
        loss.backward()
        assert logits.grad.abs().max() > 0
        sampler.observe(criterion.take())
    assert len(graphs) <= 2


def test_on_two_processes_the_mix_is_that_of_the_whole_batch(tmp_path):
    def train(rank):
        forks.gloo(rank, 2, tmp_path)
        sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=4, num_batches=5, seed=1)
        criterion, found = MixAdjustedLoss().follow(sampler), []
        for batch in MixedLoader(LABELS, sampler):
            found.append(sampler.log_mix().tolist())
            criterion(torch.arange(3.0).repeat(4, 1), batch)
            sampler.observe(criterion.take())
        return found

    first, second = forks.results(train, 2, tmp_path)
    assert first == second
    alone, found = make(Learn2Mix(0.5)), []
    criterion = MixAdjustedLoss().follow(alone)
    for batch in MixedLoader(LABELS, alone):
        found.append(alone.log_mix().tolist())
        criterion(torch.arange(3.0).repeat(8, 1), batch)
        alone.observe(criterion.take())
    np.testing.assert_allclose(first, found, rtol=1e-5)
    assert len({tuple(mix) for mix in found}) == 5


def of_a_stream(on_exhausted, num_processes=1):
    """The mixes of a stream's batches over three epochs, as the loss has them and as they were asked for."""
    data = [[group] * LABELS.count(group) for group in range(3)]
    stream = MixedStream(
        data, Learn2Mix(0.3, passes=2.0), batch_size=8 // num_processes, seed=4, on_exhausted=on_exhausted
    )
    criterion, path = MixAdjustedLoss().follow(stream), []
    loader = MixedLoader(stream, num_workers=2)
    for _ in range(3):
        for batch in loader:
            log_mix = stream.log_mix()
            criterion(torch.arange(3.0).repeat(len(batch), 1), batch)
            stream.observe(criterion.take())
            path.append((log_mix.exp().tolist(), stream.last_observed.proportions.tolist()))
    loader.close()
    return path


@pytest.mark.parametrize("on_exhausted", ["stop_first", "drop"])
def test_a_stream_on_two_processes_whose_epochs_end_has_the_mix_of_each_batch(tmp_path, on_exhausted):
    def train(rank):
        forks.gloo(rank, 2, tmp_path)
        return of_a_stream(on_exhausted, num_processes=2)

    first, second = forks.results(train, 2, tmp_path)
    alone = of_a_stream(on_exhausted)
    assert first == second
    assert len(first) == len(alone) > 6
    asked = np.array([mix for _, mix in first])
    np.testing.assert_allclose(asked, [mix for _, mix in alone], rtol=0, atol=1e-6)
    had = np.array([mix for mix, _ in first])
    np.testing.assert_allclose(np.where(asked > 0, had, 0), asked * 3, rtol=0, atol=1e-5)


# ------------------------------------------------------------------ what it is for

MEANS = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])  # of three Gaussian classes with unit variance


def boundary(weight, bias):
    """Weights and biases of the classes, up to what is the same for all."""
    return torch.cat([weight - weight.mean(0), (bias - bias.mean())[:, None]], dim=1)


def bayes(target):
    """log t_i + log N(x; m_i, 1) = m_i x - |m_i|^2 / 2 + log t_i."""
    return boundary(MEANS, -MEANS.square().sum(1) / 2 + torch.tensor(target).log())


@pytest.mark.parametrize(
    ("make_mixer", "target"),
    [
        (lambda: FixedMix(), [0.6, 0.3, 0.1]),
        (lambda: AnnealedMix([0.8, 0.1, 0.1], [0.1, 0.1, 0.8], num_steps=400), "uniform"),
        (lambda: Learn2Mix(0.1), "uniform"),
        (lambda: Learn2Mix(0.1), [0.6, 0.3, 0.1]),
        (lambda: FadingMix(2.0), [0.6, 0.3, 0.1]),
    ],
)
def test_any_moving_mix_ends_at_the_bayes_classifier_of_the_target(make_mixer, target):
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(LABELS).repeat(1000)
    inputs = MEANS[labels] + torch.randn(len(labels), 2, generator=generator)
    sampler = MixedBatchSampler(labels, make_mixer(), batch_size=2000, num_batches=400, seed=3)
    criterion = MixAdjustedLoss(target=target).follow(sampler)
    net = nn.Linear(2, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    mean = torch.zeros(3, 3)
    for step, index in enumerate(sampler):
        for group in optimizer.param_groups:
            group["lr"] = 1.0 if step < 200 else 0.2
        loss = criterion(net(inputs[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sampler.observe(criterion.take())
        if step >= 300:
            mean += boundary(net.weight.detach(), net.bias.detach()) / 100
    wanted = bayes([1 / 3] * 3 if target == "uniform" else target)
    assert (mean - wanted).abs().max() < 0.12
