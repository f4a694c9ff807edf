"""The memory of this process in pages of 2 MB, where the system has them.

To fork, the page tables are copied, and torn down again when the child ends: one entry per 4 KB, so that of a process
that has imported everything each worker of a loader would cost 80 ms. Fewer entries make it half of that.
"""

import ctypes
import sys
from pathlib import Path

COLLAPSE = 25  # MADV_COLLAPSE of Linux 6.1; an older one refuses it


def use_huge_pages() -> None:
    """Move what is in memory now to huge pages. What cannot be moved stays where it is."""
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in Path("/proc/self/maps").read_text(encoding="utf8").splitlines():
        addresses, access, _, _, inode, *_ = line.split()
        if access == "rw-p" and inode == "0":  # not of a file, nor shared
            begin, end = (int(address, 16) for address in addresses.split("-"))
            madvise(begin, end - begin, COLLAPSE)
