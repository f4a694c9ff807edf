"""PerSampleLoss takes the place of its criterion: the same mean, with weights, ignored and smoothed classes."""

import functools
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from learn2mix import PerSampleLoss

WEIGHT = torch.tensor([0.2, 1.0, 5.0, 0.0])
SHAPES = {"samples": (7,), "pixels": (4, 3, 2), "tokens": (3, 5)}


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(shape, ignored=None, seed=0):
    targets = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed))
    targets.view(-1)[1] = 2  # so that not all have no weight
    if ignored is not None:
        targets.view(-1)[::3] = ignored
    return targets


def assert_same_mean_and_gradient(mine, own, *arguments):
    means = [criterion(*arguments) for criterion in (mine, own)]
    torch.testing.assert_close(*means, equal_nan=True)
    gradients = [torch.autograd.grad(mean, arguments[0])[0] for mean in means]
    torch.testing.assert_close(*gradients, equal_nan=True)


CLASSIFICATION = list(
    itertools.product(SHAPES, [None, WEIGHT.double()], [-100, 1, 255], [0.0, 0.1, 1.0], ["index", "probabilities"])
)


@pytest.mark.parametrize(("shape", "weight", "ignored", "smoothing", "kind"), CLASSIFICATION)
def test_cross_entropy_s_own_mean(shape, weight, ignored, smoothing, kind):
    batch, *rest = SHAPES[shape]
    logits = seeded(batch, 4, *rest).requires_grad_()
    settings = {"weight": weight, "label_smoothing": smoothing}
    if kind == "index":
        settings["ignore_index"], targets = ignored, classes(SHAPES[shape], ignored)
    else:
        targets = seeded(*logits.shape, seed=1).softmax(1)
    own = nn.CrossEntropyLoss(**settings)
    for criterion in (
        nn.CrossEntropyLoss(reduction="none", **settings),
        functools.partial(F.cross_entropy, reduction="none", **settings),
    ):
        assert_same_mean_and_gradient(PerSampleLoss(criterion), own, logits, targets)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [None, WEIGHT.double()])
@pytest.mark.parametrize("ignored", [-100, 1])
def test_nll_s_own_mean(shape, weight, ignored):
    batch, *rest = SHAPES[shape]
    scores, targets = seeded(batch, 4, *rest).log_softmax(1).requires_grad_(), classes(SHAPES[shape], ignored)
    own = nn.NLLLoss(weight=weight, ignore_index=ignored)
    named = nn.NLLLoss(weight=weight, ignore_index=ignored, reduction="none")
    assert_same_mean_and_gradient(PerSampleLoss(named), own, scores, targets)
    assert_same_mean_and_gradient(lambda x, y: PerSampleLoss(named)(x, target=y), own, scores, targets)
    placed = PerSampleLoss(F.nll_loss)
    assert_same_mean_and_gradient(
        lambda x, y: placed(x, y, weight, None, ignored, None, reduction="none"), own, scores, targets
    )


