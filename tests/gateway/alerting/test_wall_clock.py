"""Times on the clock of a place: what they mean in the nights in which it is put back or forward."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.alerting.moments import SECOND, parse_moment
from gateway.alerting.mute_interval import IntervalPart
from gateway.alerting.wall_clock import first_moment, reading, zone


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's zone is New York's."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("place", "wall", "moment"),
    [
        ("Europe/Rome", "2026-07-01T09:00", "2026-07-01T07:00:00Z"),
        ("Europe/Rome", "2026-10-25T02:30", "2026-10-25T00:30:00Z"),  # shown twice
        ("Europe/Rome", "2026-10-25T03:00", "2026-10-25T02:00:00Z"),
        ("Europe/Rome", "2026-03-29T01:59:59", "2026-03-29T00:59:59Z"),
        ("Europe/Rome", "2026-03-29T02:00", "2026-03-29T01:00:00Z"),  # left out
        ("Europe/Rome", "2026-03-29T02:30", "2026-03-29T01:00:00Z"),
        ("Europe/Rome", "2026-03-29T03:15", "2026-03-29T01:15:00Z"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30:00Z"),  # half an hour is left out
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00Z"),  # a day is left out
        ("America/New_York", "9999-12-31T23:59:59", None),
        ("Asia/Tokyo", "0001-01-01T00:00", None),
    ],
)
def test_the_first_moment_at_which_a_clock_shows_a_time_or_a_later_one(
    place: str, wall: str, moment: str | None
) -> None:
    found = first_moment(datetime.fromisoformat(wall), zone(place))
    if moment is not None:
        assert found == parse_moment(moment)


def test_the_machines_own_zone_is_read_as_the_named_one_is(in_new_york: None) -> None:
    ours, named = zone("Local"), zone("America/New_York")
    began = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    for second in range(began, began + 366 * 86400, 1800):
        shown = reading(second * SECOND, ours)
        assert shown == reading(second * SECOND, named)
        assert first_moment(shown, ours) == first_moment(shown, named)
    left_out = datetime.fromisoformat("2026-03-08T02:10")
    assert first_moment(left_out, ours) == first_moment(left_out, named)
    for text in ("0001-01-01T00:00", "9999-12-31T23:59"):
        end = datetime.fromisoformat(text)
        assert abs(first_moment(end, ours) - first_moment(end, named)) <= 3600 * SECOND
    assert datetime(2026, 7, 1, tzinfo=ours).utcoffset() == timedelta(hours=-4)


def test_a_muted_hour_of_the_machines_clock_is_the_same_in_summer_and_winter(in_new_york: None) -> None:
    part = IntervalPart(times=((540, 600),), location="Local")  # 09:00 to 10:00
    assert part.holds(parse_moment("2026-01-15T14:30:00Z"))
    assert part.holds(parse_moment("2026-07-15T13:30:00Z"))
    assert not part.holds(parse_moment("2026-01-15T13:30:00Z"))
    assert not part.holds(parse_moment("2026-07-15T14:30:00Z"))
