"""Where things are in a Trainer: the sampler, the losses of a training step, the results of a validation run."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.feedback.meter import GroupLossMeter
from learn2mix.feedback.mix_adjusted import MixAdjustedLoss
from learn2mix.feedback.per_sample import PerSampleLoss
from learn2mix.loader.loader import MixedLoader
from learn2mix.streams.stream import MixedStream

Asked = Callable[[Any, Any], Any] | str | None
Mixed = MixedBatchSampler | MixedStream


def check_asked(**asked: Any) -> None:
    """Raise a TypeError for an argument that does not say where something is."""
    for name, value in asked.items():
        if not (value is None or isinstance(value, str) or callable(value)):
            raise TypeError(f"{name} must be None, a key or a function, got {type(value).__name__}")


def find_sampler(trainer: Trainer) -> Mixed:
    """Return the one sampler or stream in the Trainer's training loaders; a RuntimeError if there is not one."""
    loaders = flat(trainer.train_dataloader)
    mixed = mixed_in(loaders)
    if len(mixed) == 1:
        return mixed[0]
    if mixed:
        kinds = ", ".join(type(part).__name__ for part in mixed)
        raise RuntimeError(f"MixingCallback: found {len(mixed)} to steer in the training loaders ({kinds}); use one")
    samplers = [getattr(loader, "batch_sampler", None) for loader in loaders]
    kinds = ", ".join(type(sampler).__name__ for sampler in samplers if sampler is not None) or "none"
    raise RuntimeError(
        f"MixingCallback: the training loader has no MixedBatchSampler (batch samplers found: {kinds}) and no "
        "MixedStream; make it with MixedLoader(dataset, MixedBatchSampler(labels, mixer, batch_size=...)), or give a "
        "DataLoader the sampler as batch_sampler=, not as sampler="
    )


def mixed_in(loaders: list[Any]) -> list[Mixed]:
    """Return the samplers and streams of these loaders, each once."""
    parts = [getattr(loader, name, None) for loader in loaders for name in ("batch_sampler", "sampler", "dataset")]
    return list({id(part): part for part in parts if isinstance(part, Mixed)}.values())


def flat(loaders: Any) -> list[Any]:
    """Return the loaders in what ``fit`` takes: one, or a collection of them, or a CombinedLoader."""
    loaders = getattr(loaders, "iterables", loaders)
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    if isinstance(loaders, (list, tuple)):
        return [loader for value in loaders for loader in flat(value)]
    return [] if loaders is None else [loaders]


def explain(exception: BaseException, trainer: Trainer) -> None:
    """Say in an error of Lightning's what to do about it, where it is ours that it does not know."""
    overfits = trainer.overfit_batches  # type: ignore[attr-defined]
    if overfits and "MixedLoader" in str(exception) and "needs to subclass" in str(exception):
        exception.args = (
            f"{exception}; overfit_batches takes a DataLoader(dataset, batch_sampler=sampler), or pass "
            f"Trainer(limit_train_batches={overfits}), which does the same",
        )


def close_loaders(trainer: Trainer) -> None:
    """End the workers of the training loaders that are ours."""
    for loader in flat(trainer.train_dataloader):
        if isinstance(loader, MixedLoader):
            loader.close()


class LossFinder:
    """Finds the losses of each training step, and the labels of what they are of, where the callback was told."""

    def __init__(self, losses: Asked, groups: Asked) -> None:
        self._losses, self._groups = losses, groups
        self._criteria: list[PerSampleLoss] = []
        self._num_calls = 0  # of the criteria, before a backward pass
        self._num_passes = 0  # backward passes of this step that came after such a call
        self._manual = self._told = False  # whether the module calls backward itself; whether it was warned of several
        self._sampler: Any = None  # that is steered

    def find_criteria(self, pl_module: LightningModule) -> None:
        """Look for the criteria that keep losses."""
        self._criteria = [module for module in pl_module.modules() if isinstance(module, PerSampleLoss)]
        self._manual = not pl_module.automatic_optimization

    def follow(self, sampler: Any) -> None:
        """Let the criteria that know their mix follow the one that is steered."""
        self._sampler = sampler
        for criterion in self._criteria:
            if isinstance(criterion, MixAdjustedLoss):
                criterion.follow(sampler)

    def follow_live(self, trainer: Trainer) -> None:
        """Let them follow the sampler that the Trainer's loader has when they are called: a search may make another."""
        for criterion in self._criteria:
            if isinstance(criterion, MixAdjustedLoss):
                criterion._follow(partial(find_sampler, trainer))

    def forget(self) -> None:
        """Forget the losses kept so far."""
        self._num_calls = self._num_passes = 0
        for criterion in self._criteria:
            criterion.take()

    def end_pass(self) -> None:
        """Note how often the criteria were called before a backward pass."""
        num_calls = sum(criterion.num_calls for criterion in self._criteria)
        self._num_calls, self._num_passes = max(self._num_calls, num_calls), self._num_passes + (num_calls > 0)
        for criterion in self._criteria:
            criterion.num_calls = 0

    def losses(self, outputs: Any, batch: Any, *, needed: bool) -> Any:
        """Return the losses of a step; None where there are none and none are needed."""
        returned = isinstance(outputs, Mapping) and "losses" in outputs
        if self._losses is not None or returned:
            return _ask("losses" if self._losses is None else self._losses, outputs, batch)
        taken = [losses for losses in (criterion.take() for criterion in self._criteria) if losses is not None]
        num_calls = max(self._num_calls, len(taken))
        if num_calls > 1:
            raise RuntimeError(
                f"MixingCallback: PerSampleLoss was called {num_calls} times in one training step; "
                "return the losses to use as outputs['losses'], or pass losses=function"
            )
        if needed and self._manual and self._num_passes > 1 and not self._told:
            self._told = True
            warnings.warn(
                f"MixingCallback: PerSampleLoss was called before each of {self._num_passes} backward passes of one "
                "training step, and the mix follows the losses of the last; where it should follow others (those of "
                "a GAN's discriminator), return {'losses': losses} from training_step",
                stacklevel=2,
            )
        if taken or not needed:
            return taken[0] if taken else None
        raise RuntimeError(
            "MixingCallback: found no per-sample losses; wrap the criterion, "
            'PerSampleLoss(nn.CrossEntropyLoss(reduction="none")), or return {"loss": ..., "losses": per_sample_losses}'
            f" from training_step ({_returned(outputs)})"
        )

    def groups(self, outputs: Any, batch: Any) -> Any:
        """Return the labels of what the losses are of; None where they are of the batch, in its order."""
        if self._groups is None:
            if self._sampler.num_unobserved > 1:
                raise RuntimeError(
                    f"MixingCallback: training_step took {self._sampler.num_unobserved} batches of dataloader_iter; "
                    'return {"loss": loss, "losses": losses, "labels": labels} of all of them, with '
                    'MixingCallback(groups="labels")'
                )
            return None
        return _ask(self._groups, outputs, batch)


