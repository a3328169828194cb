"""Probes as health and as alerts.

    GET /api/v1/probes    [{"name", "target", "kind", "interval", "state", "since", "failures", "last", "recent"}]

A probe that failed often enough becomes the alert `ProbeFailed`, renewed while it fails; it ends by itself after.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from gateway.alerting.alert import Alert, fingerprint
from gateway.clock import Clock
from gateway.probes.asking import shown_target
from gateway.probes.prober import Failing, Prober
from gateway.web.json_api import json_response

_RENEW_NS: Final = 15 * 10**9
_ENDS_AFTER_NS: Final = 60 * 10**9


class ProbeAlerts:
    """What the prober tells, as alerts for the router."""

    def __init__(self, post_alerts: Callable[[list[Alert]], Awaitable[None]], clock: Clock) -> None:
        self._post_alerts, self._clock = post_alerts, clock
        self._told: dict[str, int] = {}

    async def __call__(self, failing: Sequence[Failing]) -> None:
        """Post those that were not posted within the last seconds. Raises DiskFailed, ShuttingDown."""
        now = self._clock.time_ns()
        due = [one for one in failing if now - self._told.get(one.probe.name, 0) >= _RENEW_NS]
        if due:
            await self._post_alerts([self._alert(one, now) for one in due])
        for one in due:
            self._told[one.probe.name] = now

    def _alert(self, one: Failing, now: int) -> Alert:
        probe = one.probe
        labels = {
            "alertname": "ProbeFailed",
            "probe": probe.name,
            "service": "probes",
            "severity": probe.severity,
            "target": shown_target(probe.target),
        }
        return Alert(
            fingerprint=fingerprint(labels),
            labels=labels,
            annotations={"summary": f"{probe.name} does not answer as expected: {one.problem}"},
            starts=min(round(one.starts * 1e9), now),
            ends=now + max(_ENDS_AFTER_NS, round(2 * probe.interval * 1e9)),
            updated=now,
            origin="probe",
        )


class ProbesApi:
    """The handler."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/probes", self.probes)]

    async def probes(self, _: web.Request) -> web.Response:
        """Every probe with its state and latest results, failing ones first."""
        return json_response(self._prober.health())
