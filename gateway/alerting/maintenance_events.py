"""Maintenance windows that OTLP events declare, change and end (telemetry.maintenance_event).

Rules of the subject:
  * What such a window is, what it must have and what it does are those of any window (maintenance).
  * An event without an id declares a window; with one, it also changes the one it has declared: its end, and whatever
    else it says. What it does not say stays. A duration counts from the start that it names, else from the event, or
    from the window's start where that is still to come.
  * Events about a window hold in the order of their own times, so that one sent or read again, or late, does not bring
    back what a later one, or a person, has changed since. Of the same time, an end holds after a start. An end may be
    read before its start where several workers receive; it is remembered for a while.
  * A service is `service` of alerts, perhaps with a namespace before it, as with deploys; an environment narrows what
    has one. Any other attribute is the label that the same attribute makes on a series.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import structlog

from gateway.alerting.maintenance import Declared, Maintenance, Window
from gateway.alerting.matcher import Matcher, make
from gateway.errors import NotFound, RequestError
from gateway.selfmetrics import counter
from gateway.telemetry.maintenance_event import MaintenanceEvent

MOST: Final = 1000
"""Windows made by events that are kept at a time; the oldest that are over make room."""
_REMEMBERED: Final = 1024
_ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")
_TOLD: Final = counter(
    "maintenance_events",
    "Maintenance events of OTLP log records by what became of them: made, changed, ended, repeated, stale, unknown, "
    "too_many, refused.",
    ["outcome"],
)
_log = structlog.get_logger(__name__)


class MaintenanceEvents:
    """Over the windows of a router; belongs to its loop."""

    def __init__(self, maintenance: Maintenance, naming: str) -> None:
        """naming: of victoriametrics.naming, how attributes become labels."""
        self._maintenance, self._prometheus = maintenance, naming == "prometheus"
        self._ended_early: OrderedDict[str, int] = OrderedDict()
        """Times of ends of windows that are not known."""

    def take(self, event: MaintenanceEvent, now: int) -> str:
        """Does what an event says; gives the outcome, which is counted. What cannot be done is logged."""
        try:
            outcome = self._end(event, now) if event.action == "end" else self._start(event, now)
        except RequestError as error:
            outcome = "refused"
            _log.warning("a maintenance event is left out", id=event.id, sender=event.sender, error=str(error))
        if outcome in ("too_many", "unknown", "stale"):
            _log.warning("a maintenance event is left out", id=event.id, sender=event.sender, error=outcome)
        _TOLD.labels(outcome).inc()
        return outcome

    def _known(self, event: MaintenanceEvent) -> Window | None:
        try:
            return self._maintenance.get(event.key)
        except NotFound:
            return None

    def _end(self, event: MaintenanceEvent, now: int) -> str:
        window = self._known(event)
        if window is None:
            self._ended_early[event.key] = max(event.time, self._ended_early.get(event.key, 0))
            while len(self._ended_early) > _REMEMBERED:
                self._ended_early.popitem(last=False)
            return "unknown"
        if window.declared is not None:
            last = (window.declared.time, window.declared.ended)
            if (event.time, True) <= last:
                return "repeated" if (event.time, True) == last else "stale"
        declared = Declared(sender=event.sender, id=event.id, time=event.time, ended=True)
        self._maintenance.expire(window.id, now, declared)
        return "ended"

    def _start(self, event: MaintenanceEvent, now: int) -> str:
        window = self._known(event)
        if window is not None and window.declared is not None:
            last = (window.declared.time, window.declared.ended)
            if (event.time, False) <= last:
                return "repeated" if (event.time, False) == last else "stale"
        if event.time <= self._ended_early.get(event.key, -1):
            return "stale"
        if window is None and not self._make_room(now):
            return "too_many"
        self._maintenance.declare(self._window(event, window, now), now)
        return "made" if window is None else "changed"

    def _make_room(self, now: int) -> bool:
        """Whether one more may be made."""
        made = [window for window in self._maintenance if window.declared is not None]
        if len(made) < MOST:
            return True
        over = [window for window in made if window.ends <= now]
        if over:
            self._maintenance.forget(min(over, key=lambda window: (window.ends, window.id)).id)
        return bool(over)

    def _window(self, event: MaintenanceEvent, before: Window | None, now: int) -> Window:
        """Raises RequestError."""
        going_on = before is not None and now < before.ends
        starts = event.starts or (before.starts if before is not None and going_on else event.time)
        matchers = before.matchers if before is not None and not event.scope and not event.labels else None
        if matchers is None:
            matchers = self.matchers_of(event.scope or ({} if event.labels else event.resource_scope), event.labels)
        name = event.name or (before.name if before is not None else event.body)
        said = event.body if event.name or before is not None else ""
        comment = event.description or (said if said != name else "")
        return Window(
            id=event.key,
            name=name or f"maintenance {event.id}".strip(),
            matchers=matchers,
            starts=starts,
            ends=event.ends or (event.starts or max(starts, event.time)) + event.lasts,
            created_by=event.author or (before.created_by if before is not None else event.sender),
            comment=comment or (before.comment if before is not None else ""),
            declared=Declared(sender=event.sender, id=event.id, time=event.time),
        )

    def matchers_of(self, scope: Mapping[str, str], labels: Mapping[str, str]) -> tuple[Matcher, ...]:
        """What attributes of OpenTelemetry and labels of alerts mean as matchers. Raises RequestError."""
        found: list[Matcher] = []
        try:
            found += self._service(scope.get("service.name", ""), scope.get("service.namespace", ""))
            environment = next((scope[name] for name in _ENVIRONMENT if scope.get(name)), "")
            if environment:
                names = (*map(self._label, _ENVIRONMENT), "environment", "env")
                found += [_where_set(name, environment) for name in names]
            for name, value in scope.items():
                if name not in (*_ENVIRONMENT, "service.name", "service.namespace"):
                    found.append(make(self._label(name), value))
            found += [make(name, value) for name, value in labels.items()]
        except ValueError as error:
            raise RequestError(str(error)) from error
        return tuple(found)

    def _service(self, name: str, namespace: str) -> list[Matcher]:
        if name:
            before = f"{re.escape(namespace)}/" if namespace else ".*/"
            found = [make("service", f"({before})?{re.escape(name)}", is_regex=True)]
            return [*found, _where_set("service.namespace", namespace)] if namespace and not self._prometheus else found
        if not namespace:
            return []
        if self._prometheus:
            return [make("service", f"{re.escape(namespace)}/.*", is_regex=True)]
        return [make("service.namespace", namespace)]

    def _label(self, attribute: str) -> str:
        if not self._prometheus:
            return attribute
        return "instance" if attribute == "service.instance.id" else attribute.replace(".", "_")


def _where_set(label: str, value: str) -> Matcher:
    """A label that is absent, or has the value."""
    return make(label, f"{re.escape(value)}|", is_regex=True)
