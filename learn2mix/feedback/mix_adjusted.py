"""Cross-entropy that knows the mix of its batch."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from learn2mix.checks import as_proportions
from learn2mix.feedback.compiled import define_operator
from learn2mix.feedback.group_losses import to_device
from learn2mix.feedback.per_sample import PerSampleLoss, mean_and_each

PROBABILITY_ROUNDING = 1e-2  # what half precision leaves of a sum of 1
PER_SAMPLE = 'use PerSampleLoss(nn.BCEWithLogitsLoss(reduction="none")) or its like'


class MixAdjustedLoss(PerSampleLoss):
    r"""Trains on the logits plus the log of the mix of their batch, so that any mix aims at the same classifier.

    .. math:: \ell(x, y) = -\log \frac{\tfrac{a_y}{t_y} e^{z_y(x)}}{\sum_i \tfrac{a_i}{t_i} e^{z_i(x)}}

    with the mix ``a`` of the batch being trained on and the mix ``t`` that the classifier is for. At its optimum the
    logits are those of a classifier for ``t``, whatever the mix: so the mix decides only how fast, and at which
    variance, it is learned. Logit adjustment (Menon et al., arXiv 2007.07314) and balanced softmax (Ren et al., arXiv
    2007.10740) with the live mix in the place of the data's class frequencies. In evaluation mode nothing is added.

    It takes the mix from the sampler, stream or loader that it follows; under Lightning :class:`MixingCallback` lets
    it follow that of the Trainer. Or give it: ``criterion(logits, targets, log_mix=sampler.log_mix())``. The groups
    must be the classes: whole numbers are columns of the logits, other names stand for the columns in sorted order. A
    class that is not in the batch's mix is left out of the softmax.

    Args:
        criterion: a module or function of ``(logits, targets)`` that returns one loss per sample; None for
            ``nn.CrossEntropyLoss(reduction="none")``.
        target: the mix ``t``: ``"uniform"`` for the balanced error, ``"prior"`` for the data's own mix, a vector of
            shape ``(num_classes,)``, or a mapping from names to shares.
        observed: the losses that are kept for the mixer: ``"adjusted"``, those that are trained on, or ``"plain"``,
            those of the logits alone, by a second call (a criterion that counts what it has seen counts twice).

    Attributes:
        losses: of the last batch, as :attr:`PerSampleLoss.losses`.

    Raises:
        ValueError: when called in training, if it follows nothing and is given no mix, the groups are not the classes,
            or the logits are not of shape ``(batch_size, num_classes)``.

    Example:
        >>> from learn2mix import FixedMix, MixedBatchSampler, MixedLoader
        >>> loader = MixedLoader(range(4), MixedBatchSampler([0, 0, 0, 1], FixedMix([0.75, 0.25]), batch_size=4))
        >>> criterion = MixAdjustedLoss().follow(loader)
        >>> for batch in loader:
        ...     logits, targets = torch.zeros(4, 2), batch // 3
        ...     print(criterion(logits, targets), criterion.eval()(logits, targets))
        tensor(0.5623) tensor(0.6931)
    """

    def __init__(
        self,
        criterion: nn.Module | Callable[..., Tensor] | None = None,
        target: Sequence[float] | ArrayLike | Mapping[Any, float] | str = "uniform",
        *,
        observed: Literal["adjusted", "plain"] = "adjusted",
    ) -> None:
        super().__init__(nn.CrossEntropyLoss(reduction="none") if criterion is None else criterion)
        if observed not in ("adjusted", "plain"):
            raise ValueError(f'observed must be "adjusted" or "plain", got {observed!r}')
        if isinstance(target, str) and target not in ("uniform", "prior"):
            raise ValueError(f'target must be "uniform", "prior", shares or a mapping to them, got {target!r}')
        if not isinstance(target, (str, Mapping)):
            as_proportions(target, name="target")
        self.target, self.observed = target, observed
        self._source: Callable[[], Any] | None = None  # returns the sampler or stream, None once it is gone
        self._columns: list[int] | None = None  # of the logits, by group; once the targets were seen to be the groups
        self._told = False  # whether the user was warned of a batch of one class

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_source": None}  # a copy follows nothing yet

    def follow(self, source: Any) -> MixAdjustedLoss:
        """Take the mix of each batch from a sampler, stream or loader; held by a weak reference.

        Raises:
            TypeError: if it is none of these.
        """
        source = getattr(source, "sampler", source)
        if not hasattr(source, "log_mix"):
            kind = type(source).__name__
            raise TypeError(f"source must be a MixedBatchSampler, MixedStream or MixedLoader, got {kind}")
        return self._follow(weakref.ref(source))

    def _follow(self, find_source: Callable[[], Any]) -> MixAdjustedLoss:
        self._source, self._num_classes = find_source, 0
        return self

    def forward(self, logits: Tensor, targets: Tensor, log_mix: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return the mean loss, a scalar.

        Args:
            logits: shape ``(batch_size, num_classes)``.
            targets: classes, shape ``(batch_size,)``, or their probabilities, shape ``(batch_size, num_classes)``.
            log_mix: what is added to the logits, shape ``(num_classes,)``; None asks the sampler that it follows.
            kwargs: go to the criterion.
        """
        if not self.training:
            return super().forward(logits, targets, **kwargs)
        if logits.ndim != 2:
            raise ValueError(
                f"logits must have the shape (batch_size, num_classes), got {tuple(logits.shape)}; where they are no "
                f"scores of classes that exclude each other, {PER_SAMPLE}"
            )
        if log_mix is None:
            if torch.compiler.is_compiling():
                log_mix = torch.ops.learn2mix.log_mix(logits.detach(), targets, self._handle)
            else:
                if not torch.is_grad_enabled():
                    warnings.warn(
                        "MixAdjustedLoss: called without gradients, and adds the mix of the batch being trained on; in "
                        "a validation call criterion.eval() first, and criterion.train() after it: model.eval() does "
                        "so only for what is a part of the model",
                        stacklevel=2,
                    )
                log_mix = self._ask(logits, targets)
        if log_mix.shape != logits.shape[1:]:
            raise ValueError(
                f"log_mix must have one value per class, shape ({logits.shape[1]},), got {tuple(log_mix.shape)}; the "
                "groups of the sampler must be the classes"
            )
        mean = super().forward(logits + log_mix.to(logits), targets, **kwargs)
        if self.observed == "plain":
            with torch.no_grad():
                plain = self.criterion(logits, targets, **kwargs)
                self._kept.losses = mean_and_each(self.criterion, plain, (logits, targets), kwargs)[1].detach()
        return mean

    @torch.no_grad()
    def _ask(self, logits: Tensor, targets: Tensor) -> Tensor:
        source = None if self._source is None else self._source()
        if source is None:
            raise ValueError(
                "MixAdjustedLoss: it is not known which batch this is; call criterion.follow(loader) once, pass "
                "log_mix=sampler.log_mix(), or under Lightning Trainer(callbacks=[MixingCallback()]); for validation, "
                "call criterion.eval()"
            )
        if self._num_classes != logits.shape[1]:
            self._columns = _find_columns(source.group_names, logits.shape[1])
            _check_targets(source, self._columns, targets)
            self._num_classes = logits.shape[1]
        target = None if isinstance(self.target, str) and self.target == "prior" else self.target
        moved = torch.full((logits.shape[1],), -torch.inf, dtype=torch.float32, device="cpu")
        moved[self._columns] = source.log_mix(target)
        (in_mix,) = moved.isfinite().nonzero(as_tuple=True)
        if len(in_mix) == 1 and not self._told:
            self._told = True
            warnings.warn(
                f"MixAdjustedLoss: a batch has samples of class {int(in_mix)} only. The softmax of that batch has no "
                "other class, so its loss is 0 and nothing is learned; give the mixer a floor, floor=0.01",
                stacklevel=3,
            )
        return to_device(moved, logits.device).to(logits.dtype)


