"""Hugging Face's ``Trainer`` on a moving mix."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.integrations import trainer_checks
from learn2mix.integrations.sample_losses import (
    SampleLosses,
    find_logits_and_labels,
    fused_losses,
    label_losses,
    mean_of_passes,
    with_outputs,
)
from learn2mix.loader.loader import MixedLoader
from learn2mix.mix_entry import MixEntry
from learn2mix.streams.stream import MixedStream
from learn2mix.workers.pipeline import as_it_is

OLDEST = (4, 57)

try:
    import transformers
    from transformers import PreTrainedModel, Trainer, TrainerCallback
    from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.trainer_utils import get_last_checkpoint
except ImportError as error:
    raise ImportError(
        f'learn2mix.integrations.transformers needs transformers and accelerate: pip install "learn2mix[hf]" ({error})'
    ) from error
if tuple(map(int, transformers.__version__.split(".")[:2])) < OLDEST:  # before, a Trainer leaves out batches itself
    raise ImportError(f"learn2mix.integrations.transformers needs transformers 4.57, got {transformers.__version__}")
if not transformers.utils.is_torch_available():
    raise ImportError(f"transformers {transformers.__version__} needs a newer torch, got {torch.__version__}")

__all__ = ["MixedTrainer", "MixedTrainerMixin"]

STATE = "learn2mix.pt"  # in each checkpoint's folder
# TrainingArguments after "dataloader_"; 4.57 has not all of them.
FOR_LOADER = "num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "multiprocessing_context", "in_order"


class MixedTrainerMixin(Trainer if TYPE_CHECKING else object):  # type: ignore[misc]
    """Lets a ``transformers.Trainer``, or a subclass of it, train on the batches of a moving mix.

    Put it first: ``class MyTrainer(MixedTrainerMixin, SFTTrainer)``. It takes two arguments more than that Trainer; all
    others, and the loss that is trained on, stay what they are. The loss of each sample comes out of the same forward
    pass. Each checkpoint holds the state of the mix, and ``train(resume_from_checkpoint=...)`` goes on with the
    batches, the mix and the weights of a run that was not stopped. What is logged of the mix is under ``mix/``.

    Args:
        train_sampler: composes the batches of ``train_dataset``, of ``per_device_train_batch_size`` samples each; None
            where ``train_dataset`` is a :class:`learn2mix.MixedStream`.
        sample_losses: gets ``(outputs, inputs)`` of each training step and returns the loss of each sample, shape
            ``(batch_size,)``, or ``(losses, weights)`` with what each counts. None takes the cross-entropy of
            ``outputs.logits`` and ``inputs["labels"]``, as the model does: of a text the mean over its tokens, which
            counts as many times as it has tokens.

    Raises:
        TypeError: if ``train_sampler`` is of another kind.
        ValueError: if it and the ``TrainingArguments`` do not agree.

    Example:
        >>> from learn2mix.integrations.transformers import MixedTrainer
        >>> trainer = MixedTrainer(model, args, train_dataset=data, train_sampler=sampler)  # doctest: +SKIP
        >>> trainer.train(resume_from_checkpoint=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        *args: Any,
        train_sampler: MixedBatchSampler | None = None,
        sample_losses: Callable[[Any, Mapping[str, Any]], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        trainer_checks.check_parts(sample_losses, kwargs.get("callbacks"))
        self.train_sampler: Any = train_sampler
        self._loss_function = sample_losses
        self._loader: Any = None  # made for each training
        self._epoch: Any = None  # the Trainer's own iterator over it, of epoch _number
        self._batches: Iterator[Any] | None = None  # ours
        self._found: list[SampleLosses | None] = []  # in each forward pass of the last training step
        self._passes: list[SampleLosses | None] | None = None  # the same list within a step; None outside of one
        self._num_compared = 0  # batches whose loss was, or could have been, compared with those of its samples
        self._mix_entry: MixEntry | None = None  # from the first batch of a training on
        self._beginning: dict[str, Any] | None = None  # the state of the mix where each model of model_init begins
        super().__init__(*args, **kwargs)
        after: Any = TrainerCallback()
        after.on_step_end = after.on_substep_end = self._observe
        self.callback_handler.callbacks.insert(0, after)
        if train_sampler is None and isinstance(self.train_dataset, MixedStream):
            self.train_sampler = self.train_dataset
        if self.train_sampler is not None or self.train_dataset is not None:
            trainer_checks.check_settings(self)

    def get_train_dataloader(self) -> Any:
        """Return a loader of the mixed batches."""
        trainer_checks.check_settings(self)
        self._loader = self.get_mixed_loader()
        return DataLoader(_Ready(self._loader), batch_size=None, collate_fn=as_it_is, generator=torch.Generator())

    def get_mixed_loader(self, **settings: Any) -> MixedLoader:
        """Return the loader of the batches; override it to give it more, such as ``zero_lag=True``."""
        names = {name: f"dataloader_{name}" for name in FOR_LOADER}
        settings = {name: getattr(self.args, its) for name, its in names.items() if hasattr(self.args, its)} | settings
        if isinstance(self.train_sampler, MixedStream):
            return MixedLoader(self.train_sampler, **settings)
        made: Any = super().get_train_dataloader()  # never iterated: it knows what to leave out
        trainer_checks.warn_of_own_batches(type(self).__name__, made)
        return MixedLoader(made.dataset, self.train_sampler, collate_fn=made.collate_fn, **settings)

    def num_examples(self, dataloader: Any) -> int:
        """Return the samples of an epoch, over all processes."""
        if isinstance(dataloader.dataset, _Ready):
            return len(dataloader) * int(self.train_sampler.global_batch_size)
        return int(super().num_examples(dataloader))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; resumed from a checkpoint, as a run that was not stopped."""
        newest = resume_from_checkpoint is True
        folder = get_last_checkpoint(self.args.output_dir) if newest else resume_from_checkpoint
        if self.train_sampler is not None:
            trainer_checks.warn_of_settings(self, self.train_sampler.mixer)
            if folder:
                self._restore(Path(str(folder)))
            elif self.model_init is not None:
                self._beginning = self._beginning or self.train_sampler.state_dict()
                self.train_sampler.load_state_dict(self._beginning)
            self.train_sampler.trusted = self.train_sampler.observing = True
        self._mix_entry = None
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            self._epoch = self._batches = None
            if self._loader is not None:
                self._loader.close()

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
        """Fetch the batches of the next update from our own iterator.

        The Trainer's own would leave out the batches that were trained on before a checkpoint. Ours begins after them.
        """
        if epoch_iterator is not self._epoch:
            self._number: int = int(self.state.epoch or 0) if self._epoch is None else self._number + 1
            self._loader.set_epoch(self._number)
            self._epoch, self._batches = epoch_iterator, iter(self._loader)
        return super().get_batch_samples(self._batches, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Train on a batch, and keep the losses of its samples."""
        self._passes = self._found = []
        try:
            loss: Tensor = super().training_step(*args, **kwargs)
        finally:
            self._passes = None
        return loss

    def _observe(self, *args: Any, **kwargs: Any) -> None:
        """Report the losses of a batch: once for each, also where a subclass left it out, or it failed."""
        if not self._found and not self._num_compared and self.train_sampler.mixer.needs_losses:
            raise RuntimeError(
                f"MixedTrainer: {type(self).__name__} did not call MixedTrainerMixin.compute_loss, so that the losses "
                "of the samples are not known; give your own compute_loss or training_step to a Trainer and put the "
                "mixin before it: class MyTrainer(MixedTrainerMixin, YourTrainer)"
            )
        known, self._found = [one for one in self._found if one is not None], []
        losses, weights = mean_of_passes(known) if known else (None, None)
        self.train_sampler.observe(losses, weights=weights)
        self._mix_entry = self._mix_entry or MixEntry(self.train_sampler.group_names)
        self._mix_entry.begin(self.train_sampler)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Return the Trainer's own loss; in a training step, keep the loss of each sample, pass by pass."""
        if (passes := self._passes) is None:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        passes.append(None)
        batch = dict(inputs)  # the Trainer takes the labels out
        asked = return_outputs or self._loss_function is not None or not trainer_checks.is_sft(self)
        compute = partial(super().compute_loss, model, inputs, return_outputs=asked, **kwargs)
        returned, made = with_outputs(compute, model)
        loss, outputs = returned if isinstance(returned, tuple) else (returned, made)
        found = passes[-1] = self._losses_of_samples(outputs, batch)
        follows = self.train_sampler.mixer.needs_losses and self._loss_function is None
        self._num_compared += 1
        if found is not None and follows and self._num_compared in trainer_checks.COMPARED:
            copies, num_items = max(self.args.world_size, self.args.n_gpu), kwargs.get("num_items_in_batch")
            told = trainer_checks.warn_of_another_loss(loss.detach().mean(), found, num_items, copies)
            self._num_compared += told * max(trainer_checks.COMPARED)  # once is enough
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _losses_of_samples(self, outputs: Any, batch: Mapping[str, Any]) -> SampleLosses | None:
        try:
            if self._loss_function is None:
                found = fused_losses(outputs) or _losses_of_logits(self, outputs, batch)
            else:
                found = trainer_checks.as_sample_losses(self._loss_function(outputs, batch))
            trainer_checks.check_rows(found, self.train_sampler)
        except ValueError:
            if self.train_sampler.mixer.needs_losses or self._loss_function is not None:
                raise
            return None  # of a mixer that asks for none
        return found

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate; while training, a mixer that follows the validation loss gets ``eval_loss``."""
        metrics: dict[str, float] = super().evaluate(eval_dataset, *args, **kwargs)
        trained = self.is_in_train and self._mix_entry is not None  # a resumed run makes eval_on_start once more
        if trained and self.train_sampler.mixer.needs_validation and "eval_runtime" in metrics:
            self.train_sampler.observe_validation(trainer_checks.find_eval_loss(metrics))
        return metrics

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, and with the training loss what the batches since the last entry were made of."""
        if "loss" in logs and self._mix_entry is not None:
            logs = logs | self._mix_entry.make(self.train_sampler, ends=True)
        super().log(logs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Save the model, and beside it the state of the mix."""
        super().save_model(output_dir, *args, **kwargs)
        if self.train_sampler is not None and self.args.should_save:
            path = Path(output_dir or self.args.output_dir) / STATE
            unfinished = path.with_suffix(".new")
            torch.save(self.train_sampler.state_dict(), unfinished)
            os.replace(unfinished, path)  # whole or not at all

    def _restore(self, folder: Path) -> None:
        missing = [name for name in (STATE, "trainer_state.json") if not (folder / name).is_file()]
        if missing and not self.args.ignore_data_skip:
            raise ValueError(
                f"resume_from_checkpoint: {folder} has no {missing[0]}, so it is not known where its mix was; resume "
                "from a checkpoint-N of a MixedTrainer, or begin the mix and an epoch with ignore_data_skip=True"
            )
        if STATE in missing:
            return  # a run of another Trainer goes on with a mix that begins
        state = torch.load(folder / STATE, weights_only=True)
        self.train_sampler.load_state_dict(state, strict=not self.args.ignore_data_skip)
        if self.args.ignore_data_skip:
            self.train_sampler.finish_epoch()
        elif isinstance(self.train_sampler, MixedBatchSampler):
            trainer_checks.check_place_in_epoch(folder, state["position"], len(self.train_sampler), self.args)


class MixedTrainer(MixedTrainerMixin, Trainer):  # type: ignore[misc]
    """``transformers.Trainer`` with a ``train_sampler``: see :class:`MixedTrainerMixin`."""


class _Ready(IterableDataset[Any]):
    """Batches that are loaded already, as data that can only be iterated, so that nothing builds a loader on them."""

    def __init__(self, loader: MixedLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        yield from self._loader  # begins when the first batch is asked for

    def __len__(self) -> int:
        return len(self._loader)


def _losses_of_logits(trainer: Any, outputs: Any, batch: Mapping[str, Any]) -> SampleLosses:
    logits, labels = find_logits_and_labels(outputs, batch, trainer.label_names)
    # Another model may wrap one of transformers': PEFT's adapters, one's own.
    parts = trainer.model.modules()
    model = next((part for part in parts if isinstance(part, PreTrainedModel)), trainer.model)
    shifted, smoothing = logits.ndim > 2 and _shifts_labels(model), trainer.args.label_smoothing_factor
    problem_type = getattr(getattr(model, "config", None), "problem_type", None)
    return label_losses(logits, labels, shifted=shifted, label_smoothing=smoothing, problem_type=problem_type)


def _shifts_labels(model: Any) -> bool:
    """Whether the logits of a model at one place are for the label at the next."""
    causal = type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    causal = causal or LOSS_MAPPING.get(getattr(model, "loss_type", None)) is ForCausalLMLoss
    return causal and not getattr(getattr(model, "config", None), "is_encoder_decoder", False)
