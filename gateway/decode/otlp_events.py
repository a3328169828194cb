"""What the log records of a request tell the gateway itself: deploys, and maintenance windows."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from gateway.access.tokens import Identity
from gateway.decode.otlp_changes import change_of
from gateway.decode.otlp_event_records import event_records
from gateway.decode.otlp_maintenance import is_maintenance, maintenance_of
from gateway.errors import RequestError
from gateway.telemetry.change import Change
from gateway.telemetry.maintenance_event import MaintenanceEvent

MOST: Final = 100
"""Of each kind, read from one request; nobody deploys more at once."""


class LogEvents(msgspec.Struct):
    """What was found. Refused are maintenance events, by reason."""

    changes: list[Change] = msgspec.field(default_factory=list)
    maintenance: list[MaintenanceEvent] = msgspec.field(default_factory=list)
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    problem: str = ""
    """Why the first one was refused."""
    kept: Counter[str] = msgspec.field(default_factory=Counter)
    """Records that became one of the lists, by `service.name` of their resource."""


def events_of(body: bytes, is_json: bool, now_ns: int, sender: Identity) -> LogEvents:
    """The events of a logs request. Raises DecodeError for a body that cannot be read, BodyTooLarge."""
    found = LogEvents()
    for record in event_records(body, is_json):
        if is_maintenance(record):
            try:
                if len(found.maintenance) == MOST:
                    raise RequestError(f"more than {MOST} maintenance events in one request", reason="too_many")
                found.maintenance.append(maintenance_of(record, now_ns, sender))
            except RequestError as error:
                found.refused[error.reason] += 1
                found.problem = found.problem or str(error)
                continue
        else:
            change = change_of(record, now_ns) if len(found.changes) < MOST else None
            if change is None:
                continue
            found.changes.append(change)
        found.kept[record.resource.get("service.name", "")] += 1
    return found
