"""Problems of data, sender by sender: found while they hold, gone when they are over."""

from __future__ import annotations

import numpy as np

from gateway.pipeline.data_quality import MAX_SENDERS, DataQuality

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
