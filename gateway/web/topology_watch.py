"""Keeps the correlation's topology fresh: call edges and places, asked from the data plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import structlog

from gateway.alerting.moments import SECOND
from gateway.alerting.topology import Place, place_of
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES
from gateway.telemetry.call_edge import CallEdge

PERIOD: Final = 10.0
PLACES_PERIOD: Final = 300.0
"""Places are looked for less often than call edges: the data plane walks its whole index to answer."""
PLACES_RETRY: Final = 30.0
"""The same while there are none, as after a start; twice as long each time."""
PLACES: Final = ('{__name__="target_info"}', '{__name__="up"}')
"""One series of either for each instance: written by OTLP's rules for resources, and by whatever scrapes. Two questions
for a value, as one for an expression looks at every series."""
MAX_SERIES: Final = 100_000
RENEWAL: Final = 600 * SECOND
"""A call edge that is seen all the time is passed on this often."""
_log = structlog.get_logger(__name__)

Listener = Callable[[list[CallEdge], Iterable[Place], int], None]


class TopologySource(Protocol):
    """The data plane, asked from the control plane."""

    async def calls(self) -> list[CallEdge]:
        """Call edges; raises Unavailable."""
        ...

    async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
        """Series with `labels`; raises Unavailable."""
        ...


class TopologyWatch:
    """Asks every PERIOD seconds; start, then stop (idempotent)."""

    def __init__(self, source: TopologySource, listener: Listener, clock: Clock) -> None:
        self._source, self._listener, self._clock = source, listener, clock
        self._ask_places_at = float("-inf")
        self._retry = PLACES_RETRY
        self._passed: dict[tuple[str, str], int] = {}
        self._places: set[Place] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to ask."""
        self._task = asyncio.create_task(self._run(), name="topology")

    async def stop(self) -> None:
        """See the class."""
        task, self._task = self._task, None
        await end_tasks(task)

    async def ask(self) -> None:
        """Once. Raises Unavailable."""
        edges = await self._source.calls()
        labels: list[dict[str, str]] = []
        now = self._clock.monotonic()
        if now >= self._ask_places_at:
            for match in PLACES:
                labels += [found["labels"] for found in await self._source.series(match, MAX_SERIES)]
            self._ask_places_at = now + (PLACES_PERIOD if labels else self._retry)
            self._retry = PLACES_RETRY if labels else min(2 * self._retry, PLACES_PERIOD)
        fresh, places = await asyncio.to_thread(self._news, edges, labels)
        if fresh or places:
            self._listener(fresh, places, self._clock.time_ns())

    def _news(self, edges: list[CallEdge], labels: list[dict[str, str]]) -> tuple[list[CallEdge], list[Place]]:
        """What was not passed on yet, or long ago: most rounds bring nothing."""
        fresh = [e for e in edges if e.last_seen - self._passed.get((e.caller, e.callee), 0) > RENEWAL]
        self._passed.update({(e.caller, e.callee): e.last_seen for e in fresh})
        found = {place_of(one) for one in labels}
        places = [place for place in found - self._places if place.service and place.host]
        if labels:
            self._places = found
        return fresh, places

    async def _run(self) -> None:
        while True:
            try:
                await self.ask()
            except GatewayError as error:
                _log.debug("the topology was not renewed", error=str(error))
            except Exception:  # noqa: BLE001 - outermost edge of the task: the next round may work
                TASK_FAILURES.labels("topology").inc()
                _log.exception("the topology could not be renewed")
            await asyncio.sleep(PERIOD)
