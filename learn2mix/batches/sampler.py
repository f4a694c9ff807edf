"""Batches of map-style data, composed one at a time by the mix of the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from numpy.typing import ArrayLike, NDArray
from torch.distributed import ProcessGroup
from torch.utils.data import ConcatDataset, Sampler

from learn2mix.batches.composition import Batch
from learn2mix.batches.label_order import warn_of_another_order
from learn2mix.batches.lock import locked, snapshot
from learn2mix.batches.mixed import MixedBatches
from learn2mix.batches.passes import Passes
from learn2mix.batches.resume import fit_sampler_state, state_of
from learn2mix.batches.settled import settled
from learn2mix.batches.torch_loader import find_torch_loader, refuse_wrapping
from learn2mix.checks import check_whole
from learn2mix.feedback.processes import Processes
from learn2mix.mixers import Mixer
from learn2mix.partition import Partition, is_in_order


class MapRequest(NamedTuple):
    """A batch to read."""

    number: int
    generation: int  # of requests: see Progress
    indices: NDArray[Any]


class MixedBatchSampler(MixedBatches, Sampler[list[int]]):
    """Composes each batch by a mixer's proportions, from reshuffled passes over each group.

    Every batch holds exactly ``batch_size`` samples. Shares too small for a whole sample are carried to later batches
    (:func:`learn2mix.functional.apportion_owed` states the bound). No sample of a group comes twice before all have
    come once; passes go on across epochs.

    Give it to a :class:`learn2mix.MixedLoader`, or to a ``DataLoader`` as ``batch_sampler``. A batch counts as trained
    on once its losses are observed or, in a loop that never observes, once the loop has it. The state holds the batches
    composed ahead; an epoch that is left early takes them back.

    Args:
        groups: a :class:`Partition`, or the label of each sample, shape ``(num_samples,)``; at least 2 groups.
        mixer: decides the proportions; one per sampler.
        batch_size: samples per batch and process, at least 1.
        num_batches: batches per epoch: a number, or as many as are filled (the last one included) by the
            ``"smallest"`` group that has samples, by the ``"largest"``, or, with None, by all the data.
        seed: whole number in [0, 2 ** 64); the same seed gives the same batches.
        order: ``"shuffled"`` mixes the groups within each batch; ``"grouped"`` gives group after group.
        num_replicas: how many processes share each global batch; None asks the process group.
        rank: which of them this is; None asks the process group.
        process_group: the processes that share each batch and sum their losses; None for all of ``torch.distributed``,
            or, with ``num_replicas`` and ``rank``, the one group that has them. Without ``torch.distributed`` the mix
            follows the losses of this process alone.

    Raises:
        ValueError: if there are fewer than 2 groups, a number is out of range, or the mixer belongs to another sampler;
            when iterated, if a ``DataLoader`` has it as ``sampler``, and so makes batches of its batches.
        TypeError: if ``groups`` are neither integers nor strings, a number is not whole, or ``mixer`` is no mixer.

    Example:
        >>> from learn2mix import FixedMix
        >>> sampler = MixedBatchSampler(["cat"] * 6 + ["dog"] * 2, FixedMix("uniform"), batch_size=4)
        >>> [sorted(batch) for batch in sampler]
        [[1, 2, 6, 7], [0, 5, 6, 7]]
    """

    num_batches: int | str | None = settled("num_batches", "Batches per epoch as asked for; its len says how many.")

    def __init__(
        self,
        groups: Partition | Sequence[int] | Sequence[str] | ArrayLike,
        mixer: Mixer,
        *,
        batch_size: int,
        num_batches: int | str | None = None,
        seed: int = 0,
        order: Literal["shuffled", "grouped"] = "shuffled",
        num_replicas: int | None = None,
        rank: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.partition = groups if isinstance(groups, Partition) else Partition.by_class(groups)
        if self.partition.num_groups < 2:
            only = ", ".join(map(repr, self.partition.group_names))
            raise ValueError(f"groups must be at least 2 to be mixed, got {self.partition.num_groups}: {only}")
        self._num_batches = _check_num_batches(num_batches)
        sizes = self.partition.sizes[self.partition.sizes > 0]
        to_fill = {"smallest": sizes.min(), "largest": sizes.max()}.get(str(self._num_batches), sizes.sum())
        self._to_fill = int(to_fill)  # samples in an epoch
        super().__init__(
            mixer,
            self.partition.proportions,
            self.partition.group_names,
            batch_size=batch_size,
            seed=seed,
            order=order,
            processes=Processes(num_replicas, rank, process_group),
            sizes=self.partition.sizes,
        )
        self._passes = Passes(self.partition, self.seed)
        self._indices: dict[int, tuple[Batch, NDArray[Any]]] = {}  # of batches that were foreseen, by number

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._length(self.num_replicas)

    def _length(self, num_replicas: int) -> int:
        if isinstance(self._num_batches, int):
            return self._num_batches
        return -(-self._to_fill // (self.batch_size * num_replicas))

    def __iter__(self) -> Iterator[list[int]]:
        """Begin the next epoch, or go on with one that a loaded state was in the middle of."""
        refuse_wrapping(self)
        loader = find_torch_loader()
        iteration = self._begin(loader)
        iterator = BatchIterator(self, self._batches(iteration))
        if loader is None:
            self._watch(iterator)
        return iterator

    def _batches(self, iteration: int) -> Iterator[NDArray[Any]]:
        """Yield the data set indices of each batch as an array, shape ``(batch_size,)``; whoever asks has the lock."""
        self._check_current(iteration)
        if self._delivery.loader is not None:  # not in __iter__: Lightning hides the errors of that behind its own
            check_dataset(self._delivery.loader.dataset, self.partition)
        self._warn_if_begun_anew()
        composition, epoch = self._composition, self._composition.epoch
        while composition.epoch == epoch and not self._epoch_composed():
            batch = composition.compose(self.batch_size * self._split[1], self._find_mix)
            self._announce(batch)
            indices = self.indices_of(batch)
            self._indices.pop(batch.number, None)
            yield indices
            self._check_current(iteration)
        self._exhausted = True

    def _requests(self, iteration: int) -> Iterator[MapRequest]:
        batches = self._batches(iteration)
        while True:
            with self._lock:
                indices = next(batches, None)
                if indices is None:
                    return
                request = MapRequest(self._announced, self._generation, indices)
            yield request

    def indices_of(self, batch: Batch) -> NDArray[Any]:
        """Return the data set indices of this process's samples of a batch, in its order."""
        if self._indices and (known := self._indices.get(batch.number)) is not None and known[0] is batch:
            return known[1]
        if not self._composition.foreseen:
            return self._of_own(self._passes.draw(batch.draws, batch.counts, batch.drawn), batch)
        batches = [batch, *(one for one in self._composition.foreseen if one.number > batch.number)]
        for one, samples in zip(batches, self._passes.draw_each(batches), strict=True):
            self._indices[one.number] = one, self._of_own(samples, one)
        return self._indices[batch.number][1]

    @locked
    def foresee(self, num_batches: int) -> list[NDArray[Any]]:
        """Return :meth:`indices_of` each of the next batches if the mix stays as it is, also beyond the epoch."""
        batches = self._composition.foresee(self.mixer.proportions, self.global_batch_size, num_batches)
        return [self.indices_of(batch) for batch in batches]

    @locked
    def skip_to(self, num_composed: int) -> None:
        """Count the batches up to a number, over all epochs, as trained on."""
        while self._composition.composed < num_composed:
            batch = self._composition.compose(self.global_batch_size, self._find_mix)
            self._mark_trained(batch.number)
        self._first = self._composition.position
        if self._epoch_composed():
            self._end_epoch()

    def _epoch_composed(self) -> bool:
        return self._composition.position >= self._length(self._split[1])

    def _sizes(self) -> Any:
        return self.partition.sizes

    def _identity(self) -> dict[str, int]:
        return {"partition": self.partition.fingerprint()}

    @snapshot
    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, the same on every process: numbers, strings and lists.

        Any process may ask alone, at any time. A resumed run composes the batches composed ahead again, as they were.
        """
        return self._state()

    def _state(self) -> dict[str, Any]:
        return state_of(self) | {
            "fingerprint": self.partition.fingerprint(),
            "num_groups": self.partition.num_groups,
            "sizes": self.partition.sizes.tolist(),
            "num_batches": self._num_batches,
        }

    @locked
    def load_state_dict(self, state: dict[str, Any], *, strict: bool = True) -> None:
        """Go on where a saved state was; the next iterator begins there, also in the middle of an epoch.

        Settings of this sampler and its mixer win over those in the state, with a warning; the seed is the state's.

        Args:
            state: what :meth:`state_dict` returned, of a sampler of the same kind of mixer.
            strict: refuse a state of other data or of another global batch size. False keeps the mix, the losses and
                the passes, by the names of the groups, begins an epoch, and warns of what it drops.

        Raises:
            ValueError: if the state does not fit; nothing is changed then.
        """
        state = fit_sampler_state(state, self, strict=strict)
        self._go_on_from(state)
        self._passes = Passes(self.partition, self.seed)
        self._indices.clear()
        if self._epoch_composed() and not state["ahead"]:  # of a loop that never observes: its epoch was over
            self._end_epoch()


class BatchIterator(Iterator[list[int]]):
    """Gives out batches, and knows whether a snapshot of the sampler is one that a run can go on from.

    A ``torchdata.StatefulDataLoader`` saves the states of the sampler and of this, and restores them in this order.
    With workers it saves when a batch is composed, so losses that come in before that batch is trained on are missing.
    A loop that observes must load the sampler's own state after such a snapshot, as ``MixingCallback`` does.
    """

    def __init__(self, sampler: MixedBatchSampler, batches: Iterator[NDArray[Any]]) -> None:
        self._sampler, self._batches = sampler, batches
        self._begun = False

    def __next__(self) -> list[int]:
        with self._sampler._lock:
            indices = next(self._batches)
        self._begun = True
        return indices.tolist()  # type: ignore[no-any-return]

    def state_dict(self) -> dict[str, Any]:
        """Return whether every batch given out so far was observed, and how many there were over all epochs."""
        return {"observed": self._begun and self._sampler.lag == 0, "composed": self._sampler._composition.composed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Tell the sampler, which was just restored, if the snapshot lacks losses.

        The loop of the snapshot had every batch that was composed by then; one that never observes goes on after them.
        """
        self._begun = True
        if not self._sampler.observing:
            self._sampler.skip_to(state.get("composed", 0))
        self._sampler.lacks_losses = not state["observed"]


