"""One value of one series: predict, weigh the evidence, run the alert rule, learn.

Cheap floors on a sample, on a run, on the pattern of days and on the variation make a value a candidate; the pattern
model (kernels.pattern) weighs its evidence (kernels.evidence) as log odds, and an alert opens at the limit that
`sensitivity` sets. Zeros, values that stand still and silence have rules of their own.

A *run* is a stretch of samples on one side of a reference that was frozen when it began. While it lasts the local
levels do not learn; when it ends they go on; when it lasts too long its own level is adopted.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from kernels.evidence import FEATURES, weigh_evidence
from kernels.ewma import share
from kernels.exponential import natural_exp, natural_log
from kernels.habits import (
    DENSE_S,
    begin_habits,
    fold_block,
    fold_day,
    note_peaks,
    note_range,
    note_recent,
    third_of_recent,
)
from kernels.jit import hot_step, step
from kernels.novelty import COARSE_S, show_novelty
from kernels.pattern import second_table, weigh
from kernels.seasonal import CELL_MS, learn_season, season_of
from kernels.series_state import (
    ADOPTED,
    BACK,
    CALMER,
    CELLS,
    CHANGED,
    CLOSED,
    FLAT,
    LEVELS,
    NOISIER,
    OPENED,
    P_ADOPT,
    P_BAND,
    P_CHOICE,
    P_FLAT,
    P_LIMIT,
    P_LIMIT_CALMER,
    P_LIMIT_SLOW,
    P_LOCAL,
    P_MODEL,
    P_SEASON,
    P_SLOW,
    P_VARIANCE,
    P_WARM_UP_MS,
    P_ZERO,
    SEASON,
    SPIKE,
    STALE,
    SUSTAINED,
    TRENDED,
    ZERO,
)
from kernels.sparse import note_busy
from kernels.staleness import learn_interval, learn_silence
from kernels.tail import discount_tails

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
O_CANDIDATE: Final = 9  # 1: the features were worked out
O_FEATURES: Final = 10
OUTPUTS: Final = O_FEATURES + FEATURES

ENTER: Final = 2.5
"""Scales at which a run begins."""
RANKED: Final = 6.0
"""Samples over which a score below one half is smoothed."""
LIFE: Final = 5e-5
"""Least share of a sample in what is usual in a series' life."""
DRIFT_RUN: Final = 2.0
"""Scales a sample of a run must be beyond the reference to add to it."""
CAP: Final = 9.0
"""Scales at which one sample's addition to a run is capped."""
LARGEST: Final = 1e30
"""What is larger counts as this much: deviations are kept in 32 bits, and one that does not fit would be infinite, the
next not a number, and the series deaf for good."""
HOPELESS: Final = 3.0
"""Log odds under the limit at which the first trees end the matter."""
MATURE_S: Final = 72000.0
"""Seconds and samples after which the pattern model is asked."""
MATURE_SAMPLES: Final = 48
LARGE: Final = 9.0
"""Scales that three of six samples must reach in a series' first day."""
SPARSE: Final = 0.3
"""Share of zeros from which a series is a sparse count."""
SPARSE_LARGE: Final = 6.0
"""Scales that three of six samples must reach in a sparse count, whatever the model says."""
MOSTLY_ZERO: Final = 0.9
"""Share of zeros from which it is unusual to be anything else for long."""
AWAKE: Final = 3
"""Samples in a row that such a series must not be zero for, and seconds; more than twice as many as it ever was."""
AWAKE_S: Final = 180.0
QUIET: Final = 4
"""Samples within one scale, in a row, that end a run."""
LOOK_SPIKE: Final = 4.0
"""Floors of candidates: scales of one sample, a run's sum, scales of the third of six, errors of days, of variation."""
LOOK_RUN: Final = 5.0
LOOK_THIRD: Final = 3.0
LOOK_SLOW: Final = 2.5
LOOK_WAVE: Final = 2.5
LONGEST: Final = 1.5
"""Times the samples of an adoption after which also an unsteady level is adopted."""
ADOPT_S: Final = 1200.0
"""Seconds a level must last to be adopted where samples are far apart; three of them at least."""
SILENT_ADOPT: Final = 10
"""Samples after which a run that brought no alert becomes the new level."""
STILL: Final = 5.0
"""Times its longest repetition that a value must stand still to be stuck."""
FLAT_HELD: Final = 28800.0
"""Seconds after which an alert on a value that stands still closes; 24 samples where those last longer."""
SLOW_HELD: Final = 1500.0
"""Seconds after which an alert on days or variation closes; four samples where those last longer."""


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


