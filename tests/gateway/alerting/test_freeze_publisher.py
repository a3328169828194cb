"""Maintenance windows that freeze learning: spans of what recurs, which alerts count, the data plane's file."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.alerting import freeze_publisher
from gateway.alerting.freeze_publisher import (
    MOST_RETRY_SECONDS,
    RETRY_SECONDS,
    FreezePublisher,
    conditions_of,
    freeze_windows_of,
    past_of,
    spans_of,
)
from gateway.alerting.maintenance import Maintenance, Window
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.mute_interval import IntervalPart
from gateway.clock import ManualClock
from gateway.selfmetrics import REGISTRY
from gateway.telemetry.freeze_window import (
    EARLIEST_MS,
    FILE_NAME,
    LATEST_MS,
    MOST_BYTES,
    MOST_WINDOWS,
    FreezeWindow,
    LabelCondition,
    encode_fitting,
    encode_windows,
    read_windows,
    write_windows,
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


def published_in(path: Path) -> list[FreezeWindow]:
    found = read_windows(path)
    assert found is not None, "there is no file"
    return found


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
def test_only_windows_that_cover_the_alert_of_a_series_own_anomaly_freeze_it(
    matchers: str, expected: tuple[tuple[str, str, str], ...] | None
) -> None:
    conditions = None if expected is None else tuple(LabelCondition(*one) for one in expected)
    assert conditions_of(parse_matchers(matchers)) == conditions


def test_spans_beyond_what_readers_take_are_cut(tmp_path: Path) -> None:
    now = 100 * DAY
    one = window(-(10**30), 10**30)
    write_windows(tmp_path / FILE_NAME, encode_fitting(freeze_windows_of([one], now, DAY))[0])
    assert published_in(tmp_path / FILE_NAME)[0].spans == ((EARLIEST_MS, LATEST_MS),)


def test_too_many_windows_leave_out_what_is_over_and_what_begins_last(tmp_path: Path) -> None:
    now = 100 * DAY
    over = [window(now - DAY, now - MINUTE, id=f"over {n}") for n in range(3)]
    active = [window(now - n * MINUTE, now + DAY, id=f"active {n}") for n in range(MOST_WINDOWS - 1)]
    coming = [window(now + n * MINUTE, now + DAY, id=f"coming {n}") for n in (2, 1)]
    payload, left_out = encode_fitting(freeze_windows_of([*over, *coming, *active], now, DAY))
    assert left_out == 4
    write_windows(tmp_path / FILE_NAME, payload)
    published = published_in(tmp_path / FILE_NAME)
    assert len(published) == MOST_WINDOWS
    assert published[-1].id == "coming 1"


def test_windows_too_large_for_the_file_are_left_out_and_the_others_are_written(tmp_path: Path) -> None:
    now = 100 * DAY
    third = "x" * (MOST_BYTES // 3)
    large = [window(now - (9 - n) * MINUTE, now + DAY, f'{{service="{third}"}}', id=f"large {n}") for n in range(4)]
    small = window(now + MINUTE, now + DAY, id="small")
    payload, left_out = encode_fitting(freeze_windows_of([*large, small], now, DAY))
    assert left_out == 2
    write_windows(tmp_path / FILE_NAME, payload)
    assert [one.id for one in published_in(tmp_path / FILE_NAME)] == ["large 0", "large 1", "small"]


def test_windows_are_published_as_far_back_as_rows_may_be_old() -> None:
    now = 100 * DAY
    nightly = window(0, recurring=(IntervalPart(times=((60, 120),)),))
    ended = window(now - 31 * DAY, now - 30 * DAY)
    for max_age_days in (2, 40):
        past = past_of(max_age_days * 86_400.0)
        assert past > max_age_days * DAY
        (published,) = freeze_windows_of([nightly], now, past)
        assert published.spans[0][0] * 10**6 < now - max_age_days * DAY
        assert len(freeze_windows_of([ended], now, past)) == (max_age_days == 40)


class Written:
    """Payloads of a file as they are written, whatever thread writes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, refused: int = 0) -> None:
        """refused: attempts that raise something unexpected."""
        self._loop, self._refused = asyncio.get_running_loop(), refused
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.attempts = 0
        monkeypatch.setattr(freeze_publisher, "write_windows", self._write)

    def _write(self, path: Path, payload: bytes) -> None:
        self.attempts += 1
        if self.attempts <= self._refused:
            raise RuntimeError("nobody foresaw it")
        write_windows(path, payload)
        self._loop.call_soon_threadsafe(self._queue.put_nowait, payload)

    async def next(self) -> bytes:
        async with asyncio.timeout(30):
            return await self._queue.get()


