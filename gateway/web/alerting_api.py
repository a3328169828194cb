"""Our own interface to the alert router: why an alert was told or not, what people say about it, what is on its way.

    GET  /api/v1/alerts/{fingerprint}/explain
    GET  /api/v1/alerts/{fingerprint}/context
    POST /api/v1/alerts/{fingerprint}/acknowledge     {"by", "note"?}
    POST /api/v1/alerts/{fingerprint}/unacknowledge   {"by"}
    POST /api/v1/alerts/{fingerprint}/snooze          {"by", "duration": "30m", "note"?}
    POST /api/v1/alerts/{fingerprint}/unsnooze        {"by"}
    POST /api/v1/alerts/{fingerprint}/resolve         {"by", "note"?}
    POST /api/v1/alerts/{fingerprint}/comments        {"by", "text"}
    GET  /api/v1/oncall
    GET  /api/v1/notifications?integration=&limit=

Errors of the tree are answered by the application's middleware.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from gateway.alerting.callbacks import MESSAGE_STATE
from gateway.alerting.moments import format_moment
from gateway.alerting.router import AlertRouter
from gateway.errors import RequestError
from gateway.settings_types import Duration
from gateway.web.json_api import json_response
from gateway.web.posted import said

MAX_LIMIT = 10_000


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a person sends."""

    by: str
    note: str = ""
    text: str = ""
    duration: str = ""


def register_routes(app: web.Application, router: AlertRouter, prefix: str = "") -> None:
    """Adds `prefix`/api/v1/alerts/… and /api/v1/notifications."""
    api = AlertingApi(router)
    one = f"{prefix}/api/v1/alerts/{{fingerprint}}"
    app.router.add_get(f"{one}/explain", api.explain)
    app.router.add_get(f"{one}/context", api.context)
    for name in ("acknowledge", "unacknowledge", "snooze", "unsnooze", "resolve", "comments"):
        app.router.add_post(f"{one}/{name}", getattr(api, name))
    app.router.add_get(f"{prefix}/api/v1/notifications", api.notifications)
    app.router.add_get(f"{prefix}/api/v1/oncall", api.oncall)


class AlertingApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router

    async def explain(self, request: web.Request) -> web.Response:
        """GET …/explain"""
        return json_response(await self._router.explain(request.match_info["fingerprint"]))

    async def context(self, request: web.Request) -> web.Response:
        """What helps with an alert: runbooks, similar alerts, deploys, related series, suggested actions."""
        return json_response(await self._router.alert_context(request.match_info["fingerprint"]))

    async def acknowledge(self, request: web.Request) -> web.Response:
        """POST …/acknowledge"""
        what = await said(request, Said)
        await self._router.acts.acknowledge(request.match_info["fingerprint"], what.by, what.note)
        return json_response({"acknowledgedBy": what.by})

    async def unacknowledge(self, request: web.Request) -> web.Response:
        """POST …/unacknowledge"""
        what = await said(request, Said)
        await self._router.acts.unacknowledge(request.match_info["fingerprint"], what.by)
        return json_response({"acknowledgedBy": ""})

    async def snooze(self, request: web.Request) -> web.Response:
        """POST …/snooze"""
        what = await said(request, Said)
        try:
            seconds = Duration.parse(what.duration)
        except ValueError as error:
            raise RequestError(str(error)) from error
        await self._router.acts.snooze(request.match_info["fingerprint"], what.by, seconds, what.note)
        return json_response({"snoozedFor": float(seconds)})

    async def unsnooze(self, request: web.Request) -> web.Response:
        """POST …/unsnooze"""
        what = await said(request, Said)
        await self._router.acts.unsnooze(request.match_info["fingerprint"], what.by)
        return json_response({"snoozedFor": 0.0})

    async def resolve(self, request: web.Request) -> web.Response:
        """POST …/resolve"""
        what = await said(request, Said)
        await self._router.acts.resolve(request.match_info["fingerprint"], what.by, what.note)
        return json_response({"resolvedBy": what.by})

    async def comments(self, request: web.Request) -> web.Response:
        """POST …/comments"""
        what = await said(request, Said)
        await self._router.acts.comment(request.match_info["fingerprint"], what.by, what.text)
        return json_response({"by": what.by})

    async def oncall(self, _request: web.Request) -> web.Response:
        """GET /oncall: who is on call now, by schedule and by team."""
        now = self._router.clock.time_ns()
        oncall = self._router.escalations.oncall
        schedules = {name: schedule.on_call(now) for name, schedule in oncall.schedules.items()}
        teams = [
            {
                "name": team.name,
                "members": team.members,
                "schedules": team.schedules,
                "onCall": oncall.on_call(team, now),
            }
            for team in oncall.teams.values()
        ]
        policies = [policy.name for policy in oncall.policies]
        return json_response({"schedules": schedules, "teams": teams, "policies": policies})

    async def notifications(self, request: web.Request) -> web.Response:
        """GET /notifications: what is on its way, and the latest deliveries, retries and refusals with their lag."""
        router = self._router
        now = router.clock.time_ns()
        wanted = request.query.get("integration", "")
        try:
            limit = min(max(int(request.query.get("limit", "100")), 1), MAX_LIMIT)
        except ValueError as error:
            raise RequestError("limit must be a whole number") from error
        pending = [
            {
                "id": slot.notification.id,
                "integration": slot.integration,
                "groupKey": slot.notification.group_key,
                "status": slot.notification.status,
                "why": slot.why,
                "attempts": slot.attempts,
                "nextAttempt": format_moment(slot.due),
                "lastError": slot.last_error,
                "lagSeconds": (now - slot.created) / 1e9,
            }
            for slot in router.engine.outbox.pending(wanted)[:limit]
        ]
        events = await asyncio.to_thread(
            router.store.history, kinds=("delivered", "retry", "refused", "withdrawn", MESSAGE_STATE), limit=limit
        )
        recent: list[dict[str, Any]] = []
        for event in events:
            detail = msgspec.json.decode(event.detail)
            if not wanted or detail.get("integration") == wanted:
                recent.append({"time": format_moment(event.time), "event": event.kind, "group": event.group, **detail})
        return json_response({"pending": pending, "recent": recent})