POSITIVE = seeded(6, 3).abs() + 0.1
SIGNS = torch.where(seeded(6, 3, seed=3) > 0, 1.0, -1.0).double()
OTHERS = {
    "MSELoss": ({}, (seeded(6, 3), seeded(6, 3, seed=1))),
    "L1Loss": ({}, (seeded(6, 3), seeded(6, 3, seed=1))),
    "HuberLoss": ({}, (seeded(6, 3), seeded(6, 3, seed=1))),
    "SmoothL1Loss": ({}, (seeded(6, 3, 2), seeded(6, 3, 2, seed=1))),
    "BCELoss": ({"weight": torch.tensor([0.5, 1.0, 4.0])}, (seeded(6, 3).sigmoid(), seeded(6, 3, seed=1).sigmoid())),
    "BCEWithLogitsLoss": ({"pos_weight": torch.tensor([0.5, 1.0, 4.0])}, (seeded(6, 3), (SIGNS > 0).double())),
    "KLDivLoss": ({}, (seeded(6, 3).log_softmax(1), seeded(6, 3, seed=1).softmax(1))),
    "PoissonNLLLoss": ({}, (seeded(6, 3), POSITIVE)),
    "GaussianNLLLoss": ({}, (seeded(6, 3), seeded(6, 3, seed=1), POSITIVE)),
    "SoftMarginLoss": ({}, (seeded(6, 3), SIGNS)),
    "HingeEmbeddingLoss": ({}, (seeded(6, 3), SIGNS)),
    "MultiLabelSoftMarginLoss": ({"weight": WEIGHT[:3].double()}, (seeded(6, 3), (SIGNS > 0).double())),
    "MultiLabelMarginLoss": ({}, (seeded(6, 3), torch.tensor([[0, -1, 1]] * 6))),
    "MultiMarginLoss": ({"weight": WEIGHT[:3].double()}, (seeded(6, 3), classes((6,)).clamp(max=2))),
    "CosineEmbeddingLoss": ({}, (seeded(6, 3), seeded(6, 3, seed=1), SIGNS[:, 0])),
    "MarginRankingLoss": ({}, (seeded(6), seeded(6, seed=1), SIGNS[:, 0])),
    "TripletMarginLoss": ({}, (seeded(6, 3), seeded(6, 3, seed=1), seeded(6, 3, seed=2))),
    "CTCLoss": (
        {},
        (seeded(9, 4, 5).log_softmax(2), torch.ones(4, 3).long(), torch.full((4,), 9), torch.tensor([1, 2, 3, 0])),
    ),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # of KLDivLoss
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_criterion_s_own_mean(name):
    settings, (first, *rest) = OTHERS[name]
    kind = getattr(nn, name)
    mine, first = PerSampleLoss(kind(reduction="none", **settings)), first.clone().requires_grad_()
    assert_same_mean_and_gradient(mine, kind(**settings), first, *rest)
    assert mine.losses.shape == (first.shape[1 if name == "CTCLoss" else 0],)


@pytest.mark.parametrize("lengths", [(1, 2, 3, 0), [1, 2, 3, 0], torch.tensor([1, 2, 3, 0])])
def test_the_lengths_of_ctc_may_be_named_and_of_any_kind(lengths):
    _, (scores, targets, *_) = OTHERS["CTCLoss"]
    arguments = {"input_lengths": torch.full((4,), 9), "target_lengths": torch.as_tensor(lengths)}
    wanted = F.ctc_loss(scores, targets, **arguments)
    for criterion in (nn.CTCLoss(reduction="none"), functools.partial(F.ctc_loss, reduction="none")):
        torch.testing.assert_close(PerSampleLoss(criterion)(scores, targets, **arguments), wanted)


class Focal(nn.CrossEntropyLoss):
    """A loss of one's own that takes a plain mean, on a class of torch."""

    def forward(self, logits, targets):
        losses = F.cross_entropy(logits, targets, weight=self.weight, reduction="none")
        return (1 - (-losses).exp()) ** 2 * losses


def test_a_forward_of_one_s_own_has_a_plain_mean():
    logits, targets = seeded(7, 4), classes((7,))
    criterion = Focal(weight=WEIGHT.double())
    torch.testing.assert_close(PerSampleLoss(criterion)(logits, targets), criterion(logits, targets).mean())


def test_where_all_is_ignored_the_mean_is_nan_as_torch_s_and_the_losses_are_0():
    for shape in SHAPES.values():
        mine, targets = PerSampleLoss(nn.CrossEntropyLoss(reduction="none")), torch.full(shape, -100)
        logits = seeded(shape[0], 4, *shape[1:])
        assert mine(logits, targets).isnan()
        assert nn.CrossEntropyLoss()(logits, targets).isnan()
        assert mine.losses.tolist() == [0.0] * shape[0]


@pytest.mark.parametrize("weight", [None, WEIGHT.double()])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_sample_s_loss_is_the_mean_over_its_own_targets_without_the_ignored(weight, smoothing):
    logits, targets = seeded(3, 4, 5), classes((3, 5), ignored=1)
    targets[2] = 1
    settings = {"weight": weight, "ignore_index": 1, "label_smoothing": smoothing, "reduction": "none"}
    mine = PerSampleLoss(nn.CrossEntropyLoss(**settings))
    mine(logits, targets)
    for sample in range(3):
        each = [
            F.cross_entropy(logits[sample, :, token][None], targets[sample, token][None], **settings).item()
            for token in range(5)
            if targets[sample, token] != 1
        ]
        assert mine.losses[sample].item() == pytest.approx(sum(each) / len(each) if each else 0.0)


def test_many_pixels_do_not_leave_float16():
    logits, targets = torch.zeros(1, 4, 400, 400, dtype=torch.float16), torch.zeros(1, 400, 400).long()
    targets[0, 0] = -100
    mine = PerSampleLoss(lambda x, y: F.cross_entropy(x.float(), y, reduction="none").half())
    criterion = PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))
    for one in (mine, criterion):
        mean = one(logits, targets)
        assert mean.dtype == one.losses.dtype == torch.float16
        assert mean.item() == pytest.approx(1.386, abs=0.01)


def test_losses_that_were_taken_are_gone_and_the_next_calls_are_counted_anew():
    criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
    criterion(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    assert criterion.take().tolist() == [0.0, 4.0]
    assert criterion.losses is None
    assert criterion.take() is None
    assert criterion.num_calls == 0
    criterion(torch.tensor([3.0, 2.0]), torch.tensor([1.0, 4.0]))
    assert criterion.num_calls == 1
    assert criterion.take().tolist() == [4.0, 4.0]
