"""What other tools' events mean here: their bodies, checked by their documented rules, as alerts and deploy markers.

Each reader takes decoded JSON and gives a value or raises `Invalid` with every problem, so that the interface can
answer in the sender's own form. Lengths are characters. Identity: an event names its alert by a key (`dedup_key`,
`alias`) that is a label of the alert, together with `inbound`, which stands for the sender's credential without showing
it; two senders with the same key are two alerts.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.alerting.alert import ALERT_NAME, Alert, made
from gateway.alerting.inbound_fields import Fields, Invalid
from gateway.alerting.moments import ABSENT, NEVER, parse_moment

PAGERDUTY: Final = "pagerduty"
OPSGENIE: Final = "opsgenie"
WEBHOOK: Final = "webhook"
ROUTING_KEY: Final = 32
MAX_DEDUP_KEY: Final = 255
MAX_SUMMARY: Final = 1024
MAX_LABEL: Final = 1024
"""Longer values that become labels are cut."""
MAX_MESSAGE: Final = 130
MAX_ALIAS: Final = 512
MAX_DESCRIPTION: Final = 15_000
MAX_ALERTS: Final = 4096
"""Alerts in one webhook message."""
PAGERDUTY_SEVERITIES: Final = ("critical", "error", "warning", "info")
PRIORITIES: Final = {"P1": "critical", "P2": "high", "P3": "medium", "P4": "low", "P5": "info"}
LABEL_DETAILS: Final = frozenset(
    {ALERT_NAME, "service", "job", "instance", "host", "team", "cluster", "namespace", "environment", "region"}
)
"""Details of an Opsgenie alert that become labels; the others become annotations, so that values which change do not
make new alerts."""
_GRAFANA_LINKS: Final = {
    "dashboardURL": "dashboard_url",
    "panelURL": "panel_url",
    "silenceURL": "silence_url",
    "imageURL": "image_url",
    "valueString": "value_string",
}


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Something was changed: a deploy, a switch. `time` is nanoseconds."""

    id: str
    time: int
    title: str
    service: str = ""
    version: str = ""
    environment: str = ""
    url: str = ""
    source: str = ""
    tags: dict[str, str] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event about one alert. `alert` is set for "trigger"."""

    origin: str
    action: str
    """trigger, acknowledge, resolve."""
    account: str
    """Stands for the credential."""
    key: str
    who: str = ""
    note: str = ""
    alert: Alert | None = None


def account(origin: str, credential: str) -> str:
    """A name for a credential that does not tell it."""
    return f"{origin}-{hashlib.sha256(credential.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def pagerduty_event(body: Any, now: int) -> Event:
    """`POST /v2/enqueue` of PagerDuty's Events API v2; raises Invalid."""
    fields = Fields(body)
    routing_key = _routing_key(fields)
    action = fields.text("event_action", required=True)
    if action and action not in ("trigger", "acknowledge", "resolve"):
        fields.refuse("event_action", "'event_action' is invalid (must be one of trigger, acknowledge or resolve)")
    key = fields.text("dedup_key", MAX_DEDUP_KEY, required=action in ("acknowledge", "resolve"))
    who = fields.text("client") or PAGERDUTY
    if action != "trigger":
        fields.finish()
        return Event(origin=PAGERDUTY, action=action, account=account(PAGERDUTY, routing_key), key=key, who=who)
    payload = fields.below("payload", required=True)
    summary = payload.text("summary", MAX_SUMMARY, required=True)
    source = payload.text("source", required=True)
    severity = payload.text("severity", required=True)
    if severity and severity not in PAGERDUTY_SEVERITIES:
        payload.refuse("severity", "'payload.severity' is invalid (must be one of critical, error, warning or info)")
    starts = payload.moment("timestamp", now)
    key = key or uuid.uuid4().hex
    labels = {
        ALERT_NAME: payload.text("class") or "PagerDutyEvent",
        "severity": severity,
        "instance": source,
        "component": payload.text("component"),
        "group": payload.text("group"),
    }
    annotations = {
        "summary": summary,
        "client": fields.text("client"),
        "custom_details": _json(payload.anything("custom_details")),
        "links": "\n".join(_links(fields, "href")),
        "images": "\n".join(_links(fields, "src", "images")),
    }
    name = account(PAGERDUTY, routing_key)
    url = fields.text("client_url")
    fields.finish()
    alert = _alert(PAGERDUTY, labels, annotations, name, ("dedup_key", key), min(starts, now), now, url)
    return Event(origin=PAGERDUTY, action=action, account=name, key=key, who=who, alert=alert)


