"""Losses of another shape than one per sample: the error says what to do, and to do it gives the right losses."""

import re
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from learn2mix import Learn2Mix, MixedBatchSampler, PerSampleLoss
from learn2mix.feedback.group_losses import check_groups, check_losses, check_validation

TRUE = torch.arange(1.0, 7.0)  # of six samples
FOR_A_STREAM = "DataLoader(stream, batch_size=None)"


def message(losses, count=6):
    with pytest.raises(
        ValueError, match=rf"losses must be one value per sample, shape \({count},\), got shape"
    ) as error:
        check_losses(losses, count)
    return str(error.value)


@pytest.mark.parametrize(
    "losses",
    [
        torch.cat([TRUE + 0.5, TRUE - 0.5]),  # two views, one after the other
        torch.cat([TRUE + 1, TRUE, TRUE - 1]),
        torch.stack([TRUE + 0.5, TRUE - 0.5], 1).flatten(),  # neighbours
        torch.stack([TRUE + 0.5, TRUE - 0.5]),
        TRUE[:, None],
        TRUE[None],
        torch.stack([TRUE + 1, TRUE, TRUE - 1], 1),
        TRUE[:, None, None].expand(6, 3, 4),
    ],
    ids=lambda losses: str(tuple(losses.shape)),
)
def test_one_of_the_expressions_in_the_advice_gives_the_losses(losses):
    expressions = re.findall(r"losses(?:\.\w+\([\d, ]*\))+", message(losses))
    results = [eval(expression, {"losses": losses}) for expression in expressions]
    assert all(result.shape == (6,) for result in results)
    assert any(torch.allclose(result, TRUE) for result in results)
    assert len(results) <= 2


def test_the_advice_for_views_tells_the_two_orders_apart():
    said = message(torch.ones(12))
    assert "losses.view(2, 6).mean(0) for views that were concatenated one after the other" in said
    assert "losses.view(6, 2).mean(1) for losses of a sample that are neighbours" in said
    assert "groups=" in said


@pytest.mark.parametrize("shape", [(6, 9), (54,)])
def test_the_advice_for_tokens_leaves_pads_out(shape):
    assert "(without pads: PerSampleLoss leaves them out" in message(torch.ones(shape))
    logits, targets = torch.randn(6, 3, 9), torch.tensor([[1] * 4 + [-100] * 5] * 6)
    (criterion := PerSampleLoss(nn.CrossEntropyLoss(reduction="none")))(logits, targets)
    assert torch.allclose(criterion.losses, nn.CrossEntropyLoss(reduction="none")(logits, targets).sum(1) / 4)


@pytest.mark.parametrize("shape", [(24,), (4, 6), (1, 6), (4, 6, 3), (4, 8)])
def test_batches_of_batches_are_recognised(shape):
    assert FOR_A_STREAM in message(torch.ones(shape)).split("got ")[-1]


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_loss_that_was_averaged_already(shape):
    assert 'reduction="none"' in message(torch.ones(shape))


@pytest.mark.parametrize("shape", [(5,), (3,), (2,), (0,)])
def test_fewer_losses_than_samples(shape):
    said = message(torch.ones(shape))
    assert "collate_fn left samples out" in said
    assert "observe(None)" in said
    assert "groups=" in said
    assert "micro-batches" in said


@pytest.mark.parametrize("shape", [(7,), (13,)])
def test_more_losses_that_cannot_be_shared_out(shape):
    assert "pass groups= with the group of each loss" in message(torch.ones(shape))


def test_losses_may_be_numbers_arrays_or_tensors_and_come_detached():
    graph = torch.ones(2, requires_grad=True)
    for losses in ([1, 1], (1.0, 1.0), np.ones(2), np.ones(2, dtype=int), graph * 1, list(graph * 1), [graph[0], 1.0]):
        found = check_losses(losses, 2)
        assert found.is_floating_point()
        assert not found.requires_grad
        assert found.tolist() == [1.0, 1.0]


def test_another_default_device_changes_nothing():
    tensors = list(torch.ones(2))
    with torch.device("meta"):
        assert check_losses([1.0, 2.0], 2).tolist() == [1.0, 2.0]
        assert check_losses(tensors, 2).tolist() == [1.0, 1.0]
        assert check_groups([0, 1], 2, 2).tolist() == [0, 1]
        assert check_validation(0.5, [0.5, 1.0], ["cat", "dog"])[1].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("losses", [[0.5, float("nan")], torch.tensor([0.5, float("nan")], dtype=torch.bfloat16)])
def test_validation_losses_of_any_type(losses):
    np.testing.assert_array_equal(check_validation(0.5, losses, ["cat", "dog"])[1], [0.5, np.nan])
    assert check_validation(0.5, None, ["cat", "dog"]) == (0.5, None)
    with pytest.raises(ValueError, match="group_losses must have one value"):
        check_validation(0.5, losses, ["cat", "dog", "eel"])


def test_losses_of_several_batches_are_no_views_of_one():
    """As of accumulated gradients: their mean over the batches would be that of other samples."""
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    true = np.array([0.5, 1.0, 4.0])
    sampler = MixedBatchSampler(labels, Learn2Mix(), batch_size=10)
    batches = iter(sampler)
    parts = [true[labels[indices]] for indices in islice(batches, 4)]
    with pytest.raises(ValueError, match=r"the loop has 4 batches .*observe the losses of each alone") as error:
        sampler.observe(np.concatenate(parts))
    assert ".mean(" not in str(error.value)
    for losses in parts:
        sampler.observe(losses)
    assert sampler.group_losses.tolist() == true.tolist()


def test_a_loss_of_each_pair_is_told_to_be_of_predictions_with_an_axis_more_or_of_pairs():
    predictions, targets = TRUE[:, None] + 1, TRUE
    assert "predictions.squeeze(1); of pairs give" in message((predictions - targets) ** 2)
    check_losses((predictions.squeeze(1) - targets) ** 2, 6)
    assert "squeeze" not in message(torch.zeros(6, 4))
