"""Faults put into real backgrounds, fixed by a seed before anything is scored.

A *slice* is a stretch of a recording (four weeks at one minute). It is scored twice: with its faults and without (the
twin, which measures false alerts). Labelled spans of the background, with a margin, are neutral: nothing is injected
there and alerts there count neither way.

Sizes are in robust σ: 1.4826 · median |x − median| of the twelve hours on either side, at least the same of what is
left over a running median of 31 samples. The protocol does not say of what; docs/detection.md compares its two floors
(`--detector ewma:5`, `--detector sketch`) with what they find here.

Critical: ≥ 6 σ, or ≥ 50 % and ≥ 4 σ, for ≥ 5 minutes; zero, stale (5 intervals or more) and flat on an active series; a
limit reached within 6 hours. A change of the variance is critical if it brings deviations of that size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detection.datasets import DATA_SETS
from bench.detection.recordings import Recording
from bench.detection.spread import filled, running_median, seasonality, usual_spread
from gateway.baseline.scorecard import DAY_S, Event, Opening

Floats = NDArray[np.float64]
HOUR_S = 3600.0
MARGIN_S = 2 * HOUR_S

FAULTS = (
    "shift", "spike", "burst", "zero", "leak", "season_phase", "skipped_day", "variance_up", "variance_down", "flat",
    "stale",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slice:
    """A background: the `ordinal`-th slice of series `index` of a loading unit."""

    dataset: str
    key: str
    index: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault. `sigmas`: size in local robust σ; `clock`: where its delay begins."""

    kind: str
    start: float
    end: float
    clock: float
    sigmas: float
    relative: float
    critical: bool
    limit_at: float = math.nan

    @property
    def label(self) -> Event:
        """As the protocol reads it."""
        return Event(self.start, self.end, self.clock, self.kind)


@dataclass(slots=True)
class Injected:
    """A slice with its faults, and its twin without."""

    twin: Recording
    recording: Recording
    faults: list[Fault] = field(default_factory=list)


def plan(root: Path, *, quick: bool) -> list[Slice]:
    """The slices of a run."""
    slices: list[Slice] = []

    def add(dataset: str, keys: list[str], series: list[int], ordinals: int) -> None:
        slices.extend(Slice(dataset, key, index, o) for key in keys for index in series for o in range(ordinals))

    def keys(dataset: str) -> list[str]:
        return DATA_SETS[dataset].keys(root) if (root / dataset).is_dir() else []

    sparse = ("57051487", "7103fa0f")
    kpi = [k for k in keys("aiops_kpi") if not k.startswith(sparse)]
    add("wsd", keys("wsd")[:: 5 if quick else 1], [0], 1 if quick else 2)
    add("aiops_kpi", kpi[:: 4 if quick else 1], [0], 1 if quick else 2)
    if quick:
        return slices
    add(
        "ms_cloud_monitoring", [k for k in keys("ms_cloud_monitoring") if "mongo-01" in k or "outbound-16" in k], [0], 1
    )
    add("nab", [k for k in keys("nab") if k.startswith("artificialNoAnomaly")], [0], 1)
    add("skab", [k for k in keys("skab") if k.startswith("anomaly-free")], list(range(8)), 1)
    add("ett", keys("ett"), list(range(7)), 1)
    add("m4_hourly", keys("m4_hourly"), list(range(0, 200, 10)), 1)
    return slices


