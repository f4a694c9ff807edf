"""The mix follows the losses: Learn2Mix (Venkatasubramanian and Tarokh, arXiv 2412.16482)."""

from __future__ import annotations

from learn2mix.checks import Vector, check_mixing_rate, check_passes
from learn2mix.functional import fading, move_towards
from learn2mix.mixers.following import Following
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import MixLike


class Learn2Mix(Following):
    r"""Gives the groups with larger losses more of the next batches.

    .. math:: a \leftarrow a + \gamma \left( \frac{L}{\lVert L \rVert_1} - a \right)

    ``L`` are the mean training losses of the groups since the last update (Algorithm 2 of the paper), or what the last
    validation run gave for each group. A group that was not seen keeps its share.

    With ``passes=R`` a group counts less as its samples are repeated: ``S`` takes the place of ``L``,

    .. math:: S_i = L_i \, e^{-(r_i - \min_j r_j) / R}

    with the passes ``r`` over each group so far. Then train long-tailed classes with
    :class:`learn2mix.MixAdjustedLoss`: without its correction, the network loses the classes that fade
    (docs/long-tails.md).

    Args:
        mixing_rate: step size ``gamma`` in [0, 1]; the authors advise 0.01 to 0.1. 0 is training at fixed proportions.
        every: when to update: ``"step"`` after each observed batch, ``"epoch"`` (the paper), or a number of batches. An
            update waits until two groups were seen, for the loss of one alone moves nothing, or until the epoch ends.
            Ignored with ``signal="validation"``, which updates after each validation run.
        initial: the mix to start with: None for the data's own (the paper), ``"uniform"``, a vector of shape
            ``(num_groups,)`` that sums to 1, or a mapping that gives each group its share by name.
        floor: least share of each group, at least 0 and at most ``1 / num_groups``; a mix that is asked for, assigned
            or loaded is raised to it.
        signal: what it follows: ``"train"``, the losses of the batches, or ``"validation"``, the ``group_losses`` given
            to ``observe_validation``: losses, or any score of at least 0 that is larger where more is left to learn.
        passes: ``R`` above 0; None is the paper, in which repeats do not count. The sizes of the groups must be known.
        memory: weight in [0, 1) of the earlier losses: ``L <- memory L + (1 - memory) new``; a group that was not seen
            keeps its earlier loss. 0 is the paper.
        most: largest share of each group, at least ``1 / num_groups``.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if ``initial``, ``floor`` or ``most`` do not
            fit the groups, or the size of a group is not known though ``passes`` is given.
        TypeError: if ``every`` is neither a name nor a whole number, or another argument is no number.

    Example:
        >>> import numpy as np
        >>> mixer = Learn2Mix(mixing_rate=0.5)
        >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
        >>> mixer.update(np.array([1.0, 3.0]))
        >>> mixer.proportions
        array([0.575, 0.425])
    """

    def __init__(
        self,
        mixing_rate: float = 0.1,
        *,
        every: int | str = "step",
        initial: MixLike = None,
        floor: float = 0.0,
        signal: str = "train",
        passes: float | None = None,
        memory: float = 0.0,
        most: float = 1.0,
    ) -> None:
        super().__init__(every=every, initial=initial, memory=memory, floor=floor, most=most)
        self.mixing_rate = check_mixing_rate(mixing_rate)
        if signal not in ("train", "validation"):
            raise ValueError(f'signal must be "train" or "validation", got {signal!r}')
        self.signal = signal
        self.passes = None if passes is None else check_passes(passes)
        if signal == "validation":
            if every != "step":
                raise ValueError(
                    'every: with signal="validation" the mix is updated after each validation run; leave it out, got '
                    f"{every!r}"
                )
            if self.passes is not None:
                raise ValueError('passes: repeats count with signal="train" only; leave one of the two out')
            self.needs_losses, self.needs_validation, self.min_groups = False, "group_losses", 1

    def initial_proportions(self, prior: Vector) -> Vector:
        if self.passes is not None:
            self._check_sizes_known("Learn2Mix(passes=...)")
        return super().initial_proportions(prior)

    def move(self, losses: Vector, info: MixInfo | None) -> None:
        if self.passes is not None:
            if info is None:
                raise ValueError("info must be given to update(losses, info) where passes are counted")
            losses = losses * fading(info.draws, info.sizes, self.passes)
        self._assign(move_towards(self.proportions, losses, self.mixing_rate, self.floor))

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:
        if self.signal != "validation":
            return
        if group_losses is None:
            raise ValueError('group_losses: Learn2Mix(signal="validation") needs one value a group, got None')
        self.update(group_losses)
