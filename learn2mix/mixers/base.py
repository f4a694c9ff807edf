"""What every mixer is: the owner of the proportions, and the place to write one's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.checks import (
    ROUNDING,
    Vector,
    as_number,
    as_proportions,
    check_floor,
    did_you_mean,
    differences,
    frozen,
    on_the_host,
    plain,
    warn_of_differences,
)
from learn2mix.functional import within_bounds
from learn2mix.mixers.attached import Attached
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import by_name, refuse_empty_groups
from learn2mix.mixers.own_rules import check_declared

ANOTHER_RULE = (
    "state: saved by a {} mixer, but this sampler has a {}; to go on with another rule, load only the weights of the "
    'model, and begin at the mix of the state: FixedMix(state["feedback"]["mixer"]["proportions"]), or as initial='
)


class Mixer(Attached):
    """Decides the proportions of the groups; subclass it to add a rule of your own.

    A sampler attaches the mixer to its groups, then for each batch calls :meth:`seek`, reads :attr:`proportions` once
    and composes the batch by them. The losses of the batches come back pooled by group: after every observed batch
    the sampler asks :meth:`due`, and if so calls :meth:`update`.

    A rule that follows the losses overrides :meth:`due` and :meth:`update`; a rule that follows the progress of the
    run overrides :meth:`seek`. Both are told more by a :class:`~learn2mix.mixers.info.MixInfo` if they take a last
    argument ``info``, and assign ``self.proportions``, which checks the mix and keeps each share within ``floor`` and
    ``most``. Whatever else a rule remembers belongs into :meth:`state_dict`: with it a run resumes, and a mixer
    whose sampler is gone begins anew.

    Attributes:
        needs_losses: whether the mix moves by training losses, so that a loop which never observes any is an error.
        needs_validation: what it takes from each validation run: None, the ``"loss"`` or the ``"group_losses"``; a
            run that cannot give it is an error.
        min_groups: how many groups must have been seen before an update, unless the epoch ends. A rule that compares
            groups sets 2: it learns nothing from the losses of one.
        signed: whether it takes values below 0 (rewards, progress) in the place of losses; else they are an error.
        floor: least share of each group that has samples, at most ``1 / num_groups``.
        most: largest share of each group, at least ``1 / num_groups``.

    Example:
        >>> class WorstGroup(Mixer):
        ...     '''Half of each batch from the data as it is, half from the group with the largest loss.'''
        ...     needs_losses = True
        ...     def due(self, num_batches, epoch_ended):
        ...         return epoch_ended
        ...     def update(self, losses, info=None):
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
    min_groups: int = 1
    signed: bool = False
    floor: float = 0.0
    most: float = 1.0
    _arguments: dict[str, Any] | None = None  # of the constructor

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Keep the arguments, so that a state names them whatever the constructor makes of them."""
        _check_names(cls, kwargs)
        mixer = super().__new__(cls)
        with suppress(TypeError):  # the constructor will raise it; a copy is made without arguments
            bound = inspect.signature(cls.__init__).bind(mixer, *args, **kwargs)
            bound.apply_defaults()
            mixer._arguments = bound.arguments | bound.kwargs
        return mixer

    def _begin(self) -> None:
        self._check_bounds()
        if type(self).proportions is Mixer.proportions:  # else the subclass computes its mix when it is read
            self.proportions = self.initial_proportions(self.prior)

    def initial_proportions(self, prior: Vector) -> Vector:
        """Return the mix to start with; the data's own unless overridden.

        Args:
            prior: the data's own proportions, shape ``(num_groups,)``.
        """
        return prior

    @property
    def proportions(self) -> Vector:
        """The mix of the next batch, shape ``(num_groups,)``, float64, sums to 1, read-only.

        Assign a vector, or shares by name, to change it; what is no mix, or gives a share to an empty group, is a
        ValueError. A rule that follows the progress of the run (annealed, alternating) decides anew before each batch.
        """
        mix = self._proportions
        return self._attached(mix) if mix is None else mix

    @proportions.setter
    def proportions(self, values: Mapping[Any, float] | ArrayLike) -> None:
        vector = as_proportions(by_name(values, "proportions", self.group_names), len(self._attached(self._prior)))
        if self._has_empty:
            refuse_empty_groups(vector, self.prior, self.group_names, "proportions")
        self._assign(vector)

    def _assign(self, mix: Vector) -> None:
        """Take a mix that needs no check: a formula made it of a mix that was checked."""
        if self.floor > 0 or self.most < 1:
            mix, present = mix.copy(), self._attached(self._prior) > 0
            mix[present] = within_bounds(mix[present], self.floor, self.most)
        self._proportions = frozen(mix)

    def _check_bounds(self) -> None:
        num_present = int(np.count_nonzero(self.prior))
        check_floor(self.floor, num_present)
        most = as_number(self.most, "most", "of at least 1 / num_groups and at most 1")
        if not (most <= 1 <= most * num_present + ROUNDING):
            raise ValueError(f"most must be at least 1 / num_groups = {1 / num_present:.4g} and at most 1, got {most}")

    @property
    def follows_progress(self) -> bool:
        """Whether the mix of a batch is known from its place in the run alone, before any result comes back."""
        return type(self).seek is not Mixer.seek

    def seek(self, batch: int, epoch: int, info: MixInfo | None = None) -> None:
        """Prepare the mix of the next batch; for rules that follow the progress of the run.

        Args:
            batch: its number over all epochs, from 0. Batches composed ahead and taken back are composed again, so the
                number may go back; a rule that depends on its arguments alone is right then too.
            epoch: the epoch it belongs to, from 0.
            info: what was drawn before; a sampler, stream or loader always passes it.
        """

    def due(self, num_batches: int, epoch_ended: bool) -> bool:
        """Return whether to update the mix now; at the end of each epoch unless overridden.

        The sampler asks a mixer that ignores the losses too: it then works out the mean losses of the groups.

        Args:
            num_batches: batches observed since the last update.
            epoch_ended: whether the last of them closes the epoch.
        """
        return epoch_ended

    def update(self, losses: Vector, info: MixInfo | None = None) -> None:
        """Move the mix by the losses since the last update.

        Args:
            losses: mean loss of each group over its samples, shape ``(num_groups,)``, float64, at least 0 (any sign
                where the rule is ``signed``); NaN for a group that was not seen. Pooled over batches and processes.
            info: which batches they are of, and what was drawn; a sampler, stream or loader always passes it.
        """

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:
        """Take the result of a validation run; ignored unless overridden.

        Args:
            loss: mean validation loss.
            group_losses: the same for each group, shape ``(num_groups,)``, NaN where unknown.
        """

    def settings(self) -> dict[str, Any]:
        """Return what the rule was set to, as plain values by name; a resumed run warns where they differ.

        Unless overridden: each argument of the constructor that is a number, a string, None, or a list or array of
        these; as it is now, where an attribute has its name.

        Example:
            >>> class Steep(Mixer):
            ...     def __init__(self, step_size=0.1):
            ...         self._rate = step_size
            >>> Steep(0.5).settings()
            {'step_size': 0.5}
        """
        names = [
            name
            for kind in reversed(type(self).__mro__)
            if "__init__" in vars(kind) and kind is not object
            for name in inspect.signature(vars(kind)["__init__"]).parameters
        ]
        values = (self._arguments or {}) | vars(self)
        found = {name: _as_list(values[name]) for name in names if name in values}
        return {name: value for name, value in found.items() if _is_plain(value)}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: strings, numbers, lists and tensors only."""
        proportions = None if self._proportions is None else self._proportions.tolist()  # exact, and on no device
        return {"mixer": type(self).__name__, "proportions": proportions, "settings": plain(self.settings())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; its settings stay those of the code.

        Warns:
            UserWarning: names each setting that differs, once; a state of an earlier version tells none.

        Raises:
            ValueError: if the state is of another kind of mixer or of another number of groups.
        """
        if state["mixer"] != type(self).__name__:
            raise ValueError(ANOTHER_RULE.format(state["mixer"], type(self).__name__))
        warn_of_differences(type(self).__name__, self._differences(state))
        if (mix := self._mix_of(state)) is not None:
            self.proportions = on_the_host(mix, "state: its mix")

    def _differences(self, state: dict[str, Any]) -> list[str]:
        return differences(state.get("settings", {}), self.settings())

    def _mix_of(self, state: dict[str, Any]) -> Any:
        """Return the mix to go on with: that of the state, unless a rule works it out from its settings."""
        return state["proportions"]


def _check_names(rule: type, arguments: Mapping[str, Any]) -> None:
    """Raise a TypeError for an argument that none of a rule's constructors has, where each hands on to the next."""
    known: dict[str, Any] = {}
    for kind in rule.__mro__:
        parameters = inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else {}  # type: ignore[misc]
        known |= parameters
        hands_on = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
        if parameters and not hands_on:
            break
        if parameters and not kind.__module__.startswith("learn2mix."):
            return  # a rule of one's own may do with them what it likes
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise TypeError(
            f"{rule.__name__}: unexpected keyword argument {unknown[0]!r}{did_you_mean(unknown[0], list(known))}"
        )


def check_mixer(mixer: Any) -> None:
    """Raise a TypeError unless it is a mixer; see also :func:`check_declared`."""
    if isinstance(mixer, type):
        raise TypeError(f"mixer must be a learn2mix.Mixer, got the class {mixer.__name__}; call it: {mixer.__name__}()")
    if not hasattr(mixer, "attach"):
        way_out = "; for shares that stay give FixedMix(...)" if isinstance(mixer, (str, Mapping, Sequence)) else ""
        raise TypeError(f"mixer must be a learn2mix.Mixer, got {type(mixer).__name__}{way_out}")
    if isinstance(mixer, Mixer):
        check_declared(mixer, Mixer)


def state_of(mixer: Mixer) -> dict[str, Any]:
    """Return a mixer's state, with its mix and settings also where a rule of one's own leaves them out of it."""
    mixer._tell_unsaved()
    state = mixer.state_dict()
    return state if state.keys() >= {"mixer", "proportions", "settings"} else Mixer.state_dict(mixer) | state


def load_state(mixer: Mixer, state: dict[str, Any]) -> None:
    """Load what :func:`state_of` returned: what the rule's own state leaves out first."""
    general, own = Mixer.state_dict(mixer), mixer.state_dict()
    left_out = general.keys() - own.keys()
    if left_out and left_out <= state.keys():  # else of a version that left them out too
        Mixer.load_state_dict(mixer, state)
    mixer.load_state_dict({name: value for name, value in state.items() if name not in left_out})


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, np.bool_, np.number))


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
