"""Maintenance windows as pauses of learning: spans of what recurs, which alerts count, the data plane's file."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.alerting import learning_pauses
from gateway.alerting.learning_pauses import PausePublisher, conditions_of, pauses_of, spans_of
from gateway.alerting.maintenance import Maintenance, Window
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.mute_interval import IntervalPart
from gateway.clock import ManualClock
from gateway.telemetry.learning_pauses import (
    FILE_NAME,
    MOST_PAUSES,
    LabelCondition,
    LearningPause,
    read_pauses,
)
from tests.gateway.alerting.test_properties import ONE
from tests.gateway.alerting.virtual import EPOCH, World

MINUTE = 60 * SECOND
DAY = 86_400 * SECOND


def window(starts: int, ends: int = NEVER, matchers: str = '{service="db"}', **more: object) -> Window:
    return Window(
        id=str(more.pop("id", "1")),
        name="w",
        matchers=parse_matchers(matchers),
        starts=starts,
        ends=ends,
        **more,  # type: ignore[arg-type]
    )


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


minutes = st.one_of(st.sampled_from([0, 30, 60, 120, 150, 180, 720, 1439, 1440]), st.integers(0, 1440))
parts = st.builds(
    IntervalPart,
    times=st.lists(st.tuples(minutes, minutes).filter(lambda span: span[0] < span[1]), max_size=2).map(tuple),
    weekdays=st.sampled_from([(), ((1, 5),), ((0, 0), (6, 6))]),
    location=st.sampled_from(
        ["UTC", "Europe/Rome", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]
    ),
)


@settings(max_examples=40, deadline=None)
@given(
    recurring=st.lists(parts, min_size=1, max_size=2).map(tuple),
    # The days around them hold both changes of clocks of these places.
    day=st.sampled_from(["2026-03-07T17:20:00", "2026-03-28T12:00:00", "2026-04-04T03:07:00", "2026-10-24T20:00:00"]),
    hours=st.integers(1, 40),
)
def test_spans_of_what_recurs_are_the_minutes_at_which_it_holds(
    recurring: tuple[IntervalPart, ...], day: str, hours: int
) -> None:
    first = moment(day)
    last = first + hours * 60 * MINUTE
    spans = spans_of(window(first - 90 * DAY, recurring=recurring), first, last)
    held = [at for at in range(first, last, MINUTE) if window(0, recurring=recurring).holds(at)]
    assert [at for start, end in spans for at in range(start, end, MINUTE)] == held
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_spans_of_a_single_window_are_whole() -> None:
    now = 100 * DAY
    assert spans_of(window(now - 9 * DAY, now + 9 * DAY), now - DAY, now + DAY) == [(now - 9 * DAY, now + 9 * DAY)]
    assert spans_of(window(now - 9 * DAY, now - 5 * DAY), now - DAY, now + DAY) == []
    assert spans_of(window(now + 5 * DAY, now + 9 * DAY), now - DAY, now + DAY) == []
    assert spans_of(window(now, now), now - DAY, now + DAY) == [], "ended before it began"


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ('{service="db",region!~"a|b"}', (("service", "=", "db"), ("region", "!~", "a|b"))),
        ('{service="db",severity="low"}', (("service", "=", "db"),)),
        ('{severity=~"low|high",severity!="low"}', ()),
        ('{service="db",severity="page"}', None),
        ('{service="db",severity="low",severity="high"}', None),
        ('{service="db",alertname="AnomalyDetected"}', (("service", "=", "db"),)),
        ('{service="db",alertname=~"Host.*"}', None),
        ('{service="db",alertname!="AnomalyDetected"}', None),
    ],
)
def test_only_windows_that_cover_the_alert_of_a_series_own_anomaly_pause_it(
    matchers: str, expected: tuple[tuple[str, str, str], ...] | None
) -> None:
    conditions = None if expected is None else tuple(LabelCondition(*one) for one in expected)
    assert conditions_of(parse_matchers(matchers)) == conditions


def test_too_many_windows_leave_out_what_is_over_and_what_begins_last() -> None:
    now = 100 * DAY
    over = [window(now - DAY, now - MINUTE, id=f"over {n}") for n in range(3)]
    active = [window(now - n * MINUTE, now + DAY, id=f"active {n}") for n in range(MOST_PAUSES - 1)]
    coming = [window(now + n * MINUTE, now + DAY, id=f"coming {n}") for n in (2, 1)]
    pauses, left_out = pauses_of([*over, *coming, *active], now)
    assert left_out == 4
    assert len(pauses) == MOST_PAUSES
    assert pauses[-1].id == "coming 1"


async def until_pauses(path: Path, ids: list[str]) -> list[LearningPause]:
    for _ in range(2000):
        found = read_pauses(path)
        if [pause.id for pause in found] == ids:
            return found
        await asyncio.sleep(0.005)
    raise AssertionError(read_pauses(path))


async def test_the_file_follows_the_windows_and_is_written_anew_at_a_start(tmp_path: Path) -> None:
    world = World(ONE)
    maintenance = Maintenance(world.engine)
    path = tmp_path / FILE_NAME
    clock = ManualClock(start_ns=EPOCH * SECOND)
    publisher = PausePublisher(lambda: maintenance, path, clock)
    maintenance.on_change = publisher.changed
    publisher.start()
    await until_pauses(path, [])
    made = maintenance.put(window(world.now - MINUTE, world.now + DAY, id=""), world.now)
    (pause,) = await until_pauses(path, [made])
    assert pause.spans == (((world.now - MINUTE) // 10**6, (world.now + DAY) // 10**6),)
    assert pause.conditions == (LabelCondition("service", "=", "db"),)
    world.now += MINUTE
    maintenance.expire(made, world.now)
    for _ in range(2000):
        (pause,) = read_pauses(path)
        if pause.spans[0][1] == world.now // 10**6:
            break
        await asyncio.sleep(0.005)
    assert pause.spans[0][1] == world.now // 10**6, "what is over is told for a while: rows may be read late"
    await publisher.stop()
    await publisher.stop()

    path.write_bytes(b"of another version")
    again = PausePublisher(lambda: maintenance, path, clock)
    again.start()
    for _ in range(2000):
        if path.read_bytes() != b"of another version":
            break
        await asyncio.sleep(0.005)
    await until_pauses(path, [made])
    await again.stop()


async def test_a_disk_that_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_pauses, "RETRY_SECONDS", 0.01)
    path = tmp_path / "not there" / FILE_NAME
    publisher = PausePublisher(lambda: [window(0, 3 * DAY)], path, ManualClock(start_ns=2 * DAY))
    attempts: list[Path] = []
    write = learning_pauses.write_pauses

    def counted(to: Path, payload: bytes) -> None:
        attempts.append(to)
        write(to, payload)

    monkeypatch.setattr(learning_pauses, "write_pauses", counted)
    publisher.start()
    while len(attempts) < 2:
        await asyncio.sleep(0.005)
    path.parent.mkdir()
    await until_pauses(path, ["1"])
    await publisher.stop()
