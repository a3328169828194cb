"""Memory that was freed is used again, and goes back to the system now and then.

Every request, frame and step has arrays of its own, of some hundred kilobytes. As it is set up, the C library gives
much of what is freed back at once and asks for it again a millisecond later: the system then clears every page anew,
and stops all threads to take it away. `keep_free_memory` has it keep what is freed; `give_back_free_memory`, called
once a minute, gives it back.

What a segment's change and the forgetting of thousands of series free lies between what stays, and the C library keeps
it for itself: resident memory then rises by steps although nothing more is held. malloc_trim(3) gives whole free pages
back, those in the middle as well.
"""

from __future__ import annotations

import ctypes
from typing import Final

_MALLOPT = getattr(ctypes.CDLL(None), "mallopt", None)
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; None elsewhere."""
# malloc.h of glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MAPPED_APART: Final = 32 * 2**20
"""Arrays from this size on are mapped by themselves and go back at once; the largest value that glibc takes."""
_KEPT: Final = 512 * 2**20
"""Free memory at the arena's end that is not given back at once."""
_AHEAD: Final = 2**20
"""Address space taken beyond what is needed; memory only once it is used."""


def keep_free_memory() -> None:
    """For a process that allocates at a high rate; to be called before its threads begin."""
    if _MALLOPT is not None:
        # What one thread freed is used by the next, and the end of the one arena goes back with the rest: of others
        # malloc_trim leaves it. Threads meet at its lock seldom, as Python's own objects come from elsewhere.
        _MALLOPT(_M_ARENA_MAX, 1)
        _MALLOPT(_M_MMAP_THRESHOLD, _MAPPED_APART)
        _MALLOPT(_M_TRIM_THRESHOLD, _KEPT)
        _MALLOPT(_M_TOP_PAD, _AHEAD)


def give_back_free_memory() -> None:
    """Takes some milliseconds, without the GIL; tens where hundreds of megabytes are free."""
    if _TRIM is not None:
        _TRIM(0)
