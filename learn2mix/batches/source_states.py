"""States of sources that have one, as their readers report them: to go on without reading again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch

from learn2mix.batches.source_reader import WHOLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SourceStates"]


class SourceStates:
    """The newest states of each source, or of each of its shards, each with the number of the sample that follows."""

    def __init__(self) -> None:
        self._newest: dict[tuple[int, int], deque[dict[str, Any]]] = {}

    def learn(self, states: dict[tuple[int, int], dict[str, Any]], max_ahead: int) -> None:
        """Keep states, as many as batches may be taken back."""
        for key, state in states.items():
            if _is_plain(state):
                self._newest.setdefault(key, deque(maxlen=max_ahead + 3)).append(state)

    def before(self, drawn: Any, own: Any, by_shard: Any) -> dict[tuple[int, int], dict[str, Any]]:
        """Return the newest states that are not beyond where the sources are to go on.

        Args:
            drawn: samples drawn of each source, over all processes, shape ``(num_sources,)``.
            own: by this process, shape ``(num_sources,)``.
            by_shard: by this process, shape ``(num_sources, num_shards)``.
        """
        found = {}
        for (source, shard), states in self._newest.items():
            at = int(min(drawn[source], own[source]) if shard == WHOLE else by_shard[source][shard])
            fitting = [state for state in states if state["number"] <= at]
            if fitting:
                found[source, shard] = max(fitting, key=lambda state: int(state["number"]))
        return found

    def clear(self) -> None:
        """Forget all."""
        self._newest.clear()

    def state_dict(self, drawn: Any, own: Any, by_shard: NDArray[Any]) -> list[Any]:
        """Return what :meth:`before` finds, as a list of source, shard and state."""
        return [[source, shard, state] for (source, shard), state in self.before(drawn, own, by_shard).items()]

    def load_state_dict(self, states: list[Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._newest = {(source, shard): deque([state], maxlen=3) for source, shard, state in states}


def _is_plain(value: Any) -> bool:
    """Whether ``torch.load(weights_only=True)`` reads a value back."""
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str, bytes, torch.Tensor)
