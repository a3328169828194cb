"""`python -m bench.detection.maintenance`: what it is worth that learning is frozen in maintenance windows.

Into the second week of a real series goes a stretch of planned chaos: pieces of 5 to 60 minutes in which the service is
slower or busier by a factor, elsewhere by many spreads, restless, at zero, or gone. The window begins five minutes
before it. Afterwards, an hour or more after the window and a day after its begin, a critical fault (of
bench.detection.injections, on what is usual there) is put in. Each case is scored with learning frozen and with
learning as ever, and its faults also without any chaos, which is the most that can be had.

    false       alerts in the two days after the window, in the case without faults, that the untouched series does not
                have within an hour; a case's window ends with the chaos, or an hour after it
    found       of the faults, that an alert begins within the fault ± five samples
    lasting     cases in which the work leaves the service at another level for good (six spreads away, or by a factor)
                and that is told of in the two days after the window
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detection.injections import HOUR_S, Fault, Floats, Injector, Place, Placement, Slice, background, seed_of
from bench.detection.recordings import Recording, data_root
from bench.detection.silent import silent_plan
from bench.detection.spread import usual_spread
from gateway.baseline.offline import run_series
from gateway.baseline.scorecard import DAY_S, Event
from gateway.baseline.settings import DetectionSettings
from kernels.series_state import OPENED

LENGTHS_H = (2.0, 8.0, 24.0, 72.0)
ARMS = ("untouched", "frozen", "learning")
KINDS = ("shift", "spike", "burst", "zero", "variance_up", "flat")
BEFORE_S = 300.0
AFTERMATH_S = 2 * DAY_S
ALIKE_S = HOUR_S
TOLERANCE = 5
"""Samples."""
_TRIES = 20

Span = tuple[float, float]


@dataclass(slots=True)
class Tally:
    """Cases of one length and end."""

    cases: int = 0
    false: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By when."""
    found: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """By when and arm."""
    lasting: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Cases told of by arm, of as many cases as there are."""

    def add(self, other: Tally) -> None:
        """Those of another slice."""
        self.cases += other.cases
        for own, its in (
            (self.false, other.false),
            (self.faults, other.faults),
            (self.lasting, other.lasting),
        ):
            for key, count in its.items():
                own[key] += count
        for place, count in other.found.items():
            self.found[place] += count


def at_row(first: int) -> Placement:
    """Faults begin at this row, and last two hours at most."""

    def place(injector: Injector, duration_s: float, _after_s: float, _day: bool) -> Place | None:
        step, values = injector.step, injector.twin.values
        count = min(max(round(duration_s / step), 1), round(2 * HOUR_S / step))
        reach = int(12 * HOUR_S / step)
        inside = values[first : first + count]
        if first + count + 20 >= len(values) or not np.isfinite(inside).all():
            return None
        local = values[max(first - reach, 0) : first + count + reach]
        sigma = usual_spread(local)
        return Place(first, count, float(np.median(inside)), sigma, local) if math.isfinite(sigma) else None

    return place


def chaos(twin: Recording, rows: slice, rng: np.random.Generator) -> Floats:
    """The values with what planned work does to them."""
    values = twin.values.copy()
    spread = usual_spread(values[max(rows.start - round(DAY_S / twin.interval_s), 0) : rows.start])
    least = float(np.nanmin(twin.values))
    at = rows.start
    while at < rows.stop:
        behind = min(at + int(rng.integers(5, 61) * 60 / twin.interval_s), rows.stop)
        piece = values[at:behind]
        match rng.integers(0, 6):
            case 0:
                piece *= rng.uniform(0.2, 0.7)
            case 1:
                piece *= rng.uniform(1.5, 4.0)
            case 2:
                piece += rng.uniform(-1.0, 1.0) * 20.0 * spread
            case 3:
                piece += rng.normal(0.0, 5.0 * spread, len(piece))
            case 4:
                piece[:] = 0.0
            case _:
                piece[:] = np.nan
        if least >= 0.0:
            np.maximum(piece, 0.0, out=piece)
        at = behind
    return values


def changed_for_good(twin: Recording, rows: slice, rng: np.random.Generator) -> Floats:
    """The values where, ten samples into the work, everything is at another level from then on."""
    values = twin.values.copy()
    spread = usual_spread(values[max(rows.start - round(DAY_S / twin.interval_s), 0) : rows.start])
    after = values[rows.start + 10 :]
    if rng.random() < 0.5:
        after *= float(rng.choice([0.5, 1.7]))
    else:
        after += 6.0 * spread
    return values


def openings(recording: Recording, values: Floats, frozen: Iterable[Span]) -> NDArray[np.float64]:
    """When alerts open."""
    result = run_series(recording.times_s, values, settings=DetectionSettings(), frozen=list(frozen))
    opened = result.transitions[result.transitions["kind"] == OPENED]
    return np.asarray(opened["opened_ms"] / 1000.0, np.float64)


def slice_tallies(root: Path, seed: int, piece: Slice) -> dict[tuple[float, bool], Tally]:
    """All cases of a slice, by length in hours and whether the window ends with the chaos."""
    whole = background(root, piece, seed)
    found: dict[tuple[float, bool], Tally] = {}
    if whole is None or whole.interval_s != 60.0:
        return found
    for length_h in LENGTHS_H:
        rng = np.random.default_rng([*seed_of(seed, piece), 5, round(length_h * 60)])
        at = _place_of(whole, length_h * HOUR_S, rng)
        if at is None:
            continue
        rows = slice(at, at + round(length_h * HOUR_S / whole.interval_s))
        values = chaos(whole, rows, rng)
        known = openings(whole, whole.values, ())
        for sharp in (True, False):
            end = float(whole.times_s[rows.stop]) + (0.0 if sharp else HOUR_S)
            window = (float(whole.times_s[at]) - BEFORE_S, end)
            tally = found[length_h, sharp] = _case(whole, values, window, known, rng)
            lasting = changed_for_good(whole, rows, rng)
            for arm, frozen in (("frozen", [window]), ("learning", [])):
                tally.lasting[arm] += _new_after(openings(whole, lasting, frozen), window[1], known) > 0
    return found


def _place_of(whole: Recording, lasting_s: float, rng: np.random.Generator) -> int | None:
    times = whole.times_s
    first, last = np.searchsorted(times, [times[0] + 8 * DAY_S, times[-1] - lasting_s - 3 * DAY_S])
    for _ in range(30):
        if first >= last:
            return None
        row = int(rng.integers(first, last))
        start, end = float(times[row]) - HOUR_S, float(times[row]) + lasting_s + 2.5 * DAY_S
        if not any(o.start < end and start < o.end for o in whole.neutral):
            return row
    return None


def _case(whole: Recording, values: Floats, window: Span, known: Floats, rng: np.random.Generator) -> Tally:
    tally = Tally(cases=1)
    spans: dict[str, list[Span]] = {"frozen": [window], "learning": []}
    for arm, frozen in spans.items():
        tally.false[arm] = _new_after(openings(whole, values, frozen), window[1], known)
    day = window[1] - window[0]
    for when, moment in (
        ("soon", window[1] + rng.uniform(1.0, 3.0) * HOUR_S),
        ("next day", window[0] + math.ceil(day / DAY_S) * DAY_S + rng.uniform(0.3, 0.7) * min(day, 8 * HOUR_S)),
    ):
        fault, changes = _fault(whole, moment, rng)
        if fault is None:
            continue
        tally.faults[when] += 1
        for arm in ARMS:
            under = whole.values if arm == "untouched" else values
            opened = openings(whole, np.where(changes[0], changes[1], under), spans.get(arm, []))
            tally.found[when, arm] += _is_found(fault.label, opened, whole.interval_s)
    return tally


def _new_after(opened: Floats, end: float, known: Floats) -> int:
    """Alerts in the two days after a window that the untouched series does not have."""
    after = opened[(opened >= end) & (opened <= end + AFTERMATH_S)]
    return sum(not np.any(np.abs(known - moment) <= ALIKE_S) for moment in after)


def _fault(whole: Recording, moment: float, rng: np.random.Generator) -> tuple[Fault | None, tuple[Floats, Floats]]:
    """A critical fault at a moment, with the rows it changes and their values."""
    first = int(np.searchsorted(whole.times_s, moment))
    for _ in range(_TRIES):
        injector = Injector(whole, rng, at_row(first))
        kind = str(rng.choice([kind for kind in KINDS if kind in injector.applicable()]))
        fault = injector.inject(kind)
        if fault is not None and fault.critical:
            changed = ~((injector.values == whole.values) | (np.isnan(injector.values) & np.isnan(whole.values)))
            return fault, (changed, injector.values)
    return None, (np.zeros(0), np.zeros(0))


def _is_found(event: Event, opened: Floats, interval_s: float) -> bool:
    tolerance = TOLERANCE * interval_s
    return bool(np.any((opened >= event.start - tolerance) & (opened <= event.end + tolerance)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench.detection.maintenance", description=__doc__)
    parser.add_argument("--seeds", default="1,2,3", help="comma-separated")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--quick", action="store_true", help="a fifth of the series")
    arguments = parser.parse_args()
    root = data_root()
    total: dict[tuple[float, bool], Tally] = defaultdict(Tally)
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for seed in map(int, arguments.seeds.split(",")):
            pieces = silent_plan(root, quick=arguments.quick)
            for tallies in pool.map(partial(slice_tallies, root, seed), pieces):
                for key, tally in tallies.items():
                    total[key].add(tally)
    print(
        "| Chaos | Window ends | Cases | False alerts after, frozen / learning | "
        "Faults soon after: untouched / frozen / learning | The day after | Lasting change told of, frozen / learning |"
    )
    print("|---|---|---|---|---|---|---|")
    for (length_h, sharp), tally in sorted(total.items(), key=lambda item: (item[0][0], not item[0][1])):
        ends = "with it" if sharp else "1 h later"
        shares = [
            " / ".join(f"{tally.found[when, arm] / max(tally.faults[when], 1):.2f}" for arm in ARMS)
            + f" of {tally.faults[when]}"
            for when in ("soon", "next day")
        ]
        print(
            f"| {length_h:g} h | {ends} | {tally.cases} | {tally.false['frozen']} / {tally.false['learning']} | "
            f"{' | '.join(shares)} | {tally.lasting['frozen']} / {tally.lasting['learning']} |"
        )


if __name__ == "__main__":
    main()
