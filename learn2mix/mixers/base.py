"""What every mixer is: the owner of the proportions, and the place to write one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch

from learn2mix.checks import as_proportions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from weakref import WeakMethod

    from numpy.typing import ArrayLike

    from learn2mix.checks import Vector

__all__ = ["Mixer", "check_mixer", "starting_mix"]

T = TypeVar("T")


class Mixer:
    """Decides the proportions of the groups; subclass it to add a rule of your own.

    A sampler attaches the mixer to its groups, then for each batch calls :meth:`seek`, reads :attr:`proportions` once
    and composes the batch by them. The losses of the batches come back pooled by group: after every observed batch
    the sampler asks :meth:`due`, and if so calls :meth:`update`.

    A rule that follows the losses overrides :meth:`due` and :meth:`update`; a rule that follows the progress of the
    run overrides :meth:`seek`. Both assign ``self.proportions``, which checks the mix. What else a rule remembers goes
    into :meth:`state_dict`.

    Attributes:
        needs_losses: whether the mix moves by training losses, so that a loop which never observes any is an error.
        needs_validation: what it takes from each validation run: None, the ``"loss"`` or the ``"group_losses"``; a
            run that cannot give it is an error.

    Example:
        >>> class WorstGroup(Mixer):
        ...     '''Half of each batch from the data as it is, half from the group with the largest loss.'''
        ...     needs_losses = True
        ...     def due(self, num_batches, epoch_ended):
        ...         return epoch_ended
        ...     def update(self, losses):
        ...         worst = np.arange(len(losses)) == np.nanargmax(losses)
        ...         self.proportions = 0.5 * self.prior + 0.5 * worst
        >>> mixer = WorstGroup()
        >>> mixer.attach([0.75, 0.25], ["cat", "dog"])
        >>> mixer.update(np.array([0.5, 2.0]))
        >>> mixer.proportions
        array([0.375, 0.625])
    """

    needs_losses: bool = False
    needs_validation: Literal["loss", "group_losses"] | None = None
    # On the class, so that a subclass with a constructor of its own need not call this one's.
    _prior: Vector | None = None
    _group_names: list[Any] | None = None
    _proportions: Vector | None = None
    _listener: WeakMethod[Callable[[], None]] | None = None  # of the stream it belongs to; called when assigned

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_listener": None}  # a copy is nobody's mixer yet

    def attach(self, prior: Sequence[float] | Vector, group_names: Sequence[int | str]) -> None:
        """Bind the mixer to groups; a sampler does this once, when it is made.

        Args:
            prior: the data's own proportions, shape ``(num_groups,)``; 0 marks an empty group.
            group_names: one name a group.

        Raises:
            ValueError: if the mixer is attached to other groups, or its settings do not fit these.
            TypeError: if a mix that it was made with is no vector of numbers.
        """
        prior, names = as_proportions(prior, len(group_names), "prior"), list(group_names)
        if self._prior is None or self._group_names is None:
            self._prior, self._group_names = prior, names
            try:
                self._begin()
            except Exception:
                self._prior = self._group_names = self._proportions = None
                raise
        elif self._group_names != names or not np.array_equal(self._prior, prior):
            raise ValueError(
                f"mixer: this {type(self).__name__} already mixes {len(self._prior)} other groups; "
                "make a new mixer for each sampler"
            )

    def _begin(self) -> None:
        if type(self).proportions is Mixer.proportions:  # else the subclass computes its mix when it is read
            self.proportions = self.initial_proportions(self.prior)

    def initial_proportions(self, prior: Vector) -> Vector:
        """Return the mix to start with; the data's own unless overridden.

        Args:
            prior: the data's own proportions, shape ``(num_groups,)``.
        """
        return prior

    @property
    def prior(self) -> Vector:
        """The data's own proportions, shape ``(num_groups,)``."""
        return self._attached(self._prior)

    @property
    def group_names(self) -> list[Any]:
        """One name a group, known once the mixer is attached to data."""
        return self._attached(self._group_names)

    @property
    def proportions(self) -> Vector:
        """The mix of the next batch, shape ``(num_groups,)``, float64, sums to 1, read-only.

        Assign a vector to change it; one that is no mix, or that gives a share to an empty group, is a ValueError. A
        rule that follows the progress of the run (annealed, alternating) decides anew before the next batch.
        """
        return self._attached(self._proportions)

    @proportions.setter
    def proportions(self, values: ArrayLike) -> None:
        vector = as_proportions(values, len(self.prior))
        refuse_empty_groups(vector, self.prior, self.group_names, "proportions")
        vector = self._bounded(vector)
        vector.flags.writeable = False
        self._proportions = vector
        listener = None if self._listener is None else self._listener()
        if listener is not None:
            listener()

    def _bounded(self, mix: Vector) -> Vector:
        """Return a mix within the bounds of the rule; as it is unless overridden."""
        return mix

    @property
    def follows_progress(self) -> bool:
        """Whether the mix of a batch is known from its place in the run alone, before any result comes back."""
        return type(self).seek is not Mixer.seek

    def seek(self, batch: int, epoch: int) -> None:
        """Be told which batch is composed next; for rules that follow the progress of the run.

        Args:
            batch: batches composed before it, over all epochs, from 0.
            epoch: the epoch it belongs to, from 0.
        """

    def due(self, num_batches: int, epoch_ended: bool) -> bool:
        """Say whether the mix is to be updated now; at the end of each epoch unless overridden.

        A mixer that ignores the losses is asked too: that is when the mean losses of the groups are worked out.

        Args:
            num_batches: batches observed since the last update.
            epoch_ended: whether the last of them closes the epoch.
        """
        return epoch_ended

    def update(self, losses: Vector) -> None:
        """Move the mix by the losses since the last update.

        Args:
            losses: mean loss of each group over its samples, shape ``(num_groups,)``, float64, at least 0; NaN for a
                group that was not seen. Pooled over batches and processes.
        """

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:
        """Be told the result of a validation run; ignored unless overridden.

        Args:
            loss: mean validation loss.
            group_losses: the same for each group, shape ``(num_groups,)``, NaN where unknown.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: strings, numbers, lists and tensors only."""
        proportions = torch.tensor(self._attached(self._proportions)) if self._proportions is not None else None
        return {"mixer": type(self).__name__, "proportions": proportions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: if the state is of another kind of mixer or of another number of groups.
        """
        if state["mixer"] != type(self).__name__:
            raise ValueError(f"state: saved by a {state['mixer']} mixer, but this sampler has a {type(self).__name__}")
        if state["proportions"] is not None:
            self.proportions = state["proportions"].numpy()

    def _attached(self, value: T | None) -> T:
        if value is None:
            name = type(self).__name__
            raise RuntimeError(f"this {name} is not attached to data yet: give it to a MixedBatchSampler first")
        return value


def check_mixer(mixer: Any) -> None:
    """Raise a TypeError unless it is a mixer."""
    if isinstance(mixer, type):
        raise TypeError(f"mixer must be a learn2mix.Mixer, got the class {mixer.__name__}; call it: {mixer.__name__}()")
    if not hasattr(mixer, "attach"):
        raise TypeError(f"mixer must be a learn2mix.Mixer, got {type(mixer).__name__}")


def starting_mix(asked: str | ArrayLike | None, prior: Vector, name: str, names: list[Any]) -> Vector:
    """Turn what a user may ask for into a mix: None (the data's own), ``"uniform"`` or a vector.

    Args:
        asked: what was asked for.
        prior: the data's own proportions, shape ``(num_groups,)``.
        name: what an error calls the argument.
        names: one name a group.

    Raises:
        ValueError: if the name is unknown or the vector is no mix of these groups.
        TypeError: if it is no vector of numbers.

    Example:
        >>> starting_mix("uniform", np.array([0.9, 0.1, 0.0]), "initial", ["a", "b", "c"])
        array([0.5, 0.5, 0. ])
    """
    if asked is None:
        return prior
    if isinstance(asked, str):
        if asked != "uniform":
            raise ValueError(f'{name} must be None, "uniform" or a vector of {len(prior)} proportions, got {asked!r}')
        return (prior > 0) / np.count_nonzero(prior)
    vector = as_proportions(asked, len(prior), name)
    refuse_empty_groups(vector, prior, names, name)
    return vector


def refuse_empty_groups(proportions: Vector, prior: Vector, names: list[Any], name: str) -> None:
    """Raise a ValueError if the mix gives a share to a group without samples."""
    if proportions[prior == 0].any():
        group = int(np.flatnonzero((prior == 0) & (proportions > 0))[0])
        raise ValueError(
            f"{name} gives {proportions[group]:.4g} to group {names[group]!r}, which has no samples; give it 0"
        )
