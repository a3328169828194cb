"""The recorded history as a replay needs it: occurrences of alerts, what was done about them, and what was told.

How ends and reports are taken is told in `replay`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.notification_log import SAID
from gateway.alerting.people import People
from gateway.alerting.recorded import events_between
from gateway.alerting.silence import Silence
from gateway.alerting.store import TOPOLOGY, Event, Store, decoded
from gateway.errors import NotFound
from gateway.telemetry.call_edge import CallEdge

LOOKBACK: Final = 86400 * SECOND
_KINDS: Final = (
    "firing",
    "ended",
    "silenced",
    "silence ended",
    "acknowledged",
    "unacknowledged",
    "snoozed",
    "notifying",
    "delivered",
    "refused",
    "withdrawn",
)

Action = Callable[[Engine, People, int], None]


class Sent(msgspec.Struct, kw_only=True):
    """A notification that was decided, at the moment it first became due."""

    at: int
    integration: str
    why: str
    firing: frozenset[str]
    resolved: frozenset[str]

    @property
    def way(self) -> str:
        """`receiver/kind`: integrations of one kind in one receiver are one way."""
        return self.integration.rpartition("/")[0]


class Firing(msgspec.Struct, kw_only=True):
    """One occurrence of an alert. `ends` is NEVER while it fires."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    origin: str
    began: int
    starts: int
    ends: int = NEVER
    noted: int = NEVER
    """When the end was recorded."""
    expired: bool = False
    """Nobody reported the end; it came with time."""


class Recording(msgspec.Struct):
    """What happened, and what was told."""

    firings: list[Firing]
    actions: list[tuple[int, int, Action]]
    """Time, number of the event, and what to do to the engine: silences and what people did."""
    sent: list[Sent]
    calls: list[CallEdge] = []
    """Calls between services as they are known now, for routes that group by `incident_group`."""


def read_recording(store: Store, until: int) -> Recording:
    """The whole kept history before `until`."""
    reading = _Reading()
    for number, event in enumerate(events_between(store, 0, until, _KINDS)):
        reading.take(number, event)
    calls = [edge for _, edges in decoded(store, TOPOLOGY, list[CallEdge]) for edge in edges]
    return msgspec.structs.replace(reading.finish(), calls=calls)


class _Reading:
    def __init__(self) -> None:
        self._firings: list[Firing] = []
        self._open: dict[str, Firing] = {}
        self._actions: list[tuple[int, int, Action]] = []
        self._waiting: dict[tuple[str, str], tuple[str, Sent]] = {}
        self._sent: list[Sent] = []

    def take(self, number: int, event: Event) -> None:
        detail: dict[str, Any] = msgspec.json.decode(event.detail)
        name = event.fingerprint
        action: Action | None = None
        match event.kind:
            case "firing":
                self._begin(event, detail)
            case "ended":
                self._end(event, detail)
            case "silenced":
                action = partial(_silence, _silence_of(detail))
            case "silence ended":
                action = partial(_expire, detail["id"])
            case "acknowledged":
                action = partial(_acknowledge, name, detail["by"])
            case "unacknowledged":
                action = partial(_unacknowledge, name, detail["by"])
            case "snoozed":
                action = partial(_snooze, name, detail["by"], detail["until"])
            case _:
                self._notification(event, detail)
        if action is not None:
            self._actions.append((event.time, number, action))

    def _begin(self, event: Event, detail: dict[str, Any]) -> None:
        older = self._open.pop(event.fingerprint, None)
        if older is not None:
            older.ends = older.noted = event.time
        firing = Firing(
            fingerprint=event.fingerprint,
            labels=detail["labels"],
            annotations=detail["annotations"],
            generator_url=detail["generator_url"],
            origin=detail["origin"],
            began=event.time,
            starts=detail["starts"],
        )
        self._open[event.fingerprint] = firing
        self._firings.append(firing)

    def _end(self, event: Event, detail: dict[str, Any]) -> None:
        firing = self._open.pop(event.fingerprint, None)
        if firing is None:
            return
        firing.noted = event.time
        firing.ends = min(max(detail["ends"], firing.began), event.time)
        firing.expired = detail["why"] != "reported"

    def _notification(self, event: Event, detail: dict[str, Any]) -> None:
        if not event.group.startswith(f"{detail['integration'].rsplit('/', 2)[0]}|"):
            return  # an escalation told another receiver than the route's
        key = (event.group, detail["integration"])
        waiting = self._waiting.get(key)
        if event.kind == "notifying" and detail["why"] == SAID:
            return  # a message was changed to show what people said: nothing of the configuration
        if event.kind == "notifying":
            # A newer decision replaces one that was not delivered; both are one notification, due since the first.
            at = waiting[1].at if waiting is not None else event.time
            sent = Sent(
                at=at,
                integration=detail["integration"],
                why=detail["why"],
                firing=frozenset(detail["firing"]),
                resolved=frozenset(detail["resolved"]),
            )
            self._waiting[key] = (detail["id"], sent)
        elif waiting is not None and (event.kind == "withdrawn" or waiting[0] == detail["id"]):
            del self._waiting[key]
            if event.kind != "withdrawn":
                self._sent.append(waiting[1])

    def finish(self) -> Recording:
        self._sent += [sent for _, sent in self._waiting.values()]
        self._sent.sort(key=lambda sent: sent.at)
        told: dict[str, list[int]] = {}
        for sent in self._sent:
            for name in sent.firing:
                told.setdefault(name, []).append(sent.at)
        for firing in self._firings:
            if not firing.expired and firing.ends < firing.noted:
                moments = told.get(firing.fingerprint, ())
                if any(firing.ends < moment <= firing.noted for moment in moments):
                    firing.ends = firing.noted
        return Recording(self._firings, self._actions, self._sent)


def fire(firing: Firing, engine: Engine, _people: People, now: int) -> None:
    """An Action: the occurrence begins."""
    alert = Alert(
        fingerprint=firing.fingerprint,
        labels=firing.labels,
        annotations=firing.annotations,
        starts=firing.starts,
        ends=firing.ends if firing.expired else NEVER,
        updated=now,
        assumed_end=firing.expired,
        generator_url=firing.generator_url,
        origin=firing.origin,
    )
    engine.receive([alert], now)


def resolve(firing: Firing, engine: Engine, _people: People, now: int) -> None:
    """An Action: its end is reported."""
    alert = engine.alerts.get(firing.fingerprint)
    if alert is not None:
        engine.receive([msgspec.structs.replace(alert, ends=now, updated=now, assumed_end=False)], now)


def _silence_of(detail: dict[str, Any]) -> Silence:
    return Silence(
        id=detail["id"],
        matchers=tuple(matcher for text in detail["matchers"] for matcher in parse_matchers(text)),
        starts=detail["starts"],
        ends=detail["ends"],
        updated=0,
    )


def _silence(silence: Silence, engine: Engine, _people: People, now: int) -> None:
    if silence.ends > now:
        engine.silencing.load(silence)


def _expire(silence_id: str, engine: Engine, _people: People, now: int) -> None:
    with contextlib.suppress(NotFound):  # it ended by itself and is forgotten
        engine.silencing.expire(silence_id, now)


def _acknowledge(fingerprint: str, who: str, _engine: Engine, people: People, now: int) -> None:
    people.acknowledge(fingerprint, who, now)


def _unacknowledge(fingerprint: str, who: str, _engine: Engine, people: People, now: int) -> None:
    people.unacknowledge(fingerprint, who, now)


def _snooze(fingerprint: str, who: str, until: int, _engine: Engine, people: People, now: int) -> None:
    people.snooze(fingerprint, who, until, now)