def check_dataset(dataset: Any, partition: Partition) -> None:
    """Raise a ValueError or a TypeError unless there is a label for each sample; warn of labels in another order."""
    try:
        size = len(dataset)
    except (TypeError, NotImplementedError):
        return
    if size != partition.num_samples and isinstance(dataset, Mapping):
        raise TypeError(
            f"dataset must be map-style, with {partition.num_samples} samples read by number, got a mapping of {size}; "
            "give its data sets one after the other: ConcatDataset(list(datasets.values()))"
        )
    if size != partition.num_samples:
        subset = "labels[subset.indices]" if hasattr(dataset, "indices") else "subset.dataset's labels[subset.indices]"
        raise ValueError(
            f"dataset: it has {size} samples, but the sampler has labels of {partition.num_samples}; labels belong to "
            f"the data set of the loader, in its order: for a Subset they are {subset}; where data have come or gone, "
            "make a new sampler, and keep the mix: new.load_state_dict(old.state_dict(), strict=False)"
        )
    if isinstance(dataset, ConcatDataset) and is_in_order(partition):
        sizes, of_groups = [len(one) for one in dataset.datasets], partition.sizes.tolist()  # type: ignore[arg-type]
        as_many = len(sizes) == len(of_groups) and sizes != of_groups
        if as_many and (sorted(sizes) == sorted(of_groups) or sum(sizes) != size):
            first = next(number for number, size in enumerate(sizes) if size != of_groups[number])
            name = partition.group_names[first]
            raise ValueError(
                f"dataset: data set {first} of it has {sizes[first]} samples, but group {name!r} has "
                f"{of_groups[first]}; concatenate the data sets in the order of the groups, and anew, with a new "
                "sampler, where one has grown"
            )
    warn_of_another_order(dataset, partition)


def _check_num_batches(value: int | str | None) -> int | str | None:
    if isinstance(value, str) and value not in ("smallest", "largest"):
        raise ValueError(f'num_batches must be a number, "smallest", "largest" or None, got {value!r}')
    return value if value is None or isinstance(value, str) else check_whole(value, "num_batches")
