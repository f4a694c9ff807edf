"""Batches are made on the CPU, whatever `torch.set_default_device` says."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def on_cpu() -> AbstractContextManager[Any]:
    """Return a context in which torch makes its tensors on the CPU.

    It does nothing where torch does so anyway: workers that are forked in it stay in it, and each call of torch's would
    take longer there.
    """
    return nullcontext() if torch.empty(0).is_cpu else torch.device("cpu")
