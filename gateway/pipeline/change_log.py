"""Deploys that arrive at the data plane, kept in a small log of their own until the control plane has read them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.clock import Clock
from gateway.log.event_writer import EventWriter
from gateway.log.settings import LogSettings
from gateway.selfmetrics import counter
from gateway.telemetry.change import Change

RECEIVED = counter("changes_received", "Deploys that OTLP log records told of.")

DIRECTORY: Final = "changes"
"""Below the data directory; one log an edge."""


class ChangeLog:
    """Any thread may write. What `take` returned from is on disk."""

    def __init__(self, data_dir: Path, edge: int, clock: Clock) -> None:
        """Opens the log; the directory must exist. Raises DiskFailed, StateError."""
        self._writer = EventWriter.open(data_dir / DIRECTORY, edge, LogSettings(), clock)
        self._clock = clock
        self._lock = threading.Lock()

    def take(self, changes: Sequence[Change]) -> None:
        """Keep changes. Raises DiskFailed, LogFull; their sender is to send them again then."""
        if not changes:
            return
        with self._lock:
            for change in changes:
                self._writer.append(msgspec.msgpack.encode(change), received_ns=self._clock.time_ns())
            self._writer.sync()
        RECEIVED.inc(len(changes))

    def close(self) -> None:
        """Nothing may be taken after it."""
        with self._lock:
            self._writer.close()
