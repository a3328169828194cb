"""Maintenance windows declared and ended by OTLP log records that are events.

OpenTelemetry's semantic conventions have no event and no attributes for maintenance. Ours are named in their style:

    event.name                       maintenance.window.start declares a window, or changes the one with its id;
                                     maintenance.window.end ends it
    maintenance.window.id            the sender's own, at most MAX_ID characters; an end needs one
    maintenance.window.start         RFC 3339; else the window begins at the record's time
    maintenance.window.end           RFC 3339 …
    maintenance.window.duration      … or "1h30m", or a number of seconds, from the start on
    maintenance.window.name          at most MAX_NAME characters, of which one can be seen; else the record's body
    maintenance.window.description   else the record's body, where that is not the name
    maintenance.window.match.LABEL   value that a label of the alert must have
    user.name                        who declares it, else the name of the credentials

What is in maintenance is said by the attributes of the record in SCOPE. Where it has none, it is, as with deploys, the
service and the environment of its resource, or its host if it names no service. Who may silence alerts over the API may
do so here: the role `operate` beside `ingest`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal
from uuid import UUID

import msgspec

from gateway.access.tokens import Identity
from gateway.decode.otlp_event_records import MAINTENANCE, EventRecord
from gateway.errors import RequestError
from gateway.settings_types import Duration
from gateway.telemetry.maintenance_event import MaintenanceEvent
from gateway.telemetry.window_name import MAX_NAME, is_visible, name_problem

START: Final = f"{MAINTENANCE}.start"
END: Final = f"{MAINTENANCE}.end"
MAX_ID: Final = 256
ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")
SCOPE: Final = (
    "service.name",
    "service.namespace",
    *ENVIRONMENT,
    "host.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "cloud.region",
    "cloud.availability_zone",
    "service.instance.id",
    "k8s.deployment.name",
    "k8s.pod.name",
)
_OF_SERVICE: Final = ("service.name", "service.namespace", *ENVIRONMENT)
_OF_HOST: Final = ("host.name", *ENVIRONMENT)
_UNNAMED: Final = "unknown_service"
"""What SDKs call a service that nobody named; perhaps with a colon and a program behind it."""
_MATCH: Final = f"{MAINTENANCE}.match."
_MOST_LABELS: Final = 32
_LONGEST: Final = 1024
_MOST_TEXT: Final = 8 * 1024
"""Characters of all labels to be matched."""
_MOST_MATCHED: Final = 13 * 1024
"""Characters of all that is matched, as a window has it; it takes 3 KiB more with description and author."""
_WRITTEN: Final = {"service.name": 2, "service.namespace": 4} | dict.fromkeys(ENVIRONMENT, 8)
"""How often a window has the characters of an attribute, if each is to be escaped in a regular expression: an
environment is looked for under four names. Of others once."""
_LATEST_NS: Final = 2**62
_AHEAD_NS: Final = 86400 * 10**9
"""How far in the future a record's time may lie, for clocks that differ."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def is_maintenance(record: EventRecord) -> bool:
    """Whether a record is an event about a maintenance window, perhaps one that makes no sense."""
    return record.name == MAINTENANCE or record.name.startswith(f"{MAINTENANCE}.")


