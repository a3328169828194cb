"""What changes, as it changes: server-sent events of status, anomalies and alerts, and the status of the last hours.

One task asks the data plane for its status, whatever the number of listeners, and keeps a thinned record of it; each
listener has one bounded queue and loses its connection when it does not read (the browser connects again and gets the
present state first, so nothing has to be replayed).

  event: status     {"time", "status": {…} | null, "error", "rates"}   each second while somebody listens
  event: anomalies  {"open", "newest": [...]}                  when one opens, changes or ends
  event: alerts     {"alerts", "groups", "silences"}           when one of the counts changes

Source of the format: HTML Living Standard, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
import structlog
from aiohttp import web

from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES, gauge
from gateway.telemetry.anomaly import Anomaly
from gateway.web.complete_status import StatusSource
from gateway.web.query_parameters import parse_time
from gateway.web.status_record import StatusRecord, StatusSample

log = structlog.get_logger(__name__)

LISTENERS = gauge("console_event_listeners", "Open streams of server-sent events.")

LIVE_SECONDS: Final = 1.0
"""Between two statuses while somebody listens."""
RECORD_SECONDS: Final = 5.0
"""Between two remembered statuses, and between two questions while nobody listens."""
RECORD_LENGTH: Final = int(6 * 3600 / RECORD_SECONDS)
"""Six hours."""
RATE_SECONDS: Final = 45.0
"""Wider than the usual export intervals, so that a rate does not fall to 0 between two exports."""
MOST_SHOWN: Final = 720
"""Remembered statuses in one answer; a plot has hardly more pixels."""
MAX_LISTENERS: Final = 100
_QUEUE: Final = 64
_NEWEST: Final = 20
_KEEP_ALIVE_SECONDS: Final = 15.0

Counts = dict[str, int]


class AnomalySource(Protocol):
    """The anomaly feed."""

    changed: asyncio.Event

    @property
    def open_count(self) -> int:
        """How many are firing."""
        ...

    def newest(
        self, *, since: float = 0.0, limit: int = 100, severity: str | None = None, state: str | None = None
    ) -> list[Anomaly]:
        """Newest first."""
        ...


class Events:
    """Serves /api/v1/events and /api/v1/status/recent; start, then stop (idempotent). Belongs to one event loop."""

    def __init__(
        self,
        data_plane: StatusSource,
        anomalies: AnomalySource,
        alert_counts: Callable[[], Counts],
        clock: Clock,
        *,
        version: str,
    ) -> None:
        self._data_plane = data_plane
        self._anomalies = anomalies
        self._alert_counts = alert_counts
        self._clock = clock
        self._version = version
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._record = StatusRecord(RECORD_LENGTH)
        self._last: dict[str, bytes] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted = asyncio.Event()
        self._open = 0

    def routes(self) -> list[web.RouteDef]:
        """The two addresses."""
        return [
            web.get("/api/v1/events", self.stream),
            web.get("/api/v1/status/recent", self.recent),
        ]

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [
            asyncio.create_task(self._guarded(self._watch_status), name="events: status"),
            asyncio.create_task(self._guarded(self._watch_changes), name="events: changes"),
        ]

    async def stop(self) -> None:
        """Ends the tasks and every open stream; idempotent."""
        tasks, self._tasks = self._tasks, []
        await end_tasks(*tasks)
        for queue in list(self._queues):
            _end(queue)

    async def recent(self, request: web.Request) -> web.Response:
        """The remembered statuses since a moment, oldest first; of many every second, third … and always the last."""
        text = request.query.get("since", "")
        since = parse_time(text, "since") if text else 0.0
        return web.Response(
            body=msgspec.json.encode(self._record.since(since, MOST_SHOWN)), content_type="application/json"
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The stream; ends when the listener does not keep up or the program stops."""
        if len(self._queues) >= MAX_LISTENERS:
            return web.json_response({"error": f"{MAX_LISTENERS} streams are open already"}, status=503)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE)
        for message in self._last.values():
            queue.put_nowait(message)
        self._queues.add(queue)
        LISTENERS.set(len(self._queues))
        self._wanted.set()
        try:
            while True:
                try:
                    message_or_end = await asyncio.wait_for(queue.get(), _KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    message_or_end = b": still here\n\n"
                if message_or_end is None:
                    break
                await response.write(message_or_end)
        except ConnectionError:
            pass  # the listener went away, which is how streams end
        finally:
            self._queues.discard(queue)
            LISTENERS.set(len(self._queues))
        return response

    def _send(self, name: str, value: Any) -> None:
        message = b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(value) + b"\n\n"
        if self._last.get(name) == message:
            return
        self._last[name] = message
        for queue in list(self._queues):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._queues.discard(queue)
                _end(queue)

    async def _watch_status(self) -> None:
        while True:
            await self._ask()
            if self._queues:
                await asyncio.sleep(LIVE_SECONDS)
            else:
                self._wanted.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), RECORD_SECONDS)

    async def _ask(self) -> None:
        now = self._clock.time_ns() / 1e9
        try:
            status = await self._data_plane.status()
        except GatewayError as error:
            self._send("status", {"time": now, "status": None, "error": str(error)})
            return
        status["version"] = self._version
        status["open_anomalies"] = self._open
        self._send("status", {"time": now, "status": status, "error": "", "rates": self._rates(now, status)})
        newest = self._record.newest()
        if newest is None or now - newest.time >= RECORD_SECONDS - LIVE_SECONDS / 2:
            lag = status["lag_seconds"]
            self._record.append(
                StatusSample(
                    time=now,
                    accepted=status["accepted_points"],
                    scored=status["scored_points"],
                    forwarded=status["forwarded_points"],
                    pending=status["pending_forward_points"],
                    dropped=sum(status["dropped_points"].values()),
                    series=status["active_series"],
                    score_p99=lag["score_p99"],
                    forward_p99=lag["forward_p99"],
                    anomalies=self._open,
                )
            )

    def _rates(self, now: float, status: dict[str, Any]) -> dict[str, float]:
        """Points a second since the oldest remembered status of RATE_SECONDS; nothing before there is one."""
        counts = {
            "accepted": status["accepted_points"],
            "scored": status["scored_points"],
            "forwarded": status["forwarded_points"],
            "dropped": sum(status["dropped_points"].values()),
        }
        same_run = [s for s in self._record.since(now - RATE_SECONDS) if s.accepted <= counts["accepted"]]
        if not same_run or now - same_run[0].time < LIVE_SECONDS:
            return {}
        before = same_run[0]
        span = now - before.time
        return {name: max(0.0, (count - getattr(before, name)) / span) for name, count in counts.items()}

    async def _watch_changes(self) -> None:
        while True:
            self._anomalies.changed.clear()
            newest = self._anomalies.newest(limit=_NEWEST)
            self._open = self._anomalies.open_count
            self._send("anomalies", {"open": self._open, "newest": newest})
            self._send("alerts", self._alert_counts())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._anomalies.changed.wait(), LIVE_SECONDS)
                # A burst of records is one event.
                await asyncio.sleep(LIVE_SECONDS / 4)

    async def _guarded(self, run: Callable[[], Any]) -> None:
        while True:
            try:
                await run()
            except Exception:  # the task's outermost edge: the console goes on after any surprise
                TASK_FAILURES.labels("events").inc()
                log.exception("the stream of events failed, starting it again")
                await asyncio.sleep(LIVE_SECONDS)


def _end(queue: asyncio.Queue[bytes | None]) -> None:
    """The stream ends after what its queue can still hold; a full queue is emptied first."""
    while queue.full():
        queue.get_nowait()
    queue.put_nowait(None)
