"""The OpenAPI document of the control plane, served at /api/v1/openapi.json.

It is made from the routes the application really has; what a route takes stands in one table here, its summary is the
first line of its handler's docstring. A route that the table does not name is described without parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.telemetry.anomaly import SEVERITIES
from gateway.web.alerting_api import Said
from gateway.web.alertmanager_api import PostedAlert, PostedSilence
from gateway.web.feedback_api import PostedFeedback
from gateway.web.incident_api import GroupMerge, GroupSplit, GroupUndo
from gateway.web.maintenance_api import PostedWindow, Release

_PATH_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_HIDDEN: Final = re.compile(r"^/($|assets/|[^/]+\.[a-z0-9]+$)")
"""The console's page and its files."""


def _query(
    name: str, description: str, schema: Mapping[str, Any] | None = None, *, repeated: bool = False
) -> dict[str, Any]:
    kind = {"type": "string", **(schema or {})}
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "array", "items": kind} if repeated else kind,
    }


def _limit(most: int) -> dict[str, Any]:
    return _query("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": most})


_MATCH: Final = _query("match", 'A selector as PromQL writes it: name{label="value"}.')
_START: Final = _query("start", 'Unix seconds, ISO 8601, or relative as "-15m".')
_END: Final = _query("end", 'The same; "now" by default.')
_FROM: Final = _query("from", 'Unix seconds, ISO 8601, or relative as "-7d", which is the default.')
_TO: Final = _query("to", 'The same; "now" by default.')
_FLAG: Final = {"type": "boolean"}
_FILTER: Final = _query("filter", "Matchers, all of which must hold.", repeated=True)
_ALERTS: Final = [
    _FILTER,
    _query("receiver", "Regular expression of receivers' names."),
    *(_query(n, f"Whether {n} alerts are listed.", _FLAG) for n in ("active", "silenced", "inhibited")),
]
_SEVERITY: Final = _query("severity", "Of this severity or above.", {"enum": list(SEVERITIES)})

PARAMETERS: Final[Mapping[str, list[dict[str, Any]]]] = {
    "GET /api/v1/anomalies": [
        _query("since", "Not older than this time."),
        _limit(10_000),
        _SEVERITY,
        _query("state", "Of this state alone.", {"enum": ["firing", "resolved"]}),
    ],
    "GET /api/v1/series": [_MATCH, _limit(100_000)],
    "GET /api/v1/series/search": [_query("q", "Words of a name or of a label."), _limit(500)],
    "GET /api/v1/history": [
        _MATCH,
        _START,
        _END,
        _limit(100),
        _query("bands", "Expected values; recorded by default.", {"enum": ["recorded", "recomputed", "none"]}),
    ],
    "GET /api/v1/forecast": [
        _MATCH,
        _query("horizon", 'How far ahead, as "6h".'),
        _query("history", 'How far back to learn from, as "14d".'),
        _query("level", "Share of the values that the interval shall hold.", {"type": "number"}),
        _limit(20),
    ],
    "GET /api/v1/incident-groups": [
        _query("state", "Open by default.", {"enum": ["open", "closed", "all"]}),
        _limit(1000),
    ],
    "GET /api/v1/anomalies/page": [
        _query("since", "Not older than this time."),
        _query("until", "Not younger than this time."),
        _SEVERITY,
        _query("state", "Of this state alone.", {"enum": ["firing", "resolved"]}),
        _query("q", "Words that must all occur."),
        _query("offset", "How many to leave out.", {"type": "integer", "minimum": 0, "maximum": 20_000}),
        _limit(1000),
    ],
    "GET /api/v1/exemplars": [_MATCH, _START, _END, _limit(200)],
    "GET /api/v1/status/recent": [_query("since", "Beginning; all that is remembered by default.")],
    "GET /api/v1/services": [
        _query("since", "Of the time strip, as the beginning."),
        _query("strip", "Whether time strips are given, yes by default.", {"enum": ["yes", "no"]}),
    ],
    "GET /api/v1/services/signals": [_query("name", "A service; may be repeated, up to 50 times.")],
    "GET /api/v1/alerts/groups": [
        _query("q", "Words that must all occur."),
        _query("state", "Of the alerts.", {"enum": ["active", "suppressed", "acknowledged", "unacknowledged"]}),
        _query("group", "Id of one group, whose members are paged then."),
        _query("offset", "How many to leave out.", {"type": "integer", "minimum": 0, "maximum": 1_000_000}),
        _query("limit", "Groups at most.", {"type": "integer", "minimum": 1, "maximum": 100}),
        _query("each", "Members of each at most.", {"type": "integer", "minimum": 1, "maximum": 200}),
    ],
    "GET /api/v1/oncall/calendar": [_FROM, _TO],
    "GET /api/v1/notifications": [_query("integration", "Key of an integration."), _limit(1000)],
    "GET /api/v1/suppressions": [_limit(10_000)],
    "GET /api/v1/alerting/analytics": [_FROM, _TO, _query("timezone", "IANA name of a time zone.")],
    "GET /api/v1/alerting/report": [
        _FROM,
        _TO,
        _query("timezone", "IANA name of a time zone."),
        _query("format", "Of the report.", {"enum": ["markdown", "html"]}),
    ],
    "GET /api/v1/markers": [_FROM, _TO, _query("service", "Of this service alone."), _limit(10_000)],
    **{
        f"POST /v2/alerts/{{alias}}/{action}": [_query("identifierType", "alias", {"enum": ["alias"]})]
        for action in ("close", "acknowledge")
    },
    "GET /api/v2/alerts": [*_ALERTS, _query("unprocessed", "Whether unprocessed alerts are listed.", _FLAG)],
    "GET /api/v2/alerts/groups": [*_ALERTS, _query("muted", "Whether muted alerts are listed.", _FLAG)],
    "GET /api/v2/silences": [_FILTER],
    "DELETE /api/v1/anomalies/{id}/feedback": [_query("by", "Who takes it back.")],
}
"""Query parameters of `METHOD path`."""

