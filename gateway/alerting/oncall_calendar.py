"""The shifts of a schedule over a span of time, as a calendar draws them.

Whoever is on call changes only where a turn of some rotation begins, or an override begins or ends. Those moments are
listed, `Schedule.on_call` is asked at each, and neighbours with the same person become one shift. So the calendar says
exactly what the escalation will do, changes of the clock included.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import msgspec

from gateway.alerting.moments import SECOND
from gateway.alerting.mute_interval import zone
from gateway.alerting.oncall import Rotation, Schedule

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
    moments = {since}
    for rotation in schedule.rotations:
        moments.update(_turns(rotation, since, until, place))
    for override in schedule.overrides:
        moments.update(_moment(wall, place) for wall in (override.start, override.end))
    inside = sorted(moment for moment in moments if since <= moment < until)
    found: list[Shift] = []
    for start, end in zip(inside, [*inside[1:], until], strict=True):
        person = schedule.on_call(round(start * SECOND))
        local = datetime.fromtimestamp(start, place).replace(tzinfo=None)
        decided = any(override.start <= local < override.end for override in schedule.overrides)
        if found and (found[-1].person, found[-1].override) == (person, decided):
            found[-1] = msgspec.structs.replace(found[-1], end=end)
        else:
            found.append(Shift(person, start, end, decided))
    return found


def _moment(wall: datetime, place: tzinfo) -> float:
    return wall.replace(tzinfo=place).timestamp()


def _turns(rotation: Rotation, since: float, until: float, place: tzinfo) -> Iterator[float]:
    """Beginnings of turns from the one that holds at `since` on."""
    began = _moment(rotation.start, place)
    if rotation.days:
        local = datetime.fromtimestamp(max(since, began), place).replace(tzinfo=None)
        turn = max(0, (local - rotation.start).days // rotation.days)
        for number in range(turn, turn + MAX_TURNS):
            moment = _moment(rotation.start + timedelta(days=number * rotation.days), place)
            if moment >= until:
                return
            yield moment
        return
    step = rotation.hours * 3600
    first = max(0, int((since - began) // step))
    start = datetime.fromtimestamp(began, UTC)
    for number in range(first, first + MAX_TURNS):
        moment = (start + timedelta(seconds=number * step)).timestamp()
        if moment >= until:
            return
        yield moment