@step
def begin_series(s: Any, t: int, x: float) -> None:
    """The first value."""
    s.first_ms = t
    s.last_ms = t
    for k in range(LEVELS):
        s.levels[k] = x
    s.slow = x
    s.reference = x
    s.candidate = x
    s.fallback = x
    s.previous = x
    s.count = 1
    s.chosen = 1
    s.cell_now = (t // CELL_MS) % CELLS
    begin_habits(s, t, x)


@step
def shift_levels(s: Any, level: float) -> None:
    """Take `level` for the local level."""
    for k in range(LEVELS):
        s.levels[k] = level
    s.slope = 0.0


@hot_step
def observe_value(s: Any, t: int, x: float, p: Any, out: Any) -> None:
    """One value of one series at time t (ms, later than the last): score, then learn. Fills `out`."""
    for k in range(O_FEATURES):
        out[k] = 0.0
    x = min(max(x, -LARGEST), LARGEST)
    out[O_EXPECTED] = x
    out[O_LOWER] = x
    out[O_UPPER] = x
    if s.count == 0:
        begin_series(s, t, x)
        return
    seconds = max((t - s.last_ms) * 0.001, 0.001)
    learn_interval(s, seconds, p)
    tau = float(s.interval)
    w = min(seconds, 3.0 * tau)
    s.last_ms = t
    if s.count < 4000000000:
        s.count += 1
    age_s = (t - s.first_ms) * 0.001
    warm = (t - s.first_ms) >= p[P_WARM_UP_MS] and s.count > 16
    mature = age_s >= MATURE_S and s.count > MATURE_SAMPLES

    now_s = t // 1000
    if now_s >= s.block_s:
        fold_block(s, t, tau)
    if now_s >= s.day_s:
        fold_day(s, now_s)

    # Prediction.
    season = season_of(s, t) * s.season_gain if p[P_SEASON] > 0.0 else 0.0
    y = x - season
    chosen = 1
    if p[P_CHOICE] > 0.0:
        # Without branches: which is the best differs from series to series.
        least_loss = float(s.losses[chosen])
        for k in range(LEVELS):
            loss = float(s.losses[k])
            chosen = k if loss < least_loss else chosen
            least_loss = min(loss, least_loss)
    s.chosen = chosen
    prediction = s.levels[chosen]
    if chosen == TRENDED:
        prediction += s.slope * w
    in_run = s.run_side != 0.0
    local = s.open == SPIKE or s.open == SUSTAINED or s.open == ZERO
    if in_run or local:
        prediction = s.reference
    if s.stride <= 0.0 and x != s.previous:
        # The first movement of a value that has stood still is all there is to measure it by.
        s.stride = 0.25 * abs(x - s.previous)
    scale = 1.25 * max(s.short_dev, s.long_dev)
    scale = max(scale, 1e-6 * abs(s.slow), 0.5 * s.stride, 1e-300)
    if s.zero_share > SPARSE:
        # A sparse count: what it is when it is not zero says how far it usually goes.
        scale = max(scale, min(2.0 * s.zero_share, 1.0) * s.active)
    # What either "as just before" or "as just before, and on with the season" explains is no deviation.
    e = y - prediction
    plain = x - (prediction + s.season_then)
    nearer = plain if abs(plain) < abs(e) else e
    e = nearer if e * plain > 0.0 else 0.0
    z = min(max(e / scale, -1e6), 1e6) if s.count > 4 else 0.0
    az = abs(z)
    out[O_EXPECTED] = prediction + season
    out[O_LOWER] = prediction + season - p[P_BAND] * scale
    out[O_UPPER] = prediction + season + p[P_BAND] * scale
    out[O_DEVIATION] = z

    # A run: samples on one side of a reference that was frozen when it began. Samples closer than fifteen seconds say
    # the same thing several times over.
    dense = math.sqrt(tau / DENSE_S) if tau < DENSE_S else 1.0
    note_recent(s, z * dense)
    side = 1.0 if z > 0.0 else -1.0
    if in_run and side != s.run_side and az > ENTER:
        # Through the reference to the other side: a run of its own.
        s.run_side = side
        s.run_sum = 0.0
    if not in_run and az > ENTER:
        s.run_side = side
        s.run_sum = 0.0
        s.run_count = 0
        s.quiet = 0
        s.onset = 0.0
        if not local:
            s.reference = prediction
            s.candidate = y
            s.candidate_dev = scale
            if s.open == 0:
                s.began_ms = t
        in_run = True
    third = 0.0
    if in_run:
        s.run_count += 1
        if s.run_count <= 2:
            s.onset = max(s.onset, abs(x - s.previous))
        s.quiet = s.quiet + 1 if az < 1.0 else 0
        s.run_sum = min(s.run_sum + dense * (min(s.run_side * z, CAP) - DRIFT_RUN), 60.0)
        third = third_of_recent(s, s.run_side)
        if s.run_sum <= 0.0 or s.quiet >= QUIET:
            s.run_sum = 0.0
            s.run_side = 0.0
    if in_run or local:
        a = 1.0 / min(s.run_count + 1.0, 6.0)
        d = y - s.candidate
        s.candidate += a * d
        s.candidate_dev += a * (abs(d) - s.candidate_dev)
    # Away from season and level of days.
    apart = y - s.slow
    if now_s - s.slow_before_s < 86400 and abs(y - s.slow_before) < 0.25 * abs(apart) and abs(apart) > 2.0 * s.q_dev:
        # Back at the level of days that an adoption had left.
        s.slow = s.slow_before
        s.slow_before_s = 0
        apart = y - s.slow
        s.q = apart
    # An alert that is open lets go faster than it came.
    back = 4.0 if s.open == SEASON and abs(apart) < 0.5 * abs(s.q) else 1.0
    q_new = s.q + share(back * w, max(8.0 * tau, 300.0)) * (apart - s.q)
    usual_q = max(s.q_dev, scale * 0.3)
    # How far it moves from sample to sample. Straight lines are somebody's filling, not values.
    moved = x - s.previous
    straight = moved != 0.0 and abs(moved - s.step) <= 1e-6 * abs(moved)
    typical = 1.25 * s.long_dev
    log_new = float(s.log_short)
    if not straight:
        log_now = natural_log(min(min(abs(moved), 10.0 * typical) + 0.05 * typical + 1e-300, 1e308))
        if not s.log_known:
            log_new = log_now
        log_new += share(w, max(25.0 * tau, 1200.0)) * (log_now - log_new)
    s.step = moved
    wave = log_new - s.log_long - s.log_usual if mature else 0.0
    usual_wave = max(s.log_dev, 0.05)

    # What is beyond the floors is a candidate, and the pattern model weighs it.
    coarse = tau > COARSE_S
    odds = -30.0
    limit = p[P_LIMIT]
    reason = 0
    by_run = p[P_LOCAL] > 0.0 and (az * dense > LOOK_SPIKE or s.run_sum > LOOK_RUN or third > LOOK_THIRD)
    by_slow = p[P_SLOW] > 0.0 and mature and abs(q_new) > LOOK_SLOW * usual_q and s.muted != SEASON
    by_wave = p[P_VARIANCE] > 0.0 and abs(wave) > LOOK_WAVE * usual_wave and s.muted != NOISIER
    if warm and (by_run or by_slow or by_wave):
        if not mature:
            # Nothing is known yet of days: only what is large beyond doubt counts.
            odds = limit + 2.0 * math.log(max(third, 0.1) / LARGE)
        else:
            out[O_CANDIDATE] = (1.0 if by_run else 0.0) + (2.0 if by_slow else 0.0) + (4.0 if by_wave else 0.0)
            expected = prediction + season
            weigh_evidence(s, t, x, y, e, z, third, scale, apart, q_new, wave, expected, dense, out, O_FEATURES)
            table = P_MODEL
            if not by_run:
                limit = p[P_LIMIT_SLOW] if by_slow or wave > 0.0 else p[P_LIMIT_CALMER]
                table = second_table(p, P_MODEL)
            # Where samples are far apart also hopeless odds have their place in the score.
            odds = weigh(out, O_FEATURES, p, table, -math.inf if coarse else limit - HOPELESS)
            if s.zero_share > SPARSE and s.run_side > 0.0 and third > SPARSE_LARGE:
                # A count that is mostly zero and is not any more. The model has seen few of these, and how far they
                # usually go is known from what they are when they are not zero.
                odds = max(odds, limit + 1.0 + 2.0 * math.log(third / SPARSE_LARGE))
        # The kind of evidence that is furthest beyond its floor gives the name.
        local_by = max(az * dense / 8.0, s.run_sum / 15.0, third / 6.0) if by_run else 0.0
        slow_by = abs(q_new) / (5.0 * usual_q) if by_slow else 0.0
        wave_by = abs(wave) / (4.5 * usual_wave) if by_wave else 0.0
        if local_by >= slow_by and local_by >= wave_by:
            reason = SPIKE if s.run_count <= 1 else SUSTAINED
        elif slow_by >= wave_by:
            reason = SEASON
        else:
            reason = NOISIER if wave > 0.0 else CALMER

    # Zero, where zero is rare.
    zero = False
    if x == 0.0:
        if s.zero_run < 65535:
            s.zero_run += 1
        # Of this run's own zeros the share knows already.
        before = s.zero_share - (s.zero_run - 1.0) * share(w, 86400.0)
        zero = p[P_ZERO] > 0.0 and warm and before < 0.002 and s.zero_run >= (2 if az > 2.0 else 3)
        zero = zero and s.zero_run * tau < max(FLAT_HELD, 24.0 * tau)
        if zero:
            odds = max(odds, limit + (1.0 if s.zero_run < 3 else 4.0))
            reason = ZERO
    else:
        s.zero_run = 0
    # Not zero for a while, where it hardly ever is.
    awake = note_busy(s, x, max(AWAKE, int(AWAKE_S / tau + 0.5)))
    if awake and mature and s.zero_share > MOSTLY_ZERO and odds < limit + 1.0:
        odds = limit + 1.0
        reason = SUSTAINED
    # A value that no longer moves, where it always did.
    if x == s.previous:
        if s.repeats < 4000000000:
            s.repeats += 1
    else:
        s.longest_repeat = max(s.longest_repeat * 0.9999, min(float(s.repeats), 2.0 * s.longest_repeat + 2.0))
        s.repeats = 0
        stride = abs(x - s.previous)
        s.stride += max(0.005, 1.0 / s.count) * (min(stride, 4.0 * s.stride) - s.stride)
    flat = s.repeats >= 8 and p[P_FLAT] > 0.0 and warm and s.longest_repeat < 8.0
    # What is mostly zero stands still of its own accord, and shows it only after a while.
    known = s.count - s.repeats
    flat = flat and (known > 200 or (mature and known > MATURE_SAMPLES and s.zero_share < 0.3))
    if flat:
        flat = s.repeats >= max(8.0 + STILL * s.longest_repeat, 600.0 / tau)
    if flat and not zero and odds < limit + 3.0:
        odds = limit + 3.0
        reason = FLAT
    previous = s.previous
    s.previous = x

    # Strength: one half where the log odds reach the limit, 0.2 more for each unit beyond, and up to 0.25 for what
    # lasts. The score says it of the sample that brings more than was known already; what only goes on has a score at
    # the lower end of its severity, and what brought no alert one below one half. Where samples are far apart, the
    # sample that opens an alert or raises its severity has that score, and every other what is new in it.
    level = 0.25 * az / (az + 4.0) if warm else 0.0
    strength = level
    if warm and reason != 0:
        beyond = odds - limit
        level = strong(0.5 + 0.2 * beyond) if beyond >= 0.0 else max(level, 0.4999 * natural_exp(0.12 * beyond))
        strength = level
        if beyond >= 0.0 and s.open != 0:
            lasting = min(s.held * tau / max(120.0, 8.0 * min(tau, 60.0)), 1.0)
            strength = strong(0.5 + 0.2 * beyond + 0.25 * lasting)
    firing = strength >= 0.5
    severity = severity_of(strength)
    ordinary = rank_ordinary(s, strength, abs(x - out[O_EXPECTED]))
    if not warm:
        out[O_SCORE] = 0.0
    elif coarse:
        out[O_SCORE] = 0.5 * ordinary
    elif firing:
        out[O_SCORE] = level if s.open == 0 or level > s.score else floor_of(severity) + 0.005 * strength
    else:
        out[O_SCORE] = ordinary
    score = strength
    was_open = s.open != 0

    # The alert rule.
    if az < ENTER:
        if s.calm < 65535:
            s.calm += 1
    elif s.calm > 3:
        s.calm = 1
    elif s.calm > 0:
        s.calm -= 1
    adopted = False
    silently = False
    need = 0.0
    if p[P_ADOPT] > 0.0 and (s.open != 0 or s.run_side != 0.0):
        need = max(p[P_ADOPT], 240.0 / tau) if tau < 90.0 else min(max(ADOPT_S / tau, 3.0), p[P_ADOPT])
    if need > 0.0 and s.open != 0:
        steady = s.candidate_dev < 3.0 * scale
        lasting = s.held >= LONGEST * need or (s.calm == 0 and steady and s.held >= need)
        adopted = local and s.open != ZERO and lasting
    if need > 0.0 and not local and s.run_side != 0.0:
        steady = s.candidate_dev < 3.0 * scale
        returned = now_s - s.fallback_s < 43200 and abs(s.candidate - s.fallback) < 3.0 * scale and s.run_count >= 2
        if s.run_count >= max(SILENT_ADOPT, 150.0 / tau) or (returned and steady):
            silently = True
    if s.open == 0:
        if firing and not silently:
            s.open = reason
            s.opened_ms = t
            if not in_run:
                s.began_ms = t
                s.reference = prediction
                s.candidate = y
                s.candidate_dev = scale
            s.score = score
            s.severity = severity
            s.held = 0
            out[O_CHANGE] = OPENED
            out[O_REASON] = reason
            out[O_SEVERITY] = severity
    else:
        s.score = max(s.score, level)
        if s.held < 65535:
            s.held += 1
        over = s.open == STALE
        long_enough = s.held * tau >= max(SLOW_HELD, 4.0 * tau)
        if local:
            over = s.zero_run == 0 if s.open == ZERO else s.calm >= (2 if coarse else 3)
            if s.open == ZERO and s.held * tau >= max(FLAT_HELD, 24.0 * tau):
                adopted = True
        elif s.open == FLAT:
            over = s.repeats == 0
            if s.held * tau >= max(FLAT_HELD, 24.0 * tau):
                # So that is what it is now.
                adopted = True
                s.longest_repeat = s.repeats
        elif s.open == NOISIER or s.open == CALMER:
            over = abs(wave) < 1.5 * usual_wave or long_enough
        elif s.open == SEASON:
            over = not mature or abs(q_new) < 1.5 * usual_q or long_enough
        if over or adopted:
            out[O_CHANGE] = CLOSED
            out[O_REASON] = s.open
            out[O_SEVERITY] = s.severity
            out[O_CLOSING] = ADOPTED if adopted or (long_enough and not local) else BACK
            if long_enough and (s.open == SEASON or s.open == NOISIER or s.open == CALMER):
                # Said once; from here on it is known until it is over, or usual.
                s.muted = SEASON if s.open == SEASON else NOISIER
                s.muted_s = np.uint32(now_s)
            if s.open == FLAT:
                # Where it moves again is where it is: the value it stood at says nothing of that.
                s.season_then = season
                shift_levels(s, y)
                s.run_side = 0.0
                s.run_sum = 0.0
            s.open = 0
            s.score = 0.0
            s.severity = 0
        elif severity > s.severity:
            s.severity = severity
            s.score = max(s.score, score)
            out[O_CHANGE] = CHANGED
            out[O_REASON] = s.open
            out[O_SEVERITY] = severity
    if coarse and warm:
        if out[O_CHANGE] == OPENED or out[O_CHANGE] == CHANGED:
            out[O_SCORE] = score
        if not was_open:
            weighed = odds if out[O_CANDIDATE] > 0.0 else -30.0
            show_novelty(s, z, weighed, out, O_SCORE)
    if (adopted and local) or silently:
        if adopted and s.muted == 0 and abs(q_new) > 1.5 * usual_q:
            # The days will show the same change a little later: it was said.
            s.muted = SEASON
            s.muted_s = np.uint32(now_s)
        s.season_then = season
        s.fallback = s.reference
        s.fallback_s = np.uint32(now_s)
        shift_levels(s, s.candidate)
        s.run_side = 0.0
        s.run_sum = 0.0
    if s.muted != 0:
        away = mature and abs(q_new) > 1.5 * usual_q if s.muted == SEASON else abs(wave) > 1.5 * usual_wave
        if not away:
            s.muted = 0
        elif now_s - s.muted_s > 86400:
            if s.muted == SEASON:
                s.slow_before = s.slow
                s.slow_before_s = np.uint32(now_s)
                s.slow += q_new
                q_new = 0.0
            else:
                s.log_long += wave
            s.muted = 0
    note_peaks(s, z * dense, third)
    note_range(s, x, previous, s.run_side != 0.0 or local)
    learn_value(s, t, x, y, w, scale, z, mature, p)
    s.q = q_new
    s.log_short = log_new
    if discount_tails(s, w):
        learn_silence(s, p)


@hot_step
def learn_value(s: Any, t: int, x: float, y: float, w: float, scale: float, z: float, mature: bool, p: Any) -> None:
    """Move levels, losses, scales and season; what an alert or a run holds frozen stands still."""
    tau = float(s.interval)
    young = s.count < 40
    limit = 3.0 * scale
    least = 1.0 / s.count if young else 0.0
    a_hour = max(share(w, max(60.0 * tau, 3600.0)), least)
    a_day = max(share(w, 86400.0), 1.0 / min(s.count, 100000))
    local = s.open == SPIKE or s.open == SUSTAINED or s.open == ZERO
    frozen = (s.run_side != 0.0 or local) and not young
    if not frozen:
        s.season_then = x - y
        half_life = 1.5 * tau
        for k in range(LEVELS):
            if k == 1:
                half_life = max(6.0 * tau, 180.0)
            if k == 2:
                half_life = max(30.0 * tau, 900.0)
            d = y - s.levels[k]
            if k == TRENDED:
                d -= s.slope * w
            clipped = d if young else min(max(d, -limit), limit)
            s.losses[k] += a_hour * 0.2 * (abs(clipped) - s.losses[k]) if not young else least * (abs(d) - s.losses[k])
            if k == TRENDED:
                s.levels[k] += s.slope * w + 0.5 * clipped
                s.slope += 0.12 * clipped / w - 0.02 * s.slope
            else:
                s.levels[k] += max(share(w, half_life), least) * clipped
    error = abs(z) * scale if young and s.count > 5 else min(abs(z), 3.0) * scale
    if s.count <= 5:
        error = abs(y - s.levels[1])
    s.short_dev += a_hour * (error - s.short_dev)
    s.long_dev += a_day * (error - s.long_dev)
    if x != 0.0:
        ax = min(abs(x), 6.0 * s.active) if s.active > 0.0 else abs(x)
        s.active += (
            max(share(w, 86400.0), 0.02 if s.active < ax else 0.005) * (ax - s.active) if s.active > 0.0 else 0.1 * ax
        )
    s.zero_share += a_day * ((1.0 if x == 0.0 else 0.0) - s.zero_share)
    # The level of days, and the season around it.
    distance = x - s.slow
    if young:
        s.slow += least * distance
    elif s.open != SEASON:
        wide = 4.0 * max(s.q_dev, scale)
        s.slow += share(w, 86400.0) * min(max(y - s.slow, -wide), wide)
    if p[P_SEASON] > 0.0 and not frozen:
        # From the local level, not the value: what is clipped there cannot get into the season.
        learn_season(s, t, s.levels[1] + x - y - s.slow)
    if not young:
        # The error of days is learned anew once there is a season to be wrong about.
        age_s = (t - s.first_ms) * 0.001
        # One in the samples since the first day, and no more than a fiftieth.
        seasoned_s = age_s - 86400.0 if age_s > 90000.0 else age_s
        a_days = max(share(w, 172800.0), age_s / max(s.count * seasoned_s, 50.0 * age_s))
        wide = 4.0 * max(s.q_dev, 1e-300)
        s.q_dev += a_days * ((min(abs(s.q), wide) if mature else abs(s.q)) - s.q_dev)
        wave = s.log_short - s.log_long - s.log_usual
        if not s.log_known:
            s.log_known = 1
            s.log_long = s.log_short
            wave = 0.0
        s.log_sum += s.log_short
        s.error_sum += abs(s.q)
        if s.hour_samples < 65535:
            s.hour_samples += 1
        s.log_long += a_days * min(max(wave, -1.0), 1.0)
        s.log_dev += a_days * (min(abs(wave), 1.0) - s.log_dev)
