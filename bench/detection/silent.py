"""What must stay silent: changes of a recording that are nobody's fault.

Each case is put into a two-week slice of its own and compared with the slice without it: an alert counts against the
case if it starts while the case (or its aftermath) lasts and the untouched slice has none within an hour of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.detection.context_cases import context_case
from bench.detection.detectors import Detector, Gateway
from bench.detection.injections import HOUR_S, Injector, Slice, background, plan, seed_of
from bench.detection.protocol import run
from bench.detection.recordings import Recording
from gateway.baseline.scorecard import DAY_S, Alert, Opening, Rules, merge, openings_of

CONTEXT = ("deploy_marker", "maintenance_window")
"""Cases that need something beside the series (bench.detection.context_cases)."""

Case = Callable[[Recording, np.random.Generator], tuple[Recording, Recording, Opening] | None]
"""(slice, generator) → (with the case, without, when an alert would be the case's); None where it means nothing."""


def silent_plan(root: Path, *, quick: bool) -> list[Slice]:
    """Slices the cases are tried on: series at a minute, once each."""
    pieces = [p for p in plan(root, quick=quick) if p.dataset in ("wsd", "aiops_kpi") and p.ordinal == 0]
    return [replace(p, ordinal=7) for p in pieces]


def _row(recording: Recording, rng: np.random.Generator, room_s: float, *, after_s: float = 8 * DAY_S) -> int | None:
    """A row with room after it and no masked span near."""
    times = recording.times_s
    first, last = np.searchsorted(times, [times[0] + after_s, times[-1] - room_s])
    for _ in range(30):
        if first >= last:
            return None
        row = int(rng.integers(first, last))
        start, end = float(times[row]) - HOUR_S, float(times[row]) + room_s
        if not any(o.start < end and start < o.end for o in recording.neutral):
            return row
    return None


def _gaps(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    row = _row(twin, rng, 3 * HOUR_S)
    if row is None:
        return None
    count = int(2 * HOUR_S / twin.interval_s)
    keep = np.ones(len(twin.values), np.bool_)
    keep[row : row + count] = rng.random(len(keep[row : row + count])) > 0.2
    return _rows(twin, keep), twin, _after(twin, row, 3 * HOUR_S)


def _late_points(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    row = _row(twin, rng, 2 * HOUR_S)
    if row is None:
        return None
    order = np.arange(len(twin.values))
    for i in range(row, row + int(HOUR_S / twin.interval_s), 4):
        if rng.random() < 0.3:
            order[[i, i + 1]] = order[[i + 1, i]]
    repeated = np.sort(np.append(np.arange(len(order)), row + rng.integers(0, 60, 5)))
    return _rows(twin, order[repeated]), twin, _after(twin, row, 2 * HOUR_S)


def _late_scrape(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    row = _row(twin, rng, HOUR_S)
    if row is None:
        return None
    times = twin.times_s.copy()
    times[row] = min(times[row] + 0.9 * twin.interval_s, times[row + 1] - 0.001)
    return replace(twin, times_s=times), twin, _after(twin, row - 1, HOUR_S)


def _counter_reset(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    if np.nanmin(twin.values) < 0 or np.isnan(twin.values).any():
        return None
    row = _row(twin, rng, 2 * HOUR_S)
    if row is None:
        return None
    increments = twin.values * twin.interval_s
    plain = np.cumsum(increments)
    reset = plain.copy()
    reset[row:] -= plain[row - 1]
    return (
        replace(twin, values=reset, kind="counter"),
        replace(twin, values=plain, kind="counter"),
        _after(twin, row, 2 * HOUR_S),
    )


def _holiday(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    """A weekday of the second week that looks like the Sunday before it."""
    if not Injector(twin, rng).seasonal:
        return None
    per_day = round(DAY_S / twin.interval_s)
    days = np.floor(twin.times_s / DAY_S)
    # 1970-01-01 was a Thursday: day 3 of the epoch, a Sunday, makes (day + 4) % 7 zero on Sundays.
    for day in np.unique(days)[8:-1]:
        weekday = int((day + 4) % 7)
        rows = np.flatnonzero(days == day)
        source = rows - weekday * per_day
        if not 1 <= weekday <= 5 or len(rows) != per_day or source[0] < 0:
            continue
        if any(o.start < (day + 1) * DAY_S and day * DAY_S < o.end for o in twin.neutral):
            continue
        values = twin.values.copy()
        values[rows] = twin.values[source]
        return replace(twin, values=values), twin, Opening(float(day * DAY_S), float((day + 1) * DAY_S))
    return None


def _clock_change(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    """From one night on, everything happens an hour earlier."""
    if not Injector(twin, rng).seasonal:
        return None
    row = _row(twin, rng, 2 * DAY_S)
    if row is None:
        return None
    row -= round((twin.times_s[row] % DAY_S - 3 * HOUR_S) / twin.interval_s)
    ahead = round(HOUR_S / twin.interval_s)
    values = twin.values.copy()
    values[row:-ahead] = twin.values[row + ahead :]
    return replace(twin, values=values), twin, _after(twin, row, 2 * DAY_S)


def _cold_start(twin: Recording, rng: np.random.Generator) -> tuple[Recording, Recording, Opening] | None:
    """A series that begins in the middle of things; its first day."""
    row = _row(twin, rng, DAY_S, after_s=0.0)
    if row is None:
        return None
    keep = np.arange(len(twin.values)) >= row
    new = _rows(twin, keep)
    return new, replace(new, times_s=new.times_s[:0], values=new.values[:0]), _after(twin, row, DAY_S)


def _rows(recording: Recording, rows: np.ndarray[tuple[int], np.dtype[np.int64] | np.dtype[np.bool_]]) -> Recording:
    return replace(
        recording, times_s=recording.times_s[rows], values=recording.values[rows], labels=recording.labels[rows]
    )


def _after(recording: Recording, row: int, lasting_s: float) -> Opening:
    start = float(recording.times_s[row])
    return Opening(start, start + lasting_s)


CASES: dict[str, Case] = {
    "gaps": _gaps,
    "late_points": _late_points,
    "late_scrape": _late_scrape,
    "counter_reset": _counter_reset,
    "holiday": _holiday,
    "clock_change": _clock_change,
    "cold_start": _cold_start,
}


def try_case(name: str, root: Path, piece: Slice, seed: int, detector: Detector) -> bool | None:
    """Whether the case made an alert of its own; None where it does not apply."""
    whole = background(root, piece, seed)
    if whole is None or whole.interval_s != 60.0:
        return None
    two_weeks = whole.times_s < whole.times_s[0] + 14 * DAY_S
    rng = np.random.default_rng([*seed_of(seed, piece), 2, *name.encode()])
    if name in CONTEXT:
        twin = _rows(whole, two_weeks)
        row = _row(twin, rng, 6 * HOUR_S)
        if row is None or not isinstance(detector, Gateway):
            return None
        return context_case(name, twin, row, rng, detector)
    made = CASES[name](_rows(whole, two_weeks), rng)
    if made is None:
        return None
    changed, twin, when = made
    own = [a.start for a in _alerts(changed, detector) if when.start <= a.start <= when.end]
    known = [o for a in _alerts(twin, detector) for o in a.openings] if len(twin.values) else []
    known += changed.neutral
    return any(not any(o.start - HOUR_S <= at <= o.end + HOUR_S for o in known) for at in own)


def _alerts(recording: Recording, detector: Detector) -> list[Alert]:
    scored = run(recording, detector)
    return merge(openings_of(scored.times_s, scored.alert), Rules().merge_s)
