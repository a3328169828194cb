"""A role's side of its supervisor: the lines it owes, and the socket it was given. See `gateway.supervisor`."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from gateway.owned_tasks import end_tasks
from gateway.role_lines import ALIVE_LINE, HEARTBEAT_SECONDS, IDLE_LINE, READY_LINE
from gateway.selfmetrics import gauge

RESTARTS = gauge("role_restarts", "How often the supervisor has started this role again.")


class Heartbeat:
    """The child's side: tells the supervisor that this process is ready and that its loop turns.

    `progress` is asked before each beat, so that a pipeline that stands still is noticed although the loop turns: None
    while it moves, else the id (gettid(2)) of the thread that it waits for, or 0.
    """

    def __init__(self, progress: Callable[[], int | None]) -> None:
        descriptor = os.environ.pop("GATEWAY_SUPERVISOR_FD", "")
        self._descriptor = int(descriptor) if descriptor else None
        RESTARTS.set(int(os.environ.pop("GATEWAY_RESTARTS", "0")))
        self._progress = progress
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Say ready, then beat until stopped."""
        self._write(READY_LINE)
        self._task = asyncio.create_task(self._beat(), name="heartbeat")

    async def stop(self) -> None:
        """End the beat; idempotent."""
        task, self._task = self._task, None
        await end_tasks(task)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            waits_for = self._progress()
            self._write(ALIVE_LINE if waits_for is None else IDLE_LINE % waits_for)

    def _write(self, line: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, line)
        except BrokenPipeError:
            # The supervisor is gone; the kernel's death signal is on its way.
            self._descriptor = None


def listener_of_parent() -> socket.socket | None:
    """The child's side: the role's listening socket, if the supervisor holds one for it."""
    descriptor = os.environ.pop("GATEWAY_LISTENER_FD", "")
    if not descriptor:
        return None
    listener = socket.socket(fileno=int(descriptor))
    listener.set_inheritable(False)
    return listener
