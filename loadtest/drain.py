"""How fast a backlog is handed on after VictoriaMetrics was away, while as much keeps arriving: gateway and vmagent.

The rate at which rows enter the returned VictoriaMetrics, until a fiftieth of the backlog is left, divided by the rate
of arrival. The gateway's includes what it sends again on purpose, as the target may have lost it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from loadtest.generator.sender import Senders
from loadtest.generator.work import Work
from loadtest.measure import DRAIN_SECONDS, at
from loadtest.processes import LoadTestError, await_true
from loadtest.programs import Gateway, Target, VictoriaMetrics, VmAgent
from loadtest.progress import bar, figure, machine, say

_BEFORE_SECONDS = 5.0
_LEFT = 0.02


def drain(directory: Path, work: Work, outage: float, runs: int) -> int:
    """`loadtest drain`. Returns the exit status. Raises LoadTestError."""
    makers: dict[str, Callable[[Path, str], Target]] = {"vmagent": VmAgent, "gateway": Gateway}
    found: dict[str, list[float]] = {name: [] for name in makers}
    for number in range(runs):
        for name, make in makers.items():
            times = _once(directory / f"{number}-{name}", make, work, outage)
            found[name].append(times)
            say(f"  {name}: handed on at {times:.1f} times the rate of arrival")
    line = {name: round(statistics.median(times), 2) for name, times in found.items()}
    figure(
        {"scenario": "drain", "outage_seconds": outage, "rate": work.rate, "runs": runs, **line, "machine": machine()}
    )
    return 0


def _once(directory: Path, make: Callable[[Path, str], Target], work: Work, outage: float) -> float:
    store = VictoriaMetrics(directory / "victoria-metrics")
    store.start()
    target = make(directory / "target", store.url)
    senders: Senders | None = None
    try:
        target.start()
        senders = Senders(at(work, target))
        senders.build()
        senders.warm_up()
        senders.start()
        with bar(f"{target.name} before, without and after VictoriaMetrics", None) as progress:
            time.sleep(_BEFORE_SECONDS)
            store.kill()
            ends = time.monotonic() + outage
            while time.monotonic() < ends:
                time.sleep(1.0)
                progress(senders.acknowledged * work.batch)
            waiting = target.pending()
            if not senders.running or waiting <= 0:
                raise LoadTestError(f"{target.name}: no backlog after {outage:.0f} s, or nothing arrives any more")
            store.start()
            began = time.monotonic()
            await_true(lambda: target.pending() <= _LEFT * waiting, DRAIN_SECONDS, "the backlog handed on", 0.25)
            took = time.monotonic() - began
            rows = store.rows()
        senders.stop()
        outcome = senders.wait()
        if outcome.refused or outcome.given_up:
            raise LoadTestError(f"{target.name} refused {outcome.refused + outcome.given_up}: {outcome.first_refusal}")
        return rows / took / work.rate
    finally:
        if senders is not None:
            senders.kill()
        target.kill()
        store.kill()
