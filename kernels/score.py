"""Scores points against each series' own past, and learns from them: one pass, one record a series."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from kernels.findings import (
    O_CANDIDATE,
    O_CHANGE,
    O_CLOSING,
    O_DEVIATION,
    O_EXPECTED,
    O_FEATURES,
    O_LOWER,
    O_REASON,
    O_SCORE,
    O_SEVERITY,
    O_UPPER,
    OUTPUTS,
)
from kernels.jit import F4, F8, I8, RF8, RI8, RU1, RU4, U1, U4, hot_step, i8, kernel, step
from kernels.observe import observe_value
from kernels.prefetch import prefetch, prefetch_record
from kernels.rarity import chance_of
from kernels.seasonal import CELL_MS
from kernels.series_state import CELLS, CELLS_AT, EVIDENCE, OPENED, P_STALE, STALE, STATES, TOUCHED, TRANSITIONS
from kernels.staleness import note_silence, silence_limit_ms

# What became of a row.
TAKEN: Final = 0
LATE: Final = 1
REPEATED: Final = 2
SKIPPED: Final = 3

AHEAD: Final = 8
"""Rows between asking for a record and scoring it. What is asked for is some ten cache lines a row; much more than that
times eight a core cannot wait for at once, and at half the distance large states cost a fifth more."""
_LINE: Final = 64


@hot_step
def fetch_record(states: Any, sid: Any, t: Any) -> None:
    """Ask for the parts of a record that a value at time t touches: what every point does, and the season's cells of
    that time."""
    for at in range(0, TOUCHED, _LINE):
        prefetch_record(states, np.int64(sid), at)
    prefetch_record(states, np.int64(sid), TOUCHED - 1)
    prefetch_record(states, np.int64(sid), CELLS_AT + 2 * ((t // CELL_MS) % CELLS))


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
    r.proposed = np.uint8(out[O_CANDIDATE]) if out[O_CHANGE] == OPENED else np.uint8(0)
    if r.proposed != 0:
        for k in range(EVIDENCE):
            r.evidence[k] = out[O_FEATURES + k]
    chance = chance_of(s, out[O_DEVIATION])
    r.once_s = s.interval / max(chance, 1e-12) if chance > 0.0 else 0.0


@step
def stale_transition(r: Any, s: Any, sid: int, row: int, due: Any) -> None:
    """Fill a record for a series that fell silent."""
    r.sid = sid
    r.row = row
    r.time_ms = due
    r.began_ms = s.began_ms
    r.opened_ms = due
    r.value = np.nan
    r.expected = s.levels[s.chosen]
    r.lower = np.nan
    r.upper = np.nan
    r.score = s.score
    r.deviation = 0.0
    r.kind = OPENED
    r.severity = s.severity
    r.reason = STALE
    r.closing = 0
    r.proposed = 0
    r.once_s = 0.0


@kernel(STATES, i8, RI8, RF8, RF8, types.boolean, F8, F8, F8, F8, I8, F8, TRANSITIONS)
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
    chance: NDArray[np.float64],
    transitions: Any,
) -> int:
    """One series from its first row to its last, staleness included; returns the number of transitions.

    `transitions` must hold 2 · len(times) records; `row` of one that time alone brought is -1 - (row before which it
    came). NaN is a missing value. chance: see kernels.rarity.
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
        chance[i] = np.nan
        if s.count > 1 and p[P_STALE] > 0.0:
            due = s.last_ms + silence_limit_ms(s, p)
            if t > due and note_silence(s, due):
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
        chance[i] = chance_of(s, out[O_DEVIATION])
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


@kernel(STATES, STATES, RU4, RI8, RF8, RI8, RU1, RU4, RF8, U4, i8, RF8, F4, F8, F8, F8, U1, I8, TRANSITIONS)
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
    newest_ms: int,
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
    seconds after which the series counts as silent, 0 = never. newest_ms: the newest time of any series before the
    batch; a row behind it counts as heard then, so that neither old data sent again nor a sender whose clock is behind
    looks like silence. score and the three bands are filled by row; exceeds is
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
        if i + 2 * AHEAD < sids.shape[0]:
            later = np.int64(sids[i + 2 * AHEAD])
            prefetch(kinds, later)
            prefetch(generations, later)
            prefetch(deadlines, later)
        if i + AHEAD < sids.shape[0]:
            fetch_record(states, sids[i + AHEAD], times[i + AHEAD])
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
            deadlines[sid] = np.uint32((max(t, np.int64(newest_ms)) + silence_limit_ms(s, p)) // 1000 + 1)
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
            if note_silence(states[sid], due):
                stale_transition(transitions[found], states[sid], sid, -1, due)
                found += 1
    return found
