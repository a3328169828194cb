"""The calendar of a schedule is what asking the schedule every few minutes would say."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from gateway.alerting.moments import SECOND
from gateway.alerting.oncall import read_oncall
from gateway.alerting.oncall_calendar import shifts

TEXT = """
people: [{name: ana, receiver: r}, {name: bob, receiver: r}, {name: cyd, receiver: r}]
schedules:
  - name: weekly
    location: Europe/Rome
    rotations:
      - {people: [ana, bob], start: '2026-03-02T09:00', shift: 1w}
      - {people: [cyd], start: '2026-04-20T00:00', shift: 1w}
    overrides:
      - {person: cyd, start: '2026-03-28T22:00', end: '2026-03-29T04:00'}
  - name: hourly
    location: America/New_York
    rotations:
      - {people: [ana, bob, cyd], start: '2026-03-07T20:00', shift: 8h}
  - name: nightly
    location: Europe/Rome
    rotations:
      - {people: [ana, bob], start: '2026-03-01T02:30', shift: 1d}
    overrides:
      - {person: cyd, start: '2026-03-29T02:15', end: '2026-03-29T03:30'}
      - {person: cyd, start: '2026-10-25T02:15', end: '2026-10-25T02:45'}
"""


@pytest.mark.parametrize("name", ["weekly", "hourly", "nightly"])
@pytest.mark.parametrize(("first", "last"), [((2026, 3, 1), (2026, 5, 1)), ((2026, 10, 20), (2026, 11, 5))])
def test_every_moment_has_the_person_the_schedule_names(
    name: str, first: tuple[int, int, int], last: tuple[int, int, int]
) -> None:
    schedule = read_oncall(TEXT, "text", {"r"}).schedules[name]
    since = datetime(*first, tzinfo=UTC).timestamp()
    until = datetime(*last, tzinfo=UTC).timestamp()
    found = shifts(schedule, since, until)
    assert (found[0].start, found[-1].end) == (since, until)
    assert all(a.end == b.start for a, b in itertools.pairwise(found)), "no gap, no overlap"
    at = 0
    for moment in range(int(since), int(until), 900):
        while found[at].end <= moment:
            at += 1
        assert found[at].person == schedule.on_call(moment * SECOND), datetime.fromtimestamp(moment, UTC)


def test_a_handover_in_the_hour_that_comes_twice_happens_once() -> None:
    schedule = read_oncall(TEXT, "text", {"r"}).schedules["nightly"]
    # The clock is put back from 03:00 to 02:00 at 01:00 UTC; until 00:45 UTC the override holds.
    began = int(datetime(2026, 10, 25, 0, 45, tzinfo=UTC).timestamp())
    people = {schedule.on_call((began + minute * 60) * SECOND) for minute in range(24 * 60)}
    assert len(people) == 1
    assert people != {schedule.on_call((began - 3600) * SECOND)}, "it was somebody else's turn before"


def test_a_handover_in_the_hour_that_is_left_out_happens_when_the_clock_is_put_forward() -> None:
    schedule = read_oncall(TEXT.replace("2026-03-29T02:15", "2026-03-29T03:29"), "text", {"r"}).schedules["nightly"]
    change = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())
    before, after = (schedule.on_call(second * SECOND) for second in (change - 1, change))
    assert before != after
    assert change in [shift.start for shift in shifts(schedule, change - 7200, change + 7200)]


def test_before_the_first_turn_nobody_is_on_call_and_an_override_is_marked() -> None:
    schedule = read_oncall(TEXT, "text", {"r"}).schedules["weekly"]
    found = shifts(schedule, datetime(2026, 3, 1, tzinfo=UTC).timestamp(), datetime(2026, 4, 1, tzinfo=UTC).timestamp())
    assert found[0].person == ""
    (marked,) = [shift for shift in found if shift.override]
    assert marked.person == "cyd"
    assert marked.end - marked.start == 5 * 3600, "the clock goes forward in that night"
