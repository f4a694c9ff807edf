"""Libraries that take seconds to import, imported at their first use: ``list`` and a mistyped name do without them."""

from __future__ import annotations

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

__all__ = ["F", "learn2mix", "np", "torch"]