def _find_columns(names: list[Any], num_classes: int) -> list[int]:
    """Return the column of the logits of each group."""
    if all(isinstance(name, int) for name in names):
        columns = [int(name) for name in names]
        if max(columns) < num_classes:
            return columns
    elif len(names) == num_classes and all(isinstance(name, str) for name in names):
        return list(range(num_classes))
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    raise ValueError(
        f"MixAdjustedLoss: the groups must be the classes, but there are {num_classes} columns of logits and "
        f"{len(names)} groups ({shown}); use groups made of the targets, or another loss"
    )


def _check_targets(source: Any, columns: list[int], targets: Tensor) -> None:
    """Refuse groups that are not the classes: the batch's targets must be those of its groups. Waits for the device."""
    if targets.is_floating_point():  # probabilities, as of MixUp
        sums = targets.sum(1).tolist() if targets.ndim == 2 else []
        others = [total for total in sums if abs(total - 1) > PROBABILITY_ROUNDING]
        if others:
            raise ValueError(
                f"targets must be classes, or probabilities that sum to 1, got a row that sums to {others[0]:.4g}; "
                f"where a sample may have several labels, {PER_SAMPLE}"
            )
        return
    groups, found = source.groups_in_training().tolist(), targets.flatten().tolist()
    if len(groups) != len(found):
        return
    expected = [columns[group] for group in groups]
    if sorted(expected) != sorted(found) and min(found) >= 0:  # below 0: to be ignored
        raise ValueError(
            f"MixAdjustedLoss: the groups must be the classes, but a batch with the groups {sorted(set(expected))[:5]} "
            f"has targets {sorted(set(found))[:5]} in other numbers; make groups of the targets, or use another loss"
        )
    # Each group may have a class of its own, and yet another one than that of its column.
    pairs = {(group, target) for group, target in zip(groups, found, strict=True) if target >= 0}
    others = [(group, target) for group, target in sorted(pairs) if columns[group] != target]
    if others and len(pairs) == len(dict(pairs)) == len({target for _, target in pairs}):
        group, target = others[0]
        raise ValueError(
            f"MixAdjustedLoss: the groups must be the classes, but group {source.group_names[group]!r} has the column "
            f"{columns[group]} of the logits, and its samples the target {target}; make the sampler's groups of targets"
        )


define_operator("log_mix", MixAdjustedLoss._ask, lambda logits: logits.new_empty(logits.shape[1]))