def maintenance_of(record: EventRecord, now_ns: int, sender: Identity) -> MaintenanceEvent:
    """What an event says. Raises PermissionDenied, and RequestError with a reason: event, id, name, time, scope,
    too_long."""
    sender.require("operate")
    action: Literal["start", "end"]
    if record.name == START:
        action = "start"
    elif record.name == END:
        action = "end"
    else:
        raise RequestError(f"the event is neither {START} nor {END}", reason="event")
    own, numbers = record.own, record.numbers
    given = own.get(f"{MAINTENANCE}.id", "")
    if f"{MAINTENANCE}.id" in numbers and numbers[f"{MAINTENANCE}.id"].is_integer():
        given = f"{int(numbers[f'{MAINTENANCE}.id'])}"
    if len(given) > MAX_ID:
        raise RequestError(f"{MAINTENANCE}.id is longer than {MAX_ID} characters", reason="too_long")
    name, body = own.get(f"{MAINTENANCE}.name", "").strip(), record.body.strip()[:_LONGEST]
    if action == "start" and name and (problem := name_problem(name)):
        raise RequestError(f"{MAINTENANCE}.name: {problem}", reason="too_long" if len(name) > MAX_NAME else "name")
    if action == "end" and not given:
        raise RequestError(f"{END} needs {MAINTENANCE}.id", reason="id")
    if record.time > now_ns + _AHEAD_NS:
        raise RequestError("the time of the record is more than a day ahead", reason="time")
    starts, ends, lasts = _span(record) if action == "start" else (0, 0, 0)
    service = record.resource.get("service.name", _UNNAMED)
    scope = _scope(own, SCOPE)
    resource_scope = _scope(record.resource, _OF_HOST if service.partition(":")[0] == _UNNAMED else _OF_SERVICE)
    labels = {name.removeprefix(_MATCH): value for name, value in own.items() if name.startswith(_MATCH)}
    _check_labels(labels)
    unlike = [name for name in (*record.numbers, *record.others) if name.startswith(_MATCH)]
    if action == "start" and unlike:  # to pass over it would widen the window to whatever else is matched
        raise RequestError(f"{unlike[0][:_LONGEST]} is no text, or empty; labels have text", reason="scope")
    if action == "start" and not given and not labels and _is_everything(scope or resource_scope):
        raise RequestError("nothing says what is in maintenance, or only an environment does", reason="scope")
    if action == "start":
        _check_all(scope or ({} if labels else resource_scope), labels)
    event = MaintenanceEvent(
        key="",
        id=given,
        sender=sender.name,
        action=action,
        time=record.time if record.time > 0 else now_ns,
        starts=starts,
        ends=ends,
        lasts=lasts,
        name=name[:MAX_NAME],
        description=own.get(f"{MAINTENANCE}.description", "").strip()[:_LONGEST],
        body=body if is_visible(body) else "",
        author=own.get("user.name", "").strip()[:_LONGEST],
        scope=scope,
        resource_scope=resource_scope,
        labels=labels,
    )
    # Without a time of its own, a record that is sent again is known by what else it says.
    alike = given or msgspec.structs.replace(event, time=record.time)
    digest = blake2b(msgspec.json.encode((sender.tenant, alike)), digest_size=16).digest()
    return msgspec.structs.replace(event, key=str(UUID(bytes=digest)))


def _is_everything(scope: dict[str, str]) -> bool:
    return not set(scope) - set(ENVIRONMENT)


def _scope(attributes: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Those that are set. Raises RequestError."""
    found = {name: attributes[name] for name in names if attributes.get(name)}
    for name, value in found.items():
        if len(value) > _LONGEST:
            raise RequestError(f"{name} is longer than {_LONGEST} characters", reason="too_long")
    return found


def _check_labels(labels: dict[str, str]) -> None:
    """Raises RequestError."""
    if len(labels) > _MOST_LABELS:
        raise RequestError(f"more than {_MOST_LABELS} attributes {_MATCH}…", reason="scope")
    if sum(len(name) + len(value) for name, value in labels.items()) > _MOST_TEXT:
        raise RequestError(f"attributes {_MATCH}… have more than {_MOST_TEXT} characters together", reason="too_long")
    for name, value in labels.items():
        if not name:
            raise RequestError(f"{_MATCH}… without a label's name", reason="scope")
        if len(name) > _LONGEST or len(value) > _LONGEST:
            raise RequestError(f"{_MATCH}… is longer than {_LONGEST} characters", reason="too_long")


def _check_all(scope: dict[str, str], labels: dict[str, str]) -> None:
    """Raises RequestError for more than a window may match: who keeps the windows could not tell the sender."""
    written = sum(len(value) * _WRITTEN.get(name, 1) for name, value in scope.items())
    if written + sum(len(name) + len(value) for name, value in labels.items()) > _MOST_MATCHED:
        raise RequestError(f"what is in maintenance takes more than {_MOST_MATCHED} characters", reason="too_long")


def _span(record: EventRecord) -> tuple[int, int, int]:
    """(start or 0, end or 0, duration or 0) in nanoseconds: one of the last two. Raises RequestError."""
    names = [f"{MAINTENANCE}.{part}" for part in ("start", "end", "duration")]
    for name in names[:2]:
        if name in record.numbers:
            raise RequestError(f"{name} is a number; expected an RFC 3339 time", reason="time")
    starts, ends = (_moment(name, record.own.get(name, "")) for name in names[:2])
    text, number = record.own.get(names[2], ""), record.numbers.get(names[2])
    if bool(ends) == bool(text or number is not None):
        raise RequestError(f"expected either {names[1]} or {names[2]}", reason="time")
    if ends:
        return starts, ends, 0
    try:
        seconds = Duration.parse(text[:64] if number is None else number)
    except ValueError as error:
        raise RequestError(f"{names[2]}: {error}", reason="time") from None
    if not 0 < seconds < _LATEST_NS / 1e9:
        raise RequestError(f"{names[2]} is no length of time that can be", reason="time")
    return starts, 0, round(seconds * 1e9)


def _moment(name: str, text: str) -> int:
    """Nanoseconds; 0 for no text. Raises RequestError."""
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text[:64])
        found = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError, OverflowError):  # TypeError: without an offset it is no moment
        found = 0
    if not 0 < found < _LATEST_NS:
        raise RequestError(f"{name} is no RFC 3339 time with an offset, between 1970 and 2116", reason="time")
    return found
