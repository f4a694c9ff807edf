"""What takes seconds to import, imported at its first use: ``list`` and a mistyped name do without it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    import torch.nn.functional as F

    import learn2mix
else:

    class _AtFirstUse(ModuleType):
        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self.__name__), name)

    F, learn2mix, np, torch = map(_AtFirstUse, ("torch.nn.functional", "learn2mix", "numpy", "torch"))

__all__ = ["F", "lazily", "learn2mix", "np", "torch"]


def lazily(place: str, **options: Any) -> Callable[..., Any]:
    """A function that calls the one at ``place``, as "module:name", with some more arguments."""

    def call(*args: Any) -> Any:
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)(*args, **options)

    return call
