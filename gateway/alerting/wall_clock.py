"""The wall clock of a place: time zones by name, and the moment that a time on that clock means.

A clock that is put back shows an hour twice, one that is put forward leaves an hour out. `first_moment` says what a
time in such an hour means, so that all who read times of the file agree on it.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.alerting.moments import SECOND

LARGEST_CHANGE: Final = timedelta(days=1)
"""No clock was ever put back or forward by more: a place that changes sides of the date line skips a day."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NONE: Final = timedelta(0)
_YEARS: Final = (1972, 9996)
"""Leap years, so that every day has its like there; years outside have the offsets of the nearer one."""


class MachineZone(tzinfo):
    """The machine's own zone with its changes of the clock: summer in winter, too, is read with summer's offset.

    What `datetime.astimezone()` gives is the offset of this moment alone.
    """

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        """See tzinfo."""
        if moment is None:
            return None
        naive = moment.replace(tzinfo=None)
        if not _YEARS[0] <= naive.year <= _YEARS[1]:
            naive = naive.replace(year=_YEARS[naive.year > _YEARS[1]])
        return naive - datetime.fromtimestamp(naive.timestamp(), UTC).replace(tzinfo=None)

    def dst(self, _moment: datetime | None, /) -> timedelta | None:
        """See tzinfo; not known."""
        return None

    def tzname(self, _moment: datetime | None, /) -> str:
        """See tzinfo."""
        return "Local"

    def fromutc(self, moment: datetime, /) -> datetime:
        """See tzinfo."""
        return datetime.fromtimestamp(moment.replace(tzinfo=UTC).timestamp()).replace(tzinfo=self)  # noqa: DTZ006


_MACHINE: Final = MachineZone()


def zone(name: str) -> tzinfo:
    """The time zone of a name; "Local" is the machine's. Raises ValueError."""
    if name in ("", "UTC"):
        return UTC
    if name == "Local":
        return _MACHINE
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f'the time zone "{name}" is not known here') from error


def reading(moment: int, place: tzinfo) -> datetime:
    """What the clock at a place shows at a moment (nanoseconds): a naive time in whole seconds."""
    return datetime.fromtimestamp(moment // SECOND, place).replace(tzinfo=None)


def first_moment(wall: datetime, place: tzinfo) -> int:
    """The first moment (nanoseconds) at which the clock at a place shows a naive time, or a later one.

    Of a time that is shown twice it is the first; one that is left out has come when the clock is put forward. So times
    that follow one another on the clock do so in moments as well.
    """
    before, after = (wall.replace(tzinfo=place, fold=fold) for fold in (0, 1))
    moment = _nanoseconds(before)
    if (before.utcoffset() or _NONE) >= (after.utcoffset() or _NONE):
        return moment
    # Left out. Read with the offset after the change it lies before the change, and the other way round.
    first = _nanoseconds(after) // SECOND
    span = range(first, moment // SECOND)
    return (first + bisect_left(span, wall, key=lambda second: reading(second * SECOND, place))) * SECOND


def _nanoseconds(aware: datetime) -> int:
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
