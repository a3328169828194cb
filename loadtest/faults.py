"""Faults injected while senders send, each with its ledger verdict; one table at the end.

Sending goes on at a modest rate through the whole scenario, senders try refused requests again as real ones do, and
then everything that was acknowledged must be in VictoriaMetrics, or be counted by the gateway as refused by it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from loadtest.bad_target import BadTarget, Behaviour
from loadtest.generator.sender import Senders
from loadtest.generator.work import Work
from loadtest.ledger import Verdict
from loadtest.measure import at, verdict_of
from loadtest.processes import LoadTestError, await_true
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.progress import ERRORS, figure, say

_RATE: Final = 20_000.0
_RECOVERY_SECONDS: Final = 180.0
_DRAIN_SECONDS: Final = 600.0
_COUNTS: Final = ("injected", "acknowledged", "held", "lost", "set_aside", "repeated")


@dataclass(slots=True)
class Scene:
    """What a fault may lay hands on."""

    store: VictoriaMetrics
    front: BadTarget
    gateway: Gateway
    senders: Senders
    seconds: float
    injected: int = 0
    recoveries: list[float] = field(default_factory=list)

    def forwarded(self) -> int:
        """Points that the gateway says VictoriaMetrics has; -1 when it does not answer."""
        try:
            return int(self.gateway.status()["forwarded_points"])
        except OSError:
            return -1

    def recover_forwarding(self) -> None:
        """Wait until the backlog is under one second of the arrival rate, and note how long that took."""
        self.recoveries.append(
            await_true(lambda: self.gateway.pending() <= _RATE, _RECOVERY_SECONDS, "forwarding caught up")
        )

    def recover_accepting(self) -> None:
        """Wait until requests are acknowledged again, and note how long that took."""
        before = self.senders.acknowledged
        self.recoveries.append(
            await_true(lambda: self.senders.acknowledged > before, _RECOVERY_SECONDS, "acknowledging again", 0.01)
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """A scenario. `settings` go to the gateway; `small_disk` puts its data on a file system of so many bytes."""

    title: str
    inject: Callable[[Scene], None]
    settings: tuple[str, ...] = ()
    small_disk: int = 0


def _target_down(scene: Scene) -> None:
    scene.store.stop()
    scene.injected += 1
    time.sleep(scene.seconds)
    scene.store.start()
    scene.recover_forwarding()


def _target_killed(scene: Scene) -> None:
    for _ in range(3):
        taken = scene.front.taken
        await_true(lambda taken=taken: scene.front.taken > taken, 60.0, "a write taken", 0.001)  # type: ignore[misc]
        scene.store.kill()
        scene.injected += 1
        scene.store.start()
        scene.recover_forwarding()
        time.sleep(scene.seconds / 10)


def _answers(status: int, times: int) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        behaviour = Behaviour(status=status, times=times)
        scene.front.behaviour = behaviour
        if times > 0:
            await_true(lambda: behaviour.times == 0, 60.0, f"{times} answers {status}")
        else:
            time.sleep(scene.seconds)
        scene.front.behaviour = Behaviour()
        scene.injected += behaviour.answered_wrongly
        scene.recover_forwarding()

    return inject


def _resets(scene: Scene) -> None:
    behaviour = Behaviour(reset_after_bytes=0)
    scene.front.behaviour = behaviour
    time.sleep(scene.seconds)
    scene.front.behaviour = Behaviour()
    scene.injected += behaviour.answered_wrongly
    scene.recover_forwarding()


def _slow(scene: Scene) -> None:
    behaviour = Behaviour(delay=2.0)
    scene.front.behaviour = behaviour
    time.sleep(scene.seconds)
    scene.front.behaviour = Behaviour()
    scene.injected += behaviour.answered_wrongly
    scene.recover_forwarding()


def _log_full(scene: Scene) -> None:
    scene.store.stop()
    before = scene.senders.acknowledged
    while True:
        time.sleep(3.0)
        if scene.senders.acknowledged == before:
            break
        before = scene.senders.acknowledged
    scene.injected += 1
    scene.store.start()
    scene.recover_accepting()
    scene.recover_forwarding()


def _disk_full(scene: Scene) -> None:
    filler = scene.gateway.data_dir / "filler"
    with filler.open("wb") as file:
        room = os.statvfs(scene.gateway.data_dir)
        os.posix_fallocate(file.fileno(), 0, max(4096, room.f_bavail * room.f_bsize - 65_536))
    scene.injected += 1
    time.sleep(scene.seconds)
    filler.unlink()
    scene.recover_accepting()
    scene.recover_forwarding()


def _gateway_killed(scene: Scene) -> None:
    for _ in range(3):
        scene.gateway.kill()
        scene.injected += 1
        scene.gateway.launch()
        scene.recover_accepting()
        time.sleep(scene.seconds / 10)
    scene.recover_forwarding()


def _role_stuck(scene: Scene) -> None:
    pid = scene.gateway.role_pids()["data"]
    os.kill(pid, signal.SIGSTOP)
    scene.injected += 1
    scene.recover_accepting()
    scene.recover_forwarding()


FAULTS: Final[dict[str, Fault]] = {
    "vm-down": Fault("VictoriaMetrics stopped", _target_down),
    "vm-kill9": Fault("VictoriaMetrics: kill -9 right after its 204", _target_killed),
    "vm-400": Fault("VictoriaMetrics answers 400 to one block", _answers(400, 1)),
    "vm-429": Fault("VictoriaMetrics answers 429 to everything", _answers(429, -1)),
    "vm-503": Fault("VictoriaMetrics answers 503 in a burst", _answers(503, 20)),
    "vm-reset": Fault("connection reset after a write was taken", _resets),
    "vm-slow": Fault("VictoriaMetrics answers after two seconds", _slow),
    "log-full": Fault("log full while VictoriaMetrics is down", _log_full, ("log.max_bytes=8MiB",)),
    "disk-full": Fault("no space left on the disk", _disk_full, small_disk=256 * 2**20),
    "kill9": Fault("gateway: kill -9 of every process", _gateway_killed),
    "stuck": Fault("data plane stands still (SIGSTOP)", _role_stuck),
}


def faults(directory: Path, only: Sequence[str], seconds: float) -> int:
    """`loadtest faults`. Returns the exit status. Raises LoadTestError."""
    unknown = set(only) - set(FAULTS)
    if unknown:
        raise LoadTestError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    table = Table("fault", "injected", "acknowledged", "held", "lost", "set aside", "repeated", "worst recovery, s")
    failed = 0
    for name, fault in FAULTS.items():
        if only and name not in only:
            continue
        say(f"{name}: {fault.title}")
        try:
            line = _scenario(directory / name, name, fault, seconds)
        except LoadTestError as error:
            failed += 1
            say(f"{name}: FAILED: {error}")
            continue
        failed += not line["passed"]
        figure(line)
        table.add_row(
            fault.title, *(f"{line[column]:,}" for column in _COUNTS),
            str(line["worst_recovery_seconds"]),
        )  # fmt: skip
    ERRORS.print(table)
    say(f"{failed} of the scenarios failed" if failed else "nothing acknowledged was lost")
    return 1 if failed else 0


def _scenario(directory: Path, name: str, fault: Fault, seconds: float) -> dict[str, Any]:
    store = VictoriaMetrics(directory / "victoria-metrics")
    senders: Senders | None = None
    with _data_place(directory / "gateway", fault.small_disk):
        store.start()
        front = BadTarget(store.url)
        front.start()
        gateway = Gateway(directory / "gateway", front.url, fault.settings)
        try:
            gateway.start()
            work = Work(
                "otlp-http", "http://127.0.0.1:1/", series=10_000, batch=500, seconds=24 * 3600.0, rate=_RATE,
                connections=8, step_ms=1000, numbered=True, ledger_dir=directory / "ledger", patience=600.0,
            )  # fmt: skip
            senders = Senders(at(work, gateway))
            senders.build()
            senders.warm_up()
            senders.start()
            scene = Scene(store, front, gateway, senders, seconds)
            time.sleep(min(3.0, seconds))
            fault.inject(scene)
            time.sleep(min(3.0, seconds))
            senders.stop()
            outcome = senders.wait(timeout=600.0)
            await_true(lambda: gateway.pending() == 0, _DRAIN_SECONDS, "everything handed on")
            status = gateway.status()
            verdict = verdict_of(senders.work, store.url)
        finally:
            if senders is not None:
                senders.kill()
            gateway.stop()
            front.stop()
            store.kill()
    return _line(name, fault, scene, verdict, status, outcome.refused)


def _line(
    name: str, fault: Fault, scene: Scene, verdict: Verdict, status: dict[str, Any], refused: int
) -> dict[str, Any]:
    set_aside = int(sum(status["dropped_points"].values()))
    figures = verdict.figures()
    figures["lost"] = max(0, verdict.lost - set_aside)
    return {
        "scenario": "fault", "fault": name, "title": fault.title, "injected": scene.injected, **figures,
        "set_aside": set_aside, "dropped_points": status["dropped_points"], "refused_requests": refused,
        "worst_recovery_seconds": round(max(scene.recoveries, default=0.0), 2),
        "passed": figures["lost"] == 0 and verdict.wrong == 0 and scene.injected > 0 and verdict.acknowledged > 0
        and set_aside <= verdict.lost,
    }  # fmt: skip


@contextmanager
def _data_place(directory: Path, small_disk: int) -> Iterator[None]:
    """A small file system in memory for the gateway's data, where one is asked for. Raises LoadTestError."""
    data = directory / "data"
    if not small_disk:
        yield
        return
    data.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={small_disk}", "tmpfs", str(data)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        raise LoadTestError(f"a small file system cannot be mounted (needs root): {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(data)], check=False)
