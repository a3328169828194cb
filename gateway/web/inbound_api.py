"""Other tools' interfaces, so that what speaks them can point here: PagerDuty Events v2, Opsgenie, webhooks, markers.

    POST /v2/enqueue, POST /v2/change/enqueue                          PagerDuty; the routing key is the credential
    POST /v2/alerts, …/{alias}/close|acknowledge?identifierType=alias  Opsgenie; `Authorization: GenieKey …`
    POST /api/v1/inbound/webhook                                       Alertmanager's and Grafana's webhook message
    POST, GET /api/v1/markers                                          deploy markers

Success is answered when the change is on disk. Errors have each sender's own form. Where the gateway asks for
credentials, the routing key or GenieKey must be an access token with the role `operate`: these senders have no other
place for one, so `access_guard` leaves the addresses under /v2/ to the check here.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.tokens import Authenticator
from gateway.alerting.inbound import (
    MAX_ALIAS,
    Event,
    Marker,
    marker_of,
    opsgenie_action,
    opsgenie_alert,
    pagerduty_change,
    pagerduty_event,
    pagerduty_key,
    webhook_alerts,
)
from gateway.alerting.inbound_desk import InboundDesk
from gateway.alerting.inbound_fields import Invalid
from gateway.alerting.markers import stored_markers
from gateway.alerting.moments import SECOND, format_moment
from gateway.alerting.router import AlertRouter
from gateway.errors import BodyTooLarge, GatewayError, PermissionDenied, RequestError, RetryLater, Unauthenticated
from gateway.selfmetrics import counter
from gateway.web.json_api import json_response
from gateway.web.posted import decoded
from gateway.web.query_parameters import parse_time

MAX_EVENT: Final = 512 * 1024
"""Bytes of one PagerDuty or Opsgenie event and of a marker."""
MAX_WEBHOOK: Final = 8 * 2**20
MAX_MARKERS: Final = 10_000
_LATEST: Final = 4102444800.0
_anything = msgspec.json.Decoder(Any)
_RECEIVED = counter("inbound_events", "Events of other tools, by interface and answer.", ["interface", "status"])


def register_routes(app: web.Application, router: AlertRouter, authenticator: Authenticator) -> None:
    """Adds the addresses; the router must have been started."""
    api = InboundApi(router, authenticator)
    app.router.add_post("/v2/enqueue", api.enqueue)
    app.router.add_post("/v2/change/enqueue", api.change)
    app.router.add_post("/v2/alerts", api.opsgenie)
    app.router.add_post("/v2/alerts/{alias}/close", api.opsgenie_close)
    app.router.add_post("/v2/alerts/{alias}/acknowledge", api.opsgenie_acknowledge)
    app.router.add_post("/api/v1/inbound/webhook", api.webhook)
    app.router.add_post("/api/v1/markers", api.mark)
    app.router.add_get("/api/v1/markers", api.markers)


class InboundApi:
    """The handlers."""

    def __init__(self, router: AlertRouter, authenticator: Authenticator) -> None:
        self._router = router
        self._authenticator = authenticator
        self._desk = InboundDesk(router)

    # PagerDuty

    async def enqueue(self, request: web.Request) -> web.Response:
        """An alert event of PagerDuty's Events API v2."""
        try:
            body = decode_json(await read_body(request, MAX_EVENT))
            if self._authenticator.required:
                _identify(pagerduty_key(body), self._authenticator)
            event = pagerduty_event(body, self._now())
            await self._desk.take(event)
        except GatewayError as error:
            return counted("pagerduty", _pagerduty_refusal(error))
        answer = {"status": "success", "message": "Event processed", "dedup_key": event.key}
        return counted("pagerduty", json_response(answer, 202))

    async def change(self, request: web.Request) -> web.Response:
        """A change event of PagerDuty's Events API v2, kept as a deploy marker."""
        try:
            body = decode_json(await read_body(request, MAX_EVENT))
            if self._authenticator.required:
                _identify(pagerduty_key(body), self._authenticator)
            _, marker = pagerduty_change(body, self._now())
            await self._router.mark(marker)
        except GatewayError as error:
            return counted("pagerduty", _pagerduty_refusal(error))
        return counted("pagerduty", json_response({"status": "success", "message": "Change event processed"}, 202))

    # Opsgenie

    async def opsgenie(self, request: web.Request) -> web.Response:
        """A new alert of Opsgenie's alert API."""
        return await self._opsgenie(request, "")

    async def opsgenie_close(self, request: web.Request) -> web.Response:
        """Ends an alert by its alias."""
        return await self._opsgenie(request, "resolve")

    async def opsgenie_acknowledge(self, request: web.Request) -> web.Response:
        """Acknowledges an alert by its alias."""
        return await self._opsgenie(request, "acknowledge")

    async def _opsgenie(self, request: web.Request, action: str) -> web.Response:
        began = time.monotonic()
        request_id = str(uuid.uuid4())
        try:
            credential = genie_key(request, self._authenticator)
            text = await read_body(request, MAX_EVENT)
            event: Event
            if action:
                if request.query.get("identifierType", "id") != "alias":
                    raise Invalid({"identifierType": "Alerts are known here by alias: identifierType=alias"})
                alias = request.match_info["alias"]
                if len(alias) > MAX_ALIAS:
                    raise Invalid({"alias": "alias is too long"})
                event = opsgenie_action(action, alias, decode_json(text) if text.strip() else None, credential)
            else:
                event = opsgenie_alert(decode_json(text), credential, self._now())
            await self._desk.take(event)
        except GatewayError as error:
            return counted("opsgenie", opsgenie_refusal(error, began, request_id))
        answer = {"result": "Request will be processed", "took": took(began), "requestId": request_id}
        return counted("opsgenie", json_response(answer, 202, {"X-Request-Id": request_id}))

    # Webhook and markers: our own addresses, our own errors

    async def webhook(self, request: web.Request) -> web.Response:
        """The webhook message of Alertmanager (version 4) or Grafana; valid alerts are kept if others are refused."""
        alerts, problems = webhook_alerts(decode_json(await read_body(request, MAX_WEBHOOK)), self._now())
        if alerts:
            await self._desk.webhook(alerts)
        if problems:
            raise RequestError("; ".join(problems[:10]))
        return counted("webhook", json_response({"accepted": len(alerts)}))

    async def mark(self, request: web.Request) -> web.Response:
        """Keeps a deploy marker."""
        marker = marker_of(decode_json(await read_body(request, MAX_EVENT)), self._now())
        await self._router.mark(marker)
        return counted("marker", json_response(_shown(marker), 201))

    async def markers(self, request: web.Request) -> web.Response:
        """Deploy markers, newest first."""
        query = request.query
        until = _moment(query.get("to") or "", "to", self._now() + 1)
        since = _moment(query.get("from") or "", "from", until - 7 * 86400 * SECOND)
        limit = query.get("limit") or "100"
        if not (limit.isascii() and limit.isdigit()) or not 1 <= int(limit[:9]) <= MAX_MARKERS:
            raise RequestError(f"limit={limit[:20]!r}: expected 1 to {MAX_MARKERS}", reason="parameter")
        found = await asyncio.to_thread(
            stored_markers, self._router.store, since, until, int(limit), query.get("service", "")
        )
        return json_response([_shown(marker) for marker in found])

    def _now(self) -> int:
        return self._router.clock.time_ns()


