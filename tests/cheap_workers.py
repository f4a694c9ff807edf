"""What makes workers cheap to start and to end, in the process of the tests and in the server of forks.py.

And steps of an optimizer, and what Lightning logs, where there is no CUDA.
"""

import ctypes
import gc
import sys
from pathlib import Path

import torch
from torch.utils.data import _utils as data_loading

COLLAPSE = 25  # MADV_COLLAPSE of Linux 6.1; an older one refuses it

# A worker that waits looks this often whether its loop is gone, and a loader that is collected with an error's
# traceback waits this long for each of its workers: 5 s in torch.
data_loading.MP_STATUS_CHECK_INTERVAL = data_loading.worker.MP_STATUS_CHECK_INTERVAL = 0.5


def forget_accelerators() -> None:
    """Have torch ask once for accelerators that are not there, and not at each step and in each worker."""
    # Each step of an optimizer asks for CUDA; under Lightning that loads NVIDIA's library, which is not there: 0.4 ms.
    if not torch.cuda.is_available():
        torch.cuda._cached_device_count = 0
    # torch.manual_seed writes down the stack of its caller for each accelerator that is not there: 5 ms in each worker.
    for accelerator in (torch.cuda, torch.xpu, torch.mtia):
        if not accelerator.is_available():
            accelerator.manual_seed_all = lambda seed: None


def keep_what_is_logged() -> None:
    """Have Lightning not look through all that was logged, at each value more, for what is on another device."""
    if torch.cuda.is_available():
        return
    for lightning in ("pytorch_lightning", "lightning.pytorch"):
        result = sys.modules.get(f"{lightning}.trainer.connectors.logger_connector.result")
        if result is not None:
            result._ResultMetric.to = lambda self, *device: self


def make_forks_cheap() -> None:
    """Keep what is imported, once all is, out of garbage collection, which took a second each time; forks cost less."""
    forget_accelerators()
    keep_what_is_logged()
    gc.collect()
    gc.freeze()
    move_to_large_pages()


def move_to_large_pages() -> None:
    """Move what is in memory to pages of 2 MB, where the system has them.

    A fork copies the page tables, and the end of its process tears them down: one entry per 4 KB made that 80 ms. What
    is allocated later, or written to while a fork is there, is in pages of 4 KB again; what is not takes no time.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in Path("/proc/self/maps").read_text(encoding="utf8").splitlines():
        addresses, access, _, _, inode, *_ = line.split()
        if access == "rw-p" and inode == "0":  # not of a file, nor shared
            begin, end = (int(address, 16) for address in addresses.split("-"))
            madvise(begin, end - begin, COLLAPSE)  # what cannot be moved stays where it is