def seed_of(seed: int, piece: Slice) -> list[int]:
    """Seed of a slice's generator: stable across runs and processes."""
    text = f"{piece.dataset}/{piece.key}/{piece.index}/{piece.ordinal}".encode()
    return [seed, *np.frombuffer(text.ljust(-(-len(text) // 4) * 4, b"\0"), np.uint32).tolist()]


def background(root: Path, piece: Slice, seed: int) -> Recording | None:
    """The slice itself: up to 28 days, the quietest of a few places drawn; None if the unit has no such series."""
    recordings = DATA_SETS[piece.dataset].load(root, piece.key)
    if piece.index >= len(recordings):
        return None
    whole = recordings[piece.index]
    rng = np.random.default_rng(seed_of(seed, piece))
    length = min(len(whole.values), max(int(28 * DAY_S / whole.interval_s), 672))
    starts = rng.integers(0, len(whole.values) - length + 1, 6)
    first = int(min(starts, key=lambda s: int(np.count_nonzero(whole.labels[s : s + length] != 0))))
    rows = slice(first, first + length)
    times = whole.times_s[rows]
    low, high = float(times.min()), float(times.max())
    spans = [*(Opening(e.start, e.end) for e in whole.events), *whole.neutral]
    masked = [
        Opening(e.start - MARGIN_S, e.end + MARGIN_S) for e in spans
        if e.end + MARGIN_S >= low and e.start - MARGIN_S <= high
    ]  # fmt: skip
    return replace(
        whole, name=f"{whole.name}@{piece.ordinal}", times_s=times.copy(), values=whole.values[rows].copy(),
        labels=whole.labels[rows].copy(), events=[], neutral=masked, warm_up_s=None, vus_slices=[], group="",
    )  # fmt: skip


@dataclass(slots=True)
class Place:
    """Where a fault goes: rows first … first + count − 1 of the recording, and what is usual there."""

    first: int
    count: int
    level: float
    sigma: float
    slots: Floats
    """The local stretch, ± 12 h."""


def _amplitude(rng: np.random.Generator, place: Place, non_negative: bool) -> tuple[float, float, float]:
    """(change, its σ, its share of the level)."""
    if rng.random() < 0.55 or place.level == 0:
        change = float(rng.choice([3.0, 6.0, 10.0], p=[0.2, 0.4, 0.4])) * place.sigma
    else:
        change = float(rng.choice([0.1, 0.5, 0.9], p=[0.2, 0.4, 0.4])) * abs(place.level)
    sign = 1.0 if rng.random() < 0.5 or (non_negative and place.level - change < 0) else -1.0
    return sign * change, change / place.sigma, change / abs(place.level) if place.level else math.inf


def _critical(sigmas: float, relative: float, duration_s: float) -> bool:
    return duration_s >= 300.0 and (sigmas >= 6.0 or (relative >= 0.5 and sigmas >= 4.0))


Placement = Callable[["Injector", float, float, bool], Place | None]
"""Where an injector's next fault goes, if anywhere, of a duration (seconds), no earlier than so many seconds after the
recording's begin, from the begin of a day or from any time."""


def free_room(injector: Injector, duration_s: float, after_s: float, day: bool) -> Place | None:
    """Free room of a duration: in scored time, off masked spans, well away from other faults. A Placement."""
    count = max(round(duration_s / injector.step), 1)
    span = float(injector.times[-1] - injector.times[0])
    earliest = float(injector.times[0]) + max(min(DAY_S, 0.1 * span) + 30 * injector.step, after_s)
    first_row = int(np.searchsorted(injector.times, earliest))
    apart = min(max(6 * HOUR_S, 120 * injector.step), 0.1 * span)
    if first_row + count + 30 >= len(injector.times):
        return None
    for _ in range(40):
        first = int(injector.rng.integers(first_row, len(injector.times) - count - 20))
        if day:
            first -= round((injector.times[first] % DAY_S) / injector.step)
            if first < first_row or first + count + 20 >= len(injector.times):
                continue
        start, end = float(injector.times[first]), float(injector.times[first + count - 1])
        if end - start > 1.5 * count * injector.step + injector.step:
            continue
        if any(o.start - apart < end and start < o.end + apart for o in injector.taken):
            continue
        if any(o.start < end + HOUR_S and start - HOUR_S < o.end for o in injector.twin.neutral):
            continue
        reach = max(int(12 * HOUR_S / injector.step), 60)
        local = injector.twin.values[max(first - reach, 0) : first + count + reach]
        inside = injector.twin.values[first : first + count]
        sigma = usual_spread(local)
        if not math.isfinite(sigma) or not np.isfinite(inside).any() or np.isnan(inside).mean() > 0.2:
            continue
        injector.taken.append(Opening(start, end))
        return Place(first, count, float(np.nanmedian(inside)), sigma, local)
    return None


class Injector:
    """Puts faults into one slice. Rows are only changed in value, except for stale, whose rows are taken out."""

    def __init__(self, twin: Recording, rng: np.random.Generator, placement: Placement = free_room) -> None:
        self.twin, self.rng, self._placement = twin, rng, placement
        self.times, self.values = twin.times_s, twin.values.copy()
        self.removed = np.zeros(len(self.values), np.bool_)
        self.step = twin.interval_s
        self.non_negative = bool(np.nanmin(twin.values) >= 0)
        self.seasonal = seasonality(twin) >= 0.5
        self.positive = bool(np.nanmin(twin.values) > 0)
        self.taken: list[Opening] = []
        finite = twin.values[np.isfinite(twin.values)]
        self.repeats = float(np.mean(np.diff(finite) == 0)) if len(finite) > 1 else 1.0
        self.dense = bool(np.max(np.diff(np.sort(self.times)), initial=0.0) <= 3 * self.step)

    def applicable(self) -> list[str]:
        """Kinds of faults that mean something on this background."""
        kinds = ["shift", "spike", "burst", "leak", "variance_up", "variance_down"]
        if self.positive:
            kinds.append("zero")
        if self.repeats < 0.05:
            kinds.append("flat")
        if self.dense:
            kinds.append("stale")
        if self.seasonal:
            kinds += ["season_phase", "skipped_day"]
        return kinds

    def inject(self, kind: str) -> Fault | None:
        """One fault of a kind where there is room; None if there is none."""
        make: dict[str, Callable[[], Fault | None]] = {
            "shift": self._shift, "spike": self._spike, "burst": self._burst, "zero": self._zero, "leak": self._leak,
            "season_phase": self._season_phase, "skipped_day": self._skipped_day,
            "variance_up": lambda: self._variance("variance_up", 3.0),
            "variance_down": lambda: self._variance("variance_down", 0.3),
            "flat": self._flat, "stale": self._stale,
        }  # fmt: skip
        return make[kind]()

    def _place(self, duration_s: float, *, after_s: float = 0.0, day: bool = False) -> Place | None:
        return self._placement(self, duration_s, after_s, day)

    def _fault(self, kind: str, place: Place, sigmas: float, relative: float, critical: bool) -> Fault:
        start = float(self.times[place.first])
        return Fault(kind, start, float(self.times[place.first + place.count - 1]), start, sigmas, relative, critical)

    def _lasting(self, low_s: float, high_s: float, samples: int) -> float:
        low, high = max(low_s, samples * self.step), max(high_s, 4 * samples * self.step)
        return float(math.exp(self.rng.uniform(math.log(low), math.log(high))))

    def _limit(self, changed: Floats) -> Floats:
        return np.maximum(changed, 0.0) if self.non_negative else changed

    def _reaches(self, place: Place, sigmas: float, width: int) -> tuple[float, int]:
        """When the change, smoothed over `width` samples, first reaches so many σ, and for how many samples it does."""
        rows = slice(place.first, place.first + place.count)
        deviation = filled(self.values[rows]) - filled(self.twin.values[rows])
        smooth = np.abs(np.convolve(deviation, np.ones(width) / width, mode="same"))
        beyond = np.flatnonzero(smooth >= sigmas * place.sigma)
        return (float(self.times[place.first + beyond[0]]) if len(beyond) else math.nan), len(beyond)

    def _shift(self) -> Fault | None:
        duration = self._lasting(300.0, 6 * HOUR_S, 6)
        place = self._place(duration)
        if place is None:
            return None
        change, sigmas, relative = _amplitude(self.rng, place, self.non_negative)
        rows = slice(place.first, place.first + place.count)
        self.values[rows] = self._limit(self.values[rows] + change)
        return self._fault("shift", place, sigmas, relative, _critical(sigmas, relative, duration))

    def _spike(self) -> Fault | None:
        place = self._place(self.step)
        if place is None:
            return None
        change, sigmas, relative = _amplitude(self.rng, place, self.non_negative)
        self.values[place.first] = float(self._limit(np.array([self.values[place.first] + change]))[0])
        return self._fault("spike", place, sigmas, relative, _critical(sigmas, relative, self.step))

    def _burst(self) -> Fault | None:
        duration = self._lasting(300.0, 1200.0, 8)
        place = self._place(duration)
        if place is None:
            return None
        change, sigmas, relative = _amplitude(self.rng, place, self.non_negative)
        hit = self.rng.random(place.count) < 0.5
        hit[0] = hit[-1] = True
        rows = slice(place.first, place.first + place.count)
        self.values[rows] = np.where(hit, self._limit(self.values[rows] + change), self.values[rows])
        return self._fault("burst", place, sigmas, relative, _critical(sigmas, relative, duration))

    def _zero(self) -> Fault | None:
        place = self._place(self._lasting(300.0, 2 * HOUR_S, 6))
        if place is None:
            return None
        self.values[place.first : place.first + place.count] = 0.0
        return self._fault("zero", place, abs(place.level) / place.sigma, 1.0, True)

    def _leak(self) -> Fault | None:
        hours = float(self.rng.choice([1.0, 6.0, 24.0]))
        rise = max(round(max(hours * HOUR_S, 24 * self.step) / self.step), 2)
        hold = max(round(900.0 / self.step), 3)
        place = self._place((rise + hold) * self.step)
        if place is None:
            return None
        limit = max(15 * place.sigma, abs(place.level))
        ramp = np.minimum(np.arange(1, place.count + 1) / rise, 1.0) * limit
        rows = slice(place.first, place.first + place.count)
        self.values[rows] = self.values[rows] + ramp
        clock, _ = self._reaches(place, 6.0, 1)
        fault = self._fault("leak", place, limit / place.sigma, math.inf, rise * self.step <= 6 * HOUR_S)
        return replace(fault, clock=clock, limit_at=float(self.times[place.first + rise - 1]))

    def _season_phase(self) -> Fault | None:
        place = self._place(DAY_S, after_s=8 * DAY_S)
        if place is None:
            return None
        shift = round(float(self.rng.choice([-1, 1])) * self.rng.uniform(3, 6) * HOUR_S / self.step)
        smooth = running_median(self.twin.values)
        rows = np.arange(place.first, place.first + place.count)
        source = np.clip(rows - shift, 0, len(smooth) - 1)
        self.values[rows] = self._limit(smooth[source] + (self.values[rows] - smooth[rows]))
        return self._slow("season_phase", place)

    def _skipped_day(self) -> Fault | None:
        place = self._place(DAY_S, after_s=8 * DAY_S, day=True)
        if place is None:
            return None
        smooth = running_median(self.twin.values)
        rows = slice(place.first, place.first + place.count)
        quiet = float(np.quantile(smooth[rows], 0.05))
        self.values[rows] = self._limit(quiet + (self.values[rows] - smooth[rows]))
        return self._slow("skipped_day", place)

    def _slow(self, kind: str, place: Place) -> Fault:
        """A season fault begins, for its delay, when it can be seen, and is critical if it can be for long enough."""
        clock, beyond = self._reaches(place, 6.0, 5)
        rows = slice(place.first, place.first + place.count)
        largest = float(np.nanmax(np.abs(self.values[rows] - self.twin.values[rows]))) / place.sigma
        fault = self._fault(kind, place, largest, math.inf, beyond * self.step >= 300.0)
        return replace(fault, clock=clock if math.isfinite(clock) else fault.start)

    def _variance(self, kind: str, factor: float) -> Fault | None:
        place = self._place(self._lasting(HOUR_S, 6 * HOUR_S, 30))
        if place is None:
            return None
        smooth = running_median(self.twin.values)
        rows = slice(place.first, place.first + place.count)
        self.values[rows] = self._limit(smooth[rows] + factor * (self.values[rows] - smooth[rows]))
        _, beyond = self._reaches(place, 6.0, 1)
        return self._fault(kind, place, factor, factor, beyond * self.step >= 300.0)

    def _flat(self) -> Fault | None:
        place = self._place(self._lasting(HOUR_S, 6 * HOUR_S, 24))
        if place is None:
            return None
        previous = filled(self.values)[place.first - 1]
        self.values[place.first : place.first + place.count] = previous
        fault = self._fault("flat", place, 0.0, 0.0, True)
        return replace(fault, clock=min(fault.start + 1800.0, fault.end))

    def _stale(self) -> Fault | None:
        missing = int(self.rng.choice([2, 5, 20], p=[0.2, 0.4, 0.4]))
        place = self._place(missing * self.step)
        if place is None:
            return None
        self.removed[place.first : place.first + place.count] = True
        kind = "stale" if missing > 2 else "stale_2"
        fault = self._fault(kind, place, float(missing), math.inf, missing >= 5)
        # The last sample before the silence is when the series was last seen.
        return replace(fault, clock=float(self.times[place.first - 1]))

    def finished(self, faults: list[Fault]) -> Injected:
        """The slice with everything that was injected."""
        keep = ~self.removed
        recording = replace(
            self.twin, times_s=self.times[keep], values=self.values[keep], labels=self.twin.labels[keep],
            events=[fault.label for fault in faults],
        )  # fmt: skip
        return Injected(self.twin, recording, faults)


def inject(root: Path, piece: Slice, seed: int) -> Injected | None:
    """A slice with one to three faults a week (at least one), kinds drawn among those that apply."""
    twin = background(root, piece, seed)
    if twin is None or len(twin.values) < 200:
        return None
    rng = np.random.default_rng([*seed_of(seed, piece), 1])
    injector = Injector(twin, rng)
    weeks = float(twin.times_s[-1] - twin.times_s[0]) / (7 * DAY_S)
    kinds = injector.applicable()
    rng.shuffle(kinds)
    faults = []
    for i in range(max(round(weeks * rng.uniform(1, 3)), 1)):
        fault = injector.inject(kinds[i % len(kinds)])
        if fault is not None:
            faults.append(fault)
    return injector.finished(sorted(faults, key=lambda f: f.start)) if faults else None
