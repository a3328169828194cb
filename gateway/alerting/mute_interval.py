"""Time intervals: the named spans of wall-clock time in which a route is muted, or outside of which it is.

Rules of the subject (Alertmanager `timeinterval`):
  * A named interval is a list of parts; it holds when any part holds. A part holds when every field given in it holds.
  * `times` are half-open [start, end) in minutes of the day, end up to 24:00. Days of the week count from Sunday.
  * Days of the month may be negative, counted from the end (-1 is the last); a range is cut to the month it is asked
    in.
  * Everything is read on the wall clock of `location`; without one, UTC. The moment is converted, never the interval,
    so that clock changes need no care: an hour that occurs twice is muted twice, one that does not occur mutes nothing.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from gateway.alerting.document import Section, Value
from gateway.alerting.moments import SECOND
from gateway.alerting.wall_clock import zone

WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS: Final = tuple(name.lower() for name in calendar.month_name)[1:]
Span = tuple[int, int]


class IntervalPart(msgspec.Struct, frozen=True):
    """One conjunction; an empty field holds always. Spans are inclusive except `times`."""

    times: tuple[Span, ...] = ()
    """Minutes of the day, half-open."""
    weekdays: tuple[Span, ...] = ()
    days_of_month: tuple[Span, ...] = ()
    months: tuple[Span, ...] = ()
    years: tuple[Span, ...] = ()
    location: str = "UTC"

    def holds(self, moment: int) -> bool:
        """Whether the wall clock at the place reads a time inside this part."""
        local = datetime.fromtimestamp(moment // SECOND, zone(self.location))
        minute = local.hour * 60 + local.minute
        if self.times and not any(start <= minute < end for start, end in self.times):
            return False
        if self.days_of_month and not self._day_holds(local):
            return False
        return (
            _inside(self.months, local.month)
            and _inside(self.weekdays, local.isoweekday() % 7)
            and _inside(self.years, local.year)
        )

    def _day_holds(self, local: datetime) -> bool:
        length = calendar.monthrange(local.year, local.month)[1]
        for start, end in self.days_of_month:
            first = start if start > 0 else length + start + 1
            last = end if end > 0 else length + end + 1
            if first > length:
                continue
            if max(first, 1) <= local.day <= min(last, length):
                return True
        return False


def any_holds(parts: Sequence[IntervalPart], moment: int) -> bool:
    """Whether one of the parts holds."""
    return any(part.holds(moment) for part in parts)


def read_interval(value: Value) -> tuple[str, tuple[IntervalPart, ...]]:
    """One entry of `time_intervals`: its name and parts."""
    section = value.section()
    name = section.must("name").text()
    if not name:
        raise value.refuse("a time interval needs a name")
    parts = tuple(read_part(item.section()) for item in section.items("time_intervals"))
    section.finish("name, time_intervals")
    return name, parts


def read_part(section: Section) -> IntervalPart:
    """One entry of `time_intervals` inside of a named interval. Raises ConfigError."""
    times: list[Span] = []
    for item in section.items("times"):
        below = item.section()
        start, end = below.must("start_time").parse(_minute), below.must("end_time").parse(_minute)
        below.finish("start_time, end_time")
        if start >= end:
            raise item.refuse("the start time must be before the end time")
        times.append((start, end))
    part = IntervalPart(
        times=tuple(times),
        weekdays=tuple(item.parse(lambda t: _named_span(t, WEEKDAYS, 0)) for item in section.items("weekdays")),
        days_of_month=tuple(item.parse(_day_span) for item in section.items("days_of_month")),
        months=tuple(item.parse(lambda t: _named_span(t, MONTHS, 1)) for item in section.items("months")),
        years=tuple(item.parse(_year_span) for item in section.items("years")),
        location=_location(section.take("location")),
    )
    section.finish("times, weekdays, days_of_month, months, years, location")
    return part


def shown_part(part: IntervalPart) -> dict[str, object]:
    """The part as it is written, for `read_part` to read again."""
    shown: dict[str, object] = {}
    if part.times:
        shown["times"] = [{"start_time": _clock(start), "end_time": _clock(end)} for start, end in part.times]
    if part.weekdays:
        shown["weekdays"] = [f"{WEEKDAYS[first]}:{WEEKDAYS[last]}" for first, last in part.weekdays]
    for name in ("days_of_month", "months", "years"):
        spans: tuple[Span, ...] = getattr(part, name)
        if spans:
            shown[name] = [f"{first}:{last}" for first, last in spans]
    shown["location"] = part.location
    return shown


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _location(value: Value | None) -> str:
    if value is None:
        return "UTC"
    name = value.text()
    value.parse(zone)
    return name


def _minute(text: str) -> int:
    match = re.fullmatch(r"((?:[01]\d)|(?:2[0-3])):([0-5]\d)|24:00", text)
    if match is None:
        raise ValueError(f'"{text}" is not a time of day between 00:00 and 24:00')
    return 1440 if text == "24:00" else int(match[1]) * 60 + int(match[2])


def _named_span(text: str, names: Sequence[str], base: int) -> Span:
    ends = [part.strip().lower() for part in text.split(":")]
    if len(ends) > 2:
        raise ValueError(f'"{text}" is not a range')
    numbers = []
    for end in ends:
        if end in names:
            numbers.append(names.index(end) + base)
        elif base and end.isdecimal() and base <= int(end) < base + len(names):
            numbers.append(int(end))
        else:
            raise ValueError(f'"{end}" is not one of {", ".join(names)}')
    return _ordered(numbers[0], numbers[-1], text)


def _day_span(text: str) -> Span:
    ends = [part.strip() for part in text.split(":")]
    if len(ends) > 2 or any(re.fullmatch(r"-?\d+", end) is None for end in ends):
        raise ValueError(f'"{text}" is not a day or a range of days of the month')
    start, end = int(ends[0]), int(ends[-1])
    for day in (start, end):
        if day == 0 or not -31 <= day <= 31:
            raise ValueError(f"{day} is not a day of the month: 1 to 31 or -31 to -1")
    if start < 0 < end:
        raise ValueError("the end day must be negative if the start day is")
    # With 31 days in a month at most, a range that is backwards there is backwards everywhere.
    first, last = (day if day > 0 else 32 + day for day in (start, end))
    if first > last:
        raise ValueError(f'"{text}" ends before it starts')
    return start, end


def _year_span(text: str) -> Span:
    ends = [part.strip() for part in text.split(":")]
    if len(ends) > 2 or any(not end.isdecimal() for end in ends):
        raise ValueError(f'"{text}" is not a year or a range of years')
    return _ordered(int(ends[0]), int(ends[-1]), text)


def _ordered(start: int, end: int, text: str) -> Span:
    if start > end:
        raise ValueError(f'"{text}" ends before it starts')
    return start, end


def _inside(spans: Sequence[Span], number: int) -> bool:
    return not spans or any(start <= number <= end for start, end in spans)
