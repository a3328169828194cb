"""Hours of sending with churn: does memory grow? Then the ledger.

Resident memory of every process, and the part of it that no file stands behind, is written every ten seconds to
`<directory>/memory.csv`, and the slope of each over the time after settling is given with a 95 % interval. `soak
--report memory.csv` computes it again from a record.

Neighbouring readings resemble each other, so the interval of a plain regression would be far too narrow; it is taken
from a moving-block bootstrap of the residuals (Künsch 1989), whose blocks of ten minutes keep that resemblance.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest.generator.sender import Senders
from loadtest.generator.work import Work
from loadtest.measure import at, verdict_of
from loadtest.processes import LoadTestError, await_true
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.progress import bar, figure, say

READ_EVERY: Final = 10.0
"""Seconds."""
BLOCK_SECONDS: Final = 600.0
SETTINGS: Final = ("series.expiry=10m", "log.max_bytes=256MiB")
"""So that what keeps the past reaches its bound within the time of settling."""
_RESAMPLES: Final = 4_000
_MIB: Final = 2.0**20


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth of one process, MiB an hour, with the bounds of its 95 % interval; mean and last reading, MiB."""

    process: str
    readings: int
    hours: float
    mib_per_hour: float
    low: float
    high: float
    mean_mib: float
    last_mib: float
    starts: int = 1

    @property
    def flat(self) -> bool:
        """Whether no growth at all is among the values that the readings allow."""
        return self.low <= 0.0 <= self.high or self.high < 0.0


def slope(process: str, seconds: NDArray[np.float64], resident: NDArray[np.float64], seed: int = 1) -> Slope:
    """Least squares over the readings. seconds, resident (bytes): float64[n], n ≥ 8, ordered. Raises ValueError."""
    if len(seconds) < 8:
        raise ValueError(f"{len(seconds)} readings of {process} are too few for a slope")
    hours, mib = (seconds - seconds[0]) / 3600.0, resident / _MIB
    centred = hours - hours.mean()
    weights = centred / (centred @ centred)
    found = float(weights @ mib)
    residuals = mib - mib.mean() - found * centred
    step = float(np.median(np.diff(seconds)))
    block = int(np.clip(BLOCK_SECONDS / step, 2, len(mib) // 4))
    draw = np.random.default_rng(seed)
    firsts = draw.integers(0, len(mib) - block + 1, (_RESAMPLES, -(-len(mib) // block)))
    places = (firsts[:, :, None] + np.arange(block)).reshape(_RESAMPLES, -1)[:, : len(mib)]
    errors = residuals[places] @ weights
    low, high = found - np.percentile(errors - errors.mean(), [97.5, 2.5])
    return Slope(process, len(mib), float(hours[-1]), found, float(low), float(high), float(mib.mean()), float(mib[-1]))


def read(path: Path, settle: float) -> Iterator[Slope]:
    """Slopes of a record, one a process, without its first `settle` seconds. Of a process that was started again, the
    longest life counts; `starts` says how many there were."""
    lives: dict[str, dict[int, list[tuple[float, float]]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, column in (row["process"], "rss_bytes"), (f"{row['process']}, anonymous", "anonymous_bytes"):
                if column in row:
                    life = lives.setdefault(name, {}).setdefault(int(row["pid"]), [])
                    life.append((float(row["seconds"]), float(row[column])))
    for process, found in lives.items():
        kept = max(([r for r in life if r[0] >= settle] for life in found.values()), key=len)
        table = np.array(kept)
        if len(table) >= 8:
            yield replace(slope(process, table[:, 0], table[:, 1]), starts=len(found))


def report(path: Path, settle: float) -> list[dict[str, Any]]:
    """Says the slopes; returns them as figures."""
    found = []
    for one in read(path, settle):
        say(
            f"{one.process:27} {one.mib_per_hour:+8.2f} MiB/h [{one.low:+.2f}, {one.high:+.2f}], mean "
            f"{one.mean_mib:.0f} MiB, last {one.last_mib:.0f} MiB, {one.readings} readings over {one.hours:.2f} h: "
            + ("no growth" if one.flat else "GROWS")
            + (f"; started {one.starts} times, the longest life is shown" if one.starts > 1 else "")
        )
        found.append({
            "process": one.process, "mib_per_hour": round(one.mib_per_hour, 3), "low": round(one.low, 3),
            "high": round(one.high, 3), "mean_mib": round(one.mean_mib, 1), "last_mib": round(one.last_mib, 1),
            "readings": one.readings, "starts": one.starts, "hours": round(one.hours, 3), "flat": one.flat,
        })  # fmt: skip
    return found


def resident(pid: int) -> tuple[int, int]:
    """Resident bytes of one process, its share of shared pages in full, and those of them that no file stands behind
    (the rest, code and mapped log segments, the kernel takes back when it needs them). Raises OSError."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    whole, anonymous = (int(fields.get(name, "0").split()[0]) * 1024 for name in ("VmRSS", "RssAnon"))
    return whole, anonymous


def soak(directory: Path, work: Work, hours: float, settle: float, settings: tuple[str, ...]) -> int:
    """`loadtest soak`. Returns the exit status. Raises LoadTestError."""
    directory.mkdir(parents=True, exist_ok=True)
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, settings)
    work = replace(
        work, requests=0, seconds=hours * 3600.0, numbered=True, ledger_dir=directory / "ledger", patience=300.0
    )
    senders: Senders | None = None
    try:
        store.start()
        gateway.start()
        work = at(work, gateway)
        senders = Senders(work)
        senders.build()
        senders.warm_up()
        senders.start()
        with bar("soak, seconds", int(hours * 3600)) as progress:
            _record(directory / "memory.csv", gateway, store, senders, progress)
        outcome = senders.wait(timeout=600.0)
        await_true(lambda: gateway.pending() == 0, 600.0, "everything handed on")
        status = gateway.status()
        restarts = gateway.metric("gateway_role_restarts")
        verdict = verdict_of(work, store.url)
    finally:
        if senders is not None:
            senders.kill()
        gateway.stop()
        store.kill()
    slopes = report(directory / "memory.csv", settle)
    figure({
        "scenario": "soak", "hours": round(outcome.wall_seconds / 3600, 3), "settle_seconds": settle,
        "settings": list(settings), "slopes": slopes, **verdict.figures(), **outcome.figures(),
        "active_series": status["active_series"], "restarts": restarts,
    })  # fmt: skip
    grows = [one["process"] for one in slopes if not one["flat"] and not one["process"].startswith(store.name)]
    return 0 if verdict.passed and verdict.acknowledged and not outcome.refused and not grows else 1


def _record(
    path: Path, gateway: Gateway, store: VictoriaMetrics, senders: Senders, progress: Callable[[int], None]
) -> None:
    """Readings until the senders end."""
    began = time.monotonic()
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("seconds", "process", "pid", "rss_bytes", "anonymous_bytes", "active_series", "pending_points"))
        while senders.running:
            seconds = time.monotonic() - began
            progress(int(seconds))
            if not gateway.running:
                raise LoadTestError(f"the gateway ended:\n{gateway.tail()}")
            series = pending = -1
            with suppress(OSError):
                status = gateway.status()
                series, pending = status["active_series"], status["pending_forward_points"]
            for name, pid in ("supervisor", gateway.pid), *gateway.role_pids().items(), (store.name, store.pid):
                with suppress(OSError):
                    out.writerow((round(seconds, 1), name, pid, *resident(pid), series, pending))
            file.flush()
            time.sleep(READ_EVERY)
