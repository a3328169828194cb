"""The gateway's watch over itself, from the control plane: a watchdog alert, an outgoing heartbeat, alerts about data.

    dead-man's switch      way of the signal                          its absence means
    watchdog alert         through routing, grouping and a receiver   nobody would hear of an alert
    outgoing heartbeat     straight to an address                     the gateway, its host or its network is down

Both are silent while the data plane is not well: a signal that goes on regardless says nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import aiohttp
import structlog

from gateway.alerting.alert import Alert, fingerprint
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES, counter
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.self_watch_settings import SelfWatchSettings

log = structlog.get_logger(__name__)

HEARTBEATS = counter("heartbeats", "Outgoing heartbeats, by result.", ["result"])

_LOOK_SECONDS: Final = 15.0
_START_SECONDS: Final = 30.0
"""So long the data plane may take to answer for the first time before that is worth a line."""
_ALERT_ENDS_AFTER_NS: Final = 90 * 10**9
"""An alert that is not renewed ends by itself; six looks."""
_HEARTBEAT_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)

PostAlerts = Callable[[list[Alert]], Awaitable[None]]


class SelfWatch:
    """Belongs to the event loop that starts it. post_alerts: AlertRouter.post_alerts."""

    def __init__(
        self, settings: SelfWatchSettings, data_plane: DataPlaneClient, post_alerts: PostAlerts, clock: Clock
    ) -> None:
        self._settings = settings
        self._data_plane = data_plane
        self._post_alerts = post_alerts
        self._clock = clock
        self._started_ns = clock.time_ns()
        self._started = clock.monotonic()
        self._answered = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        self._tasks.append(asyncio.create_task(self._every(_LOOK_SECONDS, self.look), name="self-watch"))
        if self._settings.heartbeat_url:
            interval = max(1.0, float(self._settings.heartbeat_interval))
            self._tasks.append(asyncio.create_task(self._every(interval, self.beat), name="heartbeat-out"))

    async def stop(self) -> None:
        """Idempotent."""
        tasks, self._tasks = self._tasks, []
        await end_tasks(*tasks)

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except GatewayError as error:
                if self._answered or self._clock.monotonic() - self._started >= _START_SECONDS:
                    log.warning("the watch over itself could not look", error=str(error))
            except Exception:  # the task's outermost edge: a surprise must not end the watch
                TASK_FAILURES.labels("self-watch").inc()
                log.exception("the watch over itself failed")
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Renew the alerts that hold now. Raises Unavailable, DiskFailed."""
        status = await self._data_plane.status()
        self._answered = True
        now = self._clock.time_ns()
        alerts = []
        if self._settings.watchdog and not status.get("problem"):
            said = "This alert always fires. If it stops arriving, the way from the gateway to you is broken."
            alerts.append(self._alert({"alertname": "Watchdog", "severity": "none"}, said, self._started_ns, now))
        if self._settings.data_quality_alerts:
            alerts += self._quality_alerts(status.get("data_quality", ()), now)
        if alerts:
            await self._post_alerts(alerts)

    def _quality_alerts(self, problems: Iterable[dict[str, Any]], now: int) -> Iterable[Alert]:
        for problem in problems:
            labels = {
                "alertname": "DataQuality",
                "check": problem["check"],
                "job": problem["sender"],
                "severity": "low",
            }
            yield self._alert(labels, _SAID[problem["check"]].format(**problem), int(problem["since"] * 1e9), now)

    def _alert(self, labels: dict[str, str], said: str, starts_ns: int, now: int) -> Alert:
        labels = {name: value for name, value in sorted(labels.items()) if value}
        return Alert(
            fingerprint=fingerprint(labels),
            labels=labels,
            annotations={"summary": said},
            starts=min(starts_ns, now),
            ends=now + _ALERT_ENDS_AFTER_NS,
            updated=now,
        )

    async def beat(self) -> None:
        """One heartbeat, if both planes are well."""
        if await self._data_plane.ready():
            HEARTBEATS.labels("withheld").inc()
            return
        try:
            async with (
                aiohttp.ClientSession(timeout=_HEARTBEAT_TIMEOUT) as session,
                session.post(self._settings.heartbeat_url.reveal(), allow_redirects=False) as response,
            ):
                result = "ok" if response.status < 300 else "refused"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The address may carry a token: only the kind of the error is told.
            log.warning("the heartbeat could not be sent", error=type(error).__name__)
            result = "failed"
        HEARTBEATS.labels(result).inc()


_SAID: Final = {
    "clock_ahead": "The clock of {sender} is {value} s ahead: its points come from the future.",
    "clock_behind": "The youngest points of {sender} are {value} s old when they arrive: its clock or its way is late.",
    "lost_series": "{value:.0f} series of {sender} stopped sending within minutes.",
    "repeated": "{value:.0%} of all points repeat a time that is known already; {sender} is to be looked at.",
    "gaps": "Series of {sender} paused for up to {value:.0f} s, longer than three of their steps.",
    "unit_change": "Values of {sender} are {value:.4g} times what was expected, all alike: did their unit change?",
}
