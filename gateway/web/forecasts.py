"""GET /api/v1/forecast?match=&horizon=&history=&level=&limit=: how series will probably go on.

    {"source", "series": [{"labels", "scored_as", "step", "level", "times", "expected", "lower", "upper",
                           "parts", "origins", "error", "seasonal_naive_error"} or {"labels", "problem"}]}

A counter is forecast as its increase per second. Computed when asked, from the samples of `history`.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from gateway.baseline.forecast import forecast
from gateway.errors import RequestError
from gateway.settings_types import Duration
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.selector import parse_selector
from gateway.web.history import HistorySource, finite_or_none, is_counter
from gateway.web.json_api import json_response
from gateway.web.query_parameters import parse_time, whole_number

MAX_SERIES: Final = 20
_MOST_HISTORY: Final = Duration.parse("60d")
_MOST_HORIZON: Final = Duration.parse("30d")
_Floats = NDArray[np.float64]


def increase_per_second(times_s: _Floats, values: _Floats) -> tuple[_Floats, _Floats]:
    """A counter's rate at each value but the first; none across a reset (a fall). Both float64[n], in order of time."""
    elapsed, increase = np.diff(times_s), np.diff(values)
    counts = (elapsed > 0.0) & (increase >= 0.0)
    return times_s[1:][counts], increase[counts] / elapsed[counts]


def _entry(samples: HistorySamples, horizon_s: float, level: float) -> dict[str, Any]:
    times = np.array(samples.times, np.float64)
    values = np.array([math.nan if v is None else v for v in samples.values], np.float64)
    counter = is_counter(samples)
    if counter:
        known = np.isfinite(values)
        times, values = increase_per_second(times[known], values[known])
    try:
        found = forecast(times, values, horizon_s=horizon_s, level=level)
    except RequestError as error:
        return {"labels": samples.labels, "problem": str(error)}
    return {
        "labels": samples.labels,
        "scored_as": "rate" if counter else "value",
        "step": found.step_s,
        "level": found.level,
        "times": found.times_s.tolist(),
        "expected": finite_or_none(found.expected),
        "lower": finite_or_none(found.lower),
        "upper": finite_or_none(found.upper),
        "parts": found.parts,
        "origins": found.origins,
        "error": found.error,
        "seasonal_naive_error": found.seasonal_naive_error,
    }


def _duration(request: web.Request, name: str, default: str, most: Duration) -> Duration:
    text = request.query.get(name) or default
    try:
        found = Duration.parse(text[:100])
    except ValueError as error:
        raise RequestError(f"{name}: {error}", reason="parameter") from error
    if not 60.0 <= found <= most:
        raise RequestError(f'{name}={text[:100]!r}: expected "1m" to "{most / 86400:g}d"', reason="parameter")
    return found


def _level(request: web.Request) -> float:
    text = request.query.get("level") or "0.9"
    try:
        found = float(text[:100])
    except ValueError:
        found = math.nan
    if not 0.5 <= found <= 0.99:
        raise RequestError(f"level={text[:100]!r}: expected a share from 0.5 to 0.99", reason="parameter")
    return found


class Forecasts:
    """The handler."""

    def __init__(self, history: HistorySource) -> None:
        self._history = history

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/forecast", self.forecast)]

    async def forecast(self, request: web.Request) -> web.Response:
        """How the series that a selector matches will probably go on, with intervals."""
        match = request.query.get("match", "")
        if not parse_selector(match):
            raise RequestError('match is empty; say which series, for example name{label="value"}', reason="parameter")
        horizon = _duration(request, "horizon", "6h", _MOST_HORIZON)
        history = _duration(request, "history", "14d", _MOST_HISTORY)
        level = _level(request)
        limit = whole_number(request, "limit", MAX_SERIES, MAX_SERIES)
        end = parse_time("now", "end")
        samples = await self._history.samples(match, round((end - history) * 1000), round(end * 1000), limit)
        entries = [await asyncio.to_thread(_entry, one, float(horizon), level) for one in samples]
        return json_response({"source": self._history.name, "series": entries})
