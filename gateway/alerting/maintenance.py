"""Maintenance windows: planned spans in which alerts of something are not told.

Rules of the subject:
  * A window has matchers and holds in [starts, ends). With `recurring`, which is written as the parts of a time
    interval in alertmanager.yml, it holds within that span whenever the wall clock of the part's place is inside of a
    part; its end may then be left open.
  * It mutes notifications: alerts are taken, shown and recorded as ever, with the window beside them. Beside that it
    freezes the learning of what it covers (freeze_publisher).
  * It is asked when a notification is due. When it ends, what it muted and still fires is told.
  * Ending a window early, by a person, sets its end to now; windows that are over are kept for RETENTION, or as
    long as rows of their time may still come (ingest.max_age).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.matcher import Matcher, excess
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.mute_interval import IntervalPart, any_holds
from gateway.alerting.route import Route
from gateway.alerting.sieve import Seal, SieveIndex
from gateway.alerting.store import MAINTENANCE
from gateway.errors import NotFound, RequestError
from gateway.telemetry.window_name import name_problem

RETENTION: Final = 120 * 3600 * SECOND
MAX_TEXT: Final = 16 * 1024
"""Characters of a window: matchers, comment and author together."""
MAX_PARTS: Final = 200
"""Spans in the recurring parts of a window; each is looked at every minute."""
_NO_TIME: Final = (NEVER, NEVER)
MOST: Final = 5_000
"""Windows that are kept; the oldest that are over make room."""
_MINUTE: Final = 60 * SECOND


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a window that an event declared (maintenance_events)."""

    sender: str
    """Name of the credentials it came with."""
    id: str
    """The sender's own id; "" for one without."""
    time: int
    """Of the last word on the window, which is the last event's or a person's; earlier events no longer count."""
    ended: bool = False
    """Whether that was its end."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One maintenance window. Moments in nanoseconds; `ends` is NEVER for one without an end."""

    id: str
    name: str
    matchers: tuple[Matcher, ...]
    starts: int
    ends: int = NEVER
    recurring: tuple[IntervalPart, ...] = ()
    created_by: str = ""
    comment: str = ""
    updated: int = 0
    declared: Declared | None = None
    """Of one that an event declared."""

    def holds(self, now: int) -> bool:
        """Whether it mutes at a moment."""
        return self.starts <= now < self.ends and (not self.recurring or any_holds(self.recurring, now))

    def state(self, now: int) -> str:
        """pending, active, idle (between two recurrences) or expired."""
        if now < self.starts:
            return "pending"
        if now >= self.ends:
            return "expired"
        return "active" if self.holds(now) else "idle"


def _spoken(window: Window, now: int, *, ended: bool) -> Declared | None:
    """A person has the last word."""
    if window.declared is None:
        return None
    return msgspec.structs.replace(window.declared, time=max(now, window.declared.time), ended=ended)


def _spans(part: IntervalPart) -> int:
    """At least one, as a part without spans always holds."""
    return max(1, sum(map(len, (part.times, part.weekdays, part.days_of_month, part.months, part.years))))


