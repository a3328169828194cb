"""How strong the evidence of one sample is, 0 … 1, and the score that is shown of it.

Strength is one half where the log odds reach the limit, 0.2 more for each unit beyond, and up to 0.25 for what lasts.
The score says it of the sample that brings more than was known already; what only goes on has a score at the lower end
of its severity, and what brought no alert one below one half. Where samples are far apart, the sample that opens an
alert or raises its severity has that score, and every other what is new in it (kernels.novelty).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kernels.candidates import UNASKED, Verdict
from kernels.exponential import natural_exp
from kernels.findings import O_CANDIDATE, O_CHANGE, O_SCORE
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.novelty import show_novelty
from kernels.prediction import Deviation
from kernels.series_state import CHANGED, OPENED

RANKED: Final = 6.0
"""Samples over which a score below one half is smoothed."""
LIFE: Final = 5e-5
"""Least share of a sample in what is usual in a series' life."""


class Strength(NamedTuple):
    """The evidence of one sample, 0 … 1; an alert from one half on."""

    level: float
    """Of the sample alone."""
    lasting: float
    """With what is added for how long the alert lasts."""
    severity: int
    """That of `lasting`: 0 none … 4 critical."""


@hot_step
def severity_of(score: float) -> int:
    """0 none … 4 critical."""
    if score >= 0.9:
        return 4
    if score >= 0.7:
        return 3
    if score >= 0.5:
        return 2
    return 1 if score > 0.25 else 0


@hot_step
def floor_of(severity: int) -> float:
    """Score at which a severity of an alert begins."""
    if severity == 4:
        return 0.9
    return 0.7 if severity == 3 else 0.5


@hot_step
def strong(score: float) -> float:
    """What is beyond 0.9, bent so that it stays under one."""
    return score if score <= 0.9 else 1.0 - 0.01 / (score - 0.8)


@hot_step
def strength_of(s: Any, now: Moment, deviation: float, verdict: Verdict) -> Strength:
    """Strength of a sample whose deviation is so many scales."""
    size = abs(deviation)
    level = 0.25 * size / (size + 4.0) if now.warm else 0.0
    lasting = level
    if now.warm and verdict.reason != 0:
        beyond = verdict.odds - verdict.limit
        level = strong(0.5 + 0.2 * beyond) if beyond >= 0.0 else max(level, 0.4999 * natural_exp(0.12 * beyond))
        lasting = level
        if beyond >= 0.0 and s.open != 0:
            held = min(s.held * now.step_s / max(120.0, 8.0 * min(now.step_s, 60.0)), 1.0)
            lasting = strong(0.5 + 0.2 * beyond + 0.25 * held)
    return Strength(level, lasting, severity_of(lasting))


@hot_step
def rank_ordinary(s: Any, score: float, distance: float) -> float:
    """Score below one half of what brought no alert: how the evidence stands over the last samples, and how far the
    values are from what was expected, against how far they were in all the series' life. Both are smoothed, because
    what lasts is less usual than what does not; the measure is the same for all of the life, so that a day full of
    deviations does not hide the next one.
    """
    a = 1.0 / RANKED if s.count >= RANKED else 1.0 / s.count
    capped = min(distance, 8.0 * s.usual_dev) if s.count > 100 and s.usual_dev > 0.0 else distance
    s.usual_dev += max(1.0 / s.count, LIFE) * (capped - s.usual_dev)
    s.recent_dev += a * (distance - s.recent_dev)
    s.recent_score += a * (score - s.recent_score)
    apart: float = s.recent_dev / (s.recent_dev + 5.0 * s.usual_dev) if s.recent_dev > 0.0 else 0.0
    evidence: float = min(2.0 * s.recent_score, 1.0)
    return 0.4999 * (0.3 * evidence + 0.7 * apart)


@hot_step
def score_of(s: Any, now: Moment, d: Deviation, strength: Strength) -> float:
    """The score of a sample as far as the alert rule does not change it."""
    ordinary = rank_ordinary(s, strength.lasting, abs(d.value - d.expected))
    if not now.warm:
        return 0.0
    if now.coarse:
        return 0.5 * ordinary
    if strength.lasting < 0.5:
        return ordinary
    new = s.open == 0 or strength.level > s.score
    return strength.level if new else floor_of(strength.severity) + 0.005 * strength.lasting


@hot_step
def show_coarse(s: Any, d: Deviation, verdict: Verdict, strength: Strength, was_open: bool, out: Any) -> None:
    """The score where samples are far apart, once the alert rule has spoken."""
    if out[O_CHANGE] == OPENED or out[O_CHANGE] == CHANGED:
        out[O_SCORE] = strength.lasting
    if not was_open:
        show_novelty(s, d.deviation, verdict.odds if out[O_CANDIDATE] > 0.0 else UNASKED, out, O_SCORE)
