"""Deploys and maintenance events that arrive at the data plane, kept in a small log of their own until the control
plane has read them."""

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
from gateway.telemetry.maintenance_event import MaintenanceEvent

RECEIVED = counter("changes_received", "Deploys that OTLP log records told of.")
MAINTENANCE_RECEIVED = counter("maintenance_events_received", "Maintenance events in OTLP log records that were kept.")
MAINTENANCE_REFUSED = counter(
    "maintenance_events_refused", "Maintenance events in OTLP log records that were not kept.", ["sender", "reason"]
)

DIRECTORY: Final = "changes"
"""Below the data directory; one log an edge."""


class ChangeLog:
    """Any thread may write. What `take` returned from is on disk."""

    def __init__(self, data_dir: Path, edge: int, clock: Clock) -> None:
        """Opens the log; the directory must exist. Raises DiskFailed, StateError."""
        self._writer = EventWriter.open(data_dir / DIRECTORY, edge, LogSettings(), clock)
        self._clock = clock
        self._lock = threading.Lock()

    def take(self, changes: Sequence[Change | MaintenanceEvent]) -> None:
        """Keep them. Raises DiskFailed, LogFull; their sender is to send them again then."""
        if not changes:
            return
        with self._lock:
            for change in changes:
                self._writer.append(msgspec.msgpack.encode(change), received_ns=self._clock.time_ns())
            self._writer.sync()
        deploys = sum(isinstance(change, Change) for change in changes)
        RECEIVED.inc(deploys)
        MAINTENANCE_RECEIVED.inc(len(changes) - deploys)

    def close(self) -> None:
        """Nothing may be taken after it."""
        with self._lock:
            self._writer.close()
