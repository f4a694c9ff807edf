"""The loop closed under Lightning: losses go from the module to the sampler, the mix goes to the logger."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback

from learn2mix.batches.loader import MixedLoader
from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.batches.stream import MixedStream
from learn2mix.lightning import internals
from learn2mix.lightning.losses import LossFinder
from learn2mix.lightning.mixlog import MixLog
from learn2mix.lightning.validation import ValidationResults, run_validation

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from torch import Tensor


__all__ = ["MixingCallback"]

Mixed = MixedBatchSampler | MixedStream


class MixingCallback(Callback):
    """Steers the sampler or stream of the training loader by the losses of each sample.

    Finds the :class:`MixedBatchSampler` or :class:`MixedStream` that is live in the Trainer, passes it the per-sample
    losses of each training batch, saves and restores it with the checkpoint (also in the middle of an epoch, with
    workers running ahead), and logs the mix through the Trainer's loggers every ``log_every_n_steps``: under ``mix/``
    the shares ``requested`` and ``realised`` (means over the batches since the last entry), the ``loss`` of each group
    at the last update, the ``entropy`` of the mix in nats, and the ``lag`` in batches. With more than 20 groups only
    the extremes are logged, by value and by number of the group.

    Works with ``pytorch_lightning`` and ``lightning.pytorch``, on one process or many. It moves itself to the front of
    the Trainer's callbacks, so that a checkpoint finds the batch observed. A run that goes on with other data of the
    same groups, or another global batch size, keeps the mix and the passes, with a warning.

    Args:
        losses: where the per-sample losses are, shape ``(batch_size,)``. None finds ``outputs["losses"]`` or a
            :class:`PerSampleLoss` in the module; a string is a key of what ``training_step`` returns; a function gets
            ``(outputs, batch)`` and returns them. They are not asked for where ``training_step`` skipped the batch
            (automatic optimization, returned None).
        validation: where the results of a validation run are, for mixers that follow it (``needs_validation``); read
            when the run ends, not in the sanity check. None takes the loss from what ``self.log("val_loss", ...)`` left
            in ``trainer.callback_metrics``, or, for mixers that follow the losses of the groups, these from the one
            :class:`GroupLossMeter` in the module, which ``validation_step`` updates and this callback resets when a
            run begins. A string is another key of the loss. A function gets ``(trainer, pl_module)`` and returns
            ``(loss, group_losses)``; any score of at least 0 may stand for the losses of the groups.
        groups: where the labels are that the losses are of, if not of the batch in its order (two views, dropped
            samples): a key of what ``training_step`` returns, or a function of ``(outputs, batch)``.
        log: whether to log the mix.

    Raises:
        TypeError: if ``losses``, ``groups`` or ``validation`` is neither None, nor a key, nor a function.
        RuntimeError: at the start or at the first batch, where it cannot do its work; the message says what to change.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> trainer = Trainer(callbacks=[MixingCallback()], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        *,
        losses: Callable[[Any, Any], Any] | str | None = None,  # in this order, so that YAML can name a function
        validation: Callable[[Any, Any], Any] | str | None = None,
        groups: Callable[[Any, Any], Any] | str | None = None,
        log: bool = True,
    ) -> None:
        for name, value in (("losses", losses), ("validation", validation), ("groups", groups)):
            if not (value is None or isinstance(value, str) or callable(value)):
                raise TypeError(f"{name} must be None, a key or a function, got {type(value).__name__}")
        self._losses = LossFinder(losses, groups)
        self._validation = ValidationResults(validation)
        self._log = log
        self._sampler: Mixed | None = None
        self._restored: dict[str, Any] | None = None
        self._validation_due = False  # after the batch just trained on
        self._evaluating = False
        self._mixlog = MixLog()

    @property
    def sampler(self) -> Mixed:
        """The sampler or stream that is steered, known once training has started."""
        if self._sampler is None:
            raise RuntimeError("MixingCallback: no sampler is known before training starts")
        return self._sampler

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work, and come first."""
        self._evaluating = stage != "fit"
        if self._evaluating:
            return
        if sum(isinstance(callback, MixingCallback) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise RuntimeError("MixingCallback: the Trainer has more than one; a sampler takes its losses only once")
        internals.keep_samplers(trainer, lambda loader: bool(_mixed_in([loader])))
        others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [self, *others]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where the sampler is, where a learning rate finder trains before the training."""
        if self._restored is None and any(hasattr(callback, "lr_find") for callback in trainer.callbacks):  # type: ignore[attr-defined]
            trainer.fit_loop.setup_data()
            self._restored = find_sampler(trainer).state_dict()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the live sampler, and restore it where the run goes on from a checkpoint."""
        trainer.fit_loop.setup_data()  # a run that goes on may be due for a new loader (see on_train_epoch_start)
        self._losses.find_criteria(pl_module)
        self._mixlog = MixLog()
        restored, self._restored = self._restored, None
        self._steer(trainer, restored)
        if self._follows_validation(trainer) and not trainer.enable_validation:
            raise RuntimeError(
                f"MixingCallback: this {type(self.sampler.mixer).__name__} follows validation, but the Trainer runs "
                "none; define validation_step and pass val_dataloaders, with limit_val_batches above 0"
            )
        if restored is not None and restored.get("validation_due"):
            run_validation(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the state along to a new loader (``reload_dataloaders_every_n_epochs``)."""
        if find_sampler(trainer) is not self.sampler:
            self._steer(trainer, self.sampler.state_dict())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Forget the losses of validation."""
        self._losses.forget()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Count the calls of the criteria in this pass: an optimizer such as LBFGS makes several, each of one call."""
        self._losses.end_pass()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass the losses on."""
        losses = self.find_losses(pl_module, outputs, batch)
        if losses is None and self.sampler.lag == 0:
            return  # a step without our loader: CombinedLoader(mode="max_size") goes on when it has ended
        self.sampler.observe(losses, groups=None if losses is None else self._losses.groups(outputs, batch))
        self._follow_epoch(trainer)
        self._validation_due = self._follows_validation(trainer) and internals.validation_follows(trainer)
        if self._log and trainer.loggers:
            self._mixlog.add(self.sampler)
            if _is_logged(trainer, batch_idx):
                self._write(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the losses of the last run, and of the sanity check."""
        if self._follows_validation(trainer):
            self._validation.reset(pl_module, self.sampler.mixer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass the result on."""
        if self._follows_validation(trainer):
            self.sampler.observe_validation(*self._validation.find(trainer, pl_module, self.sampler.mixer))
            self._validation_due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the sampler's epoch where a hook skipped the rest of the Trainer's."""
        self._follow_epoch(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the workers of a loader of ours."""
        _close(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End them too."""
        _close(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state, with a note where a validation run that the mix follows is due."""
        if self._restored is not None:
            return self._restored
        if self._sampler is None:
            return {}
        return self._sampler.state_dict() | ({"validation_due": True} if self._validation_due else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until the sampler is known; one that came with weights to evaluate is not wanted."""
        if not self._evaluating:
            self._restored = state_dict or None

    def find_losses(self, pl_module: LightningModule, outputs: Any, batch: Any) -> Tensor | None:
        """Return the losses of the batch just trained on; None where the step was skipped or no mixer asks for them.

        Raises:
            RuntimeError: if they cannot be found.
        """
        if pl_module.automatic_optimization and not outputs:
            return None  # training_step returned None: the batch was skipped
        needed = self._sampler is None or self._sampler.mixer.needs_losses
        return self._losses.losses(outputs, batch, needed=needed)

    def _follows_validation(self, trainer: Trainer) -> bool:
        if self._evaluating or trainer.sanity_checking:
            return False
        return getattr(self.sampler.mixer, "needs_validation", None) is not None

    def _steer(self, trainer: Trainer, state: dict[str, Any] | None) -> None:
        self._sampler = find_sampler(trainer)
        _refuse_another_split(trainer, self._sampler)
        self._sampler.trusted = True
        self._losses.follow(self._sampler)
        if state is not None:
            self._sampler.load_state_dict(state, strict=False)
            if not trainer.fit_loop.epoch_loop.restarting:
                self._sampler.finish_epoch()  # The Trainer begins a new one, also where it left the last one early.
            # An iterator was made before, and its workers have begun to draw.
            internals.begin_again(trainer)
        self._sampler.observing = True

    def _follow_epoch(self, trainer: Trainer) -> None:
        # At once, for a checkpoint may follow. No difference unless the Trainer's epoch is shorter than the sampler's.
        if trainer.is_last_batch:
            self.sampler.finish_epoch()

    def _write(self, trainer: Trainer) -> None:
        metrics = self._mixlog.entry(self.sampler) | {"epoch": trainer.current_epoch}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=internals.num_batches_stepped(trainer))
        self._mixlog = MixLog()


def _close(trainer: Trainer) -> None:
    for loader in _flat(trainer.train_dataloader):
        if isinstance(loader, MixedLoader):
            loader.close()


def _is_logged(trainer: Trainer, batch_idx: int) -> bool:
    """Whether Lightning writes its own entries after this batch."""
    accumulates = (batch_idx + 1) % trainer.accumulate_grad_batches != 0 and not trainer.is_last_batch
    step = internals.num_batches_stepped(trainer)
    return not accumulates and ((step + 1) % trainer.log_every_n_steps == 0 or trainer.should_stop)  # type: ignore[attr-defined]


def find_sampler(trainer: Trainer) -> Mixed:
    """Return the one :class:`MixedBatchSampler` or :class:`MixedStream` in the Trainer's training loaders.

    Raises:
        RuntimeError: if there is none, or more than one.
    """
    loaders = _flat(trainer.train_dataloader)
    mixed = _mixed_in(loaders)
    if len(mixed) == 1:
        return mixed[0]
    if mixed:
        kinds = ", ".join(type(part).__name__ for part in mixed)
        raise RuntimeError(f"MixingCallback: found {len(mixed)} to steer in the training loaders ({kinds}); use one")
    samplers = [getattr(loader, "batch_sampler", None) for loader in loaders]
    kinds = ", ".join(type(sampler).__name__ for sampler in samplers if sampler is not None) or "none"
    raise RuntimeError(
        f"MixingCallback: the training loader has no MixedBatchSampler (batch samplers found: {kinds}) and no "
        "MixedStream; make it with MixedLoader(dataset, MixedBatchSampler(labels, mixer, batch_size=...)), or "
        "DataLoader(dataset, batch_sampler=...); a batch sampler is passed as batch_sampler=, and not as sampler= with "
        "a batch_size"
    )


def _mixed_in(loaders: list[Any]) -> list[Mixed]:
    parts = {
        id(part): part
        for loader in loaders
        for part in (getattr(loader, name, None) for name in ("batch_sampler", "sampler", "dataset"))
        if isinstance(part, Mixed)
    }
    return list(parts.values())


def _flat(loaders: Any) -> list[Any]:
    """Return the loaders in what ``fit`` takes: one, or a collection of them, or a CombinedLoader."""
    loaders = getattr(loaders, "iterables", loaders)
    if isinstance(loaders, dict):
        return [loader for value in loaders.values() for loader in _flat(value)]
    if isinstance(loaders, (list, tuple)):
        return [loader for value in loaders for loader in _flat(value)]
    return [] if loaders is None else [loaders]


def _refuse_another_split(trainer: Trainer, sampler: Mixed) -> None:
    """Refuse a sampler that splits its batches over other processes than those among which the Trainer splits data."""
    wanted = trainer.distributed_sampler_kwargs
    if wanted and wanted != {"num_replicas": sampler.num_replicas, "rank": sampler.rank}:
        raise RuntimeError(
            f"MixingCallback: under {type(trainer.strategy).__name__} this process takes part {wanted['rank']} of "
            f"{wanted['num_replicas']} of each batch, but its sampler has it as {sampler.rank} of "
            f"{sampler.num_replicas}; make it with MixedBatchSampler(..., num_replicas={wanted['num_replicas']}, "
            f"rank={wanted['rank']})"
        )
