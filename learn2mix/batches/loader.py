"""The loader: hands out numbered batches, knows which one the loop has, and has a state."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any, Literal

import torch

from learn2mix.batches.map_reader import MapReader
from learn2mix.batches.pipeline import Pipeline
from learn2mix.batches.reading import Batches, Reading
from learn2mix.batches.sampler import MixedBatchSampler, check_dataset
from learn2mix.batches.stream import MixedStream
from learn2mix.batches.zero_lag import AheadDecoder
from learn2mix.checks import check_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike
    from torch import Tensor

    from learn2mix.mixers import Mixer

__all__ = ["MixedLoader", "ZeroLagLoader"]


class MixedLoader(Reading):
    """Loads the batches of a :class:`MixedBatchSampler` or a :class:`MixedStream`, in worker processes if asked to.

    Takes the place of ``torch.utils.data.DataLoader`` and its arguments. The process that trains composes the batches,
    workers read them, and each comes back with its number, so that losses find their batch however the loop goes.
    Under Lightning it is saved and restored with the checkpoint; Accelerate and Hugging Face's Trainer leave it as it
    is.

    Args:
        dataset: map-style data, with as many samples as the sampler has labels; or a :class:`MixedStream`.
        batch_sampler: composes the batches of ``dataset``; nothing with a stream.
        num_workers: worker processes; 0 reads in this process.
        zero_lag: whether each batch is composed when it is asked for, while workers decode ahead the samples that it
            would have at the mix of the moment. Then every update acts on the very next batch. Map-style data only,
            with at least 1 worker.
        on_error: ``"raise"``, or ``"skip"``: a sample that cannot be read, or that ``collate_fn`` drops, costs that
            sample only, with one warning that names it.
        collate_fn: makes a batch of a list of samples; None for torch's. A stream has its own.
        device: where the tensors of a batch go, those in containers too; None leaves them.
        loader_args: what else ``DataLoader`` takes, such as ``pin_memory``, ``prefetch_factor``, ``in_order``,
            ``persistent_workers`` (with a stream and with ``zero_lag`` they always are) or ``worker_init_fn``.

    Raises:
        ValueError: if the numbers of samples and labels differ, or an argument is out of range.
        TypeError: if ``dataset`` or ``batch_sampler`` is of another kind, or an argument is unknown.

    Attributes:
        sampler: the sampler, or the stream; ``stream`` is another name of it.
        skipped: what was left out under ``on_error="skip"``, and how often.

    Example:
        >>> from learn2mix import Learn2Mix
        >>> sampler = MixedBatchSampler([0, 0, 0, 1, 1, 1], Learn2Mix(), batch_size=2)
        >>> loader = MixedLoader(range(6), sampler)
        >>> for batch in loader:
        ...     loader.observe(1.0 + batch)
        >>> loader.lag
        0
    """

    def __init__(
        self,
        dataset: Any,  # not Dataset[Any]: jsonargparse cannot build what is generic
        batch_sampler: MixedBatchSampler | None = None,
        *,
        num_workers: int = 0,
        zero_lag: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        device: torch.device | str | None = None,
        **loader_args: Any,
    ) -> None:
        _check_kinds(dataset, batch_sampler, zero_lag, collate_fn)
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}')
        self.num_workers = check_whole(num_workers, "num_workers", minimum=int(zero_lag))
        self.dataset, self.batch_sampler = dataset, batch_sampler
        self.sampler: Any = dataset if batch_sampler is None else batch_sampler
        self.zero_lag, self.on_error, self.device = zero_lag, on_error, device
        self.skipped: dict[str, int] = {}
        self._loader_args = _check_loader_args(loader_args, self.num_workers)
        self._keeps_workers = batch_sampler is None or bool(self._loader_args.pop("persistent_workers", False))
        skip = on_error == "skip"
        self._reader: Any = MapReader(dataset, collate_fn, skip=skip) if batch_sampler is not None else dataset._reader
        self.collate_fn = self._reader.collate
        self._pipeline: Pipeline | None = None
        self._decoder: AheadDecoder | None = None

    # ------------------------------------------------------------------ what it is

    @property
    def stream(self) -> Any:
        """The stream, or the sampler."""
        return self.sampler

    @property
    def mixer(self) -> Mixer:
        """What decides the proportions."""
        return self.sampler.mixer  # type: ignore[no-any-return]

    @property
    def lag(self) -> int:
        """Batches composed but not yet observed."""
        return self.sampler.lag  # type: ignore[no-any-return]

    def __len__(self) -> int:
        """Batches per epoch; a TypeError for a stream, which has no length."""
        if self.batch_sampler is None:
            raise TypeError("MixedLoader: a MixedStream has no length")
        return len(self.batch_sampler)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pipeline": None, "_decoder": None}  # workers stay where they are

    def set_epoch(self, epoch: int) -> None:
        """Change nothing: see :meth:`MixedBatchSampler.set_epoch`."""
        self.sampler.set_epoch(epoch)

    # ------------------------------------------------------------------ batches

    def __iter__(self) -> Iterator[Any]:
        """Begin an epoch, or go on with one that a loaded state was in the middle of."""
        iteration = self.sampler._begin(None, by_loader=True)
        read = self._composed_last if self.zero_lag else self._requested
        batches = Batches(lambda: read(iteration), self._move, self._release)
        self.sampler._watch(batches)
        return batches

    def close(self) -> None:
        """End the worker processes; the next iteration starts new ones."""
        self._pipeline = self._decoder = None

    # ------------------------------------------------------------------ losses and state

    def observe(
        self,
        losses: Tensor | ArrayLike | None,
        *,
        groups: Sequence[Any] | ArrayLike | None = None,
        weights: Tensor | ArrayLike | None = None,
    ) -> None:
        """Report the losses of the oldest batch that the loop has: see :meth:`MixedBatchSampler.observe`.

        Under ``on_error="skip"`` there is one loss for each sample that is left of it.
        """
        self.sampler.observe(losses, groups=groups, weights=weights)

    def log_mix(self, target: ArrayLike | str | None = "uniform") -> Tensor:
        """Return what to add to the logits of the batch being trained on: see :meth:`MixedBatchSampler.log_mix`."""
        return self.sampler.log_mix(target)  # type: ignore[no-any-return]

    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run: see :meth:`MixedBatchSampler.observe_validation`."""
        self.sampler.observe_validation(loss, group_losses)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the sampler or stream, which is all that a resumed run needs."""
        return self.sampler.state_dict()  # type: ignore[no-any-return]

    def load_state_dict(self, state: dict[str, Any], *, strict: bool = False) -> None:
        """Go on where a saved state was, as far as it fits; with ``strict=True`` it has to fit.

        A Trainer calls this, and has no way to ask for less; what is let go is said in a warning.
        """
        self.sampler.load_state_dict(state, strict=strict)


class ZeroLagLoader(MixedLoader):
    """:class:`MixedLoader` with ``zero_lag=True``, under the name that it had before."""

    def __init__(self, dataset: Any, batch_sampler: MixedBatchSampler, *, num_workers: int, **loader_args: Any) -> None:
        super().__init__(dataset, batch_sampler, num_workers=num_workers, zero_lag=True, **loader_args)


def _check_kinds(dataset: Any, batch_sampler: Any, zero_lag: bool, collate_fn: Any) -> None:
    if isinstance(dataset, MixedStream):
        if batch_sampler is not None or zero_lag or collate_fn is not None:
            raise TypeError(
                "MixedLoader: a MixedStream composes its own batches; it takes no batch_sampler and no zero_lag, and "
                "its collate_fn goes to MixedStream(...)"
            )
    elif isinstance(batch_sampler, MixedBatchSampler):
        check_dataset(dataset, batch_sampler.partition)
    else:
        raise TypeError(
            f"batch_sampler must be a MixedBatchSampler (or dataset a MixedStream), got {type(batch_sampler).__name__}"
        )


def _check_loader_args(loader_args: dict[str, Any], num_workers: int) -> dict[str, Any]:
    for name, way_out in (
        ("batch_size", "it is the sampler's or the stream's"),
        ("shuffle", "batches are shuffled by the sampler"),
        ("sampler", "pass batch_sampler"),
        ("drop_last", "every batch is whole"),
    ):
        if loader_args.pop(name, None):
            raise TypeError(f"MixedLoader: {name} is not taken; {way_out}")
    if loader_args.get("prefetch_factor") is not None:
        check_whole(loader_args["prefetch_factor"], "prefetch_factor")
    context = loader_args.get("multiprocessing_context")
    if isinstance(context, str):
        loader_args["multiprocessing_context"] = multiprocessing.get_context(context) if num_workers else None
    return loader_args
