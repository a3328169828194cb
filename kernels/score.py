"""Scores points against each series' own past, and learns from them: one pass, one record a series."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from kernels.jit import F4, F8, I8, RF8, RI8, RU1, RU4, U1, U4, i8, kernel, step
from kernels.series_state import (
    ADOPTED,
    BACK,
    CELLS,
    CHANGED,
    CLOSED,
    FLAT,
    OPENED,
    P_ADOPT,
    P_EXCEED,
    P_FLAT,
    P_INSTANT,
    P_PERSIST,
    P_SEASON,
    P_STALE,
    P_WARM_UP_MS,
    P_ZERO,
    SPIKE,
    STALE,
    STATES,
    SUSTAINED,
    TRANSITIONS,
    ZERO,
)

CELL_MS: Final = 600_000

# Where `observe_value` leaves what it found (float64 scratch vector).
O_SCORE: Final = 0
O_EXPECTED: Final = 1
O_LOWER: Final = 2
O_UPPER: Final = 3
O_CHANGE: Final = 4  # 0 or the kind of transition
O_REASON: Final = 5
O_CLOSING: Final = 6
O_DEVIATION: Final = 7
O_SEVERITY: Final = 8
OUTPUTS: Final = 12

# What became of a row.
TAKEN: Final = 0
LATE: Final = 1
REPEATED: Final = 2
SKIPPED: Final = 3


@step
def severity_of(score: float) -> int:
    """0 none … 4 critical."""
    if score >= 0.9:
        return 4
    if score >= 0.7:
        return 3
    if score >= 0.5:
        return 2
    return 1 if score > 0.0 else 0


@step
def season_of(s: Any, t: int) -> float:
    """What the time of day adds, between the middles of two cells."""
    position = (t % (CELLS * CELL_MS)) / CELL_MS - 0.5
    low = math.floor(position)
    part = position - low
    a = int(low) % CELLS
    b = (a + 1) % CELLS
    wa = (1.0 - part) if s.seen[a] > 0 else 0.0
    wb = part if s.seen[b] > 0 else 0.0
    if wa + wb <= 0.0:
        return 0.0
    season: float = (wa * s.cells[a] + wb * s.cells[b]) / (wa + wb) * s.unit
    return season


@step
def learn_season(s: Any, t: int, value: float) -> None:
    """Gather a cell's mean; fold it into the season when the cell is left."""
    cell = (t // CELL_MS) % CELLS
    if cell != s.cell_now:
        if s.cell_count > 0:
            mean = s.cell_sum / s.cell_count
            k = s.cell_now
            old = s.cells[k] * s.unit
            seen = s.seen[k]
            if seen > 0:
                s.loss_with += 0.01 * (abs(mean - old) - s.loss_with)
                s.loss_without += 0.01 * (abs(mean) - s.loss_without)
            new = old + (mean - old) / min(seen + 1.0, 5.0)
            if s.unit <= 0.0 or abs(new) > 32000.0 * s.unit:
                unit = max(abs(new) / 8000.0, 1e-300)
                for c in range(CELLS):
                    s.cells[c] = np.int16(round(s.cells[c] * s.unit / unit))
                s.unit = unit
            if s.unit > 0.0:
                s.cells[k] = np.int16(round(new / s.unit))
            if seen < 255:
                s.seen[k] = seen + 1
            if s.loss_without > 0.0 and seen > 0:
                target = min(max(1.0 - s.loss_with / s.loss_without, 0.0) * 2.0, 1.0)
                s.season_gain += 0.02 * (target - s.season_gain)
        s.cell_now = cell
        s.cell_count = 0
        s.cell_sum = 0.0
    s.cell_sum += value
    if s.cell_count < 65535:
        s.cell_count += 1


@step
def stale_limit_ms(s: Any) -> float:
    """How long a series may be silent."""
    limit: float = 1000.0 * s.interval * max(2.6, 1.5 * s.longest_gap)
    return limit


@step
def observe_value(s: Any, t: int, x: float, p: Any, out: Any) -> None:
    """One value of one series at time t (ms, later than the last): score, then learn. Fills `out`."""
    for k in range(OUTPUTS):
        out[k] = 0.0
    out[O_EXPECTED] = x
    out[O_LOWER] = x
    out[O_UPPER] = x
    if s.count == 0:
        s.first_ms = t
        s.last_ms = t
        s.changed_ms = t
        s.level = x
        s.slow = x
        s.frozen_level = x
        s.candidate = x
        s.previous = x
        s.count = 1
        s.cell_now = (t // CELL_MS) % CELLS
        return
    dt = max((t - s.last_ms) * 0.001, 0.001)
    # The step and its gaps.
    if s.count == 1:
        if s.interval == 0.0:
            s.interval = dt
        s.longest_gap = 1.0
    else:
        ratio = dt / s.interval
        if ratio > 1.5 or ratio < 0.5:
            s.interval *= 1.05 if ratio > 1.0 else 0.8
        else:
            s.interval += 0.05 * (dt - s.interval)
        s.longest_gap = max(s.longest_gap * 0.9995, min(ratio, 50.0)) if s.count > 8 else 1.0
    tau = s.interval
    w = min(dt, 3.0 * tau)
    s.last_ms = t
    if s.count < 4294967295:
        s.count += 1
    warm = (t - s.first_ms) >= p[P_WARM_UP_MS] and s.count > 16
    use_season = p[P_SEASON] > 0.0
    season = season_of(s, t) * s.season_gain if use_season else 0.0
    y = x - season
    expected = s.level + season
    scale = 1.25 * max(s.short_dev, s.long_dev)
    scale = max(scale, 1e-6 * abs(s.slow), 0.35 * s.step_quantum, 1e-300)
    e = y - s.level
    z = e / scale if s.count > 4 else 0.0
    z = min(max(z, -1e6), 1e6)
    out[O_EXPECTED] = expected
    out[O_LOWER] = expected - p[P_EXCEED] * scale
    out[O_UPPER] = expected + p[P_EXCEED] * scale
    out[O_DEVIATION] = z
    # Evidence.
    az = abs(z)
    two = 0.0
    if z > 0.0:
        two = min(z, max(s.z1, s.z2))
    else:
        two = min(-z, max(-s.z1, -s.z2))
    exceeding = az > p[P_EXCEED]
    reason = 0
    strength = az / p[P_INSTANT]
    if az > p[P_INSTANT]:
        reason = SPIKE
    if two > p[P_PERSIST]:
        reason = SUSTAINED
    if two / p[P_PERSIST] > strength:
        strength = two / p[P_PERSIST]
    # Zero, where zero is rare.
    same = x == s.previous
    if x == 0.0:
        if s.zero_run < 65535:
            s.zero_run += 1
        if p[P_ZERO] > 0.0 and warm and s.zero_share < 0.002 and s.zero_run >= 2 and az > 3.0:
            reason = ZERO
            strength = max(strength, 1.5)
    else:
        s.zero_run = 0
    # A value that no longer moves, where it always did.
    if same:
        if s.run < 4294967295:
            s.run += 1
    else:
        s.longest_run = max(s.longest_run * 0.999, float(s.run))
        s.run = 0
        s.changed_ms = t
    flat_limit = max(12.0, 4.0 * s.longest_run, 900.0 / tau)
    flat = p[P_FLAT] > 0.0 and warm and s.count > 200 and s.longest_run < 6.0 and s.run >= flat_limit
    if flat:
        reason = FLAT
        strength = max(strength, 1.2)
    s.previous = x
    # Score: one half where an alert would open, towards one beyond.
    score = 0.0
    if warm:
        score = min(0.5 * strength, 0.49) if reason == 0 else 1.0 - 0.5 / max(strength, 1.0)
    out[O_SCORE] = score
    # The alert.
    if exceeding:
        s.calm = 0
        if s.exceeding == 0:
            s.began_ms = t
            s.frozen_level = s.level
        if s.exceeding < 65535:
            s.exceeding += 1
    else:
        if s.calm < 65535:
            s.calm += 1
        if s.calm >= 2:
            s.exceeding = 0
    severity = severity_of(score)
    adopted = False
    if exceeding or flat:
        if s.exceeding <= 1:
            s.candidate = y
            s.candidate_dev = scale
            s.candidate_count = 0
        a = 1.0 / min(s.candidate_count + 2.0, 8.0)
        d = y - s.candidate
        s.candidate += a * d
        s.candidate_dev += a * (abs(d) - s.candidate_dev)
        if s.candidate_count < 65535:
            s.candidate_count += 1
        need = p[P_ADOPT]
        if exceeding and need > 0.0 and s.candidate_count >= need and s.candidate_dev < 3.0 * scale:
            s.slow += s.candidate - s.level
            s.level = s.candidate
            s.exceeding = 0
            adopted = True
    if s.open == 0:
        if warm and reason != 0 and not adopted:
            s.open = reason
            s.opened_ms = t
            if s.exceeding == 0:
                s.began_ms = t
            s.score = score
            s.severity = severity
            out[O_CHANGE] = OPENED
            out[O_REASON] = reason
            out[O_SEVERITY] = severity
    else:
        was_stale = s.open == STALE
        over = (s.calm >= 3 and not flat and x != 0.0) or (s.calm >= 3 and s.open != FLAT and s.open != ZERO)
        if was_stale or over or adopted:
            out[O_CHANGE] = CLOSED
            out[O_REASON] = s.open
            out[O_SEVERITY] = s.severity
            out[O_CLOSING] = ADOPTED if adopted else BACK
            s.open = 0
            s.score = 0.0
            s.severity = 0
        elif severity > s.severity:
            s.severity = severity
            s.score = max(s.score, score)
            out[O_CHANGE] = CHANGED
            out[O_REASON] = s.open
            out[O_SEVERITY] = severity
    # Learn.
    warming = s.count < 64
    clipped = e
    limit = 3.0 * scale
    if not warming and clipped > limit:
        clipped = limit
    if not warming and clipped < -limit:
        clipped = -limit
    a_fast = 1.0 - 2.0 ** (-w / max(6.0 * tau, 180.0))
    a_short = max(1.0 - 2.0 ** (-w / max(60.0 * tau, 3600.0)), 1.0 / s.count)
    a_long = max(1.0 - 2.0 ** (-w / 86400.0), 1.0 / s.count)
    if warming:
        a_fast = max(a_fast, 1.0 / s.count)
    if not exceeding or not warm:
        if not adopted:
            s.level += a_fast * clipped
        s.slow += a_long * (x - s.slow) if s.count < 64 else a_long * min(max(x - s.slow, -20 * limit), 20 * limit)
        if use_season:
            learn_season(s, t, x - s.slow)
    s.short_dev += a_short * (abs(clipped) - s.short_dev)
    s.long_dev += a_long * (abs(clipped) - s.long_dev)
    s.zero_share += a_long * ((1.0 if x == 0.0 else 0.0) - s.zero_share)
    s.z2 = s.z1
    s.z1 = z


@step
def note_missing(s: Any, t: Any) -> bool:
    """True when the series has been silent for longer than it ever is; opens the alert."""
    if s.open != 0 or s.count < 30 or s.last_ms == 0:
        return False
    s.open = STALE
    s.opened_ms = t
    s.began_ms = s.last_ms
    s.score = 0.95
    s.severity = 4
    return True


@step
def write_transition(r: Any, s: Any, sid: int, row: int, t: int, x: float, out: Any) -> None:
    """Fill a record from what `observe_value` found."""
    r.sid = sid
    r.row = row
    r.time_ms = t
    r.began_ms = s.began_ms
    r.opened_ms = s.opened_ms
    r.value = x
    r.expected = out[O_EXPECTED]
    r.lower = out[O_LOWER]
    r.upper = out[O_UPPER]
    r.score = max(out[O_SCORE], float(s.score))
    r.deviation = out[O_DEVIATION]
    r.kind = np.uint8(out[O_CHANGE])
    r.severity = np.uint8(out[O_SEVERITY])
    r.reason = np.uint8(out[O_REASON])
    r.closing = np.uint8(out[O_CLOSING])


@step
def stale_transition(r: Any, s: Any, sid: int, row: int, due: Any) -> None:
    """Fill a record for a series that fell silent."""
    r.sid = sid
    r.row = row
    r.time_ms = due
    r.began_ms = s.began_ms
    r.opened_ms = due
    r.value = np.nan
    r.expected = s.level
    r.lower = np.nan
    r.upper = np.nan
    r.score = s.score
    r.deviation = 0.0
    r.kind = OPENED
    r.severity = s.severity
    r.reason = STALE
    r.closing = 0


@kernel(STATES, i8, RI8, RF8, RF8, types.boolean, F8, F8, F8, F8, I8, TRANSITIONS)
def score_series(
    states: Any,
    sid: int,
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    p: NDArray[np.float64],
    counter: bool,
    score: NDArray[np.float64],
    expected: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    fate: NDArray[np.int64],
    transitions: Any,
) -> int:
    """One series from its first row to its last, staleness included; returns the number of transitions.

    `transitions` must hold 2 · len(times) records; `row` of one that time alone brought is -1 - (row before which it
    came). NaN is a missing value.
    """
    out = np.zeros(OUTPUTS)
    found = 0
    s = states[sid]
    for i in range(times.shape[0]):
        t, v = times[i], values[i]
        score[i] = 0.0
        expected[i] = np.nan
        lower[i] = np.nan
        upper[i] = np.nan
        fate[i] = SKIPPED
        if s.count > 1 and p[P_STALE] > 0.0:
            due = s.last_ms + np.int64(stale_limit_ms(s))
            if t > due and note_missing(s, due):
                stale_transition(transitions[found], s, sid, -1 - i, due)
                found += 1
        if not math.isfinite(v):
            continue
        if s.raw_ms != 0 and t <= s.raw_ms:
            fate[i] = REPEATED if t == s.raw_ms else LATE
            continue
        x = v
        valid = True
        if counter:
            valid = s.raw_ms != 0 and v >= s.raw
            x = (v - s.raw) / ((t - s.raw_ms) * 0.001) if valid else 0.0
        s.raw = v
        s.raw_ms = t
        fate[i] = TAKEN
        if not valid:
            continue
        observe_value(s, t, x, p, out)
        score[i] = out[O_SCORE]
        expected[i] = out[O_EXPECTED]
        lower[i] = out[O_LOWER]
        upper[i] = out[O_UPPER]
        if out[O_CHANGE] != 0.0:
            write_transition(transitions[found], s, sid, i, t, x, out)
            found += 1
    return found


# Classes of rows; the numbers are those of the telemetry's kinds.
_COUNTER, _COUNT, _SUM, _BUCKET, _TARGET = 2, 3, 4, 5, 7
_CLASS, _DELTA, _NON_MONOTONIC, _VMRANGE = 0x0F, 0x10, 0x20, 0x40

# Positions of the totals `score_batch` adds to.
TOTAL_TAKEN: Final = 0
TOTAL_LATE: Final = 1
TOTAL_REPEATED: Final = 2
TOTAL_SKIPPED: Final = 3


@kernel(STATES, STATES, RU4, RI8, RF8, RI8, RU1, RU4, RF8, U4, RF8, F4, F8, F8, F8, U1, I8, TRANSITIONS)
def score_batch(
    states: Any,
    blank: Any,
    sids: NDArray[np.uint32],
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    starts: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    generations: NDArray[np.uint32],
    bounds: NDArray[np.float64],
    deadlines: NDArray[np.uint32],
    p: NDArray[np.float64],
    score: NDArray[np.float32],
    expected: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    exceeds: NDArray[np.uint8],
    totals: NDArray[np.int64],
    transitions: Any,
) -> int:
    """A batch of rows of many series, in order; returns the number of transitions (at most one a row).

    states: one record a sid, all sids < len(states), which the caller has checked; blank: one zero record. starts is
    empty where unknown. bounds: upper bound of a histogram bucket by sid, empty where unknown. deadlines: by sid, Unix
    seconds after which the series counts as silent, 0 = never. score and the three bands are filled by row; exceeds is
    1 where a score reaches one half. totals: taken, late, repeated, skipped, added to. Rows of one histogram point
    stand together: count, sum, buckets by rising bound.
    """
    out = np.zeros(OUTPUTS)
    found = 0
    # The histogram point being read.
    point_ms = np.int64(-1)
    point_count = 0.0
    below = 0.0
    below_bound = 0.0
    quantile = np.nan
    for i in range(sids.shape[0]):
        sid = sids[i]
        t = times[i]
        v = values[i]
        kind = kinds[sid]
        family = kind & _CLASS
        score[i] = 0.0
        expected[i] = np.nan
        lower[i] = np.nan
        upper[i] = np.nan
        exceeds[i] = 0
        if family == _TARGET:
            totals[TOTAL_SKIPPED] += 1
            continue
        if states[sid].generation != generations[sid]:
            states[sid] = blank[0]
            states[sid].generation = generations[sid]
            deadlines[sid] = 0
        s = states[sid]
        if s.raw_ms != 0 and t <= s.raw_ms:
            totals[TOTAL_REPEATED if t == s.raw_ms else TOTAL_LATE] += 1
            if family == _COUNT:
                point_ms = np.int64(-1)
            continue
        totals[TOTAL_TAKEN] += 1
        if not math.isfinite(v):
            continue
        seconds = (t - s.raw_ms) * 0.001
        known = s.raw_ms != 0
        delta = (kind & _DELTA) != 0
        if delta:
            increment = v
            known = True
            if starts.shape[0] > 0 and starts[i] > 0 and starts[i] < t:
                seconds = (t - starts[i]) * 0.001
            elif s.raw_ms == 0:
                known = False
        else:
            increment = v - s.raw
            known = known and increment >= 0.0
        s.raw = v
        s.raw_ms = t
        x = v
        valid = True
        if family == _COUNT:
            point_ms = t if known else np.int64(-1)
            point_count = increment
            below = 0.0
            below_bound = 0.0
            quantile = np.nan
        if family == _BUCKET:
            valid = False
            if point_ms == t and known and bounds.shape[0] > 0 and (kind & _VMRANGE) == 0 and point_count > 0.0:
                bound = bounds[sid]
                target = 0.95 * point_count
                if math.isnan(quantile) and increment >= target:
                    if math.isinf(bound):
                        quantile = below_bound
                    elif increment > below:
                        quantile = below_bound + (bound - below_bound) * (target - below) / (increment - below)
                    else:
                        quantile = bound
                below = increment
                below_bound = bound if not math.isinf(bound) else below_bound
                if math.isinf(bound) and not math.isnan(quantile):
                    x = quantile
                    valid = True
        elif family == _SUM and point_ms == t:
            valid = known and point_count > 0.0
            x = increment / point_count if valid else 0.0
        elif family == _COUNT or family == _SUM or (family == _COUNTER and ((kind & _NON_MONOTONIC) == 0 or delta)):
            valid = known
            x = increment / seconds if valid else 0.0
        if not valid or not math.isfinite(x):
            continue
        observe_value(s, t, x, p, out)
        if p[P_STALE] > 0.0 and s.count > 30:
            deadlines[sid] = np.uint32((t + np.int64(stale_limit_ms(s))) // 1000 + 1)
        score[i] = out[O_SCORE]
        expected[i] = out[O_EXPECTED]
        lower[i] = out[O_LOWER]
        upper[i] = out[O_UPPER]
        exceeds[i] = 1 if out[O_SCORE] >= 0.5 else 0
        if out[O_CHANGE] != 0.0:
            write_transition(transitions[found], s, sid, i, t, x, out)
            found += 1
    return found


@kernel(STATES, U4, i8, TRANSITIONS)
def find_silent(states: Any, deadlines: NDArray[np.uint32], now_ms: int, transitions: Any) -> int:
    """Series whose deadline has passed at now_ms; returns the number of transitions, at most len(transitions)."""
    found = 0
    now = np.uint32(now_ms // 1000)
    for sid in range(deadlines.shape[0]):
        if deadlines[sid] != 0 and deadlines[sid] <= now:
            if found == transitions.shape[0]:
                break
            due = np.int64(deadlines[sid]) * 1000
            deadlines[sid] = 0
            if note_missing(states[sid], due):
                stale_transition(transitions[found], states[sid], sid, -1, due)
                found += 1
    return found
