"""Interfaces of other services, so that what speaks to them can be pointed here.

    POST /v2/enqueue                         PagerDuty Events v2
    POST /v2/change/enqueue                  PagerDuty change events: a deployment, kept in the history
    POST /v2/alerts                          Opsgenie; {alias}/close and {alias}/acknowledge with identifierType=alias
    POST /api/v1/inbound/webhook             Alertmanager's and Grafana's webhook message

The first three exist only when `alerting.inbound_keys` names keys: they are PagerDuty's routing keys and Opsgenie's API
keys. A 202 is given when the change is on disk.
"""

from __future__ import annotations

import contextlib
import hmac
import uuid
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from gateway.alerting.inbound import (
    OPSGENIE,
    PAGERDUTY,
    OpsgenieAlert,
    PagerDutyEvent,
    WebhookMessage,
    from_opsgenie,
    from_pagerduty,
    from_webhook,
)
from gateway.alerting.router import AlertRouter
from gateway.errors import Conflict, NotFound, RequestError, RetryLater

T = TypeVar("T")
MAX_KEY = 255


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the routes that the settings allow."""
    api = InboundApi(router)
    app.router.add_post("/api/v1/inbound/webhook", api.webhook)
    if router.settings.inbound_keys:
        app.router.add_post("/v2/enqueue", api.pagerduty)
        app.router.add_post("/v2/change/enqueue", api.change)
        app.router.add_post("/v2/alerts", api.opsgenie_create)
        app.router.add_post("/v2/alerts/{alias}/{action:close|acknowledge}", api.opsgenie_act)


class InboundApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router

    async def webhook(self, request: web.Request) -> web.Response:
        """POST /api/v1/inbound/webhook"""
        now = self._router.clock.time_ns()
        message = _decode(await request.read(), WebhookMessage)
        await self._router.post_alerts([from_webhook(item, now) for item in message.alerts])
        return _json(200, {"accepted": len(message.alerts)})

    async def pagerduty(self, request: web.Request) -> web.Response:
        """POST /v2/enqueue"""
        router, now = self._router, self._router.clock.time_ns()
        try:
            event = _decode(await request.read(), PagerDutyEvent)
            self._check_key(event.routing_key)
            key = event.dedup_key or str(uuid.uuid4())
            if len(key) > MAX_KEY:
                raise RequestError("dedup_key is longer than 255 characters")
            if event.event_action == "trigger":
                await router.post_alerts(router.open_keys.replacing(from_pagerduty(event, key, now), now))
            elif event.event_action == "resolve":
                await router.post_alerts(router.open_keys.ended(PAGERDUTY, key, now))
            elif event.event_action == "acknowledge":
                await self._acknowledge(PAGERDUTY, key)
            else:
                raise RequestError("event_action must be trigger, acknowledge or resolve")
        except RequestError as error:
            return _json(400, {"status": "invalid event", "message": str(error), "errors": [str(error)]})
        except RetryLater as error:
            return _json(503, {"status": "error", "message": str(error)})
        return _json(202, {"status": "success", "message": "Event processed", "dedup_key": key})

    async def change(self, request: web.Request) -> web.Response:
        """POST /v2/change/enqueue"""
        try:
            event = _decode(await request.read(), dict[str, Any])
            self._check_key(str(event.get("routing_key", "")))
            payload = event.get("payload")
            if not isinstance(payload, dict) or not payload.get("summary"):
                raise RequestError("a change needs payload.summary")
        except RequestError as error:
            return _json(400, {"status": "invalid event", "message": str(error), "errors": [str(error)]})
        await self._router.record_change(payload, event.get("links") or [])
        return _json(202, {"status": "success", "message": "Change event processed"})

    async def opsgenie_create(self, request: web.Request) -> web.Response:
        """POST /v2/alerts"""
        router, now = self._router, self._router.clock.time_ns()
        refused = self._check_genie_key(request)
        if refused is not None:
            return refused
        try:
            posted = _decode(await request.read(), OpsgenieAlert)
            alias = posted.alias or str(uuid.uuid4())
            await router.post_alerts(router.open_keys.replacing(from_opsgenie(posted, alias, now), now))
        except RequestError as error:
            return _json(422, {"message": str(error), "took": 0.0, "requestId": str(uuid.uuid4())})
        return _accepted()

    async def opsgenie_act(self, request: web.Request) -> web.Response:
        """POST /v2/alerts/{alias}/close and …/acknowledge"""
        refused = self._check_genie_key(request)
        if refused is not None:
            return refused
        if request.query.get("identifierType") != "alias":
            text = "only identifierType=alias is supported"
            return _json(422, {"message": text, "took": 0.0, "requestId": str(uuid.uuid4())})
        alias, now = request.match_info["alias"], self._router.clock.time_ns()
        if request.match_info["action"] == "close":
            await self._router.post_alerts(self._router.open_keys.ended(OPSGENIE, alias, now))
        else:
            await self._acknowledge(OPSGENIE, alias)
        return _accepted()

    async def _acknowledge(self, origin: str, key: str) -> None:
        alert = self._router.open_keys.find(origin, key)
        if alert is not None:
            # One that ended in the meantime has nothing left to acknowledge.
            with contextlib.suppress(NotFound, Conflict):
                await self._router.acknowledge(alert.fingerprint, origin)

    def _known(self, key: str) -> bool:
        keys = self._router.settings.inbound_keys
        return any(hmac.compare_digest(known.reveal().encode(), key.encode()) for known in keys)

    def _check_key(self, key: str) -> None:
        if not self._known(key):
            raise RequestError("routing_key is not known")

    def _check_genie_key(self, request: web.Request) -> web.Response | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme == "GenieKey" and self._known(key):
            return None
        return _json(401, {"message": "the API key is not known", "took": 0.0, "requestId": str(uuid.uuid4())})


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise RequestError(str(error)) from error


def _accepted() -> web.Response:
    return _json(202, {"result": "Request will be processed", "took": 0.0, "requestId": str(uuid.uuid4())})


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
