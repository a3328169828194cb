"""Reads the anomalies log the data plane writes, keeps the newest, hands each on once.

An anomaly is written again when its severity or state changes; the last record of an id wins. A listener that must not
miss one (the alert router) is awaited before the position is committed, so after a crash it sees the record again and
tells by the id that it knows it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.log.offsets import Offset, OffsetFile
from gateway.log.reader import EventReader
from gateway.log.segment import edges_of
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES, counter
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.telemetry.frame import LogPosition

log = structlog.get_logger(__name__)

RECORDS = counter("anomaly_records", "Records read from the anomalies log.")
UNREADABLE = counter("anomaly_records_unreadable", "Records of the anomalies log that could not be decoded.")

KEEP = 20_000
"""Anomalies kept in memory for lists; older ones are in the log."""
_POLL_SECONDS = 0.1
_READ_BYTES = 2**20


class AnomalyFeed:
    """Tails `<data_dir>/anomalies`. on_record is awaited for every record not seen before the last stop.

    workers: how many write anomalies, each its own log; logs of former ones are read to their end too.
    """

    def __init__(
        self, directory: Path, offsets: Path, on_record: Callable[[Anomaly], Awaitable[None]], workers: int = 1
    ) -> None:
        self._directory = directory
        self._offsets = offsets
        self._on_record = on_record
        self._edges = edges_of(directory, workers)
        self._known: OrderedDict[str, Anomaly] = OrderedDict()
        self._ordered: list[Anomaly] | None = None
        self._firing: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._decoder = msgspec.msgpack.Decoder(Anomaly)
        self.changed = asyncio.Event()
        """Set after every batch; a waiter clears it."""

    def start(self) -> None:
        """Begin to read."""
        self._tasks = [asyncio.create_task(self._run(edge), name=f"anomaly-feed-{edge}") for edge in self._edges]

    async def stop(self) -> None:
        """Idempotent."""
        tasks, self._tasks = self._tasks, []
        await end_tasks(*tasks)

    def newest(
        self, *, since: float = 0.0, limit: int = 100, severity: str | None = None, state: str | None = None
    ) -> list[Anomaly]:
        """Newest first; `severity` is the least severe wanted."""
        if severity is None and state is None:
            ordered = self._newest_first()
            return ordered[: min(limit, bisect_right(ordered, -since, key=lambda a: -a.time))]
        floor = SEVERITIES.index(severity) if severity else 0
        found: list[Anomaly] = []
        for anomaly in self._newest_first():
            if len(found) >= limit or anomaly.time < since:
                break
            if state in (None, anomaly.state) and (not floor or SEVERITIES.index(anomaly.severity) >= floor):
                found.append(anomaly)
        return found

    def _newest_first(self) -> list[Anomaly]:
        if self._ordered is None:
            self._ordered = sorted(self._known.values(), key=lambda a: a.time, reverse=True)
        return self._ordered

    @property
    def open_count(self) -> int:
        """How many are firing."""
        return len(self._firing)

    def get(self, anomaly_id: str) -> Anomaly | None:
        """One anomaly, if it is among those kept."""
        return self._known.get(anomaly_id)

    def __len__(self) -> int:
        return len(self._known)

    async def _run(self, edge: int) -> None:
        while True:
            try:
                await self._follow(edge)
            except GatewayError as error:
                log.error("anomalies log cannot be read, trying again", error=str(error))
            except Exception:  # the task's outermost edge: alerts must go on after any surprise
                TASK_FAILURES.labels("anomaly-feed").inc()
                log.exception("anomaly feed failed, starting it again")
            await asyncio.sleep(1.0)

    async def _follow(self, edge: int) -> None:
        # The first has the name it had when it was the only one.
        path = self._offsets if edge == 0 else self._offsets.with_name(f"{self._offsets.stem}-{edge}.offset")
        offset = OffsetFile(path)
        committed = await asyncio.to_thread(offset.load)
        seen_until = committed.position if committed is not None else LogPosition(0, 0)
        reader = EventReader.open(self._directory, edge)
        try:
            while True:
                records = [] if reader.is_at_end() else await asyncio.to_thread(reader.read, _READ_BYTES)
                if not records:
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                newest = seen_until
                for end, payload in records:
                    RECORDS.inc()
                    try:
                        anomaly = self._decoder.decode(payload)
                    except msgspec.DecodeError:
                        UNREADABLE.inc()
                        continue
                    self._remember(anomaly)
                    if end > seen_until:
                        await self._on_record(anomaly)
                        newest = end
                if newest > seen_until:
                    seen_until = newest
                    await asyncio.to_thread(offset.commit, Offset(newest, 0))
                self.changed.set()
        finally:
            reader.close()

    def _remember(self, anomaly: Anomaly) -> None:
        self._known[anomaly.id] = anomaly
        self._known.move_to_end(anomaly.id)
        self._ordered = None
        if anomaly.state == "firing":
            self._firing.add(anomaly.id)
        else:
            self._firing.discard(anomaly.id)
        while len(self._known) > KEEP:
            gone, _ = self._known.popitem(last=False)
            self._firing.discard(gone)
