"""Label blobs of a closed log segment, read from its file where they are asked for.

The file is read, not mapped: a mapping would keep every page that was looked at in the process' memory, as much as the
labels of all series take, and a page that the disk cannot give, or that the file no longer has, would end the process.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from kernels.series_table import copy_blobs

_APART: Final = 4096
"""Bytes between two blobs that are read together, at most."""


class ClosedSegment:
    """One open file; closed with the object. One thread owns it."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._fd = -1  # for __del__, should this fail
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def open(cls, path: Path | None) -> Self | None:
        """None without a path. Raises OSError."""
        return None if path is None else cls(path)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def copy(
        self,
        begins: NDArray[np.int64],
        lengths: NDArray[np.uint32],
        targets: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        """Piece i of the file, lengths[i] bytes from begins[i], to out[targets[i]]; all three of n entries.

        Blobs of one request mostly stand next to each other, as the request before the change of segments had the same
        order, and are one read then. Raises OSError, also where the file is shorter than it was.
        """
        if (begins[1:] < begins[:-1]).any():
            order = np.argsort(begins, kind="stable")
            begins, lengths, targets = begins[order], lengths[order], targets[order]
        ends = np.maximum.accumulate(begins + lengths)
        firsts = np.flatnonzero(np.concatenate([[True], begins[1:] - ends[:-1] > _APART]))
        lasts = np.append(firsts[1:], len(begins)) - 1
        sizes = ends[lasts] - begins[firsts]
        pool = np.empty(int(sizes.sum()), np.uint8)
        places = np.concatenate([[0], np.cumsum(sizes)])
        view = pool.data
        for at, size, place in zip(begins[firsts].tolist(), sizes.tolist(), places.tolist(), strict=False):
            if os.preadv(self._fd, [view[place : place + size]], at) != size:
                raise OSError(errno.EIO, "the segment is shorter than its definitions")
        moved = np.repeat(places[:-1] - begins[firsts], np.diff(np.append(firsts, len(begins))))
        done = copy_blobs(pool, (begins + moved).astype(np.uint64), lengths, targets, out)
        assert done == len(begins), "places within what was read"
