"""What speaks for a fault at one value, as a vector of features for the pattern model (kernels.pattern).

Only candidates have their features worked out: values of a run, values away from the pattern of days, and stretches
that vary more or less than usual. Sizes are logarithms, bounded on both sides, so that no unit and no outlier matters.
"""

from __future__ import annotations

from typing import Any, Final

from kernels.exponential import natural_exp, natural_log
from kernels.habits import DOWN, THIRD, UP, beyond_range, range_width
from kernels.jit import step
from kernels.series_state import DAY_MS, DAY_S, EVIDENCE

FEATURE_NAMES: Final = (
    "deviation", "run_sum", "run_samples", "run_mean", "run_steady", "third", "day_error", "day_distance", "slow",
    "slow_same_side", "noise", "noise_ratio", "beyond_days", "beyond_week", "beyond_width", "above_peaks", "above_top",
    "third_above_peaks", "third_above_top", "relative", "hour_to_day", "season_gain", "repeats", "age", "zero_share",
    "side", "since_run", "hour_error", "hour_noise", "active", "return", "stride", "beyond_pair", "peak_mean",
    "third_mean", "to_level", "day_ratio", "in_steps", "mean_in_steps", "onset", "onset_share", "steady_share",
    "step", "count", "rarity", "third_rarity",
)  # fmt: skip
FEATURES: Final = EVIDENCE
LEAST_SPREAD: Final = 0.3
"""Of a series' peaks, in logarithms."""


@step
def bounded_log(x: float) -> float:
    """log(x) within about ± 7."""
    return natural_log(min(max(x, 1e-3), 1e3))


@step
def signed_log(x: float) -> float:
    """log(1 + |x|) with the sign of x, for |x| up to 1000."""
    a = natural_log(1.0 + min(abs(x), 1e3))
    return a if x >= 0.0 else -a


@step
def weigh_evidence(
    s: Any, t: int, value: float, deseasonalised: float, error: float, deviation: float, third: float, scale: float,
    apart: float, distance: float, wave: float, expected: float, dense: float, out: Any, at: int,
) -> None:  # fmt: skip
    """Fill out[at:at + FEATURES].

    value … deviation, scale, expected, dense: as in kernels.prediction.Deviation; third: third of the recent deviations
    on its side, in scales; apart, distance: from the level of days, as in kernels.days.Days (unit of the value); wave:
    log of the variation less the usual.
    """
    az = abs(deviation) * dense
    side = 1.0 if deviation >= 0.0 else -1.0
    if s.run_side != 0.0:
        side = s.run_side
    day = max(s.q_dev, 0.3 * scale, 1e-300)
    usual = s.day_hours[s.hour_now] * 0.0625 if s.hour_now >= 0 else 0.0
    hour = day * natural_exp(usual)
    mean = (s.candidate - s.reference) * s.run_side / scale if s.run_side != 0.0 else 0.0
    k = UP if side > 0.0 else DOWN
    height = bounded_log(max(az, 1.0))
    high = bounded_log(max(third, 1.0))
    pair = min(value, s.previous) if side > 0.0 else max(value, s.previous)
    out[at] = height
    out[at + 1] = bounded_log(1.0 + s.run_sum)
    out[at + 2] = bounded_log(1.0 + s.run_count * dense) if s.run_side != 0.0 else 0.0
    out[at + 3] = signed_log(mean)
    out[at + 4] = bounded_log(s.candidate_dev / scale) if s.run_side != 0.0 else 0.0
    out[at + 5] = high
    out[at + 6] = bounded_log(abs(error) / day)
    out[at + 7] = signed_log(side * apart / day)
    out[at + 8] = bounded_log(abs(distance) / day)
    out[at + 9] = signed_log(side * distance / hour)
    out[at + 10] = min(max(wave / max(s.log_dev, 0.03), -30.0), 30.0)
    out[at + 11] = wave
    out[at + 12] = signed_log(beyond_range(s, value, side, False) / scale)
    out[at + 13] = signed_log(beyond_range(s, value, side, True) / scale)
    out[at + 14] = min(max(beyond_range(s, pair, side, True) / (range_width(s) + scale), -1.5), 20.0)
    out[at + 15] = height - s.peak_mean[k]
    out[at + 16] = height - s.peak_top[k]
    out[at + 17] = high - s.peak_mean[THIRD]
    out[at + 18] = high - s.peak_top[THIRD]
    out[at + 19] = bounded_log(abs(error) / (abs(expected) + 1e-3 * scale))
    out[at + 20] = bounded_log(s.short_dev / max(s.long_dev, 1e-300))
    out[at + 21] = s.season_gain
    out[at + 22] = min(float(s.repeats), 20.0)
    out[at + 23] = min(bounded_log((t - s.first_ms) / DAY_MS), 1.6)
    out[at + 24] = s.zero_share
    out[at + 25] = side
    out[at + 26] = bounded_log(s.run_count + 1.0) if s.run_side == 0.0 else 0.0
    out[at + 27] = bounded_log(abs(error) / hour)
    out[at + 28] = s.log_usual
    out[at + 29] = bounded_log(abs(error) / max(s.active, 1e-300))
    back = (t // 1000 - s.fallback_s) < DAY_S
    out[at + 30] = bounded_log(0.05 + abs(deseasonalised - s.fallback) / scale) if back else 7.0
    out[at + 31] = bounded_log(s.stride / scale)
    out[at + 32] = signed_log(beyond_range(s, pair, side, True) / day)
    out[at + 33] = s.peak_mean[k]
    out[at + 34] = s.peak_mean[THIRD]
    out[at + 35] = bounded_log(abs(apart) / hour)
    out[at + 36] = bounded_log(day / scale)
    usual_step = natural_exp(s.log_long + s.log_usual)
    run_mean = abs(s.candidate - s.reference) if s.run_side != 0.0 else 0.0
    onset = float(s.onset) if s.run_side != 0.0 else 0.0
    out[at + 37] = bounded_log(abs(error) / usual_step)
    out[at + 38] = bounded_log(run_mean / usual_step)
    out[at + 39] = bounded_log(onset / usual_step)
    out[at + 40] = bounded_log(onset / max(run_mean, 1e-300))
    out[at + 41] = bounded_log(s.candidate_dev / max(run_mean, 1e-300))
    out[at + 42] = bounded_log(s.interval / 60.0)
    out[at + 43] = bounded_log(s.count * 0.01)
    out[at + 44] = (height - s.peak_mean[k]) / max(s.peak_top[k] - s.peak_mean[k], LEAST_SPREAD)
    out[at + 45] = (high - s.peak_mean[THIRD]) / max(s.peak_top[THIRD] - s.peak_mean[THIRD], LEAST_SPREAD)
