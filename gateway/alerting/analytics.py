"""What alerting cost and what it was worth: counts and times from the recorded history.

Definitions:
  * An occurrence is one firing of one label set, from its "firing" event to its end. It belongs to the span in which it
    began; what happened to it after the span is not looked at.
  * told: a notification with it as firing was delivered. suppressed: muted at some time and never told.
  * acted on: somebody acknowledged, snoozed, commented or resolved it by hand.
  * noise: of the occurrences that were told and have ended, those nobody acted on. Where nobody acted on anything in
    the whole span, the share is not known rather than one: the people may work elsewhere.
  * brief: ended within BRIEF of its start.
  * Times: to acknowledgement from the "firing" event; to resolution from the alert's own start to its own end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import msgspec

from gateway.alerting.moments import SECOND, format_moment
from gateway.alerting.recorded import events_between
from gateway.alerting.store import Event, Store
from gateway.errors import RequestError
from gateway.telemetry.service_labels import service_as_named

BRIEF: Final = 300 * SECOND
MAX_EVENTS: Final = 3_000_000
"""Events of one span at most; a longer span must be asked for in parts."""
TOP: Final = 50
"""Rows of one breakdown."""
LOUDEST: Final = 10
NIGHT_BEGINS: Final = 22
NIGHT_ENDS: Final = 7
"""Hours of the day."""
_HOUR: Final = 3600 * SECOND
_ACTS: Final = frozenset({"acknowledged", "snoozed", "comment", "resolved by hand"})
_KINDS: Final = (*_ACTS, "firing", "ended", "muted", "notifying", "delivered", "retry", "refused", "withdrawn")


class Times(msgspec.Struct, frozen=True):
    """Lengths of time in seconds; percentiles are nearest ranks."""

    count: int
    p50: float
    p90: float
    longest: float


class Noise(msgspec.Struct, frozen=True):
    """See the definitions. `share` is None where it is not known."""

    told_and_ended: int
    nobody_acted: int
    share: float | None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Occurrences of the whole span or of one part of it."""

    alerts: int
    told: int
    suppressed: int
    acknowledged: int
    acted_on: int
    resolved_by_hand: int
    ended: int
    brief: int
    noise: Noise
    to_acknowledge: Times | None
    to_resolve: Times | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a breakdown."""

    name: str
    """"" stands for alerts without such a label."""
    notifications: int
    """Delivered notifications that told of at least one alert of this line."""
    tally: Tally


class ReceiverRow(msgspec.Struct, frozen=True, kw_only=True):
    """What went to one integration."""

    integration: str
    delivered: int
    reasons: dict[str, int]
    """Why it was told: first, changed, resolved, repeat."""
    at_night: int
    """Of those delivered, how many between NIGHT_BEGINS and NIGHT_ENDS o'clock in the zone asked for."""
    failed_attempts: int
    refused: int
    lag: Times | None


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One step of time."""

    start: str
    notifications: int
    tally: Tally


class Loud(msgspec.Struct, frozen=True, kw_only=True):
    """A label set that fired most often."""

    fingerprint: str
    labels: dict[str, str]
    alerts: int


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    start: str
    end: str
    timezone: str
    step_seconds: int
    notifications: int
    suppressed_by: dict[str, int]
    total: Tally
    teams: list[Row]
    services: list[Row]
    rules: list[Row]
    severities: list[Row]
    receivers: list[ReceiverRow]
    by_hour: list[int]
    """Alerts by hour of the day, 24 numbers."""
    by_weekday_and_hour: list[list[int]]
    """Alerts by weekday (Monday first) and hour."""
    over_time: list[Bucket]
    loudest: list[Loud]


class _Occurrence:
    __slots__ = (
        "acknowledged",
        "acted",
        "began",
        "by_hand",
        "ended",
        "fingerprint",
        "labels",
        "muted",
        "starts",
        "told",
    )

    def __init__(self, fingerprint: str, labels: dict[str, str], began: int, starts: int) -> None:
        self.fingerprint, self.labels, self.began, self.starts = fingerprint, labels, began, starts
        self.ended = self.acknowledged = 0
        self.acted = self.by_hand = self.told = False
        self.muted = ""


class _Delivery:
    __slots__ = ("at", "fingerprints")

    def __init__(self, at: int, fingerprints: frozenset[str]) -> None:
        self.at, self.fingerprints = at, fingerprints


class _Integration:
    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.delivered = self.failed = self.refused = 0
        self.lags: list[float] = []
        self.times: list[int] = []


class _Reading:
    """One pass over the events."""

    def __init__(self) -> None:
        self.occurrences: list[_Occurrence] = []
        self.deliveries: list[_Delivery] = []
        self.integrations: dict[str, _Integration] = {}
        self._last: dict[str, _Occurrence] = {}
        self._notifying: dict[str, dict[str, Any]] = {}

    def take(self, event: Event) -> None:
        detail: dict[str, Any] = msgspec.json.decode(event.detail)
        if event.kind == "firing":
            occurrence = _Occurrence(event.fingerprint, detail["labels"], event.time, detail["starts"])
            self._last[event.fingerprint] = occurrence
            self.occurrences.append(occurrence)
        elif event.kind == "notifying":
            self._notifying[detail["id"]] = detail
        elif event.kind in ("delivered", "retry", "refused", "withdrawn"):
            self._attempt(event, detail)
        else:
            known = self._last.get(event.fingerprint)
            if known is not None:
                self._happened(known, event, detail)

    def _happened(self, occurrence: _Occurrence, event: Event, detail: dict[str, Any]) -> None:
        if event.kind == "ended":
            occurrence.ended = max(min(detail["ends"], event.time), occurrence.starts)
        elif event.kind == "muted":
            occurrence.muted = occurrence.muted or detail["reason"].partition(" ")[0]
        else:
            occurrence.acted = True
            if event.kind == "acknowledged" and not occurrence.acknowledged and not occurrence.ended:
                occurrence.acknowledged = event.time
            elif event.kind == "resolved by hand":
                occurrence.by_hand = True

    def _attempt(self, event: Event, detail: dict[str, Any]) -> None:
        integration = self.integrations.setdefault(detail["integration"], _Integration())
        if event.kind == "retry":
            integration.failed += 1
        elif event.kind == "refused":
            integration.refused += 1
        elif event.kind == "delivered":
            what = self._notifying.pop(detail["id"], {"firing": [], "resolved": [], "why": "begun before the span"})
            integration.delivered += 1
            integration.reasons[what["why"]] += 1
            integration.lags.append(detail["lag"])
            integration.times.append(event.time)
            self.deliveries.append(_Delivery(event.time, frozenset((*what["firing"], *what["resolved"]))))
            for fingerprint in what["firing"]:
                if fingerprint in self._last:
                    self._last[fingerprint].told = True


def analyse(store: Store, since: int, until: int, *, zone: tzinfo = UTC, zone_name: str = "UTC") -> Analytics:
    """Everything about [since, until), nanoseconds. Waits for the disk: call it in a thread.

    Raises RequestError for an empty span or one of more than MAX_EVENTS events.
    """
    if since >= until:
        raise RequestError("the span is empty: from must be before to", reason="parameter")
    reading = _Reading()
    for number, event in enumerate(events_between(store, since, until, _KINDS)):
        if number >= MAX_EVENTS:
            raise RequestError(f"more than {MAX_EVENTS} events between from and to; ask for less", reason="parameter")
        reading.take(event)
    occurrences = reading.occurrences
    anyone = any(occurrence.acted for occurrence in occurrences)
    labels = _labels_of_told(store, reading, since)

    def rows(name_of: Callable[[dict[str, str]], str]) -> list[Row]:
        return _rows(occurrences, reading.deliveries, labels, name_of, anyone)

    step = _step(until - since)
    grid = [[0] * 24 for _ in range(7)]
    for occurrence in occurrences:
        local = datetime.fromtimestamp(occurrence.began / SECOND, zone)
        grid[local.weekday()][local.hour] += 1
    frequency = Counter(occurrence.fingerprint for occurrence in occurrences)
    return Analytics(
        start=format_moment(since),
        end=format_moment(until),
        timezone=zone_name,
        step_seconds=step // SECOND,
        notifications=len(reading.deliveries),
        suppressed_by=dict(Counter(o.muted for o in occurrences if o.muted and not o.told).most_common()),
        total=_tally(occurrences, anyone),
        teams=rows(lambda found: found.get("team", "")),
        services=rows(service_as_named),
        rules=rows(lambda found: found.get("alertname", "")),
        severities=rows(lambda found: found.get("severity", "")),
        receivers=[_receiver_row(name, found, zone) for name, found in sorted(reading.integrations.items())],
        by_hour=[sum(day[hour] for day in grid) for hour in range(24)],
        by_weekday_and_hour=grid,
        over_time=_over_time(occurrences, reading.deliveries, since, until, step, anyone),
        loudest=[
            Loud(fingerprint=name, labels=labels[name], alerts=count)
            for name, count in sorted(frequency.items(), key=lambda item: (-item[1], item[0]))[:LOUDEST]
        ],
    )


def _labels_of_told(store: Store, reading: _Reading, since: int) -> dict[str, dict[str, str]]:
    """Labels by fingerprint, also of alerts that began before the span and were told of in it."""
    labels = {occurrence.fingerprint: occurrence.labels for occurrence in reading.occurrences}
    for name in sorted({name for delivery in reading.deliveries for name in delivery.fingerprints} - labels.keys()):
        earlier = store.history(fingerprint=name, kinds=("firing",), until=since, limit=1)
        if earlier:
            labels[name] = msgspec.json.decode(earlier[0].detail)["labels"]
    return labels


def _rows(
    occurrences: Iterable[_Occurrence],
    deliveries: Iterable[_Delivery],
    labels: dict[str, dict[str, str]],
    name_of: Callable[[dict[str, str]], str],
    anyone: bool,
) -> list[Row]:
    parts: dict[str, list[_Occurrence]] = {}
    for occurrence in occurrences:
        parts.setdefault(name_of(occurrence.labels), []).append(occurrence)
    notifications: Counter[str] = Counter()
    for delivery in deliveries:
        notifications.update({name_of(labels[f]) for f in delivery.fingerprints if f in labels})
    names = sorted(parts.keys() | notifications.keys(), key=lambda name: (-len(parts.get(name, [])), name))
    return [
        Row(name=name, notifications=notifications[name], tally=_tally(parts.get(name, []), anyone))
        for name in names[:TOP]
    ]


def _tally(occurrences: Iterable[_Occurrence], anyone: bool) -> Tally:
    found = list(occurrences)
    ended = [o for o in found if o.ended]
    judged = [o for o in ended if o.told]
    ignored = sum(not o.acted for o in judged)
    return Tally(
        alerts=len(found),
        told=sum(o.told for o in found),
        suppressed=sum(bool(o.muted) and not o.told for o in found),
        acknowledged=sum(o.acknowledged > 0 for o in found),
        acted_on=sum(o.acted for o in found),
        resolved_by_hand=sum(o.by_hand for o in found),
        ended=len(ended),
        brief=sum(o.ended - o.starts <= BRIEF for o in ended),
        noise=Noise(len(judged), ignored, ignored / len(judged) if judged and anyone else None),
        to_acknowledge=_times((o.acknowledged - o.began) / SECOND for o in found if o.acknowledged),
        to_resolve=_times((o.ended - o.starts) / SECOND for o in ended),
    )


def _times(seconds: Iterable[float]) -> Times | None:
    found = sorted(seconds)
    if not found:
        return None
    return Times(len(found), nearest_rank(found, 0.5), nearest_rank(found, 0.9), found[-1])


def nearest_rank(rising: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return rising[max(math.ceil(share * len(rising)), 1) - 1]


def _receiver_row(name: str, found: _Integration, zone: tzinfo) -> ReceiverRow:
    hours = (datetime.fromtimestamp(time / SECOND, zone).hour for time in found.times)
    return ReceiverRow(
        integration=name,
        delivered=found.delivered,
        reasons=dict(sorted(found.reasons.items())),
        at_night=sum(hour >= NIGHT_BEGINS or hour < NIGHT_ENDS for hour in hours),
        failed_attempts=found.failed,
        refused=found.refused,
        lag=_times(found.lags),
    )


def _step(span: int) -> int:
    if span <= 72 * _HOUR:
        return _HOUR
    return 24 * _HOUR if span <= 200 * 24 * _HOUR else 7 * 24 * _HOUR


def _over_time(
    occurrences: Iterable[_Occurrence],
    deliveries: Iterable[_Delivery],
    since: int,
    until: int,
    step: int,
    anyone: bool,
) -> list[Bucket]:
    first = since // step
    parts: list[list[_Occurrence]] = [[] for _ in range(first, (until - 1) // step + 1)]
    for occurrence in occurrences:
        parts[occurrence.began // step - first].append(occurrence)
    told = Counter(delivery.at // step - first for delivery in deliveries)
    return [
        Bucket(start=format_moment((first + n) * step), notifications=told[n], tally=_tally(part, anyone))
        for n, part in enumerate(parts)
    ]