class Maintenance:
    """All windows, wired into an engine."""

    def __init__(
        self, engine: Engine, new_id: Callable[[], str] = lambda: str(uuid.uuid4()), *, retention: int = RETENTION
    ) -> None:
        """retention: nanoseconds for which windows that are over are kept."""
        self._engine, self._new_id, self._retention = engine, new_id, retention
        self._all: dict[str, Window] = {}
        self._holding: dict[str, Window] = {}
        self._next_look: int = NEVER
        self._index = SieveIndex(())
        """Those that hold from a moment until another."""
        self._seal: Seal = ()
        self._index_of = _NO_TIME
        self.change_watchers: list[Callable[[], None]] = []
        """Told of every window that is made, changed, ended early or forgotten."""
        engine.hooks.stages.append(self.stage)
        engine.hooks.timers.append(self)

    def load(self, window: Window, now: int) -> None:
        """At start."""
        self._all[window.id] = window
        self._index_of = _NO_TIME
        if window.holds(now):
            self._holding[window.id] = window
        self._next_look = now

    def __iter__(self) -> Iterator[Window]:
        return iter(self._all.values())

    def get(self, window_id: str) -> Window:
        """Raises NotFound."""
        window = self._all.get(window_id)
        if window is None:
            raise NotFound(f"no maintenance window {window_id}")
        return window

    def put(self, wanted: Window, now: int) -> str:
        """Creates (empty id) or replaces a window; gives its id. Raises NotFound, RequestError."""
        before = self.get(wanted.id) if wanted.id else None
        return self._put(wanted, now, _spoken(before, now, ended=False) if before is not None else None)

    def declare(self, wanted: Window, now: int) -> None:
        """Creates or replaces a window as an event says, which gives its id and `declared`. Raises RequestError."""
        self._put(wanted, now, wanted.declared)

    def _put(self, wanted: Window, now: int, declared: Declared | None) -> str:
        if problem := name_problem(wanted.name):
            raise RequestError(problem)
        if not wanted.matchers or all(matcher.matches({}) for matcher in wanted.matchers):
            raise RequestError("at least one matcher must not match the empty string")
        if too_much := excess(wanted.matchers):
            raise RequestError(too_much)
        written = sum(len(matcher.name) + len(matcher.value) for matcher in wanted.matchers)
        if written + len(wanted.comment) + len(wanted.created_by) > MAX_TEXT:
            raise RequestError(f"matchers, comment and author are longer than {MAX_TEXT} characters")
        if sum(_spans(part) for part in wanted.recurring) > MAX_PARTS:
            raise RequestError(f"more than {MAX_PARTS} spans recur")
        if wanted.ends == NEVER and not wanted.recurring:
            raise RequestError("a window that does not recur needs an end")
        if wanted.ends <= max(wanted.starts, now):
            raise RequestError("the end must be after the start and in the future")
        if wanted.id not in self._all:
            self._make_room(now)
        window = msgspec.structs.replace(wanted, id=wanted.id or self._new_id(), updated=now, declared=declared)
        self._store(window)
        self._event(now, "maintenance set", window)
        self.tick(now)
        return window.id

    def _make_room(self, now: int) -> None:
        """For one more. Raises RequestError."""
        if len(self._all) < MOST:
            return
        over = [window for window in self._all.values() if window.ends <= now]
        if not over:
            raise RequestError(f"there are {MOST} maintenance windows already, and none of them is over")
        self._drop(min(over, key=lambda window: (window.ends, window.id)))

    def expire(self, window_id: str, now: int, declared: Declared | None = None) -> None:
        """Ends it now; idempotent. declared: where an event does. Raises NotFound."""
        window = self.get(window_id)
        declared = declared or _spoken(window, now, ended=True)
        window = msgspec.structs.replace(window, declared=declared)
        if now < window.ends:
            self._store(msgspec.structs.replace(window, starts=min(window.starts, now), ends=now, updated=now))
            self._event(now, "maintenance expired", window)
            self.tick(now)
        elif declared is not None:
            self._store(window)

    def forget(self, window_id: str) -> None:
        """One that is over, before it is time. Raises NotFound."""
        self._drop(self.get(window_id))

    def _drop(self, window: Window) -> None:
        del self._all[window.id]
        self._engine.journal.drop(MAINTENANCE, window.id)
        self._changed()

    def _store(self, window: Window) -> None:
        self._all[window.id] = window
        self._engine.journal.put(MAINTENANCE, window.id, window)
        self._changed()

    def _changed(self) -> None:
        self._index_of = _NO_TIME
        for watcher in self.change_watchers:
            watcher()

    def _event(self, now: int, kind: str, window: Window) -> None:
        matchers = [str(matcher) for matcher in window.matchers]
        said = {"sender": window.declared.sender, "event": window.declared.id} if window.declared is not None else {}
        self._engine.journal.event(
            now, kind, id=window.id, name=window.name, by=window.created_by, matchers=matchers, **said
        )

    def active(self, now: int) -> list[Window]:
        """Those that hold now."""
        return [window for window in self._all.values() if window.holds(now)]

    def muting(self, labels: Mapping[str, str], now: int) -> list[Window]:
        """Those that mute a label set now, in order of their ids."""
        return [self._all[name] for name in self.index(now).matching(labels)]

    def index(self, now: int) -> SieveIndex:
        """Those that hold now, as a whole; the same object until one may begin or end, or changes."""
        since, until = self._index_of
        if not since <= now < until:
            active = self.active(now)
            self._index = SieveIndex((window.id, window.matchers) for window in active)
            seal = tuple((window.id, window.updated) for window in active)
            self._seal = self._seal if seal == self._seal else seal
            self._index_of = (
                now,
                min((self._next_change(window, now) for window in self._all.values()), default=NEVER),
            )
        return self._index

    def seal(self, now: int) -> Seal:
        """Those that hold now; the same object as long as they are the same, so that it is compared at once."""
        self.index(now)
        return self._seal

    def stage(self, _route: Route, alert: Alert, now: int) -> str:
        """See stages."""
        if not self._all:
            return ""
        found = self.muting(alert.labels, now)
        return f"maintenance {found[0].id}" if found else ""

    def next_due(self) -> int:
        """See Timer."""
        return self._next_look

    def tick(self, now: int) -> None:
        """Windows begin and end; asked again at the next moment at which one may."""
        for window in [w for w in self._all.values() if w.ends + self._retention < now]:
            self._drop(window)
        holding = {window.id: window for window in self.active(now)}
        for window_id, window in holding.items():
            if window_id not in self._holding:
                self._event(now, "maintenance began", window)
        ended = [window for window_id, window in self._holding.items() if window_id not in holding]
        changed = [w for w in holding.values() if w.id in self._holding and self._holding[w.id].matchers != w.matchers]
        self._holding = holding
        for window in ended:
            self._event(now, "maintenance ended", window)
        self._free({f"maintenance {window.id}" for window in (*ended, *changed)}, now)
        self._next_look = min((self._next_change(window, now) for window in self._all.values()), default=NEVER)

    def _free(self, reasons: set[str], now: int) -> None:
        """What they muted and still fires counts as not told, so the next flush tells it."""
        if not reasons:
            return
        for group in self._engine.groups.values():
            freed = {
                fingerprint
                for fingerprint, reason in group.muted.items()
                if reason in reasons
                and (alert := group.members.get(fingerprint)) is not None
                and alert.active(now)
                and not self.muting(alert.labels, now)
            }
            if freed:
                self._engine.dispatcher.forget_told(group, freed)

    def _next_change(self, window: Window, now: int) -> int:
        if now < window.starts:
            return window.starts
        if now >= window.ends:
            return NEVER if window.ends == NEVER else window.ends + self._retention + 1
        if window.recurring:
            return min(window.ends, (now // _MINUTE + 1) * _MINUTE)
        return window.ends
