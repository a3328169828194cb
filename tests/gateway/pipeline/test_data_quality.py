"""Problems of data, sender by sender: found while they hold, gone when they are over."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from gateway.clock import ManualClock
from gateway.pipeline.content_checks import UNIT_FACTORS, pauses, unit_changes
from gateway.pipeline.data_quality import MAX_SENDERS, DataQuality
from kernels.series_state import STATE
from tests.gateway.forward.targets import Target
from tests.gateway.pipeline.test_expiry import SECOND, Expiring

START = 1_790_000_000


def jobs_of(series: int):
    """Senders of so many series each."""

    def senders(sids):
        numbers, which = np.unique(sids // series, return_inverse=True)
        return [f"job-{number}" for number in numbers], which

    return senders


class Stream:
    """Three senders of 20 series each; a round is 10 s."""

    def __init__(self) -> None:
        self.quality = DataQuality(jobs_of(20))
        self.now = START
        self.quality.learn(np.arange(60, dtype=np.uint32))

    def rounds(
        self, count: int, *, offset: dict[int, float] | None = None, without: range = range(0), repeated: int = 0
    ) -> set[tuple[str, str]]:
        """Send; offset: seconds by which a job's clock is ahead; without: series that send nothing."""
        for _ in range(count):
            self.now += 10
            sids = np.array([s for s in range(60) if s not in without], np.uint32)
            ahead = np.array([(offset or {}).get(int(s) // 20, -1.0) for s in sids])
            times = ((self.now + ahead) * 1000).astype(np.int64)
            self.quality.observe(sids, times, self.now * 10**9, repeated)
        return {(p.sender, p.check) for p in self.quality.problems}


def test_nothing_is_found_in_good_data() -> None:
    assert Stream().rounds(100) == set()


def test_clocks_that_are_off_are_named_and_forgiven() -> None:
    stream = Stream()
    assert stream.rounds(8, offset={1: 60.0, 2: -900.0}) == {("job-1", "clock_ahead"), ("job-2", "clock_behind")}
    ahead = next(p for p in stream.quality.problems if p.check == "clock_ahead")
    assert ahead.value == 60.0
    stream.rounds(8, offset={1: 60.0})
    assert next(p for p in stream.quality.problems).since == ahead.since
    assert stream.rounds(8) == set()


def test_a_backfill_of_everyone_is_no_slow_clock() -> None:
    assert Stream().rounds(8, offset={0: -3600.0, 1: -3600.0, 2: -3600.0}) == set()


def test_a_backfill_that_catches_up_is_neither_a_slow_clock_nor_a_loss_at_its_end() -> None:
    stream = Stream()
    for step in range(40):
        assert stream.rounds(1, offset={2: -86_400.0 + 2000.0 * step}) == set()
    assert stream.rounds(80, without=range(40, 60)) == set()


def test_the_loss_of_most_series_of_a_sender_is_found_and_ends_with_their_return() -> None:
    stream = Stream()
    stream.rounds(40)
    assert stream.rounds(36, without=range(25, 40)) == {("job-1", "lost_series")}
    assert stream.rounds(8) == set()
    assert stream.rounds(36, without=range(25, 28)) == set(), "a few are no loss"


def test_repeated_points() -> None:
    stream = Stream()
    assert stream.rounds(8, repeated=20) == {("other", "repeated")}
    assert stream.rounds(8) == set()


def test_senders_are_bounded() -> None:
    quality = DataQuality(jobs_of(1))
    quality.learn(np.arange(10_000, dtype=np.uint32))
    assert len(quality._names) == MAX_SENDERS + 1
    for second in (0, 40):
        quality.observe(np.arange(10_000, dtype=np.uint32), np.full(10_000, START * 1000), (START + second) * 10**9, 0)
    assert quality.problems == ()


def test_pauses_of_more_than_three_steps_are_told_for_ten_minutes() -> None:
    stream = Stream()
    states = np.zeros(60, STATE)
    states["count"], states["interval"] = 50, 10.0
    sids = np.arange(60, dtype=np.uint32)

    def rounds(count: int, pause: dict[int, int]) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for _ in range(count):
            states["last_ms"] = stream.now * 1000
            for job, seconds in pause.items():
                states["last_ms"][sids // 20 == job] -= 1000 * (seconds - 10)
            times = np.full(60, (stream.now + 10) * 1000)
            stream.quality.note_pauses(sids, times, states)
            found = stream.rounds(1)
        return found

    assert rounds(10, {1: 25}) == set(), "two steps are no gap"
    rounds(1, {1: 120, 2: 40})
    assert rounds(6, {}) == {("job-1", "gaps"), ("job-2", "gaps")}
    assert {p.value for p in stream.quality.problems} == {120.0, 40.0}
    assert rounds(60, {}) == set()


def test_a_backlog_and_a_series_that_was_away_for_days_are_no_gaps() -> None:
    states = np.zeros(3, STATE)
    states["count"], states["interval"] = 50, 10.0
    sids = np.array([0, 0, 1], np.uint32)
    times = np.array([1_000_000, 1_040_000, 1_000_000])
    assert not pauses(sids, times, states).any()
    states["last_ms"] = 1_000_000_000 - 90_000_000
    assert not pauses(sids[1:], np.full(2, 1_000_000_000), states).any()
    states["last_ms"] = 1_000_000_000 - 60_000
    assert pauses(sids[1:], np.full(2, 1_000_000_000), states).tolist() == [60.0, 60.0]


def test_values_in_another_unit_are_told_from_other_deviations() -> None:
    stream = Stream()
    draw = np.random.default_rng(1)
    expected = draw.uniform(10.0, 500.0, 20)
    noise = draw.uniform(0.97, 1.03, 20)
    for job, values in enumerate((expected * noise * 1000.0, expected * draw.uniform(3.0, 2000.0, 20))):
        stream.quality.note_units(np.arange(20 * job, 20 * job + 20, dtype=np.uint32), values, expected)
    assert stream.rounds(6) == {("job-0", "unit_change")}
    assert stream.quality.problems[0].value == 1000.0
    assert stream.rounds(70) == set()
    odd = np.array([np.nan, 0.0, -5.0, np.inf, 8.0])
    assert unit_changes(odd, np.ones(5)).tolist()[:4] == [-1] * 4
    assert UNIT_FACTORS[unit_changes(odd, np.ones(5))[4]] == 8.0


async def test_a_change_of_unit_is_found_in_what_baselines_expect(tmp_path: Path) -> None:
    target = Target()
    await target.start()
    clock = ManualClock(time.time_ns())
    began = clock.time_ns() // SECOND
    draw = np.random.default_rng(2)
    try:
        case = Expiring(tmp_path, clock, target)
        await case.plane.start()
        for turn in range(120):
            unit = 1000.0 if turn >= 105 else 1.0
            values = (unit * (100.0 + np.arange(20) + draw.normal(size=20))).tolist()
            await case.send("latency", began + 10 * turn, values)
            clock.advance(10)
        await case.until(lambda: bool(case.plane.status()["data_quality"]))
        found = case.plane.status()["data_quality"]
        await case.plane.stop()
    finally:
        await target.stop()
    assert [(one["check"], one["value"]) for one in found] == [("unit_change", 1000.0)]
