"""What is looked at in a rule of one's own: whether it follows what it says, and whether it saves what it remembers."""

from __future__ import annotations

import pickle
import warnings
from io import BytesIO
from typing import Any

MOST_BYTES = 1 << 20  # of an attribute that is looked into; of a larger one only a new value is noticed

Contents = dict[str, bytes | int]


def check_declared(rule: Any, general: type) -> None:
    """Warn of a mixer whose mix may never move, as its class says other than its methods do.

    ``general`` has the methods that it does not override. To need what no validation run gives is a ValueError.
    """
    kind, asked = type(rule), rule.needs_validation
    if asked not in (None, "loss", "group_losses"):
        raise ValueError(f'{kind.__name__}.needs_validation must be "loss", "group_losses" or None, got {asked!r}')
    own = {name for name, method in vars(general).items() if getattr(kind, name) is not method}
    if not (kind.update.__module__.startswith("learn2mix.") or kind.needs_losses or asked):
        fault = (
            "its update gets losses, but needs_losses is False, so nothing tells a loop that observes none; set "
            "needs_losses = True on the class"
        )
    elif (rule.needs_losses or asked) and not own & {"update", "observe_validation", "seek", "proportions"}:
        fault = (
            "it needs losses or results of validation, but has no update(losses, info), observe_validation(loss, "
            "group_losses) or other method of its own that moves the mix by them"
        )
    else:
        return
    warnings.warn(f"{kind.__name__}: {fault}", stacklevel=5)


class _Pickled(BytesIO):
    """Takes what pickle writes, and raises where that is too much."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > MOST_BYTES:
            raise OverflowError
        return super().write(data)


def contents(rule: object) -> Contents:
    """Return what each attribute holds that the library's own classes know nothing of; empty for rules that save.

    Lists are left out: most rules that have one only write down in it what they were told.
    """
    kinds = type(rule).__mro__
    ours = [kind for kind in kinds if kind.__module__.startswith("learn2mix.")]
    if next(kind for kind in kinds if "state_dict" in vars(kind)) not in ours or type(rule) in ours:
        return {}
    inherits_rule = ours[0].__module__ != "learn2mix.mixers.base"  # then names that begin with _ are most likely its
    return {
        name: _content(value)
        for name, value in vars(rule).items()
        if not any(name in vars(kind) for kind in ours)
        and not (inherits_rule and name.startswith("_"))
        and not isinstance(value, list)
    }


def _content(value: Any) -> bytes | int:
    written = _Pickled()
    try:
        pickle.Pickler(written, protocol=5).dump(value)
    except Exception:  # whatever an object of the user's raises: it is told by what it is
        return id(value)
    return written.getvalue()


def warn_of_unsaved(rule: object, before: Contents) -> bool:
    """Warn of attributes that hold other values than before, and say whether there were any."""
    now = contents(rule)
    changed = [name for name in now if now[name] != before.get(name)]
    if changed:
        kind, names = type(rule).__name__, ", ".join(changed)
        warnings.warn(
            f"{kind}: these attributes have changed and are not in its state, so a run that resumes begins anew with "
            f"them: {names}; put them into {kind}.state_dict and load_state_dict, or, where nothing depends on them, "
            "define a state_dict that returns super().state_dict()",
            stacklevel=3,
        )
    return bool(changed)
