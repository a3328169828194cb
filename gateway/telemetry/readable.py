"""Pages of a mapped file are asked for before they are looked at.

A mapped page that the disk cannot give, or that the file no longer has, ends the process that touches it with SIGBUS.
Asked for with madvise(2), the same is an error like that of read(2). Pages that the kernel takes back afterwards and
cannot read again are not guarded.
"""

from __future__ import annotations

import errno
import mmap
from pathlib import Path
from typing import Final

_POPULATE_READ: Final = 22
"""MADV_POPULATE_READ; Linux 5.14 and later. Python does not name it."""


def require_readable(mapped: mmap.mmap, path: Path, begin: int = 0, end: int | None = None) -> None:
    """Have the bytes [begin, end) of a mapping in memory. Raises OSError (EIO) where that cannot be."""
    end = len(mapped) if end is None else min(end, len(mapped))
    begin -= begin % mmap.PAGESIZE
    if begin >= end:
        return
    try:
        mapped.madvise(_POPULATE_READ, begin, end - begin)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return  # an older kernel
        raise OSError(errno.EIO, "a page cannot be read", str(path)) from error


def map_readable(path: Path) -> mmap.mmap:
    """A whole file in memory, read only. Raises OSError; ValueError if it is empty."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        require_readable(mapped, path)
    except OSError:
        mapped.close()
        raise
    return mapped
