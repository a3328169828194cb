"""Memory that was freed goes back to the system.

What a segment's change and the forgetting of thousands of series free lies between what stays, and the C library keeps
it for itself: resident memory then rises by steps although nothing more is held. malloc_trim(3) gives whole free pages
back, those in the middle as well.
"""

from __future__ import annotations

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; None elsewhere."""


def give_back_free_memory() -> None:
    """Takes some milliseconds, without the GIL; tens where hundreds of megabytes are free."""
    if _TRIM is not None:
        _TRIM(0)
