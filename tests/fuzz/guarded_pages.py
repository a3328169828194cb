"""Memory in which a read outside of what was put there ends the process."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
from numpy.typing import NDArray


class GuardedPages:
    """Memory between two pages that may not be touched."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self._inner = -(-size // page) * page
        self._map = mmap.mmap(-1, self._inner + 2 * page)
        whole = np.frombuffer(self._map, np.uint8)
        self._data = whole[page : page + self._inner]
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for address in (whole.ctypes.data, whole.ctypes.data + page + self._inner):
            if protect(address, page, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, body: bytes, at_end: bool) -> NDArray[np.uint8]:
        """The body (at most `size` bytes), touching the guard behind it or before it."""
        start = self._inner - len(body) if at_end else 0
        view = self._data[start : start + len(body)]
        view[:] = np.frombuffer(body, np.uint8)
        return view
