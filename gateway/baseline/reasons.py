"""Reasons in words a person understands, from the numbers of a transition."""

from __future__ import annotations

import math
from typing import Any, Final

from kernels import series_state as state

REPLACED: Final = 4
"""Why an alert closed, beside the kernels' own: another instance's series took the place of a silent one."""


_SELDOM_S: Final = 3600.0
_YEAR_S: Final = 365 * 86400.0


def duration_words(seconds: float) -> str:
    """ "40 seconds", "3 minutes", "2 hours"."""
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.5 * size or (seconds >= size and unit != "minute"):
            number = round(seconds / size)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    number = max(round(seconds), 0)
    return f"{number} second{'' if number == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _against_expected(value: float, expected: float, deviation: float) -> str:
    side = "above" if value >= expected else "below"
    if not math.isfinite(expected) or not math.isfinite(value):
        return f"{abs(deviation):.0f} times its usual variation away from the usual level"
    difference = abs(value - expected)
    if abs(expected) > 1e-9 and 0.005 <= difference / abs(expected) < 20.0:
        return f"{100.0 * difference / abs(expected):.0f} % {side} the usual level for this time of day"
    if abs(expected) > 1e-9 and value / expected >= 20.0:
        return f"{value / expected:.0f} times the usual level for this time of day"
    return f"{_number(difference)} {side} the usual {_number(expected)}"


def _rare(once_s: float) -> list[str]:
    """How seldom a sample is so far away; nothing where that is not known, or often."""
    if once_s < _SELDOM_S:
        return []
    how = "less than once a year" if once_s > _YEAR_S else f"about once in {duration_words(once_s)}"
    return [f"a sample so far away is usual {how} here"]


def words(transition: Any) -> list[str]:
    """Reasons of one transition (a record of kernels.series_state.TRANSITION), the most telling first."""
    value, expected = float(transition["value"]), float(transition["expected"])
    deviation, reason = float(transition["deviation"]), int(transition["reason"])
    lasted = (int(transition["time_ms"]) - int(transition["began_ms"])) / 1000.0
    if transition["kind"] == state.CLOSED:
        how = {
            state.ADOPTED: "a new usual level was adopted",
            state.FORGOTTEN: "the series ended",
            REPLACED: "another instance took its place",
        }
        back = how.get(int(transition["closing"]), "back within its usual range")
        return [f"{back} after {duration_words(lasted)}"]
    away = _against_expected(value, expected, deviation)
    times = f"{abs(deviation):.1f} times its usual variation"
    match reason:
        case state.SPIKE:
            return [away, f"one sample {times} away", *_rare(float(transition["once_s"]))]
        case state.SUSTAINED:
            far = [f"{times} away", *_rare(float(transition["once_s"]))]
            return [f"{away}, for {duration_words(lasted)}" if lasted > 0 else away, *far]
        case state.ZERO:
            return [f"zero for {duration_words(lasted)}, where it is usually {_number(expected)}"]
        case state.FLAT:
            return [f"the value has not changed from {_number(value)} for longer than it ever does"]
        case state.STALE:
            return [f"no data for {duration_words(lasted)}"]
        case state.NOISIER:
            return ["varies much more than usual"]
        case state.CALMER:
            return ["varies much less than usual"]
        case state.SEASON:
            return [f"away from the usual daily pattern for half an hour or longer: {away}"]
        case state.GROUP:
            return [f"{value:.0f} series of the service deviate at the same time, usually {_number(expected)}"]
    return [away]
