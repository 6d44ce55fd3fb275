"""Lets the C library give memory back that large lines needed for a moment.

glibc learns from each large block that is freed to keep blocks of that size in its heaps, and gives each
thread a heap of its own. A few lines of many megabytes then cost hundreds of megabytes for good.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # <malloc.h>
_LARGE_BYTES = 4 << 20
"""With less, a line of 2 MB takes a third more time, because the kernel is asked for each block anew. With
more, lines of 16 MB take 10 to 80 MB of memory more."""
_HEAPS = 1
"""A second one makes nothing faster, and what is free in one is of no use to the other."""


def give_back_large_blocks() -> bool:
    """Blocks of some megabytes go back when they are freed; False where the C library cannot do that.

    To be called before threads are started. What MALLOC_… in the environment says is overruled.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_TRIM_THRESHOLD: _LARGE_BYTES, _M_MMAP_THRESHOLD: _LARGE_BYTES, _M_ARENA_MAX: _HEAPS}
    answers = [mallopt(name, value) for name, value in settings.items()]
    return answers == [1] * len(settings)
