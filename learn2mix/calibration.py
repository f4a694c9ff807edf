"""Probabilities for the world from a classifier that was trained on another mix."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from learn2mix.checks import as_proportions
from learn2mix.functional import log_mix

__all__ = ["adjust_logits"]


def adjust_logits(logits: Tensor, prior: ArrayLike, trained_on: ArrayLike) -> Tensor:
    r"""Correct the logits of a trained classifier for the mix that it was trained on.

    .. math:: z_i + \log \tilde a_i - \log a_i

    By Bayes' rule, a classifier that gives the right probabilities at class frequencies ``a`` then gives the right ones
    at ``prior``, as long as each class looks the same there. Where the mix moved during training, take its mean over
    the batches that the weights still remember; ``sampler.realised`` is its mean over all batches.

    Args:
        logits: shape ``(..., num_classes)``; any that softmax turns into the classifier's probabilities.
        prior: class frequencies where the classifier is used, shape ``(num_classes,)``, sums to 1.
        trained_on: class frequencies that the classifier was trained on, shape ``(num_classes,)``, sums to 1.

    Returns:
        New logits, shape ``(..., num_classes)``; minus infinity for a class with a prior of 0.

    Raises:
        ValueError: if the lengths differ, one of the two is no mix, or a class with a prior was not trained on.

    Example:
        >>> logits = torch.zeros(1, 2)  # says 50 : 50, as it learned from balanced batches
        >>> adjust_logits(logits, prior=[0.9, 0.1], trained_on=[0.5, 0.5]).softmax(-1)
        tensor([[0.9000, 0.1000]])
    """
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a tensor, got {type(logits).__name__}; give torch.as_tensor(logits)")
    trained_on = as_proportions(trained_on, name="trained_on")
    prior = as_proportions(prior, len(trained_on), "prior")
    missing = np.flatnonzero((prior > 0) & (trained_on == 0))
    if len(missing) > 0:
        raise ValueError(
            f"trained_on must give a share to every class with a prior, but class {missing[0]} has 0 and the prior "
            f"{prior[missing[0]]:.4g}; what it was not trained on has no probability to correct"
        )
    if logits.shape[-1:] != prior.shape:
        raise ValueError(f"logits must have the shape (..., {len(prior)}), got {tuple(logits.shape)}")
    return logits + torch.from_numpy(log_mix(prior, target=trained_on)).to(logits)
