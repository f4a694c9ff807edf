"""Learn2Mix(signal="validation"): held-out results move the mix, training losses do not."""

import numpy as np
import pytest
import torch

import reference
from helpers import NAN, stepping, through_a_file, train
from learn2mix import Learn2Mix, MixedBatchSampler

LABELS = np.repeat([0, 1, 2], [12, 6, 2])
PRIOR = [0.6, 0.3, 0.1]
LOSSES = np.array([1.0, 2.0, 8.0])[LABELS]


def make(mixing_rate=0.5, **settings):
    return MixedBatchSampler(LABELS, Learn2Mix(mixing_rate, signal="validation", **settings), batch_size=5)


def test_the_mix_follows_what_validation_gave_each_group():
    sampler, mix = make(), PRIOR
    for group_losses in ([1.0, 1.0, 2.0], [0.0, 3.0, 1.0], [0.5, NAN, 0.5]):
        assert {tuple(mixed) for _, mixed in train(sampler, 4, LOSSES)} == {tuple(sampler.mixer.proportions)}
        sampler.observe_validation(1.0, group_losses)
        mix = reference.update_proportions(mix, group_losses, 0.5)
        np.testing.assert_allclose(sampler.mixer.proportions, mix, rtol=0, atol=1e-15)


def test_a_score_a_group_will_do_from_torchmetrics_too():
    from torchmetrics.classification import MulticlassRecall

    recall = MulticlassRecall(num_classes=3, average=None)
    recall.update(torch.tensor([0, 0, 0, 0, 1, 0, 2, 1]), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2]))
    sampler = make(1.0)
    sampler.observe_validation(0.3, 1 - recall.compute())  # 1 - recall: 0, 1/2, 1/2
    assert sampler.mixer.proportions.tolist() == pytest.approx([0.0, 0.5, 0.5], abs=1e-15)


def test_training_losses_do_not_move_it_but_are_still_known():
    sampler = make()
    train(sampler, 9, LOSSES)
    assert sampler.mixer.proportions.tolist() == PRIOR
    assert not sampler.mixer.needs_losses
    assert sampler.mixer.needs_validation == "group_losses"


def test_validation_does_not_move_a_mix_that_follows_training():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    sampler.observe_validation(1.0, [1.0, 1.0, 9.0])
    assert sampler.mixer.proportions.tolist() == PRIOR
    assert sampler.mixer.needs_losses
    assert sampler.mixer.needs_validation is None


def test_a_loop_that_never_observes_a_batch_will_do():
    sampler = make(1.0)
    assert len(list(sampler)) == 4
    sampler.observe_validation(1.0, [0.0, 0.0, 1.0])
    assert all(set(batch) == {18, 19} for batch in sampler)


def test_the_floor_holds():
    sampler = make(1.0, floor=0.1)
    sampler.observe_validation(1.0, [0.0, 0.0, 1.0])
    np.testing.assert_allclose(sampler.mixer.proportions, [0.1, 0.1, 0.8], rtol=0, atol=1e-15)


def test_a_resumed_run_goes_on_as_it_was():
    def run(sampler, steps, results):
        done = []
        for result in results:
            done += [next(steps) for _ in range(3)]
            sampler.observe_validation(1.0, result)
        return done

    results = [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    whole, stopped, resumed = make(), make(), make()
    wanted = run(whole, stepping(whole, LOSSES), results)
    done = run(stopped, stepping(stopped, LOSSES), results[:2])
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    assert done + run(resumed, stepping(resumed, LOSSES), results[2:]) == wanted


@pytest.mark.parametrize(
    ("group_losses", "message"),
    [
        (None, r'group_losses: Learn2Mix\(signal="validation"\) needs one value a group, got None'),
        ([1.0, 2.0], "group_losses must have one value a group: expected 3, got 2"),
        ([1.0, -0.5, 2.0], r"group_losses must be at least 0 and finite .* got -0\.5 at index 1"),
        ([1.0, np.inf, 2.0], r"group_losses must be at least 0 and finite .* got inf at index 1"),
        (torch.ones(3, 1), r"group_losses must be 1-D with at least one value, got shape \(3, 1\)"),
    ],
)
def test_bad_results_are_refused_and_change_nothing(group_losses, message):
    sampler = make()
    with pytest.raises(ValueError, match=message):
        sampler.observe_validation(1.0, group_losses)
    assert sampler.mixer.proportions.tolist() == PRIOR


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r'signal must be "train" or "validation", got \'test\''):
        Learn2Mix(signal="test")
    with pytest.raises(ValueError, match=r"the mix is updated after each validation run; leave it out, got 'epoch'"):
        Learn2Mix(signal="validation", every="epoch")
