"""Whether a rule of one's own follows what it says, and says what it follows."""

from __future__ import annotations

import warnings
from typing import Any


def check_declared(rule: Any, general: type) -> None:
    """Warn of a rule whose mix may never move, as its class says other than its methods do.

    Args:
        rule: a mixer.
        general: the class that it has the methods from which it does not override.

    Raises:
        ValueError: if it needs something else of a validation run than there is.
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
