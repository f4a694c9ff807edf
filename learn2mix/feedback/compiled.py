"""Methods that torch.compile cannot trace: each is one operator of the graph, which finds its module by a number."""

from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

TAGS = [
    getattr(torch.Tag, name) for name in ("nondeterministic_seeded", "cudagraph_unsafe") if hasattr(torch.Tag, name)
]
_handles = count()
_living: WeakValueDictionary[int, Any] = WeakValueDictionary()


def new_handle(module: Any) -> int:
    """Return the number by which an operator finds a module, for as long as it lives."""
    handle = next(_handles)
    _living[handle] = module
    return handle


def define_operator(
    name: str, call: Callable[[Any, Tensor, Tensor], Tensor], for_shapes: Callable[[Tensor], Tensor]
) -> None:
    """Make ``torch.ops.learn2mix.<name>(first, second, handle)`` of a method; ``for_shapes`` makes one of its shape."""

    def operator(first: Tensor, second: Tensor, handle: int) -> Tensor:
        return call(_living[handle], first, second)

    def fake(first: Tensor, second: Tensor, handle: int) -> Tensor:
        return for_shapes(first)

    torch.library.define(f"learn2mix::{name}", "(Tensor first, Tensor second, int handle) -> Tensor", tags=TAGS)
    torch.library.impl(f"learn2mix::{name}", "default", operator)
    torch.library.register_fake(f"learn2mix::{name}", fake)
