"""Replay: what another configuration would have told, had it been in force while the recorded history happened.

Rules of the subject:
  * The same engine runs over the recorded beginnings and ends of alerts, silences, acknowledgements and snoozes, on a
    virtual clock. Every receiver takes what it is told at once; failures of the past are not repeated.
  * It starts LOOKBACK before the span, with every alert that was firing then, so that groups have their rhythm; what it
    decides before the span is not compared.
  * What is compared is, per firing of an alert: which receivers were told of it, first when, and how often.
  * An end is taken at the moment at which it was reported or expired. Where a report named an earlier end while the
    alert was still told as firing, the moment of the report counts.
  * Not recorded, and so not exact: the phase in which empty groups are swept (an alert that comes back within
    SWEEP_SECONDS of its end may wait for the group interval in the one and not in the other), what was told of alerts
    that began before the kept history, and configurations that held in between.
  * A route that groups by `incident_group` is replayed with today's topology and with nothing learned.
Schedules and escalations are not part of an Alertmanager configuration and are not replayed.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.configuration import Configuration
from gateway.alerting.engine import Engine
from gateway.alerting.incident_group import INCIDENT_LABEL
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import Markers
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.notification import Delivered
from gateway.alerting.people import People
from gateway.alerting.recorded import events_between
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.silence import Silence
from gateway.alerting.store import TOPOLOGY, Event, Store
from gateway.errors import Conflict, NotFound
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


class Way(msgspec.Struct, frozen=True):
    """How one receiver heard of one occurrence."""

    first: int
    times: int
    """Notifications inside of the span with the alert as firing."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence that would have been told otherwise."""

    fingerprint: str
    labels: dict[str, str]
    began: int
    kinds: tuple[str, ...]
    """newly told, no longer told, other receiver, other time, more often, less often."""
    before: dict[str, Way]
    after: dict[str, Way]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. Notifications are counted by way."""

    since: int
    until: int
    firings: int
    before: dict[str, int]
    after: dict[str, int]
    differences: list[Difference]
    not_replayed: int = 0
    """What people did to alerts that were not firing in the replay: begun before the kept history, or ended by then."""


class Replayed(msgspec.Struct):
    """What the engine decided, and the number of events it could not take."""

    sent: list[Sent]
    not_replayed: int


def compare(
    store: Store,
    configuration: Configuration,
    since: int,
    until: int,
    *,
    tolerance: int = 30 * SECOND,
    against: Configuration | None = None,
) -> Comparison:
    """`configuration` over [since, until), beside what was recorded or, if given, beside `against` replayed as well.

    Moments and `tolerance` (smallest difference of times that counts) are nanoseconds. Waits for the disk.
    """
    recording = read_recording(store, until)
    after = replay(configuration, recording, since, until)
    before = Replayed(recording.sent, 0) if against is None else replay(against, recording, since, until)
    found = differences(recording.firings, before.sent, after.sent, since, until, tolerance)
    return msgspec.structs.replace(found, not_replayed=max(before.not_replayed, after.not_replayed))


def read_recording(store: Store, until: int) -> Recording:
    """The whole kept history before `until`."""
    reading = _Reading()
    for number, event in enumerate(events_between(store, 0, until, _KINDS)):
        reading.take(number, event)
    calls = [edge for _, body in store.records(TOPOLOGY) for edge in msgspec.json.decode(body, type=list[CallEdge])]
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


def replay(configuration: Configuration, recording: Recording, since: int, until: int) -> Replayed:
    """What the engine decides under this configuration until `until`, in order of time."""
    numbers = itertools.count()
    engine = Engine(configuration, seed=0, new_id=lambda: str(next(numbers)))
    people = People(engine)
    if any(INCIDENT_LABEL in route.group_by for route in configuration.route.walk()):
        Incidents(engine, AlertingSettings(), Markers(engine.journal, LOOKBACK)).see_topology(
            recording.calls, (), since
        )
    sent: list[Sent] = []
    not_replayed = 0
    actions = sorted(_actions(recording, since - LOOKBACK, until), key=lambda action: action[:2])
    reached = actions[0][0] if actions else until
    for moment, together in itertools.groupby(actions, key=lambda action: action[0]):
        _run(engine, reached, moment, sent)
        reached = moment
        for _, _, action in together:
            try:
                action(engine, people, moment)
            except (NotFound, Conflict):
                not_replayed += moment >= since - LOOKBACK  # alerts that ended before are left out on purpose
    _run(engine, reached, until - 1, sent)
    return Replayed(sent, not_replayed)


def _actions(recording: Recording, start: int, until: int) -> Iterator[tuple[int, int, Action]]:
    # An end and a beginning at one moment: the end first; silences and people come after both, in their order.
    for number, firing in enumerate(recording.firings):
        if firing.ends < start or firing.began >= until:
            continue
        yield firing.began, 2 * number, partial(_fire, firing)
        if not firing.expired and firing.ends < until:
            yield firing.ends, 2 * number + 1, partial(_resolve, firing)
    later = 2 * len(recording.firings)
    for moment, number, action in recording.actions:
        if moment < until:
            yield moment, later + number, action


def _run(engine: Engine, now: int, until: int, sent: list[Sent]) -> None:
    """From `now` on, everything that falls due up to and including `until`."""
    while (due := max(engine.next_due(), now)) <= until:
        engine.tick(due)
        if len(engine.outbox):
            for integration in engine.configuration.integrations:
                while (slot := engine.outbox.take(integration.key, due)) is not None:
                    sent.append(
                        Sent(
                            at=due,
                            integration=slot.integration,
                            why=slot.why,
                            firing=frozenset(slot.firing),
                            resolved=frozenset(slot.resolved),
                        )
                    )
                    engine.dispatcher.finish(slot, Delivered(), due)
        engine.journal.take()


def _fire(firing: Firing, engine: Engine, _people: People, now: int) -> None:
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


def _resolve(firing: Firing, engine: Engine, _people: People, now: int) -> None:
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


def differences(
    firings: Iterable[Firing], before: list[Sent], after: list[Sent], since: int, until: int, tolerance: int
) -> Comparison:
    """What was told otherwise, per occurrence, in order of time."""
    found: list[Difference] = []
    old, new = _by_alert(before), _by_alert(after)
    following: dict[str, int] = {}
    count = 0
    for firing in reversed(list(firings)):
        stop = following.get(firing.fingerprint, NEVER)
        following[firing.fingerprint] = firing.began
        if firing.began >= until or stop <= since or (firing.noted < since - LOOKBACK):
            continue
        ways = [_ways(told.get(firing.fingerprint, []), firing.began, stop, since, until) for told in (old, new)]
        count += firing.began >= since or bool(ways[0] or ways[1])
        kinds = _kinds(ways[0], ways[1], tolerance)
        if kinds:
            found.append(
                Difference(
                    fingerprint=firing.fingerprint,
                    labels=firing.labels,
                    began=firing.began,
                    kinds=kinds,
                    before=ways[0],
                    after=ways[1],
                )
            )
    found.reverse()
    return Comparison(
        since=since,
        until=until,
        firings=count,
        before=_count(before, since, until),
        after=_count(after, since, until),
        differences=found,
    )


def _by_alert(sent: Iterable[Sent]) -> dict[str, list[Sent]]:
    found: dict[str, list[Sent]] = {}
    for one in sent:
        for fingerprint in one.firing:
            found.setdefault(fingerprint, []).append(one)
    return found


def _ways(told: list[Sent], began: int, stop: int, since: int, until: int) -> dict[str, Way]:
    """By way, for one occurrence in [began, stop); only ways with something inside of the span."""
    first: dict[str, int] = {}
    times: dict[str, set[int]] = {}
    for sent in told:
        if began <= sent.at < min(stop, until):
            first.setdefault(sent.way, sent.at)
            if sent.at >= since:
                times.setdefault(sent.way, set()).add(sent.at)
    return {way: Way(first[way], len(moments)) for way, moments in sorted(times.items())}


def _kinds(before: dict[str, Way], after: dict[str, Way], tolerance: int) -> tuple[str, ...]:
    if not before or not after:
        return ("newly told",) if after else ("no longer told",) if before else ()
    found: list[str] = []
    if before.keys() != after.keys():
        found.append("other receiver")
    shared = before.keys() & after.keys()
    if any(abs(before[way].first - after[way].first) > tolerance for way in shared):
        found.append("other time")
    if any(before[way].times < after[way].times for way in shared):
        found.append("more often")
    if any(before[way].times > after[way].times for way in shared):
        found.append("less often")
    return tuple(found)


def _count(sent: Iterable[Sent], since: int, until: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in sent:
        if since <= one.at < until:
            found[one.way] = found.get(one.way, 0) + 1
    return dict(sorted(found.items()))
