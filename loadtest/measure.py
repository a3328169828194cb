"""One measured run against one target: CPU read when nothing is pending, before and after."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from loadtest.generator.sender import Senders, ledger_files
from loadtest.generator.work import Outcome, Work
from loadtest.ledger import Ledger, Verdict
from loadtest.processes import LoadTestError, await_true, cpu_seconds, resident_bytes, thread_cpu, thread_names
from loadtest.programs import Gateway, Target, VictoriaMetrics
from loadtest.progress import bar, figure, say

_ANOMALIES: Final = "gateway_anomalies_total"
DRAIN_SECONDS: Final = 600.0
"""How long the backlog may take to become empty."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run gave."""

    target: str
    version: str
    outcome: Outcome
    cpu_seconds: float
    """Of the target's processes, from the first request until everything is handed on."""
    drain_seconds: float
    """From the last acknowledgement until then."""
    resident_bytes: int
    threads: dict[str, tuple[float, float]]
    """The gateway's data plane: thread → user and system CPU, µs a point; empty for peers."""
    processes: dict[str, float]
    """The gateway's processes: role → CPU, µs a point; empty for peers."""
    anomalies: int
    """Records of the gateway's detector since its start: the load is to look healthy."""
    status: dict[str, Any]
    """The gateway's /api/v1/status after the run; empty for peers."""

    @property
    def points_per_cpu_second(self) -> float:
        """The figure that machines are compared by."""
        return self.outcome.points / self.cpu_seconds if self.cpu_seconds else 0.0

    def figures(self) -> dict[str, Any]:
        """For a JSON line."""
        work = self.outcome.work
        figures: dict[str, Any] = {
            "target": self.target, "version": self.version, **self.outcome.figures(),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "points_per_cpu_second": round(self.points_per_cpu_second),
            "cpu_us_per_point": round(self.cpu_seconds / max(1, self.outcome.points) * 1e6, 3),
            "drain_seconds": round(self.drain_seconds, 2),
            "rss_bytes": self.resident_bytes, "rss_bytes_per_series": round(self.resident_bytes / work.series),
        }  # fmt: skip
        if self.status:
            figures["thread_us_per_point"] = self.threads
            figures["process_us_per_point"] = self.processes
            figures["anomalies"] = self.anomalies
            figures["active_series"] = self.status["active_series"]
            figures.update({f"lag_{k}_s": round(v, 4) for k, v in self.status["lag_seconds"].items()})
        return figures


def measure(target: Target, store: VictoriaMetrics, work: Work, profile: Path | None = None) -> Measured:
    """Warm up, wait until nothing is pending, send, wait again.

    Raises LoadTestError when a point that was acknowledged was not handed on (for the gateway: not scored either).
    """
    senders = Senders(work)
    title = f"{target.name} {work.protocol} {work.encoding} {work.batch}"
    try:
        senders.build()
        rows = store.rows()
        if work.warm_rounds:
            with bar(f"{title} warm-up", work.warm_requests) as progress:
                senders.warm_up(progress)
        else:
            senders.warm_up()
        rows += work.warm_requests * work.batch
        await_true(lambda: store.rows() >= rows and target.pending() == 0, DRAIN_SECONDS, "warm-up handed on")
        await_true(lambda: _at_rest(target.pid), DRAIN_SECONDS, "the start over", 0.0)
        before = target.status() if isinstance(target, Gateway) else {}
        threads = thread_cpu(target.role_pids()["data"]) if isinstance(target, Gateway) else {}
        roles = _roles(target) if isinstance(target, Gateway) else {}
        cpu = cpu_seconds(target.pid)
        profiler = _profiler(target, profile) if profile is not None else None
        senders.start()
        with bar(title, work.requests or None) as progress:
            outcome = senders.wait(progress)
        rows += outcome.points
        drained = await_true(lambda: store.rows() >= rows and target.pending() == 0, DRAIN_SECONDS, "all handed on")
        cpu = cpu_seconds(target.pid) - cpu
        by_role: dict[str, float] = {}
        anomalies = 0.0
        if isinstance(target, Gateway):
            anomalies = target.metric(_ANOMALIES)
            by_role = {
                name: round((spent - roles.get(name, 0.0)) / outcome.points * 1e6, 4)
                for name, spent in _roles(target).items()
            }
        by_thread = _by_thread(target, threads, outcome.points) if isinstance(target, Gateway) else {}
        if profiler is not None:
            profiler.send_signal(signal.SIGINT)  # py-spy writes its file on this
            profiler.wait(60)
        status = target.status() if isinstance(target, Gateway) else {}
    finally:
        senders.kill()
    if status:
        for name in ("accepted_points", "scored_points", "forwarded_points"):
            gained = status[name] - before[name]
            if gained < outcome.points:
                raise LoadTestError(
                    f"{outcome.points} points acknowledged, but {name} grew by {gained}; not scored: "
                    f"{status['not_scored_points']}, dropped: {status['dropped_points']}"
                )
    return Measured(
        target.name, target.version, outcome, cpu, drained, resident_bytes(target.pid), by_thread, by_role,
        int(anomalies), status,
    )  # fmt: skip


