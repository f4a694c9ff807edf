"""Every private attribute of Lightning that is used, one function each; tried on 2.6.0 to 2.6.6.

A version that has moved one gets an error that names it, and not a run that goes wrong.
"""

from collections.abc import Callable
from typing import Any

from pytorch_lightning import Trainer

__all__ = ["begin_again", "keep_samplers", "num_batches_stepped", "validation_follows"]


def _private(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        raise RuntimeError(
            f"MixingCallback: this version of Lightning has no {type(owner).__name__}.{name}; use pytorch-lightning "
            "2.6, or a newer learn2mix"
        ) from None


def begin_again(trainer: Trainer) -> None:
    """Make the iterator over the training loader anew, once its sampler has moved."""
    iter(_private(trainer.fit_loop, "_data_fetcher"))


def keep_samplers(trainer: Trainer, is_ours: Callable[[Any], bool]) -> None:
    """Let the Trainer leave the samplers of some loaders as they are, under many processes.

    With ``use_distributed_sampler=True``, its default, it would replace them, or give up.
    """
    connector = _private(trainer, "_data_connector")
    replaces = _private(type(connector), "_requires_distributed_sampler")
    connector._requires_distributed_sampler = lambda loader: not is_ours(loader) and replaces(connector, loader)


def validation_follows(trainer: Trainer) -> bool:
    """Whether a validation run comes after the batch just trained on."""
    should_check = _private(trainer.fit_loop.epoch_loop, "_should_check_val_fx")
    return bool(should_check(_private(trainer.fit_loop, "_data_fetcher")))


def num_batches_stepped(trainer: Trainer) -> int:
    """Return the step under which Lightning logs its own entries."""
    return int(_private(trainer.fit_loop.epoch_loop, "_batches_that_stepped"))