def genie_key(request: web.Request, authenticator: Authenticator) -> str:
    """The key that Opsgenie's clients send. Raises Unauthenticated, PermissionDenied."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "geniekey" or not key.strip():
        raise Unauthenticated("Could not authenticate")
    if authenticator.required:
        _identify(key.strip(), authenticator)
    return key.strip()


def _identify(token: str, authenticator: Authenticator) -> None:
    identity = authenticator.identify_nowait(f"Bearer {token}")
    assert identity is not None  # tokens are compared at once
    identity.require("operate")


async def read_body(request: web.Request, most: int) -> bytes:
    """Raises BodyTooLarge."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge(f"the body is larger than {most} bytes") from None
    if len(body) > most:
        raise BodyTooLarge(f"the body is larger than {most} bytes")
    return body


def decode_json(body: bytes) -> Any:
    """Raises RequestError."""
    return decoded(_anything, body)


def _pagerduty_refusal(error: GatewayError) -> web.Response:
    if isinstance(error, RetryLater):
        return json_response({"status": "error", "message": str(error)}, 503, {"Retry-After": "1"})
    if isinstance(error, (Unauthenticated, PermissionDenied)):
        problems = ["'routing_key' is not known or may not change anything"]
    else:
        problems = list(error.problems.values()) if isinstance(error, Invalid) else [str(error)]
    message = "Event object is invalid" if error.reason != "json" else "Invalid JSON"
    return json_response({"status": "invalid event", "message": message, "errors": problems}, error.http_status)


def opsgenie_refusal(error: GatewayError, began: float, request_id: str) -> web.Response:
    """An error in Opsgenie's form."""
    answer: dict[str, Any] = {"message": str(error), "took": took(began), "requestId": request_id}
    status, headers = error.http_status, {"X-Request-Id": request_id}
    if isinstance(error, Invalid):
        status = 422
        answer["message"] = "Request body is not processable. Please check the errors."
        answer["errors"] = error.problems
    elif isinstance(error, RetryLater):
        status = 503
        headers["Retry-After"] = "1"
    elif isinstance(error, Unauthenticated):
        answer["message"] = "Could not authenticate"
    return json_response(answer, status, headers)


def took(began: float) -> float:
    """Seconds since a reading of the monotonic clock."""
    return round(time.monotonic() - began, 3)


def _shown(marker: Marker) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(marker)
    shown["time"] = format_moment(marker.time)
    return shown


def _moment(text: str, name: str, default: int) -> int:
    if not text:
        return default
    seconds = parse_time(text, name)
    if not 0 <= seconds <= _LATEST:
        raise RequestError(f"{name}={text!r} is out of range", reason="parameter")
    return round(seconds * SECOND)


def counted(interface: str, answer: web.Response) -> web.Response:
    """The answer, counted."""
    _RECEIVED.labels(interface, str(answer.status)).inc()
    return answer
