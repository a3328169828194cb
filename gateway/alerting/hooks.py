"""Where other parts of alerting take part in the engine's decisions.

The engine knows routing, grouping, muting and repetition, as Alertmanager does. Everything beyond that (what people
said, escalation, fatigue, correlation) hangs itself into one of these lists when it is made; with all of them empty the
engine decides as Alertmanager decides. Hooks run inside of the engine's calls: they are quick and never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.alerting.alert import Alert
from gateway.alerting.group import Group
from gateway.alerting.notification import Outcome
from gateway.alerting.notification_log import LogEntry
from gateway.alerting.outbox import Slot
from gateway.alerting.route import Route
from gateway.alerting.stages import Stage

Watcher = Callable[[str, Alert, int], None]
"""Told of every alert that begins ("firing") or ends ("ended")."""
Quiet = Callable[[list[Alert], int], str]
"""Why a mere repetition for these firing alerts is not told, or ""."""
Noter = Callable[[Group, list[Alert], int], str]
"""A line to put into a notification about these firing alerts of a group, or ""."""
FlushWatcher = Callable[[Group, list[Alert], int], None]
"""Told after every flush which members passed the stages."""
Informer = Callable[[Group], tuple[str, ...]]
"""Names of receivers that hear of a group beside the route's own."""
Labeller = Callable[[Route, Alert, int], Mapping[str, str]]
"""Labels that an alert has for this route's `group_by` alone, beside its own."""
Describer = Callable[[Group, list[Alert], int], Mapping[str, str]]
"""Short facts to put into a notification about these firing alerts of a group, by name."""


Annotator = Callable[[Alert, int], Mapping[str, str]]
"""Annotations that an alert gets in a notification, beside its own."""


class Telling(NamedTuple):
    """A notification that the notification log calls due, to one integration."""

    group: Group
    integration: str
    entry: LogEntry | None
    """What the integration was told last."""
    told: Set[str]
    """What that entry names as firing."""
    firing: list[Alert]
    firing_names: set[str]
    resolved: set[str]
    """Fingerprints."""
    why: str
    """first, changed, resolved or repeat."""


Hold = Callable[[Telling, int], str]
"""Why a notification that is due is not told yet, or ""; it is decided anew at the group's next flush."""

Keeper = Callable[[Group], set[str]]
"""Resolved members of a group that must not go yet, as somebody still has to hear of their end."""
AttemptWatcher = Callable[[Slot, Outcome, bool, int], None]
"""Told of the outcome of every attempt; True: the notification was due anew while it was being sent."""
GroupWatcher = Callable[[Group, int], None]
"""Told of every group that begins."""
Lower = Callable[[Alert], object]
"""Something true if the alert's severity is to be taken one lower."""
TouchWatcher = Callable[[str], None]
"""Told of the fingerprint of every alert that is new, changed, forgotten or in other groups than before."""
SuppressionWatcher = Callable[[str], None]
"""Told of every notification or alert that is suppressed, by the kind of the reason."""
ClockWatcher = Callable[[int, int], None]
"""Told that the wall clock was put back: the moment it shows now, and by how many nanoseconds."""


class Timer(Protocol):
    """A part with moments of its own, run by the engine's tick."""

    def next_due(self) -> int:
        """When `tick` has something to do, or NEVER."""
        ...

    def tick(self, now: int) -> None:
        """Runs what is due."""
        ...


@dataclass
class Hooks:
    """All of them; asked in the order in which they were added."""

    stages: list[Stage] = field(default_factory=list)
    """Asked after the engine's own stages."""
    quiets: list[Quiet] = field(default_factory=list)
    noters: list[Noter] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    flush_watchers: list[FlushWatcher] = field(default_factory=list)
    informers: list[Informer] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    labellers: list[Labeller] = field(default_factory=list)
    describers: list[Describer] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    annotators: list[Annotator] = field(default_factory=list)
    keepers: list[Keeper] = field(default_factory=list)
    attempt_watchers: list[AttemptWatcher] = field(default_factory=list)
    group_watchers: list[GroupWatcher] = field(default_factory=list)
    lowers: list[Lower] = field(default_factory=list)
    touch_watchers: list[TouchWatcher] = field(default_factory=list)
    suppression_watchers: list[SuppressionWatcher] = field(default_factory=list)
    clock_watchers: list[ClockWatcher] = field(default_factory=list)

    def quiet(self, firing: list[Alert], now: int) -> str:
        """The first reason, or ""."""
        return next((why for quiet in self.quiets if (why := quiet(firing, now))), "")

    def note(self, group: Group, firing: list[Alert], now: int) -> str:
        """All lines."""
        return "\n".join(line for noter in self.noters if (line := noter(group, firing, now)))

    def informed(self, group: Group) -> tuple[str, ...]:
        """All names, each once."""
        return tuple(dict.fromkeys(name for informer in self.informers for name in informer(group)))

    def labels(self, route: Route, alert: Alert, now: int) -> Mapping[str, str]:
        """What the route groups the alert by: its labels, which rule, and those that were added."""
        added: dict[str, str] = {}
        for labeller in self.labellers:
            added.update(labeller(route, alert, now))
        return {**added, **alert.labels} if added else alert.labels

    def describe(self, group: Group, firing: list[Alert], now: int) -> dict[str, str]:
        """All facts."""
        facts: dict[str, str] = {}
        for describer in self.describers:
            facts.update(describer(group, firing, now))
        return facts

    def annotate(self, alert: Alert, now: int) -> dict[str, str]:
        """All annotations."""
        found: dict[str, str] = {}
        for annotator in self.annotators:
            found.update(annotator(alert, now))
        return found

    def hold(self, telling: Telling, now: int) -> str:
        """The first reason, or ""."""
        return next((why for hold in self.holds if (why := hold(telling, now))), "")

    def kept(self, group: Group) -> set[str]:
        """Members that stay."""
        return set().union(*(keeper(group) for keeper in self.keepers))

    def attempted(self, slot: Slot, outcome: Outcome, stale: bool, now: int) -> None:
        """An attempt is over."""
        for watcher in self.attempt_watchers:
            watcher(slot, outcome, stale, now)

    def began(self, group: Group, now: int) -> None:
        """A group began."""
        for watcher in self.group_watchers:
            watcher(group, now)

    def lowered(self, firing: list[Alert]) -> bool:
        """Whether the severity of a notification about these is to be taken one lower: that of every alert is."""
        return bool(self.lowers and firing) and all(any(lower(alert) for lower in self.lowers) for alert in firing)

    def touched(self, fingerprint: str) -> None:
        """An alert or its receivers changed."""
        for watcher in self.touch_watchers:
            watcher(fingerprint)

    def suppressed(self, kind: str) -> None:
        """Something was suppressed."""
        for watcher in self.suppression_watchers:
            watcher(kind)

    def changed(self, kind: str, alert: Alert, now: int) -> None:
        """An alert began or ended."""
        for watcher in self.watchers:
            watcher(kind, alert, now)

    def flushed(self, group: Group, passing: list[Alert], now: int) -> None:
        """A group was flushed."""
        for watcher in self.flush_watchers:
            watcher(group, passing, now)
