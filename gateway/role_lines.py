"""What a role says to its supervisor over a pipe, and how often."""

from __future__ import annotations

from typing import Final

READY_LINE: Final = b"ready\n"
ALIVE_LINE: Final = b"alive\n"
IDLE_LINE: Final = b"idle %d\n"
"""The loop turns, but the role makes no progress; with the id of the thread that it waits for, where it knows."""
HEARTBEAT_SECONDS: Final = 0.25
