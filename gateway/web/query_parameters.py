"""Reading the query of a request: times, whole numbers, one of several words. All raise RequestError."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.errors import RequestError

_MAX_DIGITS: Final = 18
_MAX_TIME: Final = 253_402_300_800.0
"""The end of the year 9999, in Unix seconds."""


def parse_time(text: str, name: str) -> float:
    """Unix seconds from Unix seconds, ISO 8601 (UTC unless it says otherwise), or a relative `-15m` / `now`.

    Raises RequestError.
    """
    try:
        found = _time_of(text)
    except (ValueError, OverflowError, OSError):
        found = math.nan
    if not math.isfinite(found) or abs(found) > _MAX_TIME:
        raise RequestError(
            f'{name}={text[:100]!r} is not a time; expected Unix seconds, ISO 8601, or "-15m"', reason="parameter"
        )
    return found


def _time_of(text: str) -> float:
    if text == "now":
        return time.time()
    if text.startswith("-") and text[-1:] in "smhd" and _is_whole(text[1:-1]):
        return time.time() - int(text[1:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def whole_number(request: web.Request, name: str, default: int, most: int, least: int = 1) -> int:
    """The parameter `name`, `default` where it is absent; `most` for more than that. Raises RequestError for what is
    not a whole number, and for less than `least`."""
    text = request.query.get(name, "")
    if not text:
        return default
    if not _is_whole(text) or int(text) < least:
        raise RequestError(f"{name}={text[:100]!r}: expected a whole number from {least}", reason="parameter")
    return min(int(text), most)


def one_of(request: web.Request, name: str, known: Sequence[str], default: str = "") -> str:
    """The parameter `name`, `default` where it is absent. Raises RequestError if it is not one of `known`."""
    text = request.query.get(name, "")
    if text and text not in known:
        raise RequestError(f"{name}={text[:100]!r}: expected one of {', '.join(known)}", reason="parameter")
    return text or default
