"""A gzip body that is one member, decompressed in one go: a third of what a decompressor costs that takes it in pieces.

libdeflate does it; the `deflate` package brings it. Its Python functions do not say how much of the input they used, by
which one member is told from several, so the library in the package is called directly. Where the package does not
show it, as a build against a hidden library may, `gunzip` takes nothing and callers go their other way.
"""

from __future__ import annotations

import ctypes
import threading
from importlib.util import find_spec
from typing import Final

import numpy as np

from gateway.ingest.decoders import Body

_SIZE: Final = ctypes.c_size_t


def _library() -> ctypes.CDLL | None:
    found = find_spec("deflate._deflate")
    if found is None or found.origin is None:
        return None
    library = ctypes.CDLL(found.origin)  # releases the GIL around every call
    try:
        library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        library.libdeflate_free_decompressor.argtypes = [ctypes.c_void_p]
        library.libdeflate_free_decompressor.restype = None
        told = ctypes.POINTER(_SIZE)
        library.libdeflate_gzip_decompress_ex.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, _SIZE, ctypes.c_void_p, _SIZE, told, told,
        ]  # fmt: skip
        library.libdeflate_gzip_decompress_ex.restype = ctypes.c_int
    except AttributeError:
        return None
    return library


_LIBRARY: Final = _library()
AVAILABLE: Final = _LIBRARY is not None
"""Whether `gunzip` takes anything."""


class _Decompressor:
    """The library's working memory, 11 KB; for one thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.address: int | None = library.libdeflate_alloc_decompressor()

    def __del__(self) -> None:
        if self.address is not None:
            self._library.libdeflate_free_decompressor(self.address)


_local = threading.local()


def gunzip(body: Body, size: int) -> memoryview | None:
    """The content of a body that is one gzip member, nothing more, and expands to `size` bytes; else None.

    Its checksum has been verified. Never writes more than `size` bytes, which the caller has bounded and accounted for.
    """
    if _LIBRARY is None or size <= 0:
        return None
    decompressor: _Decompressor | None = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = _Decompressor(_LIBRARY)
    if decompressor.address is None:
        return None
    source, out = np.frombuffer(body, np.uint8), np.empty(size, np.uint8)
    used, written = _SIZE(0), _SIZE(0)
    result = _LIBRARY.libdeflate_gzip_decompress_ex(
        decompressor.address, source.ctypes.data, len(source), out.ctypes.data, size,
        ctypes.byref(used), ctypes.byref(written),
    )  # fmt: skip
    if result != 0 or used.value != len(source) or written.value != size:
        return None
    return memoryview(out)  # type: ignore[arg-type]
