"""Runs the probes: each on its own rhythm, results sent together to the gateway's own OTLP address, health kept.

Sending: what has come in since the last second goes out as one request. While the data plane does not answer, results
wait, the oldest are given up beyond MAX_WAITING and counted: a probe is about now.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import structlog

from gateway.clock import Clock
from gateway.owned_tasks import end_tasks
from gateway.probes.asking import Result, ask, shown_target
from gateway.probes.results import request_of
from gateway.probes.settings import Probe, ProbesSettings
from gateway.selfmetrics import TASK_FAILURES, counter

log = structlog.get_logger(__name__)

PROBES = counter("probes", "Probes made.", ["result"])
UNSENT = counter("probe_results_dropped", "Results given up because the data plane did not take them in time.")

MAX_WAITING: Final = 5000
KEPT_RESULTS: Final = 120
"""Results of a probe kept for the list of probes."""
_SEND_SECONDS: Final = 1.0
_SEND_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


@dataclass(frozen=True, slots=True)
class Failing:
    """A probe that has failed often enough for an alert; starts: Unix seconds of the first failure."""

    probe: Probe
    starts: float
    problem: str


OnFailing = Callable[[Sequence[Failing]], Awaitable[None]]
"""Told about every second which probes are failing."""


@dataclass(slots=True)
class _Health:
    probe: Probe
    failures: int = 0
    since: float = 0.0
    """When the present state (ok or failing) began."""
    results: deque[Result] = field(default_factory=lambda: deque(maxlen=KEPT_RESULTS))


class Prober:
    """Belongs to the event loop that starts it.

    endpoint: the OTLP/HTTP address of metrics; tls: how to check its certificate. instance: service.instance.id.
    """

    def __init__(
        self,
        settings: ProbesSettings,
        clock: Clock,
        *,
        endpoint: str,
        instance: str,
        on_failing: OnFailing | None = None,
        tls: Any = True,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._endpoint, self._instance, self._tls = endpoint, instance, tls
        self._on_failing = on_failing
        self._health = [_Health(probe) for probe in settings.probe]
        self._waiting: deque[tuple[Probe, Result]] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to probe, if there is anything to probe."""
        if not self._health:
            return
        spread = len(self._health)
        self._tasks = [
            asyncio.create_task(self._keep(health, number / spread), name=f"probe {health.probe.name}")
            for number, health in enumerate(self._health)
        ]
        self._tasks.append(asyncio.create_task(self._send_all(), name="probes: send"))

    async def stop(self) -> None:
        """Ends every task; idempotent."""
        tasks, self._tasks = self._tasks, []
        await end_tasks(*tasks)

    def health(self) -> list[dict[str, Any]]:
        """Every probe with its latest results, failing ones first."""
        lines = [
            {
                "name": h.probe.name,
                "target": shown_target(h.probe.target),
                "kind": "http" if h.probe.is_http else "tcp",
                "interval": float(h.probe.interval),
                "state": "waiting" if not h.results else "ok" if h.results[-1].ok else "failing",
                "since": h.since or None,
                "failures": h.failures,
                "last": h.results[-1] if h.results else None,
                "recent": [(r.at, r.ok, round(r.duration, 6)) for r in h.results],
            }
            for h in self._health
        ]
        order = ("failing", "waiting", "ok")
        return sorted(lines, key=lambda line: (order.index(str(line["state"])), str(line["name"])))

    async def _keep(self, health: _Health, share: float) -> None:
        # Probes of one rhythm are spread over it, the first within five seconds of the start.
        await asyncio.sleep(share * min(float(health.probe.interval), 5.0))
        due = self._clock.monotonic()
        while True:
            try:
                await self._once(health)
            except Exception:  # the task's outermost edge: one surprise must not end the probe
                TASK_FAILURES.labels("probe").inc()
                log.exception("a probe failed in itself", probe=health.probe.name)
            due = max(due + float(health.probe.interval), self._clock.monotonic())
            await asyncio.sleep(due - self._clock.monotonic())

    async def _once(self, health: _Health) -> None:
        now = self._clock.time_ns() / 1e9
        result = await ask(health.probe, allow_internal=self._settings.allow_internal, now=now)
        PROBES.labels("ok" if result.ok else "failed").inc()
        if not health.results or health.results[-1].ok != result.ok:
            health.since = now
            log.info("probe", probe=health.probe.name, ok=result.ok, problem=result.problem)
        health.failures = 0 if result.ok else health.failures + 1
        health.results.append(result)
        self._waiting.append((health.probe, result))
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            UNSENT.inc()

    async def _send_all(self) -> None:
        async with aiohttp.ClientSession(timeout=_SEND_TIMEOUT) as session:
            while True:
                await asyncio.sleep(_SEND_SECONDS)
                try:
                    await self._send(session)
                    await self._tell()
                except Exception:  # the task's outermost edge: later results must still go out
                    TASK_FAILURES.labels("probes: send").inc()
                    log.exception("results of probes could not be sent")

    async def _send(self, session: aiohttp.ClientSession) -> None:
        batch = list(self._waiting)
        if not batch:
            return
        headers = {"Content-Type": "application/x-protobuf"}
        if self._settings.token:
            headers["Authorization"] = f"Bearer {self._settings.token.reveal()}"
        body = request_of(batch, self._instance)
        try:
            async with session.post(self._endpoint, data=body, headers=headers, ssl=self._tls) as response:
                if response.status >= 500 or response.status == 429:
                    return  # they wait
                if response.status != 200:
                    log.warning("results of probes were refused; see probes.token", status=response.status)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return
        for _ in batch:
            with contextlib.suppress(IndexError):  # the oldest may have been given up meanwhile
                self._waiting.popleft()

    async def _tell(self) -> None:
        if self._on_failing is None:
            return
        failing = [
            Failing(h.probe, h.since, h.results[-1].problem)
            for h in self._health
            if h.probe.alert_after and h.failures >= h.probe.alert_after
        ]
        if failing:
            await self._on_failing(failing)
