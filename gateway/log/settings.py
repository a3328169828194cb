"""Settings of the log."""

from __future__ import annotations

from typing import Literal

from gateway.settings_types import ByteSize, Duration, Settings


class LogSettings(Settings, frozen=True, kw_only=True):
    """How received points are made durable, and how long and how much is kept."""

    durability: Literal["fsync", "os"] = "fsync"
    """"fsync": acknowledged means on disk. "os": handed to the operating system; survives a crash of the process, not
    of the machine."""
    retention: Duration = Duration(86_400)
    """How long data that every reader has committed is kept, by the time its segment was closed."""
    max_bytes: ByteSize = ByteSize(10 * 2**30)
    """Size of all segments together. Delivered segments are removed early to stay under it; when nothing delivered is
    left, new data is refused and nothing is dropped. What arrives in victoriametrics.replay_seconds, and some seconds
    more, does not count as delivered: a log too small for it refuses again and again."""
    segment_bytes: ByteSize = ByteSize(256 * 2**20)
    """A segment is closed when it reaches this size, or ten times what the definitions of its series take if that is
    more (each segment defines its series anew), but at the latest at a quarter of max_bytes."""
    segment_age: Duration = Duration(3600)
    """A segment is closed at this age."""

    def __post_init__(self) -> None:
        if self.max_bytes == 0:
            raise ValueError("max_bytes: expected more than 0 bytes, as otherwise all data would be refused")

    def segment_limit(self, definition_bytes: int = 0) -> int:
        """Bytes at which a segment is closed whose definitions take so many."""
        return min(max(int(self.segment_bytes), 10 * definition_bytes), int(self.max_bytes) // 4)