def _ask(asked: Callable[[Any, Any], Any] | str, outputs: Any, batch: Any) -> Any:
    """Return what a function of the user's finds, or what ``training_step`` returned by a key."""
    if callable(asked):
        return asked(outputs, batch)
    if isinstance(outputs, Mapping) and asked in outputs:
        return outputs[asked]
    raise RuntimeError(f"MixingCallback: training_step returned no {asked!r} ({_returned(outputs)})")


def _returned(outputs: Any) -> str:
    names = ", ".join(map(repr, outputs)) if isinstance(outputs, Mapping) else type(outputs).__name__
    return f"it returned: {names}"


def meters_in(pl_module: LightningModule) -> list[GroupLossMeter]:
    """Return the meters in a module, of which one has the validation losses of the groups."""
    return [module for module in pl_module.modules() if isinstance(module, GroupLossMeter)]


def reset_meters(pl_module: LightningModule) -> None:
    """Forget the validation losses of the groups."""
    for meter in meters_in(pl_module):
        meter.reset()


def validation_results(asked: Asked, followed: str, trainer: Trainer, pl_module: LightningModule) -> Any:
    """Return the loss that was logged, by its key, and the losses of the groups where the mix follows them."""
    if callable(asked):
        return asked(trainer, pl_module)
    key = "val_loss" if asked is None else asked
    if followed == "loss" and key not in trainer.callback_metrics:
        logged = [name for name in trainer.callback_metrics if not name.startswith("mix/")]  # by the user
        raise RuntimeError(
            f"MixingCallback: the mixer follows the validation loss, but nothing was logged as {key!r} (logged: "
            f"{', '.join(map(repr, logged)) or 'nothing'}); call self.log({key!r}, loss) in validation_step"
        )
    loss = trainer.callback_metrics.get(key, torch.nan)
    if followed != "group_losses":
        return loss, None
    meters = meters_in(pl_module)
    if len(meters) != 1:
        raise RuntimeError(
            "MixingCallback: the mixer follows the validation losses of the groups, and the module has "
            f"{len(meters)} GroupLossMeters; give it one and update it in validation_step, or pass validation=function"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*before the ``update`` method")  # of one process of many, or told below
        losses = meters[0].compute()
    if losses.isnan().all() and not meters[0].counts.any():  # else they are NaN themselves
        raise RuntimeError(
            "MixingCallback: the mix follows validation losses of the groups, but the GroupLossMeter has no losses; "
            "update it in validation_step, and leave its reset to this callback: not in on_validation_epoch_end"
        )
    return loss, losses


def check_split(trainer: Trainer, sampler: Mixed) -> None:
    """Raise a RuntimeError unless a sampler shares its batches as the Trainer splits data."""
    wanted = trainer.distributed_sampler_kwargs
    if wanted and wanted != {"num_replicas": sampler.num_replicas, "rank": sampler.rank}:
        raise RuntimeError(
            f"MixingCallback: under {type(trainer.strategy).__name__} this process takes part {wanted['rank']} of "
            f"{wanted['num_replicas']} of each batch, but its sampler has it as {sampler.rank} of "
            f"{sampler.num_replicas}; make it with MixedBatchSampler(..., "
            f"num_replicas={wanted['num_replicas']}, rank={wanted['rank']})"
        )


def check_validates(trainer: Trainer, sampler: Mixed) -> None:
    """Raise a RuntimeError if a Trainer runs no validation, for a mix that follows it."""
    if not trainer.enable_validation:
        raise RuntimeError(
            f"MixingCallback: this {type(sampler.mixer).__name__} follows validation, but the Trainer runs none; "
            "define validation_step and pass val_dataloaders, with limit_val_batches above 0"
        )


def run_validation(trainer: Trainer) -> None:
    """Run the validation that was due when the run was stopped."""
    validation = trainer.fit_loop.epoch_loop.val_loop
    trainer.validating, validation.restarting = True, False
    validation.run()
    trainer.training = True
