"""Who is on call over time, and how far the escalation of an alert has come.

    GET /api/v1/oncall/calendar?from=&to=
        [{"schedule", "location", "now", "shifts": [{"person", "start", "end", "override"}]}]
    GET /api/v1/alerts/{fingerprint}/escalation
        [{"policy", "receiver", "began", "stopped", "steps": [{"step", "round", "due", "targets", "state"}]}]

A step's state is told, next, later, or dropped (the escalation stopped before it). Times of the calendar are Unix
seconds; `from` and `to` are read as everywhere, a fortnight from now by default.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from gateway.alerting.escalation import Escalation, due_offset
from gateway.alerting.moments import NEVER, SECOND, format_moment
from gateway.alerting.oncall import Policy
from gateway.alerting.oncall_calendar import shifts
from gateway.alerting.router import AlertRouter
from gateway.errors import RequestError
from gateway.web.json_api import json_response
from gateway.web.query_parameters import parse_time

DEFAULT_DAYS: Final = 14
MOST_DAYS: Final = 92
MAX_STEPS: Final = 100
_FIRST: Final = 0.0
_LAST: Final = 4102444800.0


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the two addresses."""
    api = OnCallApi(router)
    app.router.add_get("/api/v1/oncall/calendar", api.calendar)
    app.router.add_get("/api/v1/alerts/{fingerprint}/escalation", api.escalation)


class OnCallApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router

    async def calendar(self, request: web.Request) -> web.Response:
        """Shifts of every schedule over a span."""
        now = self._router.clock.time_ns() / SECOND
        since = parse_time(request.query.get("from") or str(now), "from")
        until = parse_time(request.query.get("to") or str(since + DEFAULT_DAYS * 86400), "to")
        if not _FIRST <= since < until <= _LAST or until - since > MOST_DAYS * 86400:
            raise RequestError(f"from must be before to, at most {MOST_DAYS} days", reason="parameter")
        schedules = self._router.escalations.oncall.schedules.values()
        return json_response(
            [
                {
                    "schedule": schedule.name,
                    "location": schedule.location,
                    "now": schedule.on_call(round(now * SECOND)),
                    "shifts": shifts(schedule, since, until),
                }
                for schedule in schedules
            ]
        )

    async def escalation(self, request: web.Request) -> web.Response:
        """Escalations of the groups an alert is in: which steps were told, which are to come and when."""
        engine, escalations = self._router.engine, self._router.escalations
        policies = {policy.name: policy for policy in escalations.oncall.policies}
        found = []
        for group_id in sorted(engine.membership.get(request.match_info["fingerprint"], ())):
            escalation, group = escalations.get(group_id), engine.groups.get(group_id)
            if escalation is not None and group is not None and escalation.policy in policies:
                found.append(_shown(escalation, policies[escalation.policy], group.route.receiver))
        return json_response(found)


def _shown(escalation: Escalation, policy: Policy, receiver: str) -> dict[str, Any]:
    steps = []
    for number in range(min(len(policy.steps) * (policy.repeat + 1), MAX_STEPS)):
        told = number < escalation.next_step
        coming = "next" if number == escalation.next_step else "later"
        steps.append(
            {
                "step": number % len(policy.steps) + 1,
                "round": number // len(policy.steps) + 1,
                "due": format_moment(escalation.began - escalation.set_back + due_offset(policy, number)),
                "targets": [f"{kind} {name}" for kind, name in policy.steps[number % len(policy.steps)].targets],
                "state": "told" if told else "dropped" if escalation.due == NEVER else coming,
            }
        )
    return {
        "policy": policy.name,
        "receiver": receiver,
        "began": format_moment(escalation.began),
        "stopped": escalation.stopped,
        "steps": steps,
    }
