"""The shifts of a schedule over a span of time, as a calendar draws them.

Whoever is on call changes only where a turn of some rotation begins, or an override begins or ends. Those moments are
listed, `Schedule.on_call` is asked at each, and neighbours with the same person become one shift. So the calendar says
exactly what the escalation will do, changes of the clock included.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta, tzinfo
from typing import Final

import msgspec

from gateway.alerting.moments import SECOND
from gateway.alerting.oncall import Rotation, Schedule
from gateway.alerting.wall_clock import first_moment, reading, zone

MAX_TURNS: Final = 5000
"""Turns of one rotation that are looked at; a span with more is cut short there."""


class Shift(msgspec.Struct, frozen=True):
    """One person over [start, end), Unix seconds; "" where nobody is on call. override: an override decides it."""

    person: str
    start: float
    end: float
    override: bool


def shifts(schedule: Schedule, since: float, until: float) -> list[Shift]:
    """The shifts within [since, until), in order, without gaps."""
    place = zone(schedule.location)
    first, last = round(since * SECOND), round(until * SECOND)
    moments = {first}
    for rotation in schedule.rotations:
        moments.update(_turns(rotation, first, last, place))
    for override in schedule.overrides:
        moments.update(first_moment(wall, place) for wall in (override.start, override.end))
    inside = sorted(moment for moment in moments if first <= moment < last)
    found: list[Shift] = []
    for start, end in zip(inside, [*inside[1:], last], strict=True):
        person = schedule.on_call(start)
        decided = schedule.override(start) is not None
        if found and (found[-1].person, found[-1].override) == (person, decided):
            found[-1] = msgspec.structs.replace(found[-1], end=end / SECOND)
        else:
            found.append(Shift(person, start / SECOND, end / SECOND, decided))
    return found


def _turns(rotation: Rotation, since: int, until: int, place: tzinfo) -> Iterator[int]:
    """Beginnings of turns (nanoseconds) from the one that holds at `since`, or the one before it, on."""
    began = first_moment(rotation.start, place)
    if rotation.days:
        turn = max(0, (reading(max(since, began), place) - rotation.start).days // rotation.days)
        for number in range(turn, turn + MAX_TURNS):
            moment = first_moment(rotation.start + timedelta(days=number * rotation.days), place)
            if moment >= until:
                return
            yield moment
        return
    step = rotation.hours * 3600 * SECOND
    first = max(0, (since - began) // step)
    for number in range(first, first + MAX_TURNS):
        moment = began + number * step
        if moment >= until:
            return
        yield moment
