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

import contextlib
import ctypes
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.selfmetrics import gauge

_MALLOPT = getattr(ctypes.CDLL(None), "mallopt", None)
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; None elsewhere."""
_MALLINFO: Callable[[], Any] | None = getattr(ctypes.CDLL(None), "mallinfo2", None)
"""Of glibc 2.33 and later."""
_MADVISE = getattr(ctypes.CDLL(None), "madvise", None)
_MADV_DONTNEED: Final = 4
# Of Linux, proc(5): a mapping's head, `first-last perms offset device inode path`, and the lines about its sizes.
_READ_ONLY_FILE: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ \d+ +/.*\n((?:\w+:.*\n)+)", re.MULTILINE)
_OWN_PAGES: Final = re.compile(r"^(?:Anonymous|Swap): +[1-9]", re.MULTILINE)
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

_HEAP = gauge(
    "heap_bytes",
    "The C library's heap, without Python's small objects: in_use and, in mappings of their own, mapped are held; free "
    "is kept for reuse, most of it without memory behind it after the last giving back.",
    ["state"],
)


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def keep_free_memory() -> None:
    """For a process that allocates at a high rate; to be called before its threads begin."""
    if _MALLOPT is not None:
        # What one thread freed is used by the next, and the end of the one arena goes back with the rest: of others
        # malloc_trim leaves it. Threads meet at its lock seldom, as Python's own objects come from elsewhere.
        _MALLOPT(_M_ARENA_MAX, 1)
        _MALLOPT(_M_MMAP_THRESHOLD, _MAPPED_APART)
        _MALLOPT(_M_TRIM_THRESHOLD, _KEPT)
        _MALLOPT(_M_TOP_PAD, _AHEAD)


def _heap_bytes(field: str) -> float:
    assert _MALLINFO is not None
    return float(getattr(_MALLINFO(), field))


if _MALLINFO is not None:
    _MALLINFO.restype = _Mallinfo  # type: ignore[attr-defined]
    for _state, _field in ("in_use", "uordblks"), ("free", "fordblks"), ("mapped", "hblkhd"):
        _HEAP.labels(_state).set_function(partial(_heap_bytes, _field))


def give_back_free_memory() -> None:
    """Takes some milliseconds, without the GIL; tens where hundreds of megabytes are free."""
    if _TRIM is not None:
        _TRIM(0)


def give_back_file_pages() -> None:
    """Pages of programs and libraries that this process has looked at and not written to; it takes them from the files
    again when it needs them. Loading touches most of a compiler, of which little is ever called again. For a process
    with one thread. Does nothing where the system does not tell."""
    if _MADVISE is None:
        return
    with contextlib.suppress(OSError):
        mappings = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
        for first, last, sizes in _READ_ONLY_FILE.findall(mappings):
            # A page that was written to while it was being loaded is no longer the file's.
            if _OWN_PAGES.search(sizes) is None:
                begin = int(first, 16)
                _MADVISE(ctypes.c_void_p(begin), ctypes.c_size_t(int(last, 16) - begin), _MADV_DONTNEED)
