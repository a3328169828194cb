"""Opsgenie's heartbeat interface, with `Authorization: GenieKey …` as for its alerts.

    GET, POST, PUT, PATCH /v2/heartbeats/{name}/ping
    GET, POST             /v2/heartbeats              {"name", "interval", "intervalUnit", "enabled", "description"?}
    GET, PATCH, DELETE    /v2/heartbeats/{name}

A ping is answered 202 whether there is such a heartbeat or not, as Opsgenie does.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.tokens import Authenticator
from gateway.alerting.heartbeat import Heartbeat
from gateway.alerting.inbound_fields import Invalid
from gateway.alerting.moments import SECOND
from gateway.alerting.router import AlertRouter
from gateway.errors import GatewayError
from gateway.web.inbound_api import MAX_EVENT, counted, decode_json, genie_key, opsgenie_refusal, read_body, took
from gateway.web.json_api import json_response

MAX_NAME: Final = 200
MAX_DESCRIPTION: Final = 10_000
MAX_HEARTBEATS: Final = 10_000
_UNITS: Final = {"minutes": 60 * SECOND, "hours": 3600 * SECOND, "days": 86400 * SECOND}
Work = Callable[[web.Request], Awaitable[tuple[int, dict[str, Any]]]]


def register_routes(app: web.Application, router: AlertRouter, authenticator: Authenticator) -> None:
    """Adds the addresses."""
    api = HeartbeatApi(router, authenticator)
    one = "/v2/heartbeats/{name}"
    for method in ("GET", "POST", "PUT", "PATCH"):
        app.router.add_route(method, f"{one}/ping", api.ping)
    app.router.add_get("/v2/heartbeats", api.heartbeats)
    app.router.add_post("/v2/heartbeats", api.add)
    app.router.add_get(one, api.heartbeat)
    app.router.add_patch(one, api.change)
    app.router.add_delete(one, api.remove)


class HeartbeatApi:
    """The handlers."""

    def __init__(self, router: AlertRouter, authenticator: Authenticator) -> None:
        self._router, self._authenticator = router, authenticator

    async def ping(self, request: web.Request) -> web.Response:
        """Says that the sender is alive."""
        return await self._answer(request, self._ping)

    async def heartbeats(self, request: web.Request) -> web.Response:
        """All heartbeats."""
        return await self._answer(request, self._list)

    async def add(self, request: web.Request) -> web.Response:
        """Adds a heartbeat."""
        return await self._answer(request, self._add)

    async def heartbeat(self, request: web.Request) -> web.Response:
        """One heartbeat."""
        return await self._answer(request, self._get)

    async def change(self, request: web.Request) -> web.Response:
        """Changes what the body names."""
        return await self._answer(request, self._change)

    async def remove(self, request: web.Request) -> web.Response:
        """Removes a heartbeat."""
        return await self._answer(request, self._remove)

    async def _answer(self, request: web.Request, work: Work) -> web.Response:
        began, request_id = time.monotonic(), str(uuid.uuid4())
        try:
            genie_key(request, self._authenticator)
            status, body = await work(request)
        except GatewayError as error:
            return counted("opsgenie", opsgenie_refusal(error, began, request_id))
        answer = {**body, "took": took(began), "requestId": request_id}
        return counted("opsgenie", json_response(answer, status, {"X-Request-Id": request_id}))

    async def _ping(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        self._router.heartbeats.ping(request.match_info["name"], self._now())
        await self._router.settled()
        return 202, {"result": "PONG - Heartbeat received"}

    async def _list(self, _request: web.Request) -> tuple[int, dict[str, Any]]:
        return 200, {"data": {"heartbeats": [_shown(one) for one in self._router.heartbeats]}}

    async def _get(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        return 200, {"data": _shown(self._router.heartbeats.get(request.match_info["name"]))}

    async def _add(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        body = _fields(decode_json(await read_body(request, MAX_EVENT)))
        if len(list(self._router.heartbeats)) >= MAX_HEARTBEATS:
            raise Invalid({"name": f"there are {MAX_HEARTBEATS} heartbeats already"})
        made = _read(Heartbeat(name="", interval=0), body)
        self._router.heartbeats.add(made)
        await self._router.settled()
        return 201, {"data": _shown(made)}

    async def _change(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        old = self._router.heartbeats.get(request.match_info["name"])
        body = _fields(decode_json(await read_body(request, MAX_EVENT)))
        self._router.heartbeats.change(_read(old, {**body, "name": old.name}), self._now())
        await self._router.settled()
        return 200, {"data": _shown(self._router.heartbeats.get(old.name))}

    async def _remove(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        name = request.match_info["name"]
        self._router.heartbeats.remove(name, self._now())
        await self._router.settled()
        return 200, {"code": 200, "data": {"name": name}}

    def _now(self) -> int:
        return self._router.clock.time_ns()


def _fields(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Invalid({"body": "an object is expected"})
    return body


def _read(old: Heartbeat, body: dict[str, Any]) -> Heartbeat:
    problems: dict[str, str] = {}
    name = body.get("name", "")
    description, enabled = body.get("description", old.description), body.get("enabled", old.enabled)
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or "/" in name:
        problems["name"] = f"a text of 1 to {MAX_NAME} characters without /"
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION:
        problems["description"] = f"a text of at most {MAX_DESCRIPTION} characters"
    if not isinstance(enabled, bool):
        problems["enabled"] = "true or false"
    interval = old.interval
    if "interval" in body or not interval:
        count, unit = body.get("interval"), body.get("intervalUnit", "minutes")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 100_000:
            problems["interval"] = "a whole number from 1"
        elif unit not in _UNITS:
            problems["intervalUnit"] = "minutes, hours or days"
        else:
            interval = count * _UNITS[unit]
    if problems:
        raise Invalid(problems)
    return msgspec.structs.replace(old, name=name, description=description, enabled=enabled, interval=interval)


def _shown(heartbeat: Heartbeat) -> dict[str, Any]:
    unit = next(name for name, size in reversed(_UNITS.items()) if heartbeat.interval % size == 0)
    return {
        "name": heartbeat.name,
        "description": heartbeat.description,
        "interval": heartbeat.interval // _UNITS[unit],
        "intervalUnit": unit,
        "enabled": heartbeat.enabled,
        "expired": heartbeat.expired,
    }
