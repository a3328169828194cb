"""The same work on the gateway and on a peer, side by side: alternating runs, medians, ratios.

Every program forwards to a VictoriaMetrics of its own, which is the same build for all. Each run starts the program
anew with empty state, warms it up with every series, and is measured from when nothing is pending until nothing is
pending again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from loadtest.generator.work import Work
from loadtest.measure import Measured, at, measure
from loadtest.processes import LoadTestError
from loadtest.programs import Collector, Gateway, Target, VictoriaMetrics, VmAgent
from loadtest.progress import figure, machine, say


@dataclass(frozen=True, slots=True)
class PeerWork:
    """A piece of work and who else does it."""

    title: str
    peer: type[VmAgent] | type[Collector]
    work: Work


WARM_ROUNDS: Final = 43
"""Samples of each series before the measured part: at 15 s between them that is past the ten minutes in which the
detector only learns."""


def _work(
    protocol: Any, encoding: Any, batch: int, points: int, connections: int = 4, series: int = 80_000,
    warm_rounds: int = WARM_ROUNDS,
) -> Work:  # fmt: skip
    return Work(
        protocol, "http://127.0.0.1:1/", series=series, batch=batch, requests=points // batch, warm_rounds=warm_rounds,
        connections=connections, encoding=encoding, step_ms=15_000,
    )  # fmt: skip


WORKS: Final[dict[str, PeerWork]] = {
    "http-8000": PeerWork("OTLP/HTTP, 8,000 points a request", VmAgent, _work("otlp-http", "none", 8_000, 4_000_000)),
    "http-8000-gzip": PeerWork("the same, gzip", VmAgent, _work("otlp-http", "gzip", 8_000, 4_000_000)),
    "http-8000-zstd": PeerWork("the same, zstd", VmAgent, _work("otlp-http", "zstd", 8_000, 4_000_000)),
    "http-500": PeerWork("OTLP/HTTP, 500 points a request", VmAgent, _work("otlp-http", "none", 500, 3_000_000, 32)),
    "remote-write-8000": PeerWork(
        "remote write 1.0, 8,000 series a request", VmAgent, _work("remote-write", "snappy", 8_000, 4_000_000)
    ),
    "grpc-8000": PeerWork(
        "OTLP/gRPC, 8,000 points a request", Collector, _work("otlp-grpc", "none", 8_000, 3_000_000)
    ),
    "grpc-500": PeerWork(
        "OTLP/gRPC, 500 points a request", Collector, _work("otlp-grpc", "none", 500, 1_500_000, 16)
    ),
    "http-100": PeerWork(
        "OTLP/HTTP, 100 points a request, 200 connections", VmAgent,
        _work("otlp-http", "none", 100, 1_000_000, 200),
    ),
    "http-10": PeerWork(
        "OTLP/HTTP, 10 points a request, 200 connections", VmAgent,
        _work("otlp-http", "none", 10, 150_000, 200, 20_000),
    ),
    "series-10k": PeerWork(
        "10,000 series, OTLP/HTTP, 5,000 points a request", VmAgent,
        _work("otlp-http", "none", 5_000, 4_000_000, 2, 10_000),
    ),
    "series-1m": PeerWork(
        "1,000,000 series, OTLP/HTTP, 5,000 points a request", VmAgent,
        _work("otlp-http", "none", 5_000, 4_000_000, 4, 1_000_000, 3),
    ),
}  # fmt: skip


def peers(directory: Path, only: Sequence[str], runs: int, scale: float) -> int:
    """`loadtest peers`. Returns the exit status. Raises LoadTestError."""
    unknown = set(only) - set(WORKS)
    if unknown:
        raise LoadTestError(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    say(machine())
    missing = 0
    medians: dict[str, list[float]] = {}
    for name, entry in WORKS.items():
        if only and name not in only:
            continue
        work = replace(entry.work, requests=max(entry.work.templates, round(entry.work.requests * scale)))
        try:
            medians[name] = _side_by_side(directory / name, name, entry, work, runs)
        except LoadTestError as error:
            missing += 1
            say(f"{name}: left out: {error}")
    if "series-10k" in medians and "series-1m" in medians:
        growth = [few / many for few, many in zip(medians["series-10k"], medians["series-1m"], strict=True)]
        figure({"scenario": "peers-growth", "peer": round(growth[0], 2), "gateway": round(growth[1], 2)})
        say(f"cost a point, from 10,000 to 1,000,000 series: gateway × {growth[1]:.2f}, vmagent × {growth[0]:.2f}")
    return 1 if missing else 0


def _side_by_side(directory: Path, name: str, entry: PeerWork, work: Work, runs: int) -> list[float]:
    """Medians of points per CPU-second, the peer's first."""
    makers: tuple[Callable[[Path, str], Target], ...] = (entry.peer, Gateway)
    results: list[list[Measured]] = [[], []]
    for number in range(runs):
        for index, make in enumerate(makers):
            results[index].append(_once(directory / f"{number}-{index}", make, work))
    middle = [statistics.median(m.points_per_cpu_second for m in measured) for measured in results]
    for measured in results:
        ordered = sorted(measured, key=lambda m: m.points_per_cpu_second)
        figure({"scenario": "peers", "work": name, "runs": runs, **ordered[len(ordered) // 2].figures()})
    ratios = [ours.points_per_cpu_second / peer.points_per_cpu_second for peer, ours in zip(*results, strict=True)]
    line = {
        "scenario": "peers-ratio", "work": name, "title": entry.title, "runs": runs,
        "peer": f"{results[0][0].target} {results[0][0].version}",
        "peer_points_per_cpu_second": round(middle[0]), "gateway_points_per_cpu_second": round(middle[1]),
        "ratio": round(middle[1] / middle[0], 2), "ratio_least": round(min(ratios), 2),
        "ratio_most": round(max(ratios), 2),
        "peer_bytes_per_series": _bytes_per_series(results[0]),
        "gateway_bytes_per_series": _bytes_per_series(results[1]),
        "machine": machine(),
    }  # fmt: skip
    figure(line)
    say(f"{name}: gateway {middle[1]:,.0f}, {line['peer']} {middle[0]:,.0f} points per CPU-second: × {line['ratio']}")
    say(
        f"{name}: bytes of memory a series: gateway {line['gateway_bytes_per_series']:,}, "
        f"peer {line['peer_bytes_per_series']:,}"
    )
    return middle


def _bytes_per_series(measured: Sequence[Measured]) -> int:
    """Median of all the program's resident memory by series; with few series that is its fixed part above all."""
    return round(statistics.median(m.resident_bytes / m.outcome.work.series for m in measured))


def _once(directory: Path, make: Callable[[Path, str], Target], work: Work) -> Measured:
    store = VictoriaMetrics(directory / "victoria-metrics")
    store.start()
    target = make(directory / "target", store.url)
    try:
        target.start()
        measured = measure(target, store, at(work, target))
        say(f"  {target.name} {target.version}: {measured.points_per_cpu_second:,.0f} points per CPU-second")
        return measured
    finally:
        target.kill()
        store.kill()
