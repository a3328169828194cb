"""What the engine has changed since it was last asked: the batch that the store is to commit next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.alerting.store import Batch, Event

_encoder = msgspec.json.Encoder()
Listener = Callable[[int, str, Mapping[str, Any]], None]
"""Told of an event: its time, fingerprint and details."""


class Journal:
    """Collects changes. A record put twice is written once, with its last state."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Any] = {}
        self._events: list[Event] = []
        self.listeners: dict[str, list[Listener]] = {}
        """By kind of event."""

    def put(self, kind: str, key: str, body: Any) -> None:
        """A record is new or has changed; `body` must not be changed before `take`, unless it is put again."""
        self._records[kind, key] = body

    def drop(self, kind: str, key: str) -> None:
        """A record is gone."""
        self._records[kind, key] = None

    def event(self, now: int, kind: str, *, fingerprint: str = "", group: str = "", **detail: Any) -> None:
        """Something happened that people may ask about."""
        self._events.append(
            Event(time=now, kind=kind, fingerprint=fingerprint, group=group, detail=_encoder.encode(detail))
        )
        for listener in self.listeners.get(kind, ()):
            listener(now, fingerprint, detail)

    def take(self) -> Batch:
        """Everything since the last time, encoded."""
        records, self._records = self._records, {}
        events, self._events = self._events, []
        return Batch(
            records={key: None if body is None else _encoder.encode(body) for key, body in records.items()},
            events=events,
        )

    def __bool__(self) -> bool:
        return bool(self._records or self._events)