BODIES: Final[Mapping[str, Any]] = {
    "POST /api/v2/alerts": list[PostedAlert],
    "POST /api/v2/silences": PostedSilence,
    "POST /api/v1/anomalies/{id}/feedback": PostedFeedback,
    "POST /api/v1/maintenance": PostedWindow,
    "PUT /api/v1/maintenance/{id}": PostedWindow,
    "POST /api/v1/suppressions/{id}/release": Release,
    "POST /api/v1/incident-groups/{id}/merge": GroupMerge,
    "POST /api/v1/incident-groups/{id}/split": GroupSplit,
    "POST /api/v1/incident-groups/{id}/undo": GroupUndo,
    **{
        f"POST /api/v1/alerts/{{fingerprint}}/{name}": Said
        for name in ("acknowledge", "unacknowledge", "snooze", "unsnooze", "resolve", "comments")
    },
}
"""JSON bodies of `METHOD path`."""

_KINDS: Final = {
    "/-/healthy": "text/plain",
    "/-/ready": "text/plain",
    "/metrics": "application/openmetrics-text",
    "/api/v1/feedback": "application/x-ndjson",
    "/api/v1/events": "text/event-stream",
    "/api/v1/alerting/report": "text/html, text/markdown",
}
"""Content types of answers that are not JSON."""
_EMPTY: Final = frozenset({"POST /api/v2/alerts", "DELETE /api/v2/silence/{id}"})
"""Answered without a body, as Alertmanager does."""
_ERRORS: Final = {  # 500 is not among them on purpose: a check against this document finds it; see _DISK_FAILED
    "400": "The request is wrong; the body says where.",
    "401": "Credentials are required.",
    "403": "The role is missing, or the request comes from another site.",
    "404": "Nothing of that name.",
    "405": "The path does not take this method.",
    "409": "The thing is no longer in the state the request assumes.",
    "413": "The body is too large.",
    "415": "The content type is not taken.",
    "422": "A parameter cannot be read.",
    "429": "Too much at once; Retry-After says when to come again.",
    "503": "Not now; Retry-After says when to come again.",
}

_DISK_FAILED: Final = frozenset({"POST /api/v2/alerts", "POST /api/v2/silences", "DELETE /api/v2/silence/{id}"})
"""Answered with 500, as Alertmanager does, where the change could not be made durable."""


def build_document(application: web.Application, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of everything but the console's files."""
    paths: dict[str, dict[str, Any]] = {}
    schemas, components = msgspec.json.schema_components(
        list(BODIES.values()), ref_template="#/components/schemas/{name}"
    )
    bodies = dict(zip(BODIES, schemas, strict=True))
    for route in application.router.routes():
        info = route.resource.get_info() if route.resource is not None else {}
        path = info.get("path") or info.get("formatter") or ""
        if route.method in ("HEAD", "OPTIONS", "*") or not path or _HIDDEN.match(path):
            continue
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, bodies)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Telemetry gateway, control plane",
            "version": version,
            "description": "Reading needs the role read, changing the role operate, where credentials are configured.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    }


def _operation(route: web.AbstractRoute, path: str, bodies: Mapping[str, Any]) -> dict[str, Any]:
    key = f"{route.method} {path}"
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(path)
    ]
    said = (getattr(route.handler, "__doc__", None) or path).strip().splitlines()[0]
    content: dict[str, Any] = {kind: {} for kind in _KINDS.get(path, "application/json").split(", ")}
    responses: dict[str, Any] = {"200": {"description": "Done."} | ({} if key in _EMPTY else {"content": content})}
    responses |= {"201": responses["200"], "202": responses["200"], "204": {"description": "Done."}}
    responses |= {status: {"description": text} for status, text in _ERRORS.items()}
    if key in _DISK_FAILED:
        responses["500"] = {"description": "The change is not on disk; send it again."}
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", key).strip("_").lower(),
        "summary": said,
        "parameters": parameters + PARAMETERS.get(key, []),
        "responses": responses,
    }
    if key in bodies:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": bodies[key]}}}
    return operation


def add_document_route(application: web.Application, version: str) -> None:
    """Serve the document; to be called when all other routes are there."""
    encoded: list[bytes] = []

    async def document(_: web.Request) -> web.Response:
        """This document."""
        if not encoded:
            encoded.append(msgspec.json.encode(build_document(application, version)))
        return web.Response(body=encoded[0], content_type="application/json")

    application.router.add_get("/api/v1/openapi.json", document)
