"""kill -9 of the gateway's processes at random moments while senders send; then the ledger."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from loadtest.fault_table import Line
from loadtest.generator.sender import Senders
from loadtest.generator.work import Work
from loadtest.measure import at, verdict_of
from loadtest.prober import Prober, held_probes
from loadtest.processes import LoadTestError, await_true
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.progress import bar, figure, say

LONGEST_PAUSE: Final = 2.0
"""Seconds between two kills, at most; drawn evenly from zero, so that kills hit start-up too."""
_RECOVERY_SECONDS: Final = 300.0


def kill9(directory: Path, work: Work, kills: int, seed: int, settings: tuple[str, ...] = ()) -> int:
    """`loadtest kill9`. Returns the exit status."""
    line = trial(directory, work, kills, seed, settings)
    figure({**line.figures(), "scenario": "kill9"})
    return 0 if line.passed else 1


def trial(directory: Path, work: Work, kills: int, seed: int, settings: tuple[str, ...] = ()) -> Line:
    """Kill `kills` times: mostly the data plane, now and then the control plane or everything with the supervisor.

    After each kill the next one waits until something was acknowledged again, so that no kill is wasted on a gateway
    that does not yet work; every fifth comes earlier, during recovery. A prober looks on.
    """
    draw = random.Random(seed)
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, settings)
    work = replace(
        work, requests=0, seconds=24 * 3600.0, numbered=True, ledger_dir=directory / "ledger", patience=300.0
    )
    senders: Senders | None = None
    prober = Prober(f"http://127.0.0.1:{gateway.http_port}")
    worst = 0.0
    hit: dict[str, int] = {"data": 0, "control": 0, "all": 0}
    try:
        store.start()
        gateway.start()
        work = at(work, gateway)
        senders = Senders(work)
        senders.build()
        senders.warm_up()
        senders.start()
        prober.start()
        with bar("kill -9", kills) as progress:
            for number in range(kills):
                whom = draw.choices(("data", "control", "all"), (8, 1, 1))[0]
                hit[_kill(gateway, whom, draw)] += 1
                worst = max(worst, _recover(gateway, senders, early=number % 5 == 4))
                progress(number + 1)
                time.sleep(draw.uniform(0.0, LONGEST_PAUSE))
        _recover(gateway, senders, early=False)
        senders.stop()
        prober.stop()
        outcome = senders.wait(timeout=600.0)
        await_true(lambda: gateway.pending() == 0, 600.0, "everything forwarded")
        verdict = verdict_of(work, store.url)
        status = gateway.status()
        say(f"{sum(hit.values())} kills ({hit}), worst recovery {worst:.2f} s")
        probes = held_probes(store.url)
        missing = sum(number not in probes for number in prober.acknowledged)
        seen = prober.report()
        unaccounted = status["accepted_points"] - status["forwarded_points"] - sum(status["dropped_points"].values())
        return Line(
            "kill9", "kill -9 at random moments", sum(hit.values()), verdict.acknowledged + len(prober.acknowledged),
            verdict.held + len(prober.acknowledged) - missing, verdict.lost + missing,
            passed=verdict.passed and verdict.acknowledged > 0 and not (outcome.refused or missing or unaccounted),
            repeated=verdict.repeated + sum(n - 1 for n in probes.values()), recovery_seconds=round(worst, 2),
            refused_share=seen["refused_share"],
            longest_refusal_seconds=seen["longest_without_acknowledgement_seconds"],
            complete=round((verdict.held + verdict.unacknowledged_held) / max(1, verdict.sent), 5),
            detail={
                "seed": seed, "kills": sum(hit.values()), **{f"kills_{k}": v for k, v in hit.items()},
                "sent": verdict.sent, "wrong": verdict.wrong, **outcome.figures(),
                "status_accepted": status["accepted_points"], "status_forwarded": status["forwarded_points"],
                "status_dropped": status["dropped_points"], "status_unaccounted": unaccounted,
            },
        )  # fmt: skip
    finally:
        prober.stop()
        if senders is not None:
            senders.kill()
        gateway.stop()
        store.kill()


def _kill(gateway: Gateway, whom: str, draw: random.Random) -> str:
    """Returns whom it hit. Of several workers one is drawn."""
    if whom != "all":
        pids = gateway.role_pids() if gateway.running else {}
        names = sorted(name for name in pids if name == whom or name.startswith(f"{whom}-"))
        if names:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[draw.choice(names)], signal.SIGKILL)
            return whom
    gateway.kill()
    gateway.launch()
    return "all"


def _recover(gateway: Gateway, senders: Senders, *, early: bool) -> float:
    """Seconds until a request is acknowledged again; when `early`, do not wait for it."""
    began, before = time.monotonic(), senders.acknowledged
    if early:
        time.sleep(0.3)
        return 0.0
    while senders.acknowledged <= before + senders.work.connections:
        if not senders.running:
            raise LoadTestError("a sender ended")
        if time.monotonic() - began > _RECOVERY_SECONDS:
            raise LoadTestError(f"nothing acknowledged for {_RECOVERY_SECONDS:.0f} s:\n{gateway.tail()}")
        time.sleep(0.005)
    return time.monotonic() - began
