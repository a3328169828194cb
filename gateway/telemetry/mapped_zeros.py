"""Arrays with an entry a series: zeros that take memory where they are written to, and go back whole.

Of the C library such arrays come out of memory that others have used, and are then cleared, so that what lies beyond
the series there are, and what is never written to, takes memory as well; and what a smaller one leaves behind stays
with the process as a gap.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

_MAP_NORESERVE: Final = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Linux; named by Python from 3.12 on
_HUGE: Final = getattr(mmap, "MADV_HUGEPAGE", None)
"""Linux only."""
_LEAST: Final = 1 << 20
"""Smaller arrays come from where all others do."""


def reserved(size: int, *, sparse: bool = False) -> mmap.mmap:
    """Zeroed bytes that take memory only when written. sparse: few are written to, here and there; else pages are
    large, which costs less time where bytes are looked at in no order. Raises OSError where the system grants no
    more."""
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    if not sparse and _HUGE is not None:
        with contextlib.suppress(OSError):  # a kernel without them
            area.madvise(_HUGE)
    return area


def mapped_zeros(shape: int | tuple[int, ...], dtype: DTypeLike, *, sparse: bool = False) -> NDArray[Any]:
    """As np.zeros; sparse: see `reserved`. Raises MemoryError."""
    kind, count = np.dtype(dtype), int(np.prod(shape))
    if count * kind.itemsize < _LEAST:
        return np.zeros(shape, kind)
    try:
        area = reserved(count * kind.itemsize, sparse=sparse)
    except OSError as error:
        raise MemoryError(f"{count * kind.itemsize} bytes of address space") from error
    return np.frombuffer(area, kind, count).reshape(shape)


def grown_size(size: int, needed: int) -> int:
    """The next size of an array whose entries are all written to when it grows: a quarter more, or what is needed."""
    return max(needed, size + size // 4)