def pagerduty_change(body: Any, now: int) -> tuple[str, Marker]:
    """`POST /v2/change/enqueue`: the routing key, and the change as a marker; raises Invalid."""
    fields = Fields(body)
    routing_key = _routing_key(fields)
    payload = fields.below("payload", required=True)
    title = payload.text("summary", MAX_SUMMARY, required=True)
    moment = payload.moment("timestamp", now)
    links = _links(fields, "href")
    details = payload.anything("custom_details")
    known = details if isinstance(details, dict) else {}
    marker = Marker(
        id=uuid.uuid4().hex,
        time=moment,
        title=title,
        service=_cut(str(known.get("service", ""))),
        version=_cut(str(known.get("version", ""))),
        environment=_cut(str(known.get("environment", ""))),
        url=links[0] if links else "",
        source=_cut(payload.text("source")),
        tags={"custom_details": _json(details)} if details else {},
    )
    fields.finish()
    return routing_key, marker


def pagerduty_key(body: Any) -> str:
    """The routing key alone; raises Invalid."""
    fields = Fields(body)
    key = _routing_key(fields)
    fields.finish()
    return key


def opsgenie_alert(body: Any, credential: str, now: int) -> Event:
    """`POST /v2/alerts` of Opsgenie's alert API; raises Invalid."""
    fields = Fields(body, plain=True)
    message = fields.text("message", MAX_MESSAGE, required=True)
    alias = fields.text("alias", MAX_ALIAS) or uuid.uuid4().hex
    priority = fields.text("priority") or "P3"
    if priority not in PRIORITIES:
        fields.refuse("priority", "Priority should be one of [ P1, P2, P3, P4, P5 ]")
    details = fields.anything("details")
    if details is None:
        details = {}
    if not isinstance(details, dict) or not all(isinstance(value, str) for value in details.values()):
        fields.refuse("details", "details should be a map of strings")
        details = {}
    tags = fields.anything("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        fields.refuse("tags", "tags should be a list of strings")
        tags = []
    labels = {ALERT_NAME: "OpsgenieAlert", "severity": PRIORITIES.get(priority, "")}
    labels |= {name: details[name] for name in LABEL_DETAILS & details.keys()}
    labels["entity"] = fields.text("entity", 512)
    labels["team"] = labels.get("team") or _team(fields.anything("responders"))
    annotations = {name: value for name, value in details.items() if name and name not in LABEL_DETAILS}
    annotations |= {
        "summary": message,
        "description": fields.text("description", MAX_DESCRIPTION),
        "priority": priority,
        "tags": ", ".join(tags),
        "source": fields.text("source"),
        "note": fields.text("note", 25_000),
    }
    who = fields.text("user", 100) or OPSGENIE
    name = account(OPSGENIE, credential)
    fields.finish()
    alert = _alert(OPSGENIE, labels, annotations, name, ("alias", alias), now, now, "")
    return Event(origin=OPSGENIE, action="trigger", account=name, key=alias, who=who, alert=alert)


def opsgenie_action(action: str, alias: str, body: Any, credential: str) -> Event:
    """Close ("resolve") or acknowledge by alias; the body may be empty. Raises Invalid."""
    fields = Fields({} if body is None else body, plain=True)
    who = fields.text("user", 100) or OPSGENIE
    note = fields.text("note", 25_000)
    fields.finish()
    return Event(origin=OPSGENIE, action=action, account=account(OPSGENIE, credential), key=alias, who=who, note=note)


def webhook_alerts(body: Any, now: int) -> tuple[list[Alert], list[str]]:
    """A webhook message of Alertmanager (version 4) or Grafana: alerts, and what is wrong with the other items.

    Labels are taken as they are. A firing alert has no assumed end: its sender tells the end. Raises Invalid if the
    message is none.
    """
    if not isinstance(body, dict) or not isinstance(body.get("alerts"), list):
        raise Invalid({"alerts": "the message has no list of alerts"})
    if len(body["alerts"]) > MAX_ALERTS:
        raise Invalid({"alerts": f"more than {MAX_ALERTS} alerts in one message"})
    alerts: list[Alert] = []
    problems: list[str] = []
    for number, item in enumerate(body["alerts"]):
        try:
            alerts.append(_webhook_alert(item, now))
        except (ValueError, Invalid) as problem:
            problems.append(f"alerts[{number}]: {problem}")
    return alerts, problems


def _webhook_alert(item: Any, now: int) -> Alert:
    if not isinstance(item, dict):
        raise ValueError("not an object")
    status = item.get("status")
    if status not in ("firing", "resolved"):
        raise ValueError("status must be firing or resolved")
    sets: list[dict[str, str]] = []
    for name in ("labels", "annotations"):
        found = item.get(name)
        found = {} if found is None else found
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError(f"{name} must be a map of strings")
        sets.append({key: found[key] for key in sorted(found) if found[key]})
    labels, annotations = sets
    for name, ours in _GRAFANA_LINKS.items():
        if isinstance(item.get(name), str) and item[name]:
            annotations.setdefault(ours, item[name])
    moments = []
    for name in ("startsAt", "endsAt"):
        text = item.get(name) or ""
        if not isinstance(text, str):
            raise ValueError(f"{name} must be a string")
        moments.append(parse_moment(text) if text else ABSENT)
    starts, ends = moments[0] or now, moments[1]
    starts = min(starts, now)
    ends = NEVER if status == "firing" else max(starts, min(ends or now, now))
    url = item.get("generatorURL")
    return made(
        labels,
        annotations,
        starts=starts,
        ends=ends,
        now=now,
        generator_url=url if isinstance(url, str) else "",
        origin=WEBHOOK,
    )


def marker_of(body: Any, now: int) -> Marker:
    """`POST /api/v1/markers`; raises Invalid."""
    fields = Fields(body, plain=True)
    tags = fields.anything("tags") or {}
    texts = isinstance(tags, dict) and all(isinstance(value, str) for value in tags.values())
    if not texts or len(tags) > 32 or any(len(value) > MAX_LABEL for value in tags.values()):
        fields.refuse("tags", f"tags must be a map of at most 32 strings of at most {MAX_LABEL} characters")
        tags = {}
    marker = Marker(
        id=uuid.uuid4().hex,
        time=fields.moment("time", now),
        title=fields.text("title", MAX_SUMMARY, required=True),
        service=fields.text("service", MAX_LABEL),
        version=fields.text("version", MAX_LABEL),
        environment=fields.text("environment", MAX_LABEL),
        url=fields.text("url", 4 * MAX_LABEL),
        source=fields.text("source", MAX_LABEL),
        tags=tags,
    )
    fields.only("time", "title", "service", "version", "environment", "url", "source", "tags")
    fields.finish()
    return marker


def _routing_key(fields: Fields) -> str:
    key = fields.text("routing_key", required=True)
    if key and len(key) != ROUTING_KEY:
        fields.refuse("routing_key", f"Length of 'routing_key' is incorrect (should be {ROUTING_KEY} characters)")
    return key


def _links(fields: Fields, name: str, key: str = "links") -> list[str]:
    found = fields.anything(key)
    if not isinstance(found, list):
        return []
    return [item[name] for item in found if isinstance(item, dict) and isinstance(item.get(name), str)][:32]


def _team(responders: Any) -> str:
    """The team, where exactly one is named."""
    if not isinstance(responders, list):
        return ""
    teams = [r["name"] for r in responders if isinstance(r, dict) and r.get("type") == "team" and "name" in r]
    return teams[0] if len(teams) == 1 and isinstance(teams[0], str) else ""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode() if value else ""


def _cut(text: str) -> str:
    return text[:MAX_LABEL]


def _alert(
    origin: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    name: str,
    key: tuple[str, str],
    starts: int,
    now: int,
    url: str,
) -> Alert:
    full = {**{label: _cut(value) for label, value in labels.items()}, "inbound": name, key[0]: key[1]}
    told = {label: value for label, value in annotations.items() if value}
    try:
        return made(full, told, starts=starts, ends=NEVER, now=now, generator_url=url, origin=origin)
    except ValueError as error:
        raise Invalid({"": str(error)}) from error
