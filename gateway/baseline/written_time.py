"""Points in time as files of recordings, labels and windows write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

EXPECTED: Final = "Unix seconds or ISO 8601"
END_S: Final = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
"""Unix seconds from which on a time is taken for a mistake."""


def parse_seconds(text: str) -> float:
    """Unix seconds, finite, of Unix seconds or ISO 8601 (UTC unless it says otherwise). Raises ValueError."""
    try:
        number = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def outside(time_s: float) -> str:
    """What is wrong with a time that lies outside 1970 … 2200; empty for any other. time_s: Unix seconds."""
    if 0.0 <= time_s < END_S:
        return ""
    hint = "; is it in milliseconds?" if END_S <= time_s < END_S * 1000.0 else ""
    return f"{time_s:.17g} lies outside 1970 … 2200{hint}"
