"""A fault's stage: VictoriaMetrics, a proxy before it that can misbehave, the gateway, senders and a prober.

Sending goes on at a modest rate through the whole scenario, senders try refused requests again as real ones do, the
prober sends a sample every 100 ms and repeats nothing, and at the end everything that was acknowledged must be in
VictoriaMetrics, or be counted by the gateway as refused by it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadtest.bad_target import BadTarget
from loadtest.fault_table import Line
from loadtest.generator.sender import Senders
from loadtest.generator.work import Outcome, Work
from loadtest.ledger import Verdict
from loadtest.measure import at, verdict_of
from loadtest.prober import Prober, held_probes
from loadtest.processes import LoadTestError, await_true
from loadtest.programs import Gateway, VictoriaMetrics

RECOVERY_SECONDS: Final = 180.0
_DRAIN_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent around a fault: points a second, and seconds of each part of a scenario; rounds of one that has
    several faults in turn."""

    rate: float = 20_000.0
    seconds: float = 10.0
    series: int = 10_000
    batch: int = 500
    rounds: int = 1


QUICK: Final = Load(rate=2_000.0, seconds=2.0, series=2_000, batch=200)


@dataclass(slots=True)
class Scene:
    """What a fault may lay hands on, and what it reports: `injected`, `recoveries`, `detail`, `failures`."""

    directory: Path
    store: VictoriaMetrics
    front: BadTarget
    gateway: Gateway
    senders: Senders
    prober: Prober
    load: Load
    injected: int = 0
    recoveries: list[float] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long a fault that lasts lasts."""
        return self.load.seconds

    def recover_forwarding(self) -> None:
        """Wait until the backlog is under one second of the arrival rate, and note how long that took."""
        self.recoveries.append(
            await_true(lambda: self.gateway.pending() <= self.load.rate, RECOVERY_SECONDS, "forwarding caught up")
        )

    def recover_accepting(self) -> None:
        """Wait until a request made from now on is acknowledged, and note how long that took."""
        before = time.monotonic()
        self.recoveries.append(
            await_true(
                lambda: self.prober.began_last_acknowledged > before, RECOVERY_SECONDS, "acknowledging again", 0.01
            )
        )

    def expect(self, holds: bool, otherwise: str) -> None:
        """A claim beside the ledger's; a scenario with failures has not passed."""
        if not holds:
            self.failures.append(otherwise)


@dataclass(frozen=True, slots=True)
class Fault:
    """A scenario. `settings` go to the gateway, `environment` (called with the scenario's directory) too;
    `small_disk` puts its data on a file system of so many bytes; `program` is the VictoriaMetrics to begin with;
    `limits` sets options of the gateway's start."""

    title: str
    inject: Callable[[Scene], None]
    settings: tuple[str, ...] = ()
    small_disk: int = 0
    program: Callable[[], Path | None] = lambda: None
    environment: Callable[[Path], Mapping[str, str]] = lambda directory: {}
    sends: bool = True
    """Whether senders send beside the prober."""


def play(directory: Path, name: str, fault: Fault, load: Load) -> Line:
    """One scenario from nothing to its verdict. Raises LoadTestError."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = fault.environment(directory)
    store = VictoriaMetrics(directory / "victoria-metrics", program=fault.program())
    senders: Senders | None = None
    prober: Prober | None = None
    with _data_place(directory / "gateway", fault.small_disk):
        store.start()
        front = BadTarget(store.url)
        front.start()
        gateway = Gateway(directory / "gateway", front.url, fault.settings, environment)
        try:
            gateway.start()
            work = Work(
                "otlp-http", "http://127.0.0.1:1/", series=load.series, batch=load.batch, seconds=24 * 3600.0,
                rate=load.rate, connections=8, step_ms=1000, numbered=True, ledger_dir=directory / "ledger",
                patience=600.0,
            )  # fmt: skip
            senders = Senders(at(work, gateway))
            senders.build()
            senders.warm_up()
            prober = Prober(f"http://127.0.0.1:{gateway.http_port}")
            prober.start()
            if fault.sends:
                senders.start()
            scene = Scene(directory, store, front, gateway, senders, prober, load)
            time.sleep(min(3.0, load.seconds))
            fault.inject(scene)
            time.sleep(min(3.0, load.seconds))
            senders.stop()
            if not fault.sends:
                senders.start()  # they end at once, with an empty ledger
            outcome = senders.wait(timeout=600.0)
            prober.stop()
            await_true(lambda: gateway.pending() == 0, _DRAIN_SECONDS, "everything handed on")
            status = gateway.status()
            verdict = verdict_of(senders.work, store.url)
            probes = held_probes(store.url)
        finally:
            if prober is not None:
                prober.stop()
            if senders is not None:
                senders.kill()
            gateway.stop()
            front.stop()
            store.kill()
    return _line(name, fault, scene, verdict, status, outcome, probes)


def _line(
    name: str,
    fault: Fault,
    scene: Scene,
    verdict: Verdict,
    status: dict[str, Any],
    outcome: Outcome,
    probes: Mapping[int, int],
) -> Line:
    set_aside = int(sum(status["dropped_points"].values()))
    taken = scene.prober.acknowledged
    lost = max(0, verdict.lost + sum(1 for number in taken if number not in probes) - set_aside)
    seen = scene.prober.report()
    held_of_sent = verdict.held + verdict.unacknowledged_held
    passed = (
        lost == 0 and verdict.wrong == 0 and scene.injected > 0 and len(taken) > 0 and not scene.failures
        and outcome.refused == 0 and (verdict.acknowledged > 0 or not fault.sends)
        and set_aside <= verdict.lost + len(taken)
    )  # fmt: skip
    return Line(
        name, fault.title, scene.injected, verdict.acknowledged + len(taken),
        verdict.held + sum(number in probes for number in taken), lost, passed,
        set_aside=set_aside, repeated=verdict.repeated + sum(n - 1 for n in probes.values()),
        recovery_seconds=round(max(scene.recoveries, default=0.0), 2), refused_share=seen["refused_share"],
        longest_refusal_seconds=seen["longest_without_acknowledgement_seconds"],
        complete=min(1.0, round((held_of_sent + set_aside) / verdict.sent, 5)) if verdict.sent else None,
        detail={
            "sent": verdict.sent, "wrong": verdict.wrong, "unacknowledged_held": verdict.unacknowledged_held,
            "refused_requests": outcome.refused, "retries": outcome.retries, "rate": scene.load.rate,
            "dropped_points": status["dropped_points"], "probes": seen["probes"], "failures": scene.failures,
            **scene.detail,
        },
    )  # fmt: skip


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
