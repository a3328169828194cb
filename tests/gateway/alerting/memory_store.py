"""The store in memory: the obvious twin of the one in SQLite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from gateway.alerting.store import Batch, Event
from gateway.errors import DiskFailed, ShuttingDown


class MemoryStore:
    """See Store. `disk_full` makes every commit fail until it is unset."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.events: list[Event] = []
        self.disk_full = False
        self.closed = False
        self._waiting = Batch()

    def open(self) -> None:
        self.closed = False

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        return iter([(key, body) for (its_kind, key), body in self.kept.items() if its_kind == kind])

    def commit(self, batch: Batch) -> Future[None]:
        future: Future[None] = Future()
        if self.closed:
            future.set_exception(ShuttingDown("the alert store is closed"))
            return future
        self._waiting.records.update(batch.records)
        self._waiting.events.extend(batch.events)
        if self.disk_full:
            future.set_exception(DiskFailed("no space left on device"))
            return future
        for key, body in self._waiting.records.items():
            if body is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = body
        self.events.extend(self._waiting.events)
        self._waiting = Batch()
        future.set_result(None)
        return future

    def history(
        self,
        *,
        fingerprint: str = "",
        group: str = "",
        kinds: Sequence[str] = (),
        since: int = 0,
        until: int = 2**62,
        limit: int = 1000,
        newest_first: bool = True,
    ) -> list[Event]:
        found = [
            event
            for event in self.events
            if since <= event.time < until
            and (not fingerprint or event.fingerprint == fingerprint)
            and (not group or event.group == group)
            and (not kinds or event.kind in kinds)
        ]
        found.sort(key=lambda event: event.time)
        return (found[::-1] if newest_first else found)[:limit]

    def forget(self, before: int) -> Future[int]:
        left = [event for event in self.events if event.time >= before]
        future: Future[int] = Future()
        future.set_result(len(self.events) - len(left))
        self.events = left
        return future

    def close(self) -> None:
        self.closed = True
