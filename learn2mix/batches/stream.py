"""Batches of iterable data, composed in the workers by a mix that reaches them while they run."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakMethod

import numpy as np
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from learn2mix.batches.board import RUNNING, Board
from learn2mix.batches.composer import Composer
from learn2mix.batches.ledger import Ledger
from learn2mix.batches.sources import name_sources, prior_of
from learn2mix.checks import check_seed, check_whole
from learn2mix.feedback.feedback import Feedback, check_group_losses, check_losses
from learn2mix.feedback.processes import Processes
from learn2mix.mixers.base import check_mixer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike
    from torch import Tensor

    from learn2mix.batches.board import Record
    from learn2mix.checks import Counts, Vector
    from learn2mix.mixers.base import Mixer

__all__ = ["MixedStream"]

STATE_VERSION = 1
ON_EXHAUSTED = ("restart", "stop_first", "stop_all")


class ObservedBatch(NamedTuple):
    """A batch that was trained on."""

    number: int  # batches of this process before it
    proportions: Vector  # asked for
    counts: Counts  # given


class MixedStream(IterableDataset[Any]):
    """Composes each batch by a mixer's proportions from sources that can only be iterated.

    Give it to ``DataLoader(stream, batch_size=None, num_workers=n)``: it yields whole batches, collated, each with
    exactly ``batch_size`` samples, group after group. Each worker of each process reads its own shard of every source
    (see :class:`learn2mix.batches.sources.Source`), carries its own credit
    (:func:`learn2mix.functional.apportion_owed`) and holds no more samples than ``shuffle_buffer`` a
    source. A source that splits itself by worker loses nothing by it: while it is read, ``torch.utils.data.get_worker_info()`` is None.

    A new mix reaches workers while they run: batch ``t`` follows the newest mix made by the time that
    ``t - prefetch_factor * num_workers`` batches had been observed. The loader asks for it no earlier, so the batches
    do not depend on how fast the workers are. A mix assigned to ``mixer.proportions`` counts from the next batch
    observed on; mixers that follow the progress of the run alone are computed in the workers and have no lag.

    With ``"restart"`` the stream has no end, and a new iteration goes on where observed batches ended; else it reads
    the sources from their beginning. Every iteration is an epoch to the mixer, or what lies before
    :meth:`finish_epoch`; without that call, workers know of an update at the end of an epoch only after their lag.
    A loop that never observes is fine with a mixer that needs no losses: then a batch counts as trained on once it is
    composed, also those that workers had composed ahead when an iteration was left. To start workers anew costs to
    read again what was drawn in the running pass of each source; ``DataLoader(persistent_workers=True)`` spares it.

    Args:
        sources: a mapping from group names to iterables, or a sequence of iterables; at least 2. Each must give the
            same samples in every pass. Samples of all sources are collated together.
        mixer: decides the proportions; a new one for each stream. Its prior are the sizes of the sources, or the
            uniform mix where one has no ``len``.
        batch_size: samples a batch and process, at least 1. Every process composes the same counts.
        seed: whole number in [0, 2 ** 64), for the shuffling.
        on_exhausted: what the end of a source does: ``"restart"`` begins its next pass; ``"stop_first"`` ends the
            epoch (of that worker's shard) before the first batch that it cannot fill; ``"stop_all"`` restarts sources
            until each was drawn to its end, so each must get a share at some time. Shards that differ in length then
            give the processes different numbers of batches.
        collate_fn: makes a batch of a list of samples; None for torch's.
        prefetch_factor: that of the ``DataLoader``, of which a data set is not told.
        shuffle_buffer: samples of each source from which to draw at random; 0 for the order of the source.
        num_replicas: how many processes there are; None asks ``torch.distributed``.
        rank: which of them this is; None asks ``torch.distributed``.

    Raises:
        ValueError: if there are fewer than 2 sources, one is empty, a number is out of range, ``on_exhausted`` is
            unknown or ``mixer`` belongs to another stream; while iterating, if a source turns out to be empty, has
            fewer samples than there are shards, is a one-shot iterator that would have to begin again, ends before
            the first batch of an epoch in every worker, or has no share where ``"stop_all"`` waits for it and nothing
            moves the mix before the epoch ends. Its name is in the message.
        TypeError: if a source is not iterable, a name is neither an integer, a string nor a tuple of them, a number is
            not whole, or ``mixer`` is no mixer.
        RuntimeError: while iterating, if a source fails; its name and the number of the sample are in the message,
            and all batches before are whole.

    Example:
        >>> from learn2mix import FixedMix
        >>> from torch.utils.data import DataLoader
        >>> stream = MixedStream({"a": range(4), "b": range(100, 200)}, FixedMix([0.75, 0.25]), batch_size=4)
        >>> batches = iter(DataLoader(stream, batch_size=None))
        >>> next(batches), next(batches)
        (tensor([  0,   1,   2, 100]), tensor([  3,   0,   1, 101]))
    """

    def __init__(
        self,
        sources: Mapping[Any, Any] | Sequence[Any],
        mixer: Mixer,
        *,
        batch_size: int,
        seed: int = 0,
        on_exhausted: str = "restart",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        prefetch_factor: int = 2,
        shuffle_buffer: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if on_exhausted not in ON_EXHAUSTED:
            raise ValueError(f"on_exhausted must be one of {', '.join(map(repr, ON_EXHAUSTED))}, got {on_exhausted!r}")
        named = name_sources(sources)
        check_mixer(mixer)
        if mixer._listener is not None and mixer._listener() is not None:
            raise ValueError(
                f"mixer: this {type(mixer).__name__} belongs to another MixedStream; make a new mixer for each stream"
            )
        mixer.attach(prior_of(named), [source.name for source in named])
        self.mixer = mixer
        self.last_observed: ObservedBatch | None = None
        self._board = Board(len(named))
        self._composer = Composer(
            named,
            mixer,
            self._board,
            Processes(num_replicas, rank),
            batch_size=check_whole(batch_size, "batch_size"),
            seed=check_seed(seed),
            on_exhausted=on_exhausted,
            collate=default_collate if collate_fn is None else collate_fn,
            prefetch_factor=check_whole(prefetch_factor, "prefetch_factor"),
            shuffle_buffer=check_whole(shuffle_buffer, "shuffle_buffer", minimum=0),
        )
        self._ledger = Ledger(self._board, self._composer.stops)
        self._feedback = Feedback(mixer, self.group_names)
        self._newest: Vector | None = None  # mix on the board
        self._warned = False
        mixer._listener = WeakMethod(self._assigned)
        self._publish()

    def __getstate__(self) -> dict[str, Any]:
        # For a worker that is spawned. It sees no losses; those on a GPU could not be sent to it.
        return {name: value for name, value in self.__dict__.items() if name != "_feedback"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._feedback = Feedback(self.mixer, self.group_names)
        self.mixer._listener = WeakMethod(self._assigned)

    @property
    def batch_size(self) -> int:
        """Samples a batch and process."""
        return self._composer.batch_size

    @property
    def group_names(self) -> list[Any]:
        """One name a source."""
        return [source.name for source in self._composer.sources]

    @property
    def num_replicas(self) -> int:
        """How many processes there are."""
        return self._composer.processes.num_replicas

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return self._composer.processes.rank

    @property
    def group_losses(self) -> Vector:
        """Mean loss of each group at the last update, shape ``(num_groups,)``, NaN where unknown."""
        return self._feedback.group_losses

    @property
    def lag(self) -> int:
        """Batches composed but not yet observed, of the newest iteration.

        A ``DataLoader`` composes at most ``prefetch_factor * num_workers`` batches ahead; without workers, none.
        """
        return self._ledger.lag

    @property
    def held(self) -> int:
        """Batches that the loop fetches before it observes the last; 0 in a plain loop.

        1 under Lightning, which fetches one ahead to find the end of a loader without length. Batches follow mixes
        that are as much older, so that also there they do not depend on how fast the workers are.
        """
        return self._board.held

    @held.setter
    def held(self, count: int) -> None:
        self._board.held = check_whole(count, "held", minimum=0)

    @property
    def observing(self) -> bool:
        """Whether a batch counts as trained on once observed; else once composed."""
        return self._board.observing_since != RUNNING

    @observing.setter
    def observing(self, value: bool) -> None:
        if value != self.observing:
            self._board.observing_since = self._board.iteration if value else RUNNING

    def __iter__(self) -> Iterator[Any]:
        """Begin an iteration; a ``DataLoader`` does so in each of its workers."""
        iteration, worker, num_workers = self._composer.begin()
        if num_workers == 0:
            self._catch_up()
        return self._batches(iteration, worker, num_workers)

    def _batches(self, iteration: int, worker: int, num_workers: int) -> Iterator[Any]:
        # From a method of its own, so that the stream lives while it is iterated, and hears of its mixer.
        yield from self._composer.batches(iteration, worker, num_workers)

    # ------------------------------------------------------------------ losses

    def observe(self, losses: Tensor | ArrayLike | None) -> None:
        """Report the losses of the oldest batch not yet observed.

        Args:
            losses: loss of each sample of the batch, in its order, shape ``(batch_size,)``, at least 0; on any device.
                None says that the batch was trained on but its losses are not known.

        Raises:
            ValueError: if no batch is waiting, the length is wrong, or a loss is negative, NaN or infinite (on an
                accelerator one batch later). The mix stays as it was, and the batch goes on waiting.
            RuntimeError: if batches were left out for so long that this one is no longer known.
        """
        self._catch_up()
        worker, batch = self._ledger.oldest()
        number, counts = self._ledger.observed, batch["counts"].copy()
        if losses is not None:
            groups = np.arange(len(counts)).repeat(counts)
            self._feedback.add(check_losses(losses, self.batch_size), groups, counts, number, self.num_replicas)
        self._warn_if_late(batch)
        self._ledger.take(worker, batch)
        self.observing, self.last_observed = True, ObservedBatch(number, batch["proportions"].copy(), counts)
        with self._updating():
            self._feedback.step(self.num_replicas, epoch_ended=False)
            if self._num_workers:
                self.mixer.seek(self._ledger.observed, self._ledger.epoch)  # what moves its copies in the workers

    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run, for mixers that follow it; the same on every process.

        Args:
            loss: mean validation loss; NaN where unknown.
            group_losses: the same for each group, or any score of at least 0 that is larger where more is left to
                learn, shape ``(num_groups,)``, on any device, NaN where unknown.

        Raises:
            ValueError: if there is not one value a group, one is negative or infinite, or the mixer needs them and
                they are None. The mix stays as it was.
        """
        self.mixer.observe_validation(float(loss), check_group_losses(group_losses, len(self.group_names)))

    def finish_epoch(self) -> None:
        """End the epoch here, if a batch of it was trained on; the next iteration begins with the mix of the moment.

        An iteration ends the epoch before it by itself, but its workers do not know yet of an update at that end.
        """
        self._catch_up()
        if self._ledger.finish_epoch():
            with self._updating(anew=True):
                self._feedback.end_epoch(self.num_replicas)

    @property
    def _num_workers(self) -> int:
        return self._board.num_workers(self._board.iteration)

    def _catch_up(self) -> None:
        """Turn to the newest iteration."""
        if self._ledger.catch_up():
            with self._updating(later=bool(self._num_workers)):
                self._feedback.end_epoch(self.num_replicas)

    def _assigned(self) -> None:
        """Show a mix that was assigned from outside."""
        if get_worker_info() is None and not self._composer.knows_mixes:
            self._publish(later=bool(self._num_workers))

    @contextmanager
    def _updating(self, anew: bool = False, later: bool = False) -> Iterator[None]:
        """Show the mix at the end of the block, however often it is assigned."""
        self.mixer._listener = None
        try:
            yield
        finally:
            self.mixer._listener = WeakMethod(self._assigned)
            self._newest = None if anew else self._newest
            self._publish(later)

    def _publish(self, later: bool = False) -> None:
        """Show the mix if it is a new one.

        Args:
            later: whether the loader may have asked for a batch since the last was observed, which a worker composes
                now. So that it does not matter when, the mix counts from the next batch observed on.
        """
        mix = self._composer.mix()
        if self._newest is None or not np.array_equal(mix, self._newest):
            self._newest = mix
            self._board.add_mix(mix, self._ledger.observed + later, self._board.iteration)

    def _warn_if_late(self, batch: Record) -> None:
        workers, exempt = self._num_workers, self._warned or self._composer.stops or self._composer.knows_mixes
        if workers and not exempt and self._ledger.is_late(batch, self._composer.ahead(workers)):
            self._warned = True
            warnings.warn(
                "MixedStream: a batch was composed before the mix was made that it is to follow, so batches depend on "
                "the speed of the workers; pass MixedStream(prefetch_factor=) what the DataLoader has, and set "
                "stream.held where the loop fetches batches before it observes the last",
                stacklevel=3,
            )

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, the same on every process: numbers, strings, lists and tensors.

        Batches composed ahead and not observed are composed again, by the same mixes. Shards that end at different
        times (``"stop_first"``, ``"stop_all"``) are an exception: then each process has its own state.
        """
        self._catch_up()
        return {
            **self._settings(),
            "seed": self._composer.seed,
            "observing": self.observing,
            "places": self._ledger.state_dict(self._composer.ahead(self._num_workers)),
            "feedback": self._feedback.state_dict(self.num_replicas),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved state was; the next iterator begins there, also in the middle of an epoch.

        Reads the sources again up to there: as far as the running pass goes, and one pass to learn its length.

        Args:
            state: what :meth:`state_dict` returned, of a stream of the same sources, batch size, mixer and processes.
                The number of workers must be the same too, which only the next iterator can check.

        Raises:
            ValueError: if the state does not fit; nothing is changed then.
        """
        for name, value in self._settings().items():
            if state.get(name) != value:
                raise ValueError(f"state: its {name} is {state.get(name)!r}, but this stream's is {value!r}")
        with self._updating():
            self._feedback.load_state_dict(state["feedback"], self.rank)
        self._composer.seed = state["seed"]
        self._ledger.load_state_dict(state["places"])
        self._composer.loaded = self._board.loaded
        self._board.observing_since = self._board.loaded if state["observing"] else RUNNING

    def _settings(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "group_names": self.group_names,
            "batch_size": self.batch_size,
            "num_replicas": self.num_replicas,
            "on_exhausted": self._composer.on_exhausted,
        }
