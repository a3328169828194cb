"""Deploys among OTLP log records.

A log record tells of a deploy if its event name (`event_name`, or the older attribute `event.name`) is `deployment` or
begins with `deployment.`, or if it has the attribute `deployment.status`. `deployment.name` and `deployment.id` alone
do not make one: applications repeat them on everything they log. What is read:

    title         the record's body, else deployment.name, else the event's name
    service       service.name of the record, else of the resource
    version       service.version, alike
    environment   deployment.environment.name (formerly deployment.environment), alike
    url           url.full, else vcs.change.id
    tags          deployment.id, deployment.name, deployment.status, vcs.ref.head.revision
    time          the record's time, else the time it was observed, else the time of arrival

Sources: OpenTelemetry semantic conventions, registry "deployment", "service", "vcs".
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from gateway.decode.otlp_event_records import DEPLOYMENT, EventRecord
from gateway.telemetry.change import Change

_LONGEST: Final = 1024
_TAGS: Final = ("deployment.id", "deployment.name", "deployment.status", "vcs.ref.head.revision")
_LATEST_NS: Final = 2**62


def change_of(record: EventRecord, now_ns: int) -> Change | None:
    """The deploy that a record tells of, if it tells of one."""
    event = record.name
    if event != DEPLOYMENT and not event.startswith(f"{DEPLOYMENT}.") and "deployment.status" not in record.own:
        return None

    def text(*names: str) -> str:
        found = (part.get(name) for name in names for part in (record.own, record.resource))
        return next((value for value in found if value), "")[:_LONGEST]

    time = record.time if 0 < record.time < _LATEST_NS else now_ns
    title = (record.body.strip() or text("deployment.name") or event or DEPLOYMENT)[:_LONGEST]
    tags = {name: record.own[name][:_LONGEST] for name in _TAGS if record.own.get(name)}
    if event:
        tags["event.name"] = event[:_LONGEST]
    service, version = text("service.name"), text("service.version")
    identity = msgspec.json.encode((time if record.time > 0 else 0, title, service, version, tags))
    return Change(
        id=blake2b(identity, digest_size=16).hexdigest(),
        time=time,
        title=title,
        service=service,
        version=version,
        environment=text("deployment.environment.name", "deployment.environment"),
        url=text("url.full", "vcs.change.id"),
        tags=tags,
    )
