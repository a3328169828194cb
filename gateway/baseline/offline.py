"""One recorded series through the online path: the same kernel steps, the same parameters, the same alert rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.freeze import FreezeStore, grace_s
from gateway.baseline.parameters import parameters
from gateway.baseline.settings import DetectionSettings
from kernels.score import LATE, REPEATED, score_series
from kernels.series_state import CHANGED, CLOSED, OPENED, STATE, TRANSITION

_ONE: Final = np.zeros(1, np.uint32)
"""The id of the only series there is."""


@dataclass(slots=True)
class OfflineResult:
    """What the detector said, row by row, in the order of the input.

    All arrays have the same length m = n + number of extra rows. extra: bool, a row that was not in the input: an
    alert that fired inside a gap, its value NaN. expected, lower, upper are NaN where nothing was scored. chance: that
    a sample of this series, left alone, is as far from what was expected (kernels.rarity), NaN if not known. alert is 1
    from the row at which an alert fires until the row at which it resolves (exclusive). transitions: structured, see
    kernels.series_state.TRANSITION; late and repeated count rows that were not scored.
    """

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    score: NDArray[np.float64]
    chance: NDArray[np.float64]
    severity: NDArray[np.uint8]
    alert: NDArray[np.uint8]
    extra: NDArray[np.bool_]
    transitions: NDArray[Any]
    late: int
    repeated: int


def run_series(
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    kind: Literal["gauge", "counter"] = "gauge",
    interval: float | None = None,
    settings: DetectionSettings | None = None,
    overrides: dict[int, float] | None = None,
    frozen: Sequence[tuple[float, float]] = (),
) -> OfflineResult:
    """Feed one series, strictly causally.

    times_s: float64[n], Unix seconds. values: float64[n], NaN where missing. interval: step in seconds; None = learned.
    overrides: entries of the parameter vector, for ablations only. frozen: spans [start, end), Unix seconds, of
    maintenance, in which learning is frozen.
    """
    p = parameters(settings or DetectionSettings())
    for key, value in (overrides or {}).items():
        p[key] = value
    n = len(values)
    times_ms = np.round(np.asarray(times_s, np.float64) * 1000.0).astype(np.int64)
    raw = np.ascontiguousarray(values, np.float64)
    states = np.zeros(1, STATE)
    if interval:
        states[0]["interval"] = interval
    score, expected, lower, upper, chance = (np.empty(n) for _ in range(5))
    fate = np.empty(n, np.int64)
    transitions = np.zeros(2 * n + 2, TRANSITION)
    kept = FreezeStore(1)
    found = 0
    for first, behind, is_frozen in _stretches(times_ms, frozen):
        if is_frozen:
            kept.freeze(_ONE, states)
        elif kept.holds(_ONE)[0]:
            kept.restore(_ONE, states)
        rows = slice(first, behind)
        changed = transitions[found : found + 2 * (behind - first)]
        new = score_series(
            states, 0, times_ms[rows], raw[rows], p, kind == "counter",
            score[rows], expected[rows], lower[rows], upper[rows], fate[rows], chance[rows], changed,
        )  # fmt: skip
        changed["row"][:new] += np.where(changed["row"][:new] < 0, -first, first)
        found += new
    transitions = transitions[:found].copy()
    in_gap = transitions[transitions["row"] < 0]
    before = (-1 - in_gap["row"]).astype(np.int64)

    def spread(column: NDArray[Any], filler: Any) -> NDArray[Any]:
        return np.insert(column, before, filler)

    alert, severity = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    open_from, level = -1, 0
    extra_severity = []
    for change in transitions:
        row = int(change["row"])
        at = -1 - row if row < 0 else row
        if open_from >= 0:
            alert[open_from:at] = 1
            severity[open_from:at] = level
        if change["kind"] == CLOSED:
            open_from = -1
        elif change["kind"] in (OPENED, CHANGED):
            open_from, level = at, int(change["severity"])
            if row < 0:
                extra_severity.append(level)
    if open_from >= 0:
        alert[open_from:] = 1
        severity[open_from:] = level
    return OfflineResult(
        times_s=spread(np.asarray(times_s, np.float64), in_gap["time_ms"] / 1000.0),
        values=spread(raw, np.nan),
        expected=spread(expected, in_gap["expected"]),
        lower=spread(lower, np.nan),
        upper=spread(upper, np.nan),
        score=spread(score, in_gap["score"].astype(np.float64)),
        chance=spread(chance, np.nan),
        severity=spread(severity, np.array(extra_severity, np.uint8)),
        alert=spread(alert, 1),
        extra=spread(np.zeros(n, np.bool_), True),
        transitions=transitions,
        late=int(np.count_nonzero(fate == LATE)),
        repeated=int(np.count_nonzero(fate == REPEATED)),
    )


def _stretches(times_ms: NDArray[np.int64], frozen: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int, bool]]:
    """(first row, row behind the last one, whether learning is frozen), each unlike the one before. A row that is late
    belongs to where the rows before it had come."""
    inside = np.zeros(len(times_ms), np.bool_)
    reached = np.maximum.accumulate(times_ms) if len(times_ms) else times_ms
    steps = np.diff(reached)[np.diff(reached) > 0]
    grace = float(grace_s(float(np.median(steps)) / 1000.0 if len(steps) else 0.0))
    for start, end in frozen:
        begun = (reached >= round(start * 1000.0)) & (reached < round(end * 1000.0))
        if begun.any():
            inside |= (reached >= round(start * 1000.0)) & (reached < round((end + grace) * 1000.0))
    borders = [0, *(np.flatnonzero(inside[1:] != inside[:-1]) + 1).tolist(), len(inside)]
    for first, behind in pairwise(borders):
        if behind > first:
            yield first, behind, bool(inside[first])
