"""What a mixer mixes, and whose it is: the groups that it is attached to, and the sampler that it belongs to."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.checks import Vector, as_proportions, frozen
from learn2mix.mixers.own_rules import Contents, contents, warn_of_unsaved

T = TypeVar("T")


class Attached:
    """The part of a mixer that binds it to groups and to one owner at a time.

    An owner is held by a weak reference. While it lives, no other may have the mixer: both would move one mix. Once it
    is gone, the next finds the mixer as it was at first: with its initial mix, and the state that it had then.
    """

    _begin: Callable[[], None]  # sets the initial mix; this and the state are the rule's
    state_dict: Callable[[], dict[str, Any]]
    load_state_dict: Callable[[dict[str, Any]], None]

    # On the class, so that a rule with a constructor of its own need not call this one's.
    _prior: Vector | None = None
    _group_names: list[Any] | None = None
    _proportions: Vector | None = None
    _sizes: Vector | None = None
    _sizes_given = False  # though some may be NaN: then the prior is none of the data's
    _has_empty = False  # whether some group has no samples; asked at each update
    _owner: weakref.ref[Any] | None = None
    _fresh: dict[str, Any] | None = None  # the state before anything was learned
    _contents: Contents | None = None  # of the attributes, at that time; None once it was said that they changed

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_owner": None}  # a copy is nobody's mixer yet

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for vector in (self._prior, self._proportions):
            if vector is not None:
                frozen(vector)  # NumPy copies to writable arrays

    def attach(
        self,
        prior: Sequence[float] | Vector,
        group_names: Sequence[int | str],
        owner: object = None,
        sizes: ArrayLike | None = None,
    ) -> None:
        """Bind the mixer to groups; a sampler does this once, when it is made.

        Args:
            prior: the data's own proportions, shape ``(num_groups,)``; 0 marks an empty group.
            group_names: one name per group.
            owner: what the mixer belongs to from now on, held by a weak reference; None for nobody. Once an owner is
                gone, the next one of the same groups finds the mixer as it was before the first.
            sizes: samples of each group, NaN where unknown; None where all are.

        Raises:
            ValueError: if the mixer is attached to other groups, its settings do not fit these, or another owner lives.
            TypeError: if a mix that it was made with is no vector of numbers.
        """
        prior, names = frozen(as_proportions(prior, len(group_names), "prior")), list(group_names)
        if self._prior is None or self._group_names is None:
            self._prior, self._group_names, self._has_empty = prior, names, bool((prior == 0).any())
            self._sizes_given = sizes is not None
            self._sizes = np.full(len(names), np.nan) if sizes is None else np.array(sizes, dtype=np.float64)
            try:
                self._begin()
                self._fresh = copy.deepcopy(self.state_dict()) | {"proportions": None, "settings": {}}
                self._contents = contents(self)
            except Exception:
                self._prior = self._group_names = self._proportions = self._sizes = None
                raise
        elif self._group_names != names or not np.array_equal(self._prior, prior):
            raise ValueError(
                f"mixer: this {type(self).__name__} already mixes {len(self._prior)} other groups; "
                "make a new mixer for each sampler"
            )
        if owner is not None:
            self._belong_to(owner)

    def _belong_to(self, owner: object) -> None:
        if self._owner is not None and self._owner() is not owner:
            if self._owner() is not None:
                gc.collect()  # it may live by references to itself alone
            if (other := self._owner()) is not None:
                raise ValueError(
                    f"mixer: this {type(self).__name__} already belongs to a {type(other).__name__} that is in use; "
                    "make a new mixer for each sampler"
                )
            self._tell_unsaved()
            self._begin()
            if self._fresh is not None:
                self.load_state_dict(copy.deepcopy(self._fresh))
        self._owner = weakref.ref(owner)

    def _tell_unsaved(self) -> None:
        """Warn, once, of what has changed and is not saved."""
        if self._contents is not None and warn_of_unsaved(self, self._contents):
            self._contents = None

    @property
    def prior(self) -> Vector:
        """The data's own proportions, shape ``(num_groups,)``, float64; a copy."""
        prior: Vector = self._attached(self._prior).copy()
        return prior

    @property
    def sizes(self) -> Vector:
        """Samples of each group when the mixer was attached, shape ``(num_groups,)``, NaN where unknown; a copy."""
        sizes: Vector = self._attached(self._sizes).copy()
        return sizes

    def _check_sizes_known(self, rule: str) -> None:
        """Raise a ValueError that names the rule if the size of a group is not known."""
        unknown = np.flatnonzero(np.isnan(self.sizes))
        if len(unknown):
            name = self.group_names[unknown[0]]
            raise ValueError(f"{rule} goes by sizes, but the size of {name!r} is not known; give sources with a len")

    @property
    def group_names(self) -> list[Any]:
        """One name per group, known once the mixer is attached to data; a new list."""
        return list(self._attached(self._group_names))

    def _attached(self, value: T | None) -> T:
        if value is None:
            name = type(self).__name__
            raise RuntimeError(f"this {name} is not attached to data yet: give it to a MixedBatchSampler first")
        return value
