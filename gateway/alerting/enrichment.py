"""Enrichment: what helps whoever looks at an alert, each piece with where it comes from.

    runbooks     of the configuration, by matcher, and of the alert's own annotations
    similar      the last firings of the same rule and service, of the same rule elsewhere, and of alerts that fire
                 together with it: how they ended, who ended them, what was said
    deploys      of its service and of what that calls, shortly before
    related      what series of its service, or its own, do now (`RelatedSeries`, asked with a bound on time and number)
    actions      the runbooks' steps, then what people said when they resolved similar alerts

The first, the last resolution and the incident group are cheap and go into notifications; everything together is for
`GET /api/v1/alerts/{fingerprint}/context`. Nothing is made up: what no source says is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.cooccurrence import key_of
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.incident_group import INCIDENT_LABEL
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import marker_words
from gateway.alerting.matcher import Matcher, all_match, parse_matchers
from gateway.alerting.moments import SECOND, format_moment
from gateway.alerting.past_alerts import PastAlert, PastAlerts
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.store import Event
from gateway.alerting.topology import place_of
from gateway.errors import ConfigError, GatewayError

MAX_SIMILAR: Final = 8
MAX_ACTIONS: Final = 10
MAX_FACT: Final = 300
DEPLOYS_WITHIN: Final = 6 * 3600 * SECOND
MAX_DEPLOYS: Final = 10
MAX_SERIES: Final = 8
RELATED_SECONDS: Final = 3.0
"""Longest wait for the values of related series."""
RUNBOOK_ANNOTATIONS: Final = ("runbook_url", "runbook", "playbook")


class RelatedValue(msgspec.Struct, frozen=True, kw_only=True):
    """What a series did within the last minutes; times are Unix seconds."""

    series: dict[str, str]
    last: float
    at: float
    minimum: float
    maximum: float
    samples: int
    source: str
    """log or victoriametrics."""


class RelatedSeries(Protocol):
    """The history, asked from the control plane."""

    async def values(self, labels: Mapping[str, str], metrics: Sequence[str], limit: int) -> list[RelatedValue]:
        """Of the service that the labels name: these metrics first, then its golden signals. Raises GatewayError."""
        ...


class _Runbook(msgspec.Struct, frozen=True):
    matchers: tuple[Matcher, ...]
    url: str
    title: str
    actions: tuple[str, ...]
    source: str


class Enrichment:
    """Wired into an engine."""

    def __init__(self, engine: Engine, incidents: Incidents, settings: AlertingSettings) -> None:
        """Raises ConfigError for matchers that cannot be read."""
        self._engine, self._incidents = engine, incidents
        self.past = PastAlerts(engine.journal)
        self.related: RelatedSeries | None = None
        """Set by whoever can ask for series."""
        self._runbooks = tuple(_read(settings))
        if settings.adds_context:
            engine.hooks.describers.append(self.describe)
            engine.hooks.annotators.append(self.annotate)

    # In notifications

    def describe(self, _group: Group, firing: list[Alert], _now: int) -> Mapping[str, str]:
        """Runbook and last resolution of the first alerts that have one; see Describer."""
        facts: dict[str, str] = {}
        for alert in firing[:10]:
            for name, fact in self._brief(alert).items():
                facts.setdefault(name, fact)
        return facts

    def annotate(self, alert: Alert, _now: int) -> Mapping[str, str]:
        """The same as annotations of one alert, and its incident group; see Annotator."""
        facts = self._brief(alert)
        member = self._incidents.correlator.member(alert.fingerprint)
        if member is not None:
            group = self._incidents.correlator.groups[member.group]
            facts[INCIDENT_LABEL] = group.id
            causes = self._incidents.notices.causes(group)
            if causes and len(group.members) > 1:
                facts["likely_cause"] = causes[0].words[:MAX_FACT]
        return facts

    def _brief(self, alert: Alert) -> dict[str, str]:
        facts: dict[str, str] = {}
        for runbook in self._runbooks:
            if runbook.url and all_match(runbook.matchers, alert.labels):
                facts["runbook_url"] = runbook.url[:MAX_FACT]
                break
        lesson = self.past.lesson(key_of(alert.labels))
        if lesson is not None:
            who = f" ({lesson.by})" if lesson.by else ""
            facts["last_resolution"] = f"{format_moment(lesson.ended, 0)}{who}: {lesson.lesson}"[:MAX_FACT]
        return facts

    # Everything

    async def context(self, alert: Alert, now: int) -> dict[str, Any]:
        """All of it. Waits for the related series at most RELATED_SECONDS; what did not answer is said."""
        runbooks = self._runbooks_of(alert)
        similar = self._similar(alert, now)
        related, problem = await self._related(alert)
        return {
            "fingerprint": alert.fingerprint,
            "labels": alert.labels,
            "incidentGroup": self._incidents.of_alert(alert.fingerprint),
            "runbooks": runbooks,
            "similar": similar,
            "deploys": self._deploys(alert),
            "relatedSeries": related,
            "relatedSeriesProblem": problem,
            "suggestedActions": _actions(runbooks, similar),
        }

    def _runbooks_of(self, alert: Alert) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [
            {"url": r.url, "title": r.title, "actions": list(r.actions), "source": r.source}
            for r in self._runbooks
            if all_match(r.matchers, alert.labels)
        ]
        for name in RUNBOOK_ANNOTATIONS:
            url = alert.annotations.get(name, "")
            if url:
                found.append({"url": url, "title": "", "actions": [], "source": f"annotation {name}"})
        return found

    def _similar(self, alert: Alert, now: int) -> list[dict[str, Any]]:
        key = key_of(alert.labels)
        rule = key.rsplit("@", 1)[0]
        found = [(past, "the same rule and service") for past in self.past.of_key(key)]
        model = self._incidents.correlator.model
        for partner in model.partners(key):
            other = partner.rsplit("@", 1)
            relation = f"the same rule on {other[1]}" if other[0] == rule else f"{partner} fires together with it"
            if other[0] == rule or model.lift(key, partner, now) > 0.1 or model.weight(key, partner) > 0.0:
                found += [(past, relation) for past in self.past.of_key(partner)[:2]]
        return [_past(past, relation) for past, relation in found[:MAX_SIMILAR]]

    def _deploys(self, alert: Alert) -> list[dict[str, Any]]:
        service = place_of(alert.labels).service
        if not service:
            return []
        below = self._incidents.topology.depends_on(service)
        markers = self._incidents.markers.before(alert.starts, DEPLOYS_WITHIN, [service, *below])
        return [
            {
                "id": marker.id,
                "title": marker_words(marker),
                "time": format_moment(marker.time),
                "beforeSeconds": round((alert.starts - marker.time) / SECOND),
                "service": marker.service,
                "version": marker.version,
                "url": marker.url,
                "source": f"deploy marker{f' of {marker.source}' if marker.source else ''}",
            }
            for marker in markers[:MAX_DEPLOYS]
        ]

    async def _related(self, alert: Alert) -> tuple[list[dict[str, Any]], str]:
        if self.related is None:
            return [], "this process has no history to ask"
        group = self._incidents.correlator.group_of(alert.fingerprint)
        others = group.heads(20) if group is not None else []
        alerts = [alert, *(a for m in others if (a := self._engine.alerts.get(m.fingerprint)) is not None)]
        metrics = list(dict.fromkeys(a.labels["metric"] for a in alerts if a.labels.get("metric")))
        try:
            async with asyncio.timeout(RELATED_SECONDS):
                found = await self.related.values(alert.labels, metrics, MAX_SERIES)
        except GatewayError as error:
            return [], str(error)
        except TimeoutError:
            return [], f"the history did not answer within {RELATED_SECONDS:.0f} s"
        return [msgspec.to_builtins(value) for value in found[:MAX_SERIES]], ""


def recorded_alert(event: Event) -> Alert:
    """The alert of a "firing" event of the history."""
    detail = msgspec.json.decode(event.detail)
    return Alert(
        fingerprint=event.fingerprint,
        labels=detail["labels"],
        annotations=detail["annotations"],
        starts=detail["starts"],
        ends=detail["starts"],
        updated=event.time,
        origin=detail["origin"],
    )


def _read(settings: AlertingSettings) -> list[_Runbook]:
    found = []
    for number, given in enumerate(settings.runbooks):
        try:
            matchers = parse_matchers(given.matchers)
        except ValueError as error:
            raise ConfigError(
                str(error), key=f"alerting.runbooks[{number}].matchers", expected="matchers as amtool takes them"
            ) from error
        source = f"alerting.runbooks[{number}]: {given.matchers}"
        found.append(_Runbook(matchers, given.url, given.title, given.actions, source))
    return found


def _past(past: PastAlert, relation: str) -> dict[str, Any]:
    return {
        "fingerprint": past.fingerprint,
        "name": past.key,
        "relation": relation,
        "beganAt": format_moment(past.began),
        "endedAt": format_moment(past.ended),
        "lastedSeconds": round((past.ended - past.began) / SECOND),
        "ended": past.how,
        "by": past.by,
        "note": past.note,
        "comments": list(past.said),
        "source": "alert history",
    }


def _actions(runbooks: list[dict[str, Any]], similar: list[dict[str, Any]]) -> list[dict[str, str]]:
    found: dict[str, str] = {}
    for runbook in runbooks:
        for action in runbook["actions"]:
            found.setdefault(action, runbook["source"])
    for past in similar:
        text = past["note"] or (past["comments"][-1] if past["comments"] else "")
        if text:
            who = past["by"] or "somebody"
            found.setdefault(text, f"{who} about {past['name']}, which ended {past['endedAt']}")
    return [{"action": action, "source": source} for action, source in list(found.items())[:MAX_ACTIONS]]
