"""What a value was expected to be, and how far from that it is, in scales of its series.

Of several local predictors the one that was best over a day predicts, and the season is added. While a run or a local
alert lasts, the prediction is the reference that was frozen when it began.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from kernels.habits import DENSE_S
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.seasonal import season_of
from kernels.series_state import LEVELS, P_CHOICE, P_SEASON, SPIKE, SUSTAINED, TRENDED, ZERO
from kernels.sparse import SPARSE

SCALE_DEVIATIONS: Final = 1.25
"""Mean absolute errors in a scale: of a normal distribution that is its standard deviation."""


class Deviation(NamedTuple):
    """A value beside its prediction. What is in the value's unit says so."""

    value: float
    """As it came."""
    season: float
    """What the time of day adds to it (unit of the value)."""
    deseasonalised: float
    """The value without its season (unit of the value)."""
    prediction: float
    """The same as it was expected (unit of the value)."""
    expected: float
    """The value as it was expected (unit of the value)."""
    scale: float
    """How far the series usually goes (unit of the value)."""
    error: float
    """How far the value is from what was expected (unit of the value)."""
    deviation: float
    """The same in scales of the series."""
    dense: float
    """Weight of a sample, 0 … 1: samples closer than fifteen seconds say the same thing several times over."""


@hot_step
def is_local(s: Any) -> bool:
    """Whether the open alert is on the level of just now: such a one holds the local levels frozen."""
    return bool(s.open == SPIKE or s.open == SUSTAINED or s.open == ZERO)


@hot_step
def choose_predictor(s: Any, p: Any) -> int:
    """The predictor with the least loss."""
    chosen = 1
    if p[P_CHOICE] > 0.0:
        # Without branches: which is the best differs from series to series.
        least_loss = float(s.losses[chosen])
        for k in range(LEVELS):
            loss = float(s.losses[k])
            chosen = k if loss < least_loss else chosen
            least_loss = min(loss, least_loss)
    return chosen


@hot_step
def predict(s: Any, now: Moment, p: Any) -> float:
    """The value that is expected, without its season."""
    chosen = choose_predictor(s, p)
    s.chosen = chosen
    prediction: float = s.levels[chosen]
    if chosen == TRENDED:
        prediction += s.slope * now.weight_s
    if s.run_side != 0.0 or is_local(s):
        prediction = s.reference
    return prediction


@hot_step
def scale_of(s: Any, x: float) -> float:
    """How far the series usually goes, in the unit of the value; never zero."""
    if s.stride <= 0.0 and x != s.previous:
        # The first movement of a value that has stood still is all there is to measure it by.
        s.stride = 0.25 * abs(x - s.previous)
    scale: float = SCALE_DEVIATIONS * max(s.short_dev, s.long_dev)
    scale = max(scale, 1e-6 * abs(s.slow), 0.5 * s.stride, 1e-300)
    if s.zero_share > SPARSE:
        # A sparse count: what it is when it is not zero says how far it usually goes.
        scale = max(scale, min(2.0 * s.zero_share, 1.0) * s.active)
    return scale


@hot_step
def deviation_of(s: Any, now: Moment, x: float, p: Any) -> Deviation:
    """Predict, and measure how far the value x is from that."""
    season = season_of(s, now.t) * s.season_gain if p[P_SEASON] > 0.0 else 0.0
    deseasonalised = x - season
    prediction = predict(s, now, p)
    scale = scale_of(s, x)
    # What either "as just before" or "as just before, and on with the season" explains is no deviation.
    error = deseasonalised - prediction
    plain = x - (prediction + s.season_then)
    nearer = plain if abs(plain) < abs(error) else error
    error = nearer if error * plain > 0.0 else 0.0
    deviation = min(max(error / scale, -1e6), 1e6) if s.count > 4 else 0.0
    dense = math.sqrt(now.step_s / DENSE_S) if now.step_s < DENSE_S else 1.0
    return Deviation(x, season, deseasonalised, prediction, prediction + season, scale, error, deviation, dense)
