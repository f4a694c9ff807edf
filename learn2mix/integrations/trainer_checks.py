"""Whether a Trainer's arguments, its checkpoint and its loss agree with what composes its batches."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import BatchSampler, RandomSampler, SubsetRandomSampler

from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.integrations.sample_losses import PASS_A_FUNCTION, SampleLosses
from learn2mix.streams.stream import MixedStream

TOLERANCE, IN_HALVES = 1e-3, 0.02  # of a loss in float32; in bfloat16
# Batches whose loss is compared with those of the samples: a head that begins with zeros has one loss for all classes.
COMPARED = {1 << power for power in range(7)}


def check_settings(trainer: Any) -> None:
    """Raise an error that names both where a Trainer and the sampler or stream of its batches do not agree."""
    args, mixed = trainer.args, trainer.train_sampler
    if isinstance(trainer.train_dataset, MixedStream):
        if mixed is not trainer.train_dataset:
            raise TypeError("train_sampler: a MixedStream composes its own batches; leave train_sampler out")
    elif not isinstance(mixed, MixedBatchSampler):
        raise TypeError(
            "train_sampler must be a MixedBatchSampler (or train_dataset a MixedStream), got "
            f"{type(mixed).__name__}; MixedBatchSampler(labels, mixer, batch_size=...)"
        )
    if mixed.batch_size != args.train_batch_size:
        times = f" times {args.n_gpu} GPUs of this process" if args.n_gpu > 1 else ""
        raise ValueError(
            f"per_device_train_batch_size{times} must be the batch_size of the {type(mixed).__name__}, "
            f"{mixed.batch_size}, got {args.train_batch_size}"
        )
    num_copies = math.prod(getattr(trainer, f"get_{kind}_size", lambda: 1)() for kind in ("tp", "cp", "sp"))
    num_replicas = args.world_size // num_copies
    if mixed.num_replicas != num_replicas:
        raise ValueError(
            f"num_replicas must be {num_replicas}, the processes that share each batch here, got {mixed.num_replicas}; "
            "leave num_replicas and rank out, or give the process_group of these processes"
        )
    if args.auto_find_batch_size:
        raise ValueError("auto_find_batch_size must be False: the batch size is the sampler's, and stays")
    older = "group_by_length" if getattr(args, "group_by_length", False) else "random"
    strategy = getattr(args, "train_sampling_strategy", older)
    if strategy != "random":
        raise ValueError(f"train_sampling_strategy must be 'random', for the sampler composes, got {strategy!r}")
    if is_sft(trainer) and getattr(args, "shuffle_dataset", False):
        raise ValueError(
            "shuffle_dataset must be False, for the sampler shuffles: SFTTrainer puts the rows in another order than "
            "the labels are in"
        )
    if mixed.mixer.needs_validation == "group_losses":
        raise ValueError(
            f"train_sampler: a Trainer does not know the validation losses of the groups, which "
            f"{type(mixed.mixer).__name__} follows; use signal='train', or a Lightning Trainer with a GroupLossMeter"
        )
    if mixed.mixer.needs_validation and isinstance(trainer.eval_dataset, dict):
        raise ValueError("eval_dataset must be one data set, for the mixer follows its eval_loss, got a dict of them")


def is_sft(trainer: Any) -> bool:
    """Whether it is TRL's SFTTrainer, which makes no logits, and runs the model once more to return them."""
    return any(base.__name__ == "SFTTrainer" for base in type(trainer).__mro__)


def check_parts(sample_losses: Any, callbacks: Any) -> None:
    """Raise a TypeError for arguments of another kind, which a Trainer would stumble over later."""
    if sample_losses is not None and not callable(sample_losses):
        raise TypeError(f"sample_losses must be a function of (outputs, inputs), got {type(sample_losses).__name__}")
    for one in callbacks or ():
        if type(one).__module__.startswith("learn2mix.lightning"):
            name = type(one).__name__
            raise TypeError(f"callbacks must be those of transformers, got {name}, which is Lightning's; leave it out")


