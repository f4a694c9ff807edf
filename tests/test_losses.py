"""Losses a sample: kept by PerSampleLoss, summed by group, averaged by GroupLossMeter."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reference
from helpers import NAN
from learn2mix import FixedMix, GroupLossMeter, Learn2Mix, MixedBatchSampler, PerSampleLoss, ReweightedLoss
from learn2mix.feedback.group_losses import sum_by_group


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_classification_loss_is_kept_for_each_sample():
    criterion = PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))
    scores, labels = seeded(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    mean = criterion(scores, labels)
    torch.testing.assert_close(mean, nn.CrossEntropyLoss()(scores, labels))
    each = [nn.CrossEntropyLoss()(scores[i : i + 1], labels[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(criterion.losses, torch.stack(each))


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 4, 4)])
def test_a_regression_loss_is_averaged_over_what_is_left_of_a_sample(shape):
    criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
    predicted, wanted = seeded(*shape), seeded(*shape, seed=1)
    torch.testing.assert_close(criterion(predicted, wanted), nn.MSELoss()(predicted, wanted))
    assert criterion.losses.shape == (5,)
    each = [nn.MSELoss()(predicted[i], wanted[i]) for i in range(5)]
    torch.testing.assert_close(criterion.losses, torch.stack(each))


def test_a_function_may_be_the_criterion_and_its_keywords_reach_it():
    criterion = PerSampleLoss(lambda predicted, wanted, *, power: (predicted - wanted).abs() ** power)
    assert criterion(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), power=3).item() == 4.0


@pytest.mark.parametrize(("kind", "shape"), [(nn.CrossEntropyLoss, (6, 3)), (nn.MSELoss, (6, 2, 2))])
def test_the_gradient_is_that_of_the_plain_mean(kind, shape):
    target = torch.tensor([0, 1, 2, 2, 1, 0]) if kind is nn.CrossEntropyLoss else seeded(*shape, seed=1)
    plain, kept = seeded(*shape).requires_grad_(), seeded(*shape).requires_grad_()
    kind()(plain, target).backward()
    PerSampleLoss(kind(reduction="none"))(kept, target).backward()
    torch.testing.assert_close(kept.grad, plain.grad)


def test_the_losses_kept_hold_no_graph():
    criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
    criterion(seeded(4, 2).requires_grad_(), seeded(4, 2, seed=1))
    assert not criterion.losses.requires_grad


def test_taking_the_losses_forgets_them():
    criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
    assert criterion.losses is None
    assert criterion.take() is None
    criterion(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    assert criterion.take().tolist() == [0.0, 4.0]
    assert criterion.losses is None
    assert criterion.take() is None


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum")])
def test_a_criterion_that_returns_a_scalar_is_refused(criterion):
    with pytest.raises(ValueError, match=r'but this CrossEntropyLoss .*; make it with reduction="none"'):
        PerSampleLoss(criterion)

    class OnesOwn(type(criterion)):  # which may do otherwise
        pass

    wrapped = PerSampleLoss(OnesOwn())
    with pytest.raises(ValueError, match=r'but OnesOwn returned a scalar; make it with reduction="none"'):
        wrapped(seeded(4, 2), torch.tensor([0, 1, 0, 1]))
    assert wrapped.losses is None


def test_a_criterion_without_reduction_is_told_where_its_losses_are():
    class Focal(nn.Module):
        def __init__(self, gamma=2.0):
            super().__init__()

        def forward(self, logits, targets):
            return nn.functional.cross_entropy(logits, targets)

    with pytest.raises(ValueError, match=r"Focal returned a scalar; let its forward return the losses from before it"):
        PerSampleLoss(Focal())(seeded(4, 2), torch.tensor([0, 1, 0, 1]))


@pytest.mark.parametrize("wrap", [PerSampleLoss, lambda one: ReweightedLoss(one, FixedMix(), groups=[0, 1])])
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4,), (4, 1))])
def test_predictions_that_are_compared_with_the_targets_of_all_samples_are_refused(wrap, shapes):
    groups = {} if wrap is PerSampleLoss else {"groups": torch.tensor([0, 1, 0, 1])}
    criterion, (first, second) = wrap(lambda x, y: (x - y) ** 2), (seeded(*shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"of each of 4 samples; squeeze\(1\) the one of two axes"):
        criterion(first, second, **groups)
    right = criterion(first.flatten(), second.flatten(), **groups)
    assert torch.isclose(right, ((first.flatten() - second.flatten()) ** 2).mean())
    if not groups:
        criterion(first[:1], second[:1])  # a single sample is compared with itself
        PerSampleLoss(lambda x, y: torch.cdist(x, x) * y)(seeded(4, 2), seeded(4))  # losses of pairs that are meant


@pytest.mark.parametrize("wrap", [PerSampleLoss, lambda one: ReweightedLoss(one, FixedMix(), groups=[0, 1])])
def test_what_else_is_no_loss_of_each_sample_is_named(wrap):
    groups = {} if wrap is PerSampleLoss else {"groups": torch.tensor([0, 1])}
    with pytest.raises(TypeError, match=r"must return a tensor, one loss a sample, but <lambda> returned a tuple"):
        wrap(lambda logits, targets: (logits.mean(1), targets))(seeded(2, 2), torch.tensor([0, 1]), **groups)
    with pytest.raises(ValueError, match="CrossEntropyLoss returned a scalar; give it a batch of samples"):
        wrap(nn.CrossEntropyLoss(reduction="none"))(seeded(2), torch.tensor(0), **groups)


def test_keeping_losses_adds_nothing_to_a_state():
    module = nn.ModuleDict({"net": nn.Linear(2, 2), "criterion": nn.CrossEntropyLoss(reduction="none")})
    keys = list(module.state_dict())
    module["criterion"] = PerSampleLoss(module["criterion"])
    module["criterion"](seeded(4, 2), torch.tensor([0, 1, 0, 1]))
    assert list(module.state_dict()) == keys


batches = st.lists(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e3, width=32)), min_size=1), max_size=6)


@given(batches)
def test_sums_by_group_equal_plain_loops(batches):
    for pairs in batches:
        groups, losses = zip(*pairs, strict=True)
        sums = sum_by_group(torch.tensor(losses), torch.tensor(groups), 5)
        assert sums.dtype == torch.float64
        expected = [math.fsum(loss for group, loss in pairs if group == wanted) for wanted in range(5)]
        assert sums.tolist() == pytest.approx(expected, rel=1e-12)


@given(batches)
def test_the_meter_pools_by_sample(batches):
    meter = GroupLossMeter(num_groups=5)
    for pairs in batches:
        groups, losses = zip(*pairs, strict=True)
        meter.update(torch.tensor(losses), torch.tensor(groups))
    if not batches:
        return
    expected = reference.pooled_means([pair for pairs in batches for pair in pairs], 5)
    for mean, wanted in zip(meter.compute().tolist(), expected, strict=True):
        assert math.isnan(mean) if wanted is None else mean == pytest.approx(wanted, rel=1e-12)


def test_the_meter_weighs_samples_and_not_batches():
    meter = GroupLossMeter(num_groups=2)
    meter.update(torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([1, 1, 1, 1]))
    meter.update(torch.tensor([9.0]), torch.tensor([1], dtype=torch.int32))
    unseen, mean = meter.compute().tolist()
    assert mean == pytest.approx(3.4)
    assert math.isnan(unseen)


def test_the_meter_starts_anew_when_it_is_reset():
    meter = GroupLossMeter(num_groups=2)
    meter.update(torch.tensor([1.0, 3.0]), torch.tensor([0, 1]))
    meter.reset()
    meter.update(torch.tensor([5.0, 7.0]), torch.tensor([0, 0]))
    mean, unseen = meter.compute().tolist()
    assert mean == 6.0
    assert math.isnan(unseen)


def test_the_meter_does_not_keep_the_graph_or_change_the_losses():
    meter, losses = GroupLossMeter(num_groups=2), torch.tensor([1.0, 3.0], requires_grad=True)
    meter.update(losses, torch.tensor([0, 1]))
    assert not meter.compute().requires_grad
    assert losses.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("losses", "groups"),
    [(torch.ones(3), torch.zeros(2)), (torch.ones(2, 2), torch.zeros(2, 2)), (torch.tensor(1.0), torch.tensor(0))],
)
def test_the_meter_refuses_unequal_shapes(losses, groups):
    meter = GroupLossMeter(num_groups=2)
    with pytest.raises(ValueError, match="losses and groups must be 1-D and of one length, got shapes"):
        meter.update(losses, groups.long())
    assert meter.sums.tolist() == meter.counts.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("losses", "groups"), [([1.0], torch.tensor([0])), (torch.ones(1), [0])])
def test_the_meter_refuses_what_is_no_tensor(losses, groups):
    with pytest.raises(TypeError, match=r"losses and groups must be tensors, got \w+ and \w+; give torch\.as_tensor"):
        GroupLossMeter(num_groups=2).update(losses, groups)


def test_the_meter_refuses_no_groups():
    with pytest.raises(ValueError, match="num_groups must be at least 1, got 0"):
        GroupLossMeter(num_groups=0)


@pytest.mark.parametrize("kind", ["KLDivLoss", "1 - cosine"])
def test_losses_below_zero_by_rounding_are_zero(kind):
    logits = seeded(400, 64)
    if kind == "KLDivLoss":
        log_probabilities = logits.log_softmax(1)
        losses = nn.KLDivLoss(reduction="none", log_target=True)(log_probabilities, log_probabilities * (1 + 1e-7)).sum(
            1
        )
    else:
        losses = 1 - nn.functional.cosine_similarity(logits, logits * 1.1)
    assert losses.min() < 0
    sampler = MixedBatchSampler([0, 1] * 200, Learn2Mix(0.5), batch_size=400, order="grouped")
    next(iter(sampler))
    sampler.observe(losses)
    assert sampler.group_losses.tolist() == pytest.approx(losses.clamp(min=0).reshape(2, 200).double().mean(1).tolist())


def test_calls_are_counted_until_the_losses_are_taken():
    criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
    for _ in range(2):
        criterion(torch.ones(3), torch.zeros(3))
    assert criterion.num_calls == 2
    criterion.take()
    assert criterion.num_calls == 0


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (torch.tensor([0, 2]), ValueError, r"groups must lie in \[0, 2\), got 0 to 2"),
        (torch.tensor([-1, 0]), ValueError, r"groups must lie in \[0, 2\), got -1 to 0"),
        (torch.tensor([0.0, 0.5]), TypeError, "groups must be the numbers of the groups, whole numbers .* float32"),
    ],
)
def test_the_meter_refuses_groups_that_are_none(groups, error, message):
    meter = GroupLossMeter(num_groups=2)
    with pytest.raises(error, match=message):
        meter.update(torch.ones(2), groups)
    assert meter.sums.tolist() == meter.counts.tolist() == [0.0, 0.0]


def test_the_meter_moves_to_a_device_without_float64():
    def to_apple(tensor):
        """Moves as torch does to its device "mps"."""
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor.clone()

    meter = GroupLossMeter(num_groups=2)
    meter.update(torch.tensor([1.0, 4.0]), torch.tensor([0, 0]))
    meter._apply(to_apple)
    assert meter.sums.dtype == meter.counts.dtype == torch.float32
    meter.update(torch.tensor([4.0]), torch.tensor([0]))
    assert meter.compute().tolist() == pytest.approx([3.0, NAN], nan_ok=True)
    meter.reset()
    assert meter.sums.dtype == torch.float32
    assert GroupLossMeter(num_groups=2).half().sums.dtype == torch.float64
