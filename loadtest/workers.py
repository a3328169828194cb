"""The same work on a gateway with one worker and with several, one after the other in turns: what more workers give.

Two figures count. Points a second until everything is handed on say what the machine gives, of which the senders and
VictoriaMetrics take their part; points per CPU-second say what sharing the log costs. Every run begins with an empty
directory.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from loadtest.generator.work import Work
from loadtest.measure import Measured, at, measure
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.progress import figure, say


def workers(directory: Path, work: Work, settings: tuple[str, ...], count: int, runs: int) -> int:
    """`loadtest run --workers`: `runs` turns of one and of `count` workers. Returns the exit status."""
    rates: dict[int, list[float]] = {1: [], count: []}
    costs: dict[int, list[float]] = {1: [], count: []}
    passed = True
    for turn in range(runs):
        for number in (1, count):
            measured = _one(directory / f"{turn}-{number}", work, (*settings, f"server.workers={number}"))
            seconds = measured.outcome.wall_seconds + measured.drain_seconds
            rates[number].append(measured.outcome.points / seconds)
            costs[number].append(measured.points_per_cpu_second)
            passed = passed and measured.outcome.refused == measured.outcome.given_up == 0
            shares = [worker["accepted_points"] for worker in measured.status.get("workers", [])]
            figure({"scenario": "workers", "workers": number, "accepted_by_worker": shares, **measured.figures()})
    figure(
        {
            "scenario": "workers_ratio",
            "workers": count,
            "runs": runs,
            "points_per_second_times_one": _ratio(rates, count),
            "points_per_cpu_second_times_one": _ratio(costs, count),
        }
    )
    return 0 if passed else 1


def _ratio(found: dict[int, list[float]], count: int) -> float:
    return round(statistics.median(found[count]) / statistics.median(found[1]), 3)


def _one(directory: Path, work: Work, settings: tuple[str, ...]) -> Measured:
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, settings)
    try:
        store.start()
        say(f"{settings[-1]}: ready after {gateway.start():.1f} s")
        return measure(gateway, store, at(work, gateway))
    finally:
        gateway.stop()
        store.kill()
