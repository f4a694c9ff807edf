"""The loop closed under Lightning: losses go from the module to the sampler, the mix goes to the logger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback

from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.batches.stream import MixedStream
from learn2mix.feedback.per_sample import PerSampleLoss
from learn2mix.lightning.mixlog import MixLog
from learn2mix.lightning.validation import ValidationResults

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

    Works with ``pytorch_lightning`` and ``lightning.pytorch``, on one process or many, with the Trainer's defaults. It
    moves itself to the front of the Trainer's callbacks, so that a checkpoint finds the batch observed, whichever
    callback writes it.

    Args:
        losses: where the per-sample losses are, shape ``(batch_size,)``. None finds ``outputs["losses"]`` or a
            :class:`PerSampleLoss` in the module; a string is a key of what ``training_step`` returns; a function gets
            ``(outputs, batch)`` and returns them. They are not asked for where ``training_step`` skipped the batch
            (automatic optimization, returned None).
        validation: where the results of a validation run are, for mixers that follow it (``needs_validation``); read
            when the run ends, not in the sanity check. None takes the loss from what ``self.log("val_loss", ...)`` left
            in ``trainer.callback_metrics``, or, for mixers that follow the losses of the groups, these from the one
            :class:`GroupLossMeter` in the module, which ``validation_step`` updates and this callback resets when a
            run begins. A string is another
            key of the loss. A function gets ``(trainer, pl_module)`` and returns ``(loss, group_losses)``; any score
            of at least 0 may stand for the losses of the groups.
        log: whether to log the mix.

    Raises:
        TypeError: if ``losses`` or ``validation`` is neither None, nor a key, nor a function.
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
        log: bool = True,
    ) -> None:
        for name, value in (("losses", losses), ("validation", validation)):
            if not (value is None or isinstance(value, str) or callable(value)):
                raise TypeError(f"{name} must be None, a key or a function, got {type(value).__name__}")
        self._losses = losses
        self._validation = ValidationResults(validation)
        self._log = log
        self._sampler: Mixed | None = None
        self._criteria: list[PerSampleLoss] = []
        self._num_calls = 0  # of them, before a backward pass
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
        _keep_mixed_samplers(trainer)
        others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [self, *others]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the live sampler, and restore it where the run goes on from a checkpoint."""
        trainer.fit_loop.setup_data()  # a run that goes on may be due for a new loader (see on_train_epoch_start)
        self._criteria = [module for module in pl_module.modules() if isinstance(module, PerSampleLoss)]
        self._mixlog = MixLog()
        restored, self._restored = self._restored, None
        self._steer(trainer, restored)
        if self._follows_validation(trainer) and not trainer.enable_validation:
            raise RuntimeError(
                f"MixingCallback: this {type(self.sampler.mixer).__name__} follows validation, but the Trainer runs "
                "none; define validation_step and pass val_dataloaders, with limit_val_batches above 0"
            )
        if restored is not None and restored.get("validation_due"):
            _validate(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the state along to a new loader (``reload_dataloaders_every_n_epochs``)."""
        if find_sampler(trainer) is not self.sampler:
            self._steer(trainer, self.sampler.state_dict())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Forget the losses of validation."""
        self._num_calls = 0
        for criterion in self._criteria:
            criterion.take()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Count the calls of the criteria in this pass: an optimizer such as LBFGS makes several, each of one call."""
        self._num_calls = max(self._num_calls, sum(criterion.num_calls for criterion in self._criteria))
        for criterion in self._criteria:
            criterion.num_calls = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass the losses on."""
        losses = self.find_losses(pl_module, outputs, batch)
        if losses is None and self.sampler.lag == 0:
            return  # a step without our loader: CombinedLoader(mode="max_size") goes on when it has ended
        self.sampler.observe(losses)
        self._follow_epoch(trainer)
        epoch_loop = trainer.fit_loop.epoch_loop
        self._validation_due = self._follows_validation(trainer) and epoch_loop._should_check_val_fx(
            trainer.fit_loop._data_fetcher  # type: ignore[arg-type]
        )
        if self._log and trainer.loggers:
            self._mixlog.add(self.sampler)
            # When and under which step: as Lightning does with the entries of self.log.
            if trainer._logger_connector.should_update_logs and not trainer.fit_loop._should_accumulate():
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
            self._restored = state_dict

    def find_losses(self, pl_module: LightningModule, outputs: Any, batch: Any) -> Tensor | None:
        """Return the losses of the batch just trained on; None where the step was skipped or no mixer asks for them.

        Raises:
            RuntimeError: if they cannot be found.
        """
        if pl_module.automatic_optimization and not outputs:
            return None  # training_step returned None: the batch was skipped
        if callable(self._losses):
            found: Tensor | None = self._losses(outputs, batch)
            return found
        key = self._losses or "losses"
        if isinstance(outputs, Mapping) and key in outputs:
            return outputs[key]  # type: ignore[no-any-return]
        taken = [losses for losses in (criterion.take() for criterion in self._criteria) if losses is not None]
        if self._losses is None and len(taken) == 1 and self._num_calls < 2:
            return taken[0]
        if self._losses is None and not taken and not self.sampler.mixer.needs_losses:
            return None
        raise RuntimeError(_no_losses(self._losses, outputs, max(self._num_calls, len(taken))))

    def _follows_validation(self, trainer: Trainer) -> bool:
        if self._evaluating or trainer.sanity_checking:
            return False
        return getattr(self.sampler.mixer, "needs_validation", None) is not None

    def _steer(self, trainer: Trainer, state: dict[str, Any] | None) -> None:
        self._sampler = find_sampler(trainer)
        _refuse_another_split(trainer, self._sampler)
        fetcher = trainer.fit_loop._data_fetcher
        if isinstance(self._sampler, MixedStream) and fetcher is not None:
            self._sampler.held = int(fetcher.length is None)  # fetched one ahead, to find the end
        if state is not None:
            self._sampler.load_state_dict(state)
            if not trainer.fit_loop.epoch_loop.restarting:
                self._sampler.finish_epoch()  # The Trainer begins a new one, also where it left the last one early.
            # An iterator was made before, and its workers have begun to draw.
            iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        self._sampler.observing = True

    def _follow_epoch(self, trainer: Trainer) -> None:
        # At once, for a checkpoint may follow. No difference unless the Trainer's epoch is shorter than the sampler's.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.sampler.finish_epoch()

    def _write(self, trainer: Trainer) -> None:
        metrics = self._mixlog.entry(self.sampler) | {"epoch": trainer.current_epoch}
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # what Lightning gives its own entries
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        self._mixlog = MixLog()


def _keep_mixed_samplers(trainer: Trainer) -> None:
    """Let the Trainer leave our batch samplers as they are: they know of the processes and split batches by group.

    With ``use_distributed_sampler=True``, its default, it would replace them under many processes, or give up.
    """
    connector = trainer._data_connector  # type: ignore[attr-defined]
    replaces = type(connector)._requires_distributed_sampler

    def requires_distributed_sampler(loader: Any) -> bool:
        return not isinstance(loader.batch_sampler, MixedBatchSampler) and replaces(connector, loader)

    connector._requires_distributed_sampler = requires_distributed_sampler  # type: ignore[method-assign, assignment]


def _validate(trainer: Trainer) -> None:
    """Run the validation that was due when a checkpoint was written: Lightning leaves it out of a run that goes on."""
    validation = trainer.fit_loop.epoch_loop.val_loop
    trainer.validating, validation.restarting = True, False
    validation.run()
    trainer.training = True


def find_sampler(trainer: Trainer) -> Mixed:
    """Return the one :class:`MixedBatchSampler` or :class:`MixedStream` in the Trainer's training loaders.

    Raises:
        RuntimeError: if there is none, or more than one.
    """
    loaders = trainer.fit_loop._combined_loader.flattened if trainer.fit_loop._combined_loader is not None else []
    parts = [getattr(loader, name, None) for loader in loaders for name in ("batch_sampler", "dataset")]
    mixed = [part for part in parts if isinstance(part, Mixed)]
    if len(mixed) == 1:
        return mixed[0]
    if mixed:
        kinds = ", ".join(type(part).__name__ for part in mixed)
        raise RuntimeError(f"MixingCallback: found {len(mixed)} to steer in the training loaders ({kinds}); use one")
    kinds = ", ".join(type(part).__name__ for part in parts[::2] if part is not None) or "none"
    raise RuntimeError(
        f"MixingCallback: the training loader has no MixedBatchSampler (batch samplers found: {kinds}) and no "
        "MixedStream; make it with DataLoader(dataset, batch_sampler=MixedBatchSampler(labels, mixer, batch_size=...))"
    )


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


def _no_losses(asked: str | None, outputs: Any, num_calls: int) -> str:
    if num_calls > 1:
        return (
            f"MixingCallback: PerSampleLoss was called {num_calls} times in one training step; "
            "return the losses to use as outputs['losses'], or pass losses=function"
        )
    returned = ", ".join(map(repr, outputs)) if isinstance(outputs, Mapping) else type(outputs).__name__
    if asked is not None:
        return f"MixingCallback: training_step returned no {asked!r} (it returned: {returned})"
    return (
        "MixingCallback: found no per-sample losses; wrap the criterion, "
        'PerSampleLoss(nn.CrossEntropyLoss(reduction="none")), or return {"loss": ..., "losses": per_sample_losses} '
        f"from training_step (it returned: {returned})"
    )
