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
"""


@pytest.mark.parametrize("name", ["weekly", "hourly"])
def test_every_moment_has_the_person_the_schedule_names(name: str) -> None:
    schedule = read_oncall(TEXT, "text", {"r"}).schedules[name]
    since = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    until = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    found = shifts(schedule, since, until)
    assert (found[0].start, found[-1].end) == (since, until)
    assert all(a.end == b.start for a, b in itertools.pairwise(found)), "no gap, no overlap"
    at = 0
    for moment in range(int(since), int(until), 900):
        while found[at].end <= moment:
            at += 1
        assert found[at].person == schedule.on_call(moment * SECOND), datetime.fromtimestamp(moment, UTC)


def test_before_the_first_turn_nobody_is_on_call_and_an_override_is_marked() -> None:
    schedule = read_oncall(TEXT, "text", {"r"}).schedules["weekly"]
    found = shifts(schedule, datetime(2026, 3, 1, tzinfo=UTC).timestamp(), datetime(2026, 4, 1, tzinfo=UTC).timestamp())
    assert found[0].person == ""
    (marked,) = [shift for shift in found if shift.override]
    assert marked.person == "cyd"
    assert marked.end - marked.start == 5 * 3600, "the clock goes forward in that night"
