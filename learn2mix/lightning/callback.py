"""The loop closed under Lightning: losses go from the module to the sampler, the mix goes to the logger."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from learn2mix.lightning import finding, internals
from learn2mix.lightning.finding import Mixed
from learn2mix.lightning.search import Search
from learn2mix.lightning.showing import Showing

OF_ANOTHER_TRAINER = (
    "MixingCallback is for Lightning's Trainer; with that of transformers leave it out, and use "
    "learn2mix.integrations.transformers.MixedTrainer, which steers the mix by itself"
)


class MixingCallback(Callback):
    """Steers the sampler or stream of the training loader by the losses of each sample.

    Finds the :class:`MixedBatchSampler` or :class:`MixedStream` that is live in the Trainer, passes it the per-sample
    losses of each training batch, and saves and restores it with the checkpoint, also in the middle of an epoch.
    Works with ``pytorch_lightning`` and ``lightning.pytorch``, on one process or many. It moves itself to the front of
    the callbacks, so that a checkpoint finds the batch observed.

    Loggers get the mix every ``log_every_n_steps``: under ``mix/`` the shares ``requested`` and ``realised`` (means
    since the last entry), each group's ``loss`` at the last update, the ``entropy`` in nats and the ``lag`` in batches;
    ``trainer.callback_metrics`` when an epoch or validation ends, and callbacks that monitor them after each batch.

    Args:
        losses: where the per-sample losses are, shape ``(batch_size,)``. None finds ``outputs["losses"]`` or a
            :class:`PerSampleLoss` in the module; else a key of what ``training_step`` returns, or a function of
            ``(outputs, batch)``.
        validation: where the results of a validation run are, for mixers that follow it (``needs_validation``). None
            takes the loss from what ``self.log("val_loss", ...)`` left in ``trainer.callback_metrics``, or, for mixers
            that follow the losses of the groups, these from the one :class:`GroupLossMeter` in the module, which
            ``validation_step`` updates and this callback resets when a run begins. A string is another key of the
            loss. A function gets ``(trainer, pl_module)`` and returns ``(loss, group_losses)``, or other scores >= 0.
        groups: where the labels are that the losses are of, if not of the batch in its order (two views, dropped
            samples): a key of what ``training_step`` returns, or a function of ``(outputs, batch)``.
        log: whether to log the mix.
        log_groups: which groups have entries of their own: those of these names, or, given a number, all where there
            are no more than that, and else only the extremes, by value and by number of the group; None for all.
        progress_bar: how many groups the progress bar shows with their shares, those that moved most; True for 3.
        figure: whether loggers (TensorBoard, W&B, MLflow) get a picture of the run at its end. Needs matplotlib.
        live_picture: whether in a notebook the path of the mix draws itself while ``fit`` runs, at most once a second.

    Raises:
        TypeError: if ``losses``, ``groups`` or ``validation`` is neither None, nor a key, nor a function.
        ImportError: at the start, if a figure is asked for and matplotlib is missing.
        RuntimeError: at the start or at the first batch, where it cannot do its work.

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
        log_groups: int | Sequence[Any] | None = 20,
        progress_bar: bool | int = False,
        figure: bool = False,
        live_picture: bool = True,
    ) -> None:
        finding.check_asked(losses=losses, validation=validation, groups=groups)
        self._losses, self._validation = finding.LossFinder(losses, groups), validation
        self._showing = Showing(log, log_groups, progress_bar, figure, live_picture)
        self._search = Search()
        self._sampler: Mixed | None = None
        self._validation_due = self._evaluating = False  # the first after the batch just trained on

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
        self._showing.check(trainer)
        internals.keep_samplers(trainer, lambda loader: bool(finding.mixed_in([loader])))
        trainer.callbacks.sort(key=lambda callback: callback is not self)  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make ready for a search, which trains before the training."""
        self._search.begin(trainer, pl_module, self._losses)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the live sampler, and restore it where the run goes on from a checkpoint."""
        trainer.fit_loop.setup_data()  # a run that goes on may be due for a new loader (see on_train_epoch_start)
        self._losses.find_criteria(pl_module)
        restored = self._search.end(trainer)
        self._steer(trainer, restored)
        if self._followed(trainer) is not None:
            finding.check_validates(trainer, self.sampler)
        self._showing.start(trainer, self.sampler)
        if restored is not None and restored.get("validation_due"):  # Lightning leaves it out of a run that goes on
            finding.run_validation(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the state along to a new loader (``reload_dataloaders_every_n_epochs``)."""
        if finding.find_sampler(trainer) is not self.sampler:
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
        if trainer.is_last_batch:  # at once, for a checkpoint may follow
            self.sampler.finish_epoch()
        self._validation_due = self._followed(trainer) is not None and internals.validation_follows(trainer)
        self._showing.update(trainer, pl_module, self.sampler, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the losses of the last run, and of the sanity check."""
        self._search.begin_check(trainer)
        if self._followed(trainer) == "group_losses" and not callable(self._validation):
            finding.reset_meters(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass the result on, as one process has it, so that all hold the same mix."""
        self._search.end_check()
        followed = self._followed(trainer)
        if followed is None:
            return
        loss, group_losses = finding.validation_results(self._validation, followed, trainer, pl_module)
        by_group = None if group_losses is None else torch.as_tensor(group_losses).tolist()
        self.sampler.observe_validation(*trainer.strategy.broadcast((float(loss), by_group)))
        self._validation_due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the sampler's epoch where a hook skipped the rest of the Trainer's."""
        if trainer.is_last_batch:
            self.sampler.finish_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the picture of the whole run in the notebook, and with the loggers."""
        self._showing.end(trainer, self.sampler)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the workers of a loader of ours, and leave the progress bar as it was."""
        self._showing.stop()
        finding.close_loaders(trainer)
        self._search.undo()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the workers here too, and say in an error of Lightning's what to do about it."""
        finding.close_loaders(trainer)
        finding.explain(exception, trainer)

    def on_init_end(self, *args: Any, **kwargs: Any) -> None:
        """Refuse the Trainer of transformers, which tells its callbacks that it is made or that training begins."""
        raise TypeError(OF_ANOTHER_TRAINER)

    on_train_begin = on_init_end

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state, with a note where a validation run that the mix follows is due."""
        if self._search.state is not None:
            return self._search.state
        if self._sampler is None:
            return {}
        return self._sampler.state_dict() | ({"validation_due": True} if self._validation_due else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until the sampler is known; one that came with weights to evaluate is not wanted."""
        if not self._evaluating:
            self._search.state = state_dict or None

    def find_losses(self, pl_module: LightningModule, outputs: Any, batch: Any) -> Tensor | None:
        """Return the losses of the batch just trained on; None where the step had none, or no mixer asks for them."""
        if pl_module.automatic_optimization and not outputs:
            return None  # training_step returned None: the batch was skipped
        needed = self._sampler is None or (self._sampler.mixer.needs_losses and self._sampler.lag > 0)
        losses: Tensor | None = self._losses.losses(outputs, batch, needed=needed)
        return losses

    def _followed(self, trainer: Trainer) -> str | None:
        """Return what the mix follows of a validation run: ``"loss"``, ``"group_losses"`` or nothing."""
        followed: str | None = getattr(getattr(self._sampler, "mixer", None), "needs_validation", None)
        return None if followed is None or self._evaluating or trainer.sanity_checking else followed

    def _steer(self, trainer: Trainer, state: dict[str, Any] | None) -> None:
        self._sampler = finding.find_sampler(trainer)
        finding.check_split(trainer, self._sampler)
        self._sampler.trusted = True
        self._showing.follow(trainer, self._sampler)
        self._losses.follow(self._sampler)
        if state is not None:
            self._sampler.load_state_dict(state, strict=False)
            if not trainer.fit_loop.epoch_loop.restarting:
                self._sampler.finish_epoch()  # The Trainer begins a new one, also where it left the last one early.
            internals.begin_again(trainer)  # for an iterator was made before, and its workers have begun to draw
        self._sampler.observing = True
