"""Memory that a step frees, of a training or of a measurement, stays: the next one needs as much again at once."""
from __future__ import annotations

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of <malloc.h>
_LARGEST = 2 ** 30  # bytes; a larger block, a data set's, still goes back at once


@cache
def keep_memory() -> bool:
    """Whether freed blocks are kept from now on: glibc only, once a process.

    By itself glibc returns each block above 32 MiB, and the top of the heap, to the system, which then hands every
    page out anew, zeroed: up to a third of a step's time (``lmcnb bench training``). No number changes. The price: a
    process may go on holding the most that it has ever needed, and gaps between.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    wanted = (MMAP_THRESHOLD, _LARGEST), (TRIM_THRESHOLD, 2 ** 31 - 1), (TOP_PAD, 2 ** 26)
    done = [mallopt(option, value) for option, value in wanted]
    return all(done)
