"""Logit adjustment: exact where Bayes' rule is, and better calibrated on real images."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from torch.nn import functional as F
from torchmetrics.classification import BinaryCalibrationError

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler
from learn2mix.calibration import adjust_logits

STUDIES = Path(__file__).parent.parent / "docs" / "studies"


def posterior(x, frequencies):
    """Of two normal classes at 0 and 2, by Bayes' rule."""
    joint = np.stack([norm.pdf(x, mean) * share for mean, share in zip((0, 2), frequencies, strict=True)], 1)
    return joint / joint.sum(1, keepdims=True)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_the_right_probabilities_at_one_mix_become_those_at_the_other(trained_on, prior):
    x = np.linspace(-4, 6, 50)
    here, there = [1 - trained_on, trained_on], [1 - prior, prior]
    logits = torch.tensor(np.log(posterior(x, here))) + 3.0  # softmax does not see a constant
    adjusted = adjust_logits(logits, prior=there, trained_on=here).softmax(1)
    np.testing.assert_allclose(adjusted, posterior(x, there), rtol=1e-9, atol=1e-12)


def test_type_shape_and_argument_are_kept():
    logits = torch.zeros(4, 5, 2, dtype=torch.float32, requires_grad=True)
    adjusted = adjust_logits(logits, [0.9, 0.1], [0.5, 0.5])
    assert (adjusted.shape, adjusted.dtype, adjusted.requires_grad) == ((4, 5, 2), torch.float32, True)
    assert (logits == 0).all()


def test_a_class_that_does_not_occur_gets_no_probability():
    adjusted = adjust_logits(torch.zeros(1, 3), [0.5, 0.5, 0.0], [0.25, 0.25, 0.5])
    assert adjusted.softmax(1).tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("prior", "trained_on", "message"),
    [
        ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], r"logits must have the shape \(\.\.\., 3\), got \(4, 2\)"),
        ([0.5, 0.5], [1.0, 0.0], "trained_on must give a share to every class .*, but class 1 has 0 and the prior 0.5"),
        ([0.5, 0.6], [0.5, 0.5], "prior must sum to 1, got 1.1"),
        ([0.5, 0.5], [0.5, 0.6], "trained_on must sum to 1, got 1.1"),
    ],
)
def test_mixes_that_do_not_fit_are_refused(prior, trained_on, message):
    with pytest.raises(ValueError, match=message):
        adjust_logits(torch.zeros(4, 2), prior, trained_on)


@pytest.mark.parametrize("mixer", [FixedMix("uniform"), Learn2Mix(0.1)], ids=["uniform", "learn2mix"])
def test_a_trained_classifier_becomes_calibrated(mixer):
    """Two normal classes, one sample in ten of the second: logistic regression has the right form for any mix."""
    random = torch.Generator().manual_seed(0)
    labels = (torch.arange(20_000) % 10 == 0).long()
    x = torch.randn(20_000, generator=random) + 2 * labels
    net = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([net], lr=0.05)
    sampler = MixedBatchSampler(labels, mixer, batch_size=200)
    for _ in range(2):
        for batch in sampler:
            losses = F.binary_cross_entropy_with_logits(
                x[batch] * net[0] + net[1], labels[batch].float(), reduction="none"
            )
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            sampler.observe(losses)
    logits = torch.stack([torch.zeros(20_000), (x * net[0] + net[1]).detach()], 1)
    assert sampler.realised[1] > 0.3
    adjusted = adjust_logits(logits, sampler.partition.proportions, sampler.realised)
    error = BinaryCalibrationError(n_bins=15)
    before, after = (error(values.softmax(1)[:, 1], labels).item() for values in (logits, adjusted))
    assert before > 0.08
    assert after < 0.02


@pytest.mark.long
def test_on_real_images(monkeypatch):
    root = Path(os.environ.get("LEARN2MIX_DATA", ""))
    if "LEARN2MIX_DATA" not in os.environ or not (root / "FashionMNIST").is_dir():
        pytest.skip("LEARN2MIX_DATA names no folder with FashionMNIST")
    monkeypatch.syspath_prepend(STUDIES)
    import calibration
    import images

    data = images.load_torchvision("FashionMNIST", root)
    settings = {"sizes": (3000, 1000), "batch_size": 100, "num_epochs": 3}
    runs = np.array([calibration.run("uniform mix", seed, *data, **settings) for seed in range(6)])
    before, after = runs.mean(0)
    assert after[0] < before[0] - 0.003, (before, after)  # calibration error
    assert after[1] < before[1] - 0.05  # log loss
    assert after[2] > before[2] + 0.02  # accuracy
