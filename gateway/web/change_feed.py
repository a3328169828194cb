"""Reads the deploys and maintenance events that the data plane keeps (`<data_dir>/changes`) and hands each on.

The position is committed after the listener has made a change durable, so one may be handed on twice after a crash:
the listener knows it by its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.log.offsets import Offset, OffsetFile
from gateway.log.reader import EventReader
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES
from gateway.telemetry.change import Change
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.maintenance_event import MaintenanceEvent, decode_told

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 0.2
_AGAIN_SECONDS: Final = 1.0
_READ_BYTES: Final = 2**18


class ChangeFeed:
    """Tails one edge's log; start, then stop (idempotent)."""

    def __init__(
        self,
        directory: Path,
        offsets: Path,
        on_change: Callable[[Change | MaintenanceEvent], Awaitable[None]],
        edge: int = 0,
    ) -> None:
        self._directory, self._edge = directory, edge
        self._offset = OffsetFile(offsets)
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run(), name="change-feed")

    async def stop(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        await end_tasks(task)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except GatewayError as error:
                log.error("changes of the data plane cannot be read or kept, trying again", error=str(error))
            except Exception:  # the task's outermost edge: later ones must be read after any surprise
                TASK_FAILURES.labels("change-feed").inc()
                log.exception("the feed of changes failed, starting it again")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _follow(self) -> None:
        committed = await asyncio.to_thread(self._offset.load)
        position = committed.position if committed is not None else LogPosition(0, 0)
        reader = EventReader.open(self._directory, self._edge)
        try:
            while True:
                records = [] if reader.is_at_end() else await asyncio.to_thread(reader.read, _READ_BYTES)
                if not records:
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                for end, payload in records:
                    if end <= position:
                        continue
                    try:
                        await self._on_change(decode_told(payload))
                    except msgspec.DecodeError as error:
                        log.error("a record of the data plane's changes cannot be decoded", error=str(error))
                    await asyncio.to_thread(self._offset.commit, Offset(end, 0))
                    position = end
        finally:
            reader.close()
