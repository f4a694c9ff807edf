"""The loss of each sample, of what a Hugging Face model returned: no second forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

PASS_A_FUNCTION = "pass sample_losses=function, which gets (outputs, inputs) and returns"  # and then what
IGNORED = -100  # a label of this value has no loss
MOST_AT_ONCE = 1 << 24  # logits that are turned to float32 at a time, so that a long text takes no second copy of all


class SampleLosses(NamedTuple):
    """Losses of the samples of a batch, detached.

    Attributes:
        losses: mean over the labels of each sample, shape ``(batch_size,)``, float32; 0 where all are ignored.
        weights: labels (tokens) of each sample that are not ignored, shape ``(batch_size,)``.
    """

    losses: Tensor
    weights: Tensor


@torch.no_grad()
def label_losses(
    logits: Tensor,
    labels: Tensor,
    *,
    shifted: bool = False,
    label_smoothing: float = 0.0,
    problem_type: str | None = None,
) -> SampleLosses:
    """Return the loss of each sample, as models of ``transformers`` compute the one of the whole batch.

    Args:
        logits: of classes, shape ``(batch_size, num_classes)``, or of classes at each place (token), shape
            ``(batch_size, num_places, num_classes)``; of a regression shape ``(batch_size, num_targets)``.
        labels: classes, shape ``(batch_size,)`` or ``(batch_size, num_places)``, where -100 is ignored; or the targets
            of a regression or of a multi-label classification, shaped as the logits.
        shifted: whether the logits at a place are for the label at the next one (causal language models).
        label_smoothing: as ``F.cross_entropy`` takes it, in [0, 1].
        problem_type: as the model's config has it: ``"regression"``, ``"multi_label_classification"`` or another.

    Example:
        >>> logits, labels = torch.zeros(2, 3, 4), torch.tensor([[0, 1, 2], [3, -100, -100]])
        >>> label_losses(logits, labels)
        SampleLosses(losses=tensor([1.3863, 1.3863]), weights=tensor([3., 1.]))
        >>> label_losses(logits, labels, shifted=True)
        SampleLosses(losses=tensor([1.3863, 0.0000]), weights=tensor([2., 0.]))
    """
    labels = labels.to(logits.device)
    if problem_type == "regression" or labels.is_floating_point():
        if labels.numel() != logits.numel():
            raise _not_a_pair(logits, labels)
        logits, labels = logits.reshape(len(labels), -1).float(), labels.reshape(len(labels), -1).float()
        binary = problem_type == "multi_label_classification"
        each = (F.binary_cross_entropy_with_logits if binary else F.mse_loss)(logits, labels, reduction="none")
        return SampleLosses(each.mean(1), torch.ones(len(labels), device=labels.device))
    if labels.shape == (*logits.shape[:-1], 1):
        labels = labels.squeeze(-1)
    if shifted and labels.ndim == 2 and (more := logits.shape[1] - labels.shape[1]) > 0:  # PEFT's virtual tokens
        labels = F.pad(labels, (more, 0), value=IGNORED)
    if labels.shape != logits.shape[:-1]:
        raise _not_a_pair(logits, labels)
    if shifted:
        logits, labels = logits[:, :-1], labels[:, 1:]
    counted = (labels != IGNORED).reshape(len(labels), -1).sum(1).float()
    at_once = max(MOST_AT_ONCE // max(logits[:1].numel(), 1), 1)
    sums = [
        _cross_entropies(some, of_them, label_smoothing)
        for some, of_them in zip(torch.split(logits, at_once), torch.split(labels, at_once), strict=True)
    ]
    return SampleLosses(torch.cat(sums) / counted.clamp(min=1), counted)


def fused_losses(outputs: Any) -> SampleLosses | None:
    """Return the loss of each sample where a model made no logits: TRL gives it a head that returns log-probabilities.

    None of any other model. There is one for each token, shape ``(batch_size, num_places)``, 0 where it is ignored.
    """
    log_probs, counted = getattr(outputs, "log_probs", None), getattr(outputs, "label_mask", None)
    if not isinstance(log_probs, Tensor) or not isinstance(counted, Tensor):
        return None
    numbers = counted.sum(1).float()
    return SampleLosses(-log_probs.detach().float().sum(1) / numbers.clamp(min=1), numbers)


def with_outputs(compute: Callable[[], Any], model: Any) -> tuple[Any, Any]:
    """Return what is computed, and what the model returned last meanwhile; passes without gradients do not count."""
    outputs: list[Any] = [None]

    def keep(module: Any, args: Any, returned: Any) -> None:
        if torch.is_grad_enabled():
            outputs[0] = returned

    hook = model.register_forward_hook(keep)
    try:
        return compute(), outputs[0]
    finally:
        hook.remove()


def mean_of_passes(found: Sequence[SampleLosses]) -> SampleLosses:
    """Return the mean loss of each sample over the forward passes of a step: two dropouts (R-Drop), two views."""
    return SampleLosses(torch.stack([one.losses for one in found]).mean(0), found[0].weights)


def _cross_entropies(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Return the sum over the labels of each sample, shape ``(num_samples,)``."""
    flat = logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1)
    each = F.cross_entropy(*flat, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="none")
    return each.view(len(labels), -1).sum(1)


def _not_a_pair(logits: Tensor, labels: Tensor) -> ValueError:
    return ValueError(
        f"labels must be one class for each row of logits, got labels of shape {tuple(labels.shape)} and logits of "
        f"shape {tuple(logits.shape)}; {PASS_A_FUNCTION} the loss of each sample"
    )


def find_logits_and_labels(
    outputs: Any, inputs: Mapping[str, Any], label_names: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Return both, of what a model returned and of the batch that it got; a ValueError says what is missing.

    ``label_names`` are the Trainer's: where there is one, the labels may have that name.
    """
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    labels = inputs.get("labels", inputs.get(label_names[0]) if len(label_names) == 1 else None)
    if not isinstance(logits, Tensor):
        raise _missing("logits", "the model returned", outputs, "use_liger_kernel=False and return_dict=True give them")
    if not isinstance(labels, Tensor):
        raise _missing("labels", "the batch has", inputs, 'name the targets "labels" in what data_collator returns')
    return logits, labels


def _missing(name: str, whose: str, found: Any, advice: str) -> ValueError:
    there = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
    return ValueError(
        f"MixedTrainer: no {name}, of which the loss of each sample is made ({whose}: {there}); {advice}, or "
        f"{PASS_A_FUNCTION} the loss of each sample"
    )
