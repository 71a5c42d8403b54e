"""What a process keeps of the memory that it frees: all of it, where arrays come and go hundreds of times a second."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST = 32 << 20  # bytes; the largest threshold that glibc takes for blocks of their own
_KEPT = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Have the C library's `malloc` keep freed memory for the next array instead of giving it back to the system.

    By default glibc returns the arrays of every crop and the maps of every layer, and each 4 KiB of the next ones is a page
    fault: about 40 a crop, a tenth of all time, and 5,000 a step of the quickstart. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MOST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
