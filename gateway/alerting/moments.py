"""Points in time and lengths of time as the Alertmanager wire writes them.

Inside the program a moment is nanoseconds since the Unix epoch (int); 0 is "not given". On the wire it is RFC 3339, and
Go's zero time `0001-01-01T00:00:00Z` stands for "not given". Durations in configuration are Prometheus durations
("1h30m", units y w d h m s ms in falling order, each at most once).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

SECOND: Final = 1_000_000_000
ABSENT: Final = 0
"""The moment that means "not given"."""
NEVER: Final = 2**62
"""An end that is not known: the alert stays active until somebody ends it."""
GO_ZERO: Final = "0001-01-01T00:00:00Z"

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-])(\d\d):(\d\d))"
)
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_UNIT_MS: Final = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_UNIT_NAMES: Final = ("y", "w", "d", "h", "m", "s", "ms")


def parse_moment(text: str) -> int:
    """RFC 3339 to nanoseconds; Go's zero time gives ABSENT. Raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not an RFC 3339 time')
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if year <= 1:
        return ABSENT
    whole = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    if match[9]:
        offset = timedelta(hours=int(match[10]), minutes=int(match[11]))
        try:
            whole = whole - offset if match[9] == "+" else whole + offset
        except OverflowError:
            raise ValueError(f'"{text}" is outside the years 1 to 9999') from None
    fraction = int((match[7] or "").ljust(9, "0"))
    seconds = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return seconds * SECOND + fraction


@lru_cache(maxsize=512)  # full within minutes: what fills for an hour looks like a leak
def _whole(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def format_moment(moment: int, digits: int = 3) -> str:
    """Nanoseconds to RFC 3339 in UTC with `digits` (0 to 9) places after the point; ABSENT gives Go's zero time."""
    if moment == ABSENT:
        return GO_ZERO if digits != 3 else "0001-01-01T00:00:00.000Z"
    seconds, fraction = divmod(moment, SECOND)
    whole = _whole(seconds)
    if digits == 3:
        return f"{whole}.{fraction // 1_000_000:03d}Z"
    return f"{whole}.{fraction:09d}"[: 20 + digits] + "Z" if digits else f"{whole}Z"


def format_moment_nano(moment: int) -> str:
    """As Go's RFC3339Nano writes it: trailing zeros of the fraction left away."""
    if moment == ABSENT:
        return GO_ZERO
    text = format_moment(moment, 9)[:-1].rstrip("0").rstrip(".")
    return text + "Z"


def parse_duration(text: str) -> int:
    """A Prometheus duration to nanoseconds. Raises ValueError."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f'"{text}" is not a duration such as "30s", "5m" or "1h30m"')
    return sum(int(count) * unit for count, unit in zip(match.groups(), _UNIT_MS, strict=True) if count) * 1_000_000


def format_duration(nanoseconds: int) -> str:
    """The shortest Prometheus duration; years and weeks only where nothing is left over, as Prometheus prints them."""
    left = nanoseconds // 1_000_000
    if left == 0:
        return "0s"
    parts: list[str] = []
    for name, unit in zip(_UNIT_NAMES, _UNIT_MS, strict=True):
        if name in ("y", "w") and left % unit:
            continue
        count, left = divmod(left, unit)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts)


def roughly(seconds: float) -> str:
    """A length of time for people: whole seconds up to two minutes, then whole minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
