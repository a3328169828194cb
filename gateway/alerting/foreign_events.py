"""Alerts in the words of other services: PagerDuty events, Opsgenie alerts, Alertmanager and Grafana webhooks.

Rules of the subject:
  * PagerDuty and Opsgenie name an alert by a key of the sender's (deduplication key, alias). It becomes a label, and a
    later acknowledge or resolve finds the alert by it. Such alerts have no assumed end: they stay until resolved.
  * A trigger for a key that is open with other labels (say, another severity) ends the old alert and opens the new one.
  * A resolve or acknowledge for a key that is not open changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.alerting.alert import ALERT_NAME, Alert, fingerprint, problem_of
from gateway.alerting.engine import Engine
from gateway.alerting.moments import ABSENT, NEVER, parse_moment
from gateway.errors import RequestError

PAGERDUTY: Final = "pagerduty"
OPSGENIE: Final = "opsgenie"
WEBHOOK: Final = "webhook"
KEY_LABEL: Final = {PAGERDUTY: "dedup_key", OPSGENIE: "alias"}
PRIORITIES: Final = {"P1": "critical", "P2": "high", "P3": "medium", "P4": "low", "P5": "info"}


class PagerDutyPayload(msgspec.Struct):
    """`payload` of an event."""

    summary: str
    source: str
    severity: str
    component: str = ""
    group: str = ""
    class_: str = msgspec.field(default="", name="class")
    custom_details: Any = None


class PagerDutyEvent(msgspec.Struct):
    """Events API v2."""

    routing_key: str
    event_action: str
    dedup_key: str = ""
    payload: PagerDutyPayload | None = None
    client_url: str = ""


class OpsgenieAlert(msgspec.Struct):
    """`POST /v2/alerts`."""

    message: str
    alias: str = ""
    description: str = ""
    priority: str = "P3"
    source: str = ""
    entity: str = ""
    tags: list[str] = []
    details: dict[str, str] = {}


class WebhookAlert(msgspec.Struct):
    """One alert of a webhook message, version 4; other fields (Grafana's) are let be."""

    labels: dict[str, str]
    status: str = "firing"
    annotations: dict[str, str] = {}
    startsAt: str = ""  # noqa: N815 - name on the wire
    endsAt: str = ""  # noqa: N815 - name on the wire
    generatorURL: str = ""  # noqa: N815 - name on the wire


class WebhookMessage(msgspec.Struct):
    """A webhook message."""

    alerts: list[WebhookAlert]


class OpenKeys:
    """Which alert is open under which key of a sender; kept up to date by the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: dict[tuple[str, str], str] = {}
        engine.watchers.append(self._on_change)

    def load(self) -> None:
        """After the engine was restored."""
        for alert in self._engine.alerts.values():
            self._on_change("firing", alert, 0)

    def find(self, origin: str, key: str) -> Alert | None:
        """The open alert, or None."""
        return self._engine.alerts.get(self._open.get((origin, key), ""))

    def _on_change(self, kind: str, alert: Alert, _now: int) -> None:
        if alert.origin not in KEY_LABEL:
            return
        key = alert.origin, alert.labels.get(KEY_LABEL[alert.origin], "")
        if kind == "firing":
            self._open[key] = alert.fingerprint
        elif self._open.get(key) == alert.fingerprint:
            del self._open[key]

    def ended(self, origin: str, key: str, now: int) -> list[Alert]:
        """The report that ends what is open under the key."""
        alert = self.find(origin, key)
        if alert is None or not alert.active(now):
            return []
        return [msgspec.structs.replace(alert, ends=now, updated=now)]

    def replacing(self, new: Alert, now: int) -> list[Alert]:
        """The report of a trigger, after the end of another alert under the same key."""
        old = self.find(new.origin, new.labels[KEY_LABEL[new.origin]])
        if old is None or old.fingerprint == new.fingerprint or not old.active(now):
            return [new]
        return [msgspec.structs.replace(old, ends=now, updated=now), new]


def from_pagerduty(event: PagerDutyEvent, key: str, now: int) -> Alert:
    """The alert of a trigger; raises RequestError."""
    payload = event.payload
    if payload is None or not payload.summary or not payload.source:
        raise RequestError("a trigger needs payload.summary and payload.source")
    if payload.severity not in ("critical", "error", "warning", "info"):
        raise RequestError("payload.severity must be critical, error, warning or info")
    details = payload.custom_details
    annotations = {"summary": payload.summary, "client_url": event.client_url}
    if details is not None:
        annotations["details"] = details if isinstance(details, str) else msgspec.json.encode(details).decode()
    labels = {
        ALERT_NAME: payload.class_ or "PagerDutyEvent",
        "dedup_key": key,
        "severity": payload.severity,
        "source": payload.source,
        "component": payload.component,
        "group": payload.group,
    }
    return _open_alert(labels, annotations, PAGERDUTY, now)


def from_opsgenie(alert: OpsgenieAlert, alias: str, now: int) -> Alert:
    """The alert of a creation; raises RequestError."""
    if not alert.message:
        raise RequestError("message must not be empty")
    if alert.priority not in PRIORITIES:
        raise RequestError("priority must be P1 to P5")
    labels = {
        ALERT_NAME: "OpsgenieAlert",
        "alias": alias,
        "severity": PRIORITIES[alert.priority],
        "source": alert.source,
        "entity": alert.entity,
    }
    annotations = dict(alert.details) | {
        "summary": alert.message,
        "description": alert.description,
        "tags": ", ".join(alert.tags),
    }
    return _open_alert(labels, annotations, OPSGENIE, now)


def from_webhook(item: WebhookAlert, now: int) -> Alert:
    """One alert of a message; raises RequestError."""
    labels = {name: item.labels[name] for name in sorted(item.labels) if item.labels[name]}
    try:
        starts = parse_moment(item.startsAt) if item.startsAt else now
        ends = parse_moment(item.endsAt) if item.endsAt else ABSENT
    except ValueError as error:
        raise RequestError(str(error)) from error
    starts = starts or now
    # A webhook tells of a firing alert once, so it has no end until the message that says it is resolved.
    end = max(starts, min(ends or now, now)) if item.status == "resolved" else NEVER
    problem = problem_of(labels, item.annotations, starts, end)
    if problem is not None:
        raise RequestError(problem)
    return Alert(
        fingerprint=fingerprint(labels),
        labels=labels,
        annotations=dict(sorted(item.annotations.items())),
        starts=starts,
        ends=end,
        updated=now,
        generator_url=item.generatorURL,
        origin=WEBHOOK,
    )


def _open_alert(labels: Mapping[str, str], annotations: Mapping[str, str], origin: str, now: int) -> Alert:
    kept = {name: labels[name] for name in sorted(labels) if labels[name]}
    return Alert(
        fingerprint=fingerprint(kept),
        labels=kept,
        annotations={name: annotations[name] for name in sorted(annotations) if annotations[name]},
        starts=now,
        ends=NEVER,
        updated=now,
        origin=origin,
    )
