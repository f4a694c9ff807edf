"""One mix after the other, each from a step on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from learn2mix.checks import Vector, check_whole
from learn2mix.mixers.by_batch import ByBatch
from learn2mix.mixers.mixes import as_given, plain_request, starting_mix


class StagedMix(ByBatch):
    """Changes the mix at given steps: curricula, a last stage on clean data, deferred re-balancing.

    Follows the batches composed, so that no lag can shift it.

    Args:
        stages: from the number of a batch, counted from 0 over all epochs, to the mix from that batch on, as
            :class:`learn2mix.FixedMix` takes it. One stage begins at 0.
        floor: least share of each group, at most ``1 / num_groups``.
        most: largest share of each group, at least ``1 / num_groups``.

    Raises:
        ValueError: if no stage begins at 0, or a number is below 0; when it is attached, if a mix does not fit the
            groups.
        TypeError: if ``stages`` is no mapping, or a number is not whole.

    Example:
        >>> mixer = StagedMix({0: "uniform", 1000: [0.9, 0.1]})
        >>> mixer.attach([0.5, 0.5], ["easy", "hard"])
        >>> for batch in (999, 1000):
        ...     mixer.seek(batch, epoch=0)
        ...     print(mixer.proportions)
        [0.5 0.5]
        [0.9 0.1]
    """

    def __init__(self, stages: Mapping[int, Any], *, floor: float = 0.0, most: float = 1.0) -> None:
        self.floor, self.most = floor, most
        if not isinstance(stages, Mapping):
            raise TypeError(f"stages must be a mapping from batches to mixes, got {type(stages).__name__}")
        starts = sorted((check_whole(start, "stages: a batch", minimum=0), start) for start in stages)
        self._asked = {number: as_given(stages[start]) for number, start in starts}
        if 0 not in self._asked:
            raise ValueError(f"stages must have one that begins at batch 0, got {list(self._asked)}")

    def initial_proportions(self, prior: Vector) -> Vector:
        self._starts = list(self._asked)
        self._mixes = [
            starting_mix(asked, prior, f"stages[{start}]", self.group_names) for start, asked in self._asked.items()
        ]
        return self._mixes[0]

    def _at(self, batch: int) -> Vector:
        return self._mixes[bisect_right(self._starts, batch) - 1]

    def settings(self) -> dict[str, Any]:
        stages = [[start, plain_request(asked, self._group_names)] for start, asked in self._asked.items()]
        return {"stages": stages, "floor": self.floor, "most": self.most}
