"""Seconds from the start of the program until it is ready, with many series known: gateway and vmagent.

After an orderly stop, and after kill -9, when the gateway reads the end of its log again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from loadtest.generator.sender import Senders
from loadtest.generator.work import Work
from loadtest.measure import DRAIN_SECONDS, at
from loadtest.processes import await_true
from loadtest.programs import Gateway, Target, VictoriaMetrics, VmAgent
from loadtest.progress import bar, figure, machine, say


def restart(directory: Path, work: Work, runs: int) -> int:
    """`loadtest restart`: `runs` restarts of either kind. Returns the exit status. Raises LoadTestError."""
    makers: dict[str, Callable[[Path, str], Target]] = {"vmagent": VmAgent, "gateway": Gateway}
    line: dict[str, float] = {}
    for name, make in makers.items():
        for kind, seconds in _times(directory / name, make, work, runs).items():
            line[f"{name}_{kind}"] = round(statistics.median(seconds), 2)
            say(f"  {name}: ready {line[f'{name}_{kind}']} s after {kind.replace('_', ' ')}")
    figure({"scenario": "restart", "series": work.series, "runs": runs, **line, "machine": machine()})
    return 0


def _times(directory: Path, make: Callable[[Path, str], Target], work: Work, runs: int) -> dict[str, list[float]]:
    store = VictoriaMetrics(directory / "victoria-metrics")
    store.start()
    target = make(directory / "target", store.url)
    senders: Senders | None = None
    found: dict[str, list[float]] = {"an_orderly_stop": [], "kill_9": []}
    try:
        target.start()
        senders = Senders(at(work, target))
        senders.build()
        with bar(f"{target.name}: {work.series} series", work.warm_requests) as progress:
            senders.warm_up(progress)
        await_true(lambda: target.pending() == 0, DRAIN_SECONDS, "all handed on", 0.25)
        for _ in range(runs):
            target.stop()
            found["an_orderly_stop"].append(target.start())
            target.kill()
            found["kill_9"].append(target.start())
        return found
    finally:
        if senders is not None:
            senders.kill()
        target.kill()
        store.kill()
