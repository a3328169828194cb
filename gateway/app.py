"""Runs one role of the program until it is told to stop.

A role is an object with `start` and `stop`; `stop` is idempotent and bounded, and undoes whatever part of `start` had
been reached. Each role's module is imported by the process that needs it alone.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import signal
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
import uvloop

from gateway import selfmetrics
from gateway.clock import SystemClock
from gateway.config import LoadedConfig
from gateway.errors import GatewayError
from gateway.heartbeat import Heartbeat
from gateway.owned_tasks import end_tasks
from gateway.role_names import CONTROL, DATA, worker_of

log = structlog.get_logger(__name__)

_OF_BOTH_PLANES: Final = (
    "gateway.heartbeat", "gateway.log.reader", "gateway.baseline.freeze", "gateway.pipeline.free_memory",
)  # fmt: skip
"""Modules that declare metrics and belong to both planes."""

_STOP_SECONDS: Final = 9.0

_YOUNG_OBJECTS: Final = 20_000
"""New objects at which the collector looks for cycles. A request under way holds some hundreds, none of them in cycles:
with Python's 700 it looked through them again and again, a fifth of the cost of small requests."""

_loaded: set[str] = set()
"""Planes whose code this process has loaded."""


class RoleProcess(Protocol):
    """What `run_role` runs."""

    async def start(self) -> None:
        """Return once the role serves."""
        ...

    async def stop(self) -> None:
        """End in an orderly way."""
        ...

    def waits_for(self) -> int | None:
        """None while the role moves; else the thread that stands still, or 0. See heartbeat.Heartbeat."""
        ...

    async def reload(self) -> None:
        """Read again what can change while running. Raises GatewayError and keeps the old where the new is unusable."""
        ...


def run_role(name: str, loaded: LoadedConfig) -> None:
    """Run one role until SIGTERM. Raises what its start raised."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signal(_make(name, loaded)))


def load_role(name: str) -> None:
    """Import everything the role needs, kernels included: nearly all of the time that a start takes. From then on this
    process exposes the metrics of the role's plane alone."""
    plane = CONTROL if worker_of(name) is None else DATA
    _load(plane)
    selfmetrics.expose(plane)


def load_for_fork(name: str | None) -> bool:
    """As load_role, for a process that becomes this role by a fork and other roles by further ones; None: whatever any
    role needs. Whether there was anything to load."""
    wanted = (DATA, CONTROL) if name is None else (CONTROL if worker_of(name) is None else DATA,)
    missing = [plane for plane in wanted if plane not in _loaded]
    for plane in missing:
        _load(plane)
    if missing:
        free_memory = importlib.import_module("gateway.pipeline.free_memory")
        free_memory.give_back_free_memory()
        free_memory.give_back_file_pages()
    return bool(missing)


def _load(plane: str) -> None:
    # Before either plane's own modules, whichever comes first: what both count, and would declare.
    for module in _OF_BOTH_PLANES:
        importlib.import_module(module)
    with selfmetrics.declared_by(plane):
        importlib.import_module(f"gateway.{plane}_role")
    if plane == DATA:
        warmup = importlib.import_module("kernels.warmup")
        warmup.load_all()
        warmup.forget_sources()
    _loaded.add(plane)


def _make(name: str, loaded: LoadedConfig) -> RoleProcess:
    worker = worker_of(name)
    if worker is not None:
        from gateway.data_role import DataRole

        return DataRole(loaded, SystemClock(), worker)
    from gateway.control_role import ControlRole

    return ControlRole(loaded, SystemClock())


async def _until_signal(role: RoleProcess) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    reloading = asyncio.create_task(_reload_on(hangup, role), name="reload-on-hangup")
    heartbeat = Heartbeat(role.waits_for)
    try:
        await role.start()
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, 10, 10)
        heartbeat.start()
        await stopping.wait()
    finally:
        await end_tasks(reloading)
        try:
            await _bounded(role.stop)
        finally:
            await heartbeat.stop()


async def _reload_on(hangup: asyncio.Event, role: RoleProcess) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await role.reload()
        except GatewayError as error:
            log.error("the configuration was not reloaded; the former one stays", error=str(error))
        except Exception:  # the task's outermost edge: the next SIGHUP must be answered too
            selfmetrics.TASK_FAILURES.labels("reload").inc()
            log.exception("the configuration could not be reloaded")


async def _bounded(stop: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await stop()
    except TimeoutError:
        log.error("stopping took too long; what is acknowledged is on disk", seconds=_STOP_SECONDS)