def as_sample_losses(found: Any) -> SampleLosses:
    """Return what a function of the user's found, or raise an error that says what it should be."""
    parts = found if isinstance(found, tuple) else (found,)
    if len(parts) > 2 or not all(isinstance(part, torch.Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"sample_losses must return a tensor, or (losses, weights), both tensors, got {kinds}")
    losses, weights = parts[0].detach(), parts[-1].detach() if len(parts) > 1 else torch.ones_like(parts[0].detach())
    if losses.ndim != 1 or weights.shape != losses.shape:
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise ValueError(
            f"sample_losses must return one loss per sample, shape (batch_size,), got shape {shapes}; use "
            'reduction="none", and of several losses per sample their mean'
        )
    return SampleLosses(losses, weights)


def check_rows(each: SampleLosses, mixed: Any) -> None:
    """Raise a ValueError where the rows of a batch are not its samples."""
    rows, samples = len(each.losses), len(mixed.groups_in_training())
    if rows != samples:
        raise ValueError(
            f"MixedTrainer: compute_loss got {rows} rows for a batch of {samples} samples; give it the whole batch, "
            "use packing=False and padding_free=False, for they join samples, or "
            f"{PASS_A_FUNCTION} one loss for each sample"
        )


def warn_of_own_batches(name: str, loader: Any) -> None:
    """Warn where a subclass of Trainer makes batches of a kind of its own, which the mix takes the place of."""
    batches: Any = getattr(loader, "batch_sampler", None)
    while hasattr(batches, "batch_sampler"):  # Accelerate's, that splits them
        batches = batches.batch_sampler
    samples = getattr(batches, "sampler", None)
    own = samples if getattr(type(batches), "__iter__", None) is BatchSampler.__iter__ else batches
    if own is not None and not isinstance(own, (RandomSampler, SubsetRandomSampler)):
        warnings.warn(
            f"MixedTrainer: {name} makes batches by a {type(own).__name__}, whose place train_sampler takes; where its "
            "loss needs batches of that kind (no duplicates, several rows of one prompt), leave out the mixin",
            stacklevel=3,
        )


def warn_of_settings(trainer: Any, mixer: Any) -> None:
    """Warn where a Trainer runs no evaluation, for a mix that follows it, and of a schedule as long as its steps."""
    each, steps = trainer.args.gradient_accumulation_steps, trainer.args.max_steps
    if each > 1 and getattr(mixer, "num_steps", None) == steps:
        warnings.warn(
            f"MixedTrainer: num_steps={steps} of {type(mixer).__name__} counts batches, and each of max_steps={steps} "
            f"steps takes {each} (gradient_accumulation_steps); for the whole run give num_steps={each * steps}",
            stacklevel=3,
        )
    if mixer.needs_validation and trainer.args.eval_strategy == "no":
        warnings.warn(
            f"MixedTrainer: eval_strategy is 'no', but {type(mixer).__name__} follows the eval_loss, so the mix never "
            "moves unless a callback of yours evaluates; set eval_strategy",
            stacklevel=3,
        )


def find_eval_loss(metrics: Mapping[str, float]) -> float:
    """Return the loss of an evaluation that the mix follows; a ValueError if it has none."""
    if "eval_loss" not in metrics:
        raise ValueError(
            "MixedTrainer: the mixer follows the eval_loss, but the evaluation has none (it has "
            f"{', '.join(metrics)}); give the samples of eval_dataset labels"
        )
    return metrics["eval_loss"]


def check_place_in_epoch(folder: Path, position: int, num_batches: int, args: Any) -> None:
    """Raise a ValueError unless the Trainer goes on at the batch of the epoch where the sampler was."""
    global_step = json.loads((folder / "trainer_state.json").read_text(encoding="utf8"))["global_step"]
    accumulated = args.gradient_accumulation_steps
    updates = -(-num_batches // accumulated)
    place = global_step % updates * accumulated
    if place != position:
        raise ValueError(
            f"resume_from_checkpoint: {folder} was saved at batch {position} of an epoch, but this Trainer would go on "
            f"at batch {place}; give the gradient_accumulation_steps (here {accumulated}) and the num_batches (here "
            f"{num_batches}) of the checkpoint, or ignore_data_skip=True to begin an epoch with its mix"
        )


def warn_of_another_loss(loss: torch.Tensor, each: SampleLosses, num_items: Any, copies: int) -> bool:
    """Warn where the losses of the samples do not add up to the loss that is trained on; return whether it warned.

    The Trainer divides by ``num_items``, over all accumulated batches and processes (None: by those of ``each``), and
    may multiply by ``copies``, the processes or GPUs that take the mean of their losses.
    """
    total, numbers = float((each.losses * each.weights).sum()), [float(each.weights.sum())]
    if num_items is not None:
        numbers.append(float(torch.as_tensor(num_items).flatten()[0]))
    means = [total * times / number for number in numbers if number > 0 for times in (1, copies)]
    tolerance, trained_on = TOLERANCE if loss.dtype == torch.float32 else IN_HALVES, float(loss)
    differs = bool(means) and all(abs(mean - trained_on) > tolerance * abs(trained_on) + 1e-6 for mean in means)
    if differs:
        warnings.warn(
            f"MixedTrainer: the loss of a batch is {trained_on:.4g}, which is not the mean of the "
            "cross-entropies of its samples that the mix follows (class weights, an auxiliary loss?); "
            f"{PASS_A_FUNCTION} what it should follow",
            stacklevel=2,
        )
    return differs