class Sleeps:
    """What was slept, at once; `then` happens in the sleep of that number."""

    def __init__(self, then: Callable[[int], None] = lambda _: None) -> None:
        self.seconds: list[float] = []
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._then(len(self.seconds))
        await asyncio.sleep(0)


def failures(reason: str) -> float:
    found = REGISTRY.get_sample_value("gateway_maintenance_freeze_publish_failures_total", {"reason": reason})
    assert found is not None
    return found


def known(state: str) -> float | None:
    return REGISTRY.get_sample_value("gateway_maintenance_freeze_windows", {"state": state})


async def test_the_file_follows_the_windows_and_is_written_anew_at_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(ONE)
    maintenance = Maintenance(world.engine)
    path = tmp_path / FILE_NAME
    clock = ManualClock(start_ns=EPOCH * SECOND)
    written = Written(monkeypatch)
    publisher = FreezePublisher(lambda: maintenance, path, clock, max_age_seconds=172_800.0)
    maintenance.change_watchers.append(publisher.changed)
    publisher.start()
    await written.next()
    assert published_in(path) == []
    made = maintenance.put(window(world.now - MINUTE, world.now + DAY, id=""), world.now)
    await written.next()
    (published,) = published_in(path)
    assert published.id == made
    assert published.spans == (((world.now - MINUTE) // 10**6, (world.now + DAY) // 10**6),)
    assert published.conditions == (LabelCondition("service", "=", "db"),)
    world.now += MINUTE
    maintenance.expire(made, world.now)
    await written.next()
    (published,) = published_in(path)
    assert published.spans[0][1] == world.now // 10**6, "what is over is published for a while: rows may be read late"
    await publisher.stop()
    await publisher.stop()

    path.write_bytes(b"of another version")
    again = FreezePublisher(lambda: maintenance, path, clock, max_age_seconds=172_800.0)
    again.start()
    await written.next()
    assert [one.id for one in published_in(path)] == [made]
    await again.stop()


async def test_a_disk_that_refuses_is_tried_again_ever_less_often_counted_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "not there" / FILE_NAME
    written = Written(monkeypatch)
    problems = []

    def then(number: int) -> None:
        problems.append(publisher.problem)
        if number == 12:
            path.parent.mkdir()

    sleeps, before = Sleeps(then), failures("disk")
    clock = ManualClock(start_ns=2 * DAY)
    publisher = FreezePublisher(lambda: [window(0, 3 * DAY)], path, clock, max_age_seconds=172_800.0, sleep=sleeps)
    with capture_logs() as logged:
        publisher.start()
        await written.next()
        await publisher.stop()
    assert [one.id for one in published_in(path)] == ["1"]
    assert sleeps.seconds == [min(RETRY_SECONDS * 2**n, MOST_RETRY_SECONDS) for n in range(12)]
    assert failures("disk") == before + 12
    assert all(str(path.parent) in problem for problem in problems)
    assert [entry["log_level"] for entry in logged if entry["log_level"] == "error"] == ["error"], "once"
    assert await publisher.publish()
    assert publisher.problem == ""


async def test_what_nobody_foresaw_is_tried_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / FILE_NAME
    written, sleeps, before = Written(monkeypatch, refused=2), Sleeps(), failures("unexpected")
    clock = ManualClock(start_ns=2 * DAY)
    publisher = FreezePublisher(lambda: [window(0, 3 * DAY)], path, clock, max_age_seconds=172_800.0, sleep=sleeps)
    publisher.start()
    await written.next()
    await publisher.stop()
    assert [one.id for one in published_in(path)] == ["1"]
    assert sleeps.seconds == [RETRY_SECONDS, 2 * RETRY_SECONDS]
    assert failures("unexpected") == before + 2


def harmed(path: Path, how: str) -> None:
    """Whatever stands there is damaged, or is another thing."""
    if how == "damaged":
        with path.open("r+b") as file:
            file.write(b"XXXX")
    elif how == "another":
        write_windows(path, encode_windows([]))
    else:
        path.unlink()
        if how == "fifo":
            os.mkfifo(path)
        elif how == "device":
            path.symlink_to("/dev/null")
        elif how == "loop":
            path.symlink_to(path)


@pytest.mark.parametrize("how", ["damaged", "another", "removed", "fifo", "device", "loop"])
async def test_a_file_that_is_harmed_is_written_anew_though_no_window_changed(tmp_path: Path, how: str) -> None:
    path, clock = tmp_path / FILE_NAME, ManualClock(start_ns=2 * DAY)
    publisher = FreezePublisher(lambda: [window(0, 3 * DAY)], path, clock, max_age_seconds=172_800.0)
    assert await publisher.publish()
    whole, before = path.read_bytes(), REGISTRY.get_sample_value("gateway_maintenance_freeze_repairs_total")
    assert before is not None
    for attempt in (publisher.look, publisher.publish):
        harmed(path, how)
        assert await attempt()
        assert path.stat().st_mode == stat.S_IFREG | 0o600
        assert path.read_bytes() == whole
    assert REGISTRY.get_sample_value("gateway_maintenance_freeze_repairs_total") == before + 2
    made = path.stat().st_ino
    assert await publisher.look()
    assert await publisher.publish()
    assert path.stat().st_ino == made, "what is as it should be is left alone"


async def test_a_directory_in_its_place_is_a_problem_until_it_is_gone(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE_NAME, ManualClock(start_ns=2 * DAY)
    publisher = FreezePublisher(lambda: [window(0, 3 * DAY)], path, clock, max_age_seconds=172_800.0)
    assert await publisher.publish()
    path.unlink()
    path.mkdir()
    assert not await publisher.look()
    assert str(path.name) in publisher.problem
    path.rmdir()
    assert await publisher.look()
    assert publisher.problem == ""
    assert [one.id for one in published_in(path)] == ["1"]


async def test_the_file_is_looked_at_and_spans_are_found_anew_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze_publisher, "LOOK_SECONDS", 0.01)
    path, clock, asked = tmp_path / FILE_NAME, ManualClock(start_ns=100 * DAY), []
    nightly = window(0, recurring=(IntervalPart(times=((60, 120),)),))

    def windows() -> list[Window]:
        asked.append(clock.monotonic())
        return [nightly]

    written = Written(monkeypatch)
    publisher = FreezePublisher(windows, path, clock, max_age_seconds=172_800.0)
    publisher.start()
    first = await written.next()
    path.unlink()
    assert await written.next() == first
    assert len(asked) == 2
    clock.advance(2 * 86_400.0)
    assert await written.next() != first, "two days on there are other nights"
    assert asked[-1] == 2 * 86_400.0
    await publisher.stop()


async def test_windows_that_have_no_room_are_a_problem_until_they_have(tmp_path: Path) -> None:
    now = 100 * DAY
    windows = [window(now, now + DAY, id=str(n)) for n in range(MOST_WINDOWS + 1)]
    publisher = FreezePublisher(
        lambda: windows, tmp_path / FILE_NAME, ManualClock(start_ns=now), max_age_seconds=172_800.0
    )
    with capture_logs() as logged:
        assert await publisher.publish()
        assert await publisher.publish()
    assert publisher.left_out == 1
    assert publisher.problem.startswith("1 maintenance windows do not freeze learning")
    assert known("left_out") == 1
    assert known("published") == MOST_WINDOWS
    assert len(logged) == 1
    windows.pop()
    assert await publisher.publish()
    assert (publisher.left_out, publisher.problem) == (0, "")
    assert known("left_out") == 0
