"""ReweightedLoss: the mixer's objective on batches drawn as ever, moved by the same update."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reference
from helpers import through_a_file
from learn2mix import (
    AlternatingMix,
    AnnealedMix,
    FadingMix,
    FixedMix,
    Learn2Mix,
    MixedBatchSampler,
    Mixer,
    Partition,
    ReweightedLoss,
)
from reweighting import LABELS, PRIOR, VALUES, call, drawn, itself, make


def test_over_an_epoch_the_loss_is_the_mixed_objective_exactly():
    criterion = make(FixedMix([0.2, 0.3, 0.5]))
    epoch = np.mean([call(criterion, batch).item() for batch in drawn()])
    wanted = sum(share * VALUES[group == LABELS].mean().item() for group, share in enumerate([0.2, 0.3, 0.5]))
    assert epoch == pytest.approx(wanted, rel=1e-12)
    assert epoch != pytest.approx(VALUES.mean().item(), rel=0.1)


def test_at_the_data_s_own_mix_it_is_the_plain_mean():
    batch = drawn()[0]
    assert call(make(FixedMix()), batch).item() == pytest.approx(VALUES[batch].mean().item(), rel=1e-12)


def test_gradients_are_those_of_the_weighted_losses():
    values = VALUES[[0, 12, 18]].clone().requires_grad_()
    make(FixedMix("uniform"))(values, groups=torch.tensor([0, 1, 2])).backward()
    np.testing.assert_allclose(values.grad, np.array([1 / 0.6, 1 / 0.3, 1 / 0.1]) / 3 / 3, rtol=1e-12)


@pytest.mark.parametrize("every", ["step", "epoch", 3])
def test_the_mixer_moves_by_the_same_update(every):
    criterion = make(Learn2Mix(0.5, every=every), num_batches=4)
    mix, pairs, since = PRIOR, [], 0
    for step, batch in enumerate([*drawn(0), *drawn(1)]):
        loss = call(criterion, batch).item()
        by_hand = sum(mix[g] / PRIOR[g] * v for g, v in zip(LABELS[batch], VALUES[batch].tolist(), strict=True)) / 5
        assert loss == pytest.approx(by_hand, rel=1e-12)  # weighted by the mix before the update
        pairs += zip(LABELS[batch], VALUES[batch].tolist(), strict=True)
        since += 1
        epoch_ended = step % 4 == 3
        is_due = epoch_ended if every == "epoch" else since >= (1 if every == "step" else every)
        if is_due and (epoch_ended or len({group for group, _ in pairs}) > 1):  # of one group alone nothing is learned
            mix = reference.update_proportions(mix, reference.pooled_means(pairs, 3), 0.5)
            pairs, since = [], 0
        np.testing.assert_allclose(criterion.mixer.proportions, mix, rtol=0, atol=1e-14)


def test_losses_may_be_annealed_and_alternated():
    annealed = make(AnnealedMix([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], num_steps=3))
    batch = [0, 12]  # one of each
    x, y = VALUES[0].item() / 0.6, VALUES[12].item() / 0.3
    found = [call(annealed, batch).item() for _ in range(3)]
    assert found == pytest.approx([x / 2, (x / 2 + y / 2) / 2, y / 2])  # B_t = gamma X + (1 - gamma) Y
    alternated = make(AlternatingMix(groups=[0, 1]), num_batches=2)
    assert [call(alternated, batch).item() for _ in range(4)] == pytest.approx([x / 2, x / 2, y / 2, y / 2])


def test_where_all_groups_are_repeated_alike_none_fades():
    """Weights repeat no sample; a rule that counts passes is told so."""
    fading = make(FadingMix(passes=1.0))
    annealed = make(AnnealedMix(FadingMix(), None, num_steps=4))
    for batch in [*drawn(0), *drawn(1)]:
        call(fading, batch), call(annealed, batch)
    np.testing.assert_allclose(fading.mixer.proportions, [1 / 3] * 3, rtol=0, atol=0.02)
    np.testing.assert_allclose(annealed.mixer.proportions, PRIOR, rtol=0, atol=1e-12)


def test_a_rule_that_is_told_where_the_run_is():
    class Told(Mixer):
        infos = ()

        def seek(self, batch, epoch, info=None):
            self.infos = (*self.infos, info)

    criterion = make(Told())
    for batch in drawn():
        call(criterion, batch)
    infos = criterion.mixer.infos
    assert [info.draws.tolist() for info in infos] == [[0, 0, 0], [3, 2, 0], [6, 3, 1], [9, 4, 2]]
    assert {info.batch_size for info in infos} == {5}
    assert all(info.sizes.tolist() == [12, 6, 2] and not info.counts.any() for info in infos)
    assert all(info.proportions.tolist() == PRIOR for info in infos)


def test_in_evaluation_it_is_the_plain_mean_and_nothing_moves():
    criterion = make(Learn2Mix(0.5)).eval()
    batch = drawn()[0]
    assert call(criterion, batch).item() == VALUES[batch].mean().item()
    assert criterion.mixer.proportions.tolist() == PRIOR


def test_more_than_one_loss_a_sample():
    criterion = ReweightedLoss(nn.MSELoss(reduction="none"), FixedMix("uniform"), LABELS)
    found = criterion(torch.ones(2, 3), torch.zeros(2, 3), groups=torch.tensor([0, 1])).item()
    assert found == pytest.approx((1 / 0.6 + 1 / 0.3) / 3 / 2)


SETTINGS = {"weight": torch.tensor([1.0, 2.0, 4.0]), "ignore_index": 1, "label_smoothing": 0.1}


@pytest.mark.parametrize("places", [(), (4,)], ids=["classes", "pixels"])
def test_at_the_data_s_own_mix_it_is_the_criterion_s_own_mean(places):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, *places, generator=random)
    targets = torch.randint(3, (20, *places), generator=random)
    criterion = ReweightedLoss(nn.CrossEntropyLoss(reduction="none", **SETTINGS), FixedMix(), LABELS)
    expected = F.cross_entropy(logits, targets, **SETTINGS).item()
    for criterion.training in (True, False):
        assert criterion(logits, targets, groups=LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_what_is_ignored_counts_in_no_sample_s_loss():
    """The texts of one group are short, and the rest of their places is ignored: each token counts the same."""
    logits, targets = torch.zeros(2, 3, 4), torch.tensor([[0, -100, -100, -100], [0, 1, 2, 0]])
    criterion = ReweightedLoss(nn.CrossEntropyLoss(reduction="none"), Learn2Mix(1.0), [0, 1])
    criterion(logits, targets, groups=[0, 1])
    assert criterion.mixer.proportions.tolist() == [0.5, 0.5]
    mixed = ReweightedLoss(nn.CrossEntropyLoss(reduction="none"), FixedMix([0.2, 0.8]), [0, 1])
    # Of five tokens one is weighted by 0.2 / 0.5, and four by 0.8 / 0.5.
    assert mixed(logits, targets, groups=[0, 1]).item() == pytest.approx((0.4 + 4 * 1.6) / 5 * np.log(3), rel=1e-6)


def test_it_follows_validation():
    criterion = make(Learn2Mix(1.0, signal="validation"))
    call(criterion, drawn()[0])
    assert criterion.mixer.proportions.tolist() == PRIOR
    criterion.observe_validation(1.0, torch.tensor([1.0, 1.0, 2.0]))
    assert criterion.mixer.proportions.tolist() == pytest.approx([0.25, 0.25, 0.5], abs=1e-15)


@pytest.mark.parametrize(
    "mixer",
    [lambda: Learn2Mix(0.5, every=3), lambda: AnnealedMix(None, "uniform", num_steps=8)],
    ids=["learn2mix", "annealed"],
)
def test_its_state_is_part_of_the_module_s(mixer):
    def model():
        return nn.ModuleList([make(mixer())])

    whole, stopped, resumed = model(), model(), model()
    batches = [*drawn(0), *drawn(1)]
    wanted = [call(whole[0], batch).item() for batch in batches]
    found = [call(stopped[0], batch).item() for batch in batches[:4]]  # one batch after an update
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    assert found + [call(resumed[0], batch).item() for batch in batches[4:]] == wanted


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 4.0])], ids=["no state", "weights"])
def test_a_state_from_before_it_loads_and_the_mix_begins(weight):
    def model(criterion):
        return nn.ModuleDict({"net": nn.Linear(2, 3), "criterion": criterion})

    def wrapped():
        inner = nn.CrossEntropyLoss(None if weight is None else torch.ones(3), reduction="none")
        return model(ReweightedLoss(inner, Learn2Mix(0.5), LABELS))

    old, new = model(nn.CrossEntropyLoss(weight)), wrapped()
    with pytest.warns(UserWarning, match="ReweightedLoss: the state has no mix, so the mix stays as it is"):
        new.load_state_dict(old.state_dict())
    assert new.net.weight.equal(old.net.weight)
    assert new.criterion.mixer.proportions.tolist() == PRIOR
    assert set(new.state_dict()) - set(old.state_dict()) == {"criterion._extra_state"}
    inputs, targets = torch.ones(20, 2), torch.from_numpy(LABELS)
    new.criterion(new.net(inputs), targets, groups=LABELS)
    resumed = wrapped()
    resumed.load_state_dict(through_a_file(new.state_dict()))
    if weight is not None:
        assert resumed.criterion.criterion.weight.tolist() == weight.tolist()
    assert resumed.criterion.mixer.proportions.tolist() == new.criterion.mixer.proportions.tolist() != PRIOR
    with pytest.raises(RuntimeError, match=r"net\.bias"):
        resumed.load_state_dict(
            {"net.weight": new.net.weight, "criterion._extra_state": new.criterion.get_extra_state()}
        )


@pytest.mark.long
def test_training_by_it_does_what_the_sampler_does():
    """On a quadratic a group with centres c: both ways of mixing settle at the same place."""
    centres = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    ends = []
    for way in ("weights", "samples"):
        theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([theta], lr=0.02)
        mixer = Learn2Mix(0.02)
        sampler = MixedBatchSampler(LABELS, mixer if way == "samples" else FixedMix(), batch_size=20, num_batches=2000)
        criterion = make(mixer) if way == "weights" else None
        for batch in sampler:
            losses = (theta - centres[LABELS[batch]]) ** 2
            loss = losses.mean() if criterion is None else criterion(losses, groups=torch.from_numpy(LABELS[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sampler.observe(losses)
        ends.append((theta.item(), *mixer.proportions))
    np.testing.assert_allclose(ends[0], ends[1], atol=0.01)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0], r"groups must be one number a sample, shape \(2,\), got \(1,\)"),
        ([0, 3], r"groups must lie in \[0, 3\), got 0 to 3"),
        ([-1, 0], r"groups must lie in \[0, 3\), got -1 to 0"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        make(FixedMix())(VALUES[:2], groups=torch.tensor(groups))


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda groups: torch.tensor(groups, dtype=torch.int16)])
def test_groups_may_be_any_array_of_whole_numbers(kind):
    found = make(FixedMix("uniform"))(VALUES[[0, 12]], groups=kind([0, 1]))
    assert found.item() == pytest.approx((VALUES[0].item() / 0.6 + VALUES[12].item() / 0.3) / 3 / 2)


@pytest.mark.parametrize("groups", [[0.0, 1.0], torch.tensor([0.5, 1.0]), ["a", "b"], np.array(["a", "b"]), None])
def test_groups_that_are_no_numbers_are_refused(groups):
    with pytest.raises(TypeError, match=r"groups must be the numbers of the groups, .*, and not labels"):
        make(FixedMix())(VALUES[:2], groups=groups)


def test_a_mixer_of_one_s_own_that_waits_for_the_end_of_an_epoch_needs_its_length():
    class AtTheEnd(Mixer):
        needs_losses = True

        def update(self, losses, info=None):
            self.proportions = losses / losses.sum()

    with pytest.raises(ValueError, match="num_batches must be given for a mixer that updates once an epoch"):
        make(AtTheEnd())
    make(AtTheEnd(), num_batches=4)
    make(Learn2Mix(every=10**6))


def test_bad_losses_and_criteria_are_refused():
    with pytest.raises(ValueError, match="batch 1 has NaN or infinite losses in 1 of 3 groups"):
        make(FixedMix())(torch.tensor([1.0, torch.nan]), groups=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r'this MSELoss returns their mean; make it with reduction="none"'):
        ReweightedLoss(nn.MSELoss(), FixedMix(), LABELS)
    with pytest.raises(
        ValueError, match=r'mse_loss returned a scalar; give functools.partial\(mse_loss, reduction="none"\)'
    ):
        ReweightedLoss(F.mse_loss, FixedMix(), LABELS)(VALUES, VALUES, groups=torch.from_numpy(LABELS))
    with pytest.raises(ValueError, match="num_batches must be given for a mixer that updates once an epoch"):
        ReweightedLoss(itself, Learn2Mix(every="epoch"), Partition.by_class(LABELS))