def _roles(gateway: Gateway) -> dict[str, float]:
    """CPU seconds of each role's process, and of the supervisor and the process they are forked from."""
    roles = gateway.role_pids()
    spent = {name: cpu_seconds(pid) for name, pid in roles.items()}
    whole = cpu_seconds(gateway.pid)
    return {**spent, "supervisor and fork server": whole - sum(spent.values())}


def _at_rest(pid: int) -> bool:
    """Whether the processes do next to nothing for half a second: what a start loads in the background is no work."""
    before = cpu_seconds(pid)
    time.sleep(0.5)
    return cpu_seconds(pid) - before < 0.06


def _by_thread(gateway: Gateway, before: dict[int, tuple[float, float]], points: int) -> dict[str, tuple[float, float]]:
    """µs a point, threads of one name together; those that began or ended meanwhile are counted by what is left."""
    pid = gateway.role_pids()["data"]
    names = thread_names(pid)
    found: dict[str, tuple[float, float]] = {}
    for thread, (user, system) in thread_cpu(pid).items():
        name = names.get(thread, "library threads").rstrip("0123456789").rstrip("_")
        was = before.get(thread, (0.0, 0.0))
        so_far = found.get(name, (0.0, 0.0))
        spent = (user - was[0], system - was[1])
        found[name] = (so_far[0] + spent[0] / points * 1e6, so_far[1] + spent[1] / points * 1e6)
    kept = {name: spent for name, spent in found.items() if sum(spent) > 0.0005}
    return {name: (round(user, 4), round(system, 4)) for name, (user, system) in kept.items()}


def _profiler(target: Target, path: Path) -> subprocess.Popen[bytes]:
    """py-spy on the gateway's data plane, or Linux's perf for a file *.data, which sees kernel and libraries as well.
    Slows it down a little: no figure of such a run is worth keeping."""
    pid = target.role_pids()["data"] if isinstance(target, Gateway) else target.pid
    if path.suffix == ".data":
        perf = ["perf", "record", "-F", "999", "-p", str(pid), "-o", str(path)]
        return subprocess.Popen(perf, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shape = "flamegraph" if path.suffix == ".svg" else "raw"
    command: list[str | Path] = [
        Path(sys.executable).parent / "py-spy", "record", "--nonblocking", "--threads", "--rate", "200",
        "--format", shape, "--output", str(path), "--pid", str(pid),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def verdict_of(work: Work, url: str, *, alone: bool = True) -> Verdict:
    """Ask the ledger; says the verdict. alone: see Ledger.verify."""
    assert work.ledger_dir is not None
    ledger = Ledger(ledger_files(work.ledger_dir), work.batch)
    with bar("reading back", ledger.acknowledged_points) as progress:
        verdict = ledger.verify(url, progress, alone=alone)
    say(verdict.line())
    for lost in verdict.first_lost:
        say(f"  lost: {lost}")
    return verdict


def run(directory: Path, work: Work, settings: tuple[str, ...] = (), profile: Path | None = None) -> int:
    """`loadtest run`: one gateway, one VictoriaMetrics, one piece of work. Returns the exit status."""
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, settings)
    try:
        store.start()
        say(f"VictoriaMetrics {store.version}; gateway ready after {gateway.start():.1f} s")
        work = at(work, gateway)
        measured = measure(gateway, store, work, profile)
        figures = {"scenario": "run", **measured.figures()}
        passed = measured.outcome.refused == measured.outcome.given_up == 0
        if work.ledger_dir is not None:
            verdict = verdict_of(work, store.url)
            figures.update(verdict.figures())
            passed = passed and verdict.passed
        figure(figures)
        return 0 if passed else 1
    finally:
        gateway.stop()
        store.kill()


def at(work: Work, target: Target) -> Work:
    """The same work, sent to this target."""
    return replace(work, url=target.endpoint(work.protocol))
