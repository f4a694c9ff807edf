"""Writes the history of a run down, row by row, within a bound of memory."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learn2mix.checks import Counts, Vector
from learn2mix.history import History, shares_of

if TYPE_CHECKING:
    from learn2mix.batches.composition import Batch

MOST_ROWS = 512
MOST_NUMBERS = 1 << 18  # rows times groups; each takes 40 bytes
MOST_HEARD = 10_000  # groups; to sum the losses of more would take a batch several percent longer
AT_LEAST_EVERY = 100  # batches, where the mix follows no losses


def most_rows(num_groups: int) -> int:
    """Return how many rows a history has at most, besides the present one: 512 of up to 512 groups, 2 of 10^5."""
    return max(2, min(MOST_ROWS, MOST_NUMBERS // num_groups) // 2 * 2)


NOTHING: Vector = np.zeros(0)


class Row(NamedTuple):
    """The mix from a batch on; arrays have the shape ``(num_groups,)``, and belong to others: nobody writes to them."""

    step: int  # number of the batch
    lag: int
    mix: Vector
    draws: Counts  # in all batches before it
    credit: Vector  # owed to each group before it
    sums: Vector = NOTHING  # of the losses since the row before
    counts: Vector = NOTHING


class Recorder:
    """Keeps every ``stride``-th of the updates; ``stride`` doubles, and every second row goes, when the rows are full.

    It keeps arrays that others made; per update it only adds the losses to sums. So it costs a batch next to nothing.

    Args:
        num_groups: length of the arrays.
        at_least_every: batches after which one becomes a row though nothing moved; None for only what moves.
    """

    def __init__(self, num_groups: int, at_least_every: int | None) -> None:
        self._num_groups, self._most = num_groups, most_rows(num_groups)
        self._at_least_every = at_least_every or 1 << 62
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was written; the next batch becomes the first row."""
        self._rows: list[Row] = []
        self._sums, self._counts = np.zeros((2, self._num_groups))  # of the losses since the last row
        self._stride = 1
        self.next_row = 0  # number of updates after which the next batch becomes a row
        # Where it is told of every batch, it finds the updates itself:
        self._mix: Vector | None = None  # of the last one
        self._bytes = b""  # its values, which are compared fastest so
        self._heard = False  # whether there were losses since then
        self._num_updates = self._due = 0

    def hear(self, sums: Vector, counts: Vector) -> None:
        """Be told of the losses of an update, by group."""
        # In place: to keep the arrays until a row is due would cost NumPy more than to add them.
        self._sums += sums
        self._counts += counts
        self._heard = True

    def add_row(self, batch: Batch, mix: Vector, lag: int, num_updates: int) -> None:
        """Be told of the first batch trained on since update number ``next_row``, and of the mix from it on."""
        self._rows.append(Row(batch.number, lag, mix, batch.draws, batch.credit, self._sums, self._counts))
        self._sums, self._counts = np.zeros((2, self._num_groups))
        if len(self._rows) > self._most:
            self._thin()
        self.next_row = num_updates + self._stride

    def note(self, batch: Batch, mix: Vector, lag: int) -> None:
        """Be told of every batch trained on: for a mix that moves otherwise than by losses alone."""
        if not self._heard and batch.number < self._due and (mix is self._mix or mix.tobytes() == self._bytes):
            return
        self._mix, self._bytes, self._heard = mix, mix.tobytes(), False
        self._due = batch.number + self._at_least_every
        if self._num_updates >= self.next_row:
            self.add_row(batch, mix, lag, self._num_updates)
        self._num_updates += 1

    def _thin(self) -> None:
        """Drop every second row; its losses go to the one after it."""
        for place in range(2, len(self._rows), 2):
            gone, row = self._rows[place - 1 : place + 1]
            self._rows[place] = row._replace(sums=gone.sums + row.sums, counts=gone.counts + row.counts)
        del self._rows[1::2]
        self._stride *= 2

    def copy(self) -> Recorder:
        """Return one that goes on by itself, without losses."""
        twin = copy.copy(self)
        twin._rows = list(self._rows)
        return twin

    def history(self, present: Row, *, names: list[Any], sizes: Any, batch_size: int) -> History:
        """Return the rows, and one more for the present."""
        rows = table([*self._rows, present._replace(sums=self._sums, counts=self._counts)], self._num_groups)
        sizes = np.asarray(sizes, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            losses, passes = rows["sums"] / rows["counts"], rows["draws"] / sizes
        return History(
            group_names=tuple(names),
            batch_size=batch_size,
            sizes=np.where(np.isnan(sizes), -1, sizes).astype(np.int64),
            steps=rows["step"],
            proportions=rows["mix"],
            requested=shares_of(rows["draws"] + rows["credit"]),  # what was asked for is what was given and is owed
            realised=shares_of(rows["draws"]),
            losses=losses,
            passes=passes,
            lag=rows["lag"],
        )

    def state_dict(self) -> dict[str, Any]:
        """Return numbers and lists of them, which no map_location moves."""
        rows = table(self._rows, self._num_groups)
        return {
            "rows": {name: column.tolist() for name, column in rows.items()},
            "losses": [self._sums.tolist(), self._counts.tolist()],
            "newest": None if self._mix is None else self._mix.tolist(),
            "heard": self._heard,
            "due": self._due,
            "num_updates": self._num_updates,
            "stride": self._stride,
            "next_row": self.next_row,
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on where a state was; with None, of an earlier version or of other data, begin anew."""
        self.begin_anew()
        if not state:
            return
        columns = [np.array(state["rows"][name]) for name in Row._fields]
        self._rows = [Row(int(step), int(lag), *arrays) for step, lag, *arrays in zip(*columns, strict=True)]
        self._sums, self._counts = np.array(state["losses"])
        self._mix = None if state["newest"] is None else np.array(state["newest"])
        self._bytes = b"" if self._mix is None else self._mix.tobytes()
        self._heard, self._due, self._num_updates = state["heard"], state["due"], state["num_updates"]
        self._stride, self.next_row = state["stride"], state["next_row"]


def table(rows: list[Row], num_groups: int) -> dict[str, NDArray[Any]]:
    """Return the columns of rows by name, each of shape ``(num_rows,)`` or ``(num_rows, num_groups)``."""
    columns: dict[str, NDArray[Any]] = {}
    for name in Row._fields:
        kind = np.int64 if name in ("step", "lag", "draws") else np.float64
        column = np.array([getattr(row, name) for row in rows], dtype=kind)
        columns[name] = column if name in ("step", "lag") else column.reshape(-1, num_groups)
    return columns
