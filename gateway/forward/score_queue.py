"""Score samples on their way back to the target: bounded, and dropped rather than waited for.

Scores are made anew from what is in the log; they hold no position there, and a full queue (the target is down) costs
scores alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from gateway.forward.remote_write_encoder import PackedRows


class ScoreQueue:
    """May be filled from any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._rows: deque[tuple[bytes, int, float]] = deque()
        self.dropped = 0
        """Samples refused because the queue was full."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, blobs: Sequence[bytes], times_ms: Sequence[int], values: Sequence[float]) -> int:
        """Queue samples (label blob, Unix ms, value); returns how many were taken, the rest is counted as dropped."""
        with self._lock:
            room = max(0, self._limit - len(self._rows))
            taken = min(room, len(blobs))
            self._rows.extend(zip(blobs[:taken], times_ms[:taken], values[:taken], strict=True))
            self.dropped += len(blobs) - taken
            return taken

    def take(self, most: int) -> PackedRows | None:
        """Remove up to `most` samples; None if there are none."""
        with self._lock:
            rows = [self._rows.popleft() for _ in range(min(most, len(self._rows)))]
        if not rows:
            return None
        blobs, times_ms, values = zip(*rows, strict=True)
        return PackedRows.from_blobs(list(blobs), list(times_ms), list(values))
