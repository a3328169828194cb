"""The forwarder against a real server that fails in every way a target may."""

import asyncio
import contextlib
import errno
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from gateway.clock import SystemClock
from gateway.forward.dead_letter import main as show_dead_letters
from gateway.forward.dead_letter import read_letters
from gateway.forward.forwarder import Forwarder
from gateway.forward.progress import ProgressFiles
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.selfmetrics import TASK_FAILURES
from gateway.settings_types import ByteSize, Duration, Secret
from gateway.telemetry import kind
from gateway.telemetry.labels import decode_label_blob
from tests.gateway.forward.feeds import FeedInMemory, SeriesInMemory
from tests.gateway.forward.targets import Target

CLOCK = SystemClock()


def settings_for(target: Target, **changes: object) -> VictoriaMetricsSettings:
    quick = {
        "url": target.url, "flush_interval": Duration(0.0), "backoff_min": Duration(0.005),
        "backoff_max": Duration(0.05), "poll_interval": Duration(0.05), "commit_interval": Duration(0.02),
        "checkpoint_interval": Duration(0.02), "replay_seconds": Duration(0.2), "block_rows": 10,
    }  # fmt: skip
    return VictoriaMetricsSettings(**(quick | changes))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(forwarder: Forwarder) -> AsyncIterator[Forwarder]:
    task = asyncio.create_task(forwarder.run())
    try:
        yield forwarder
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    server = Target()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def series() -> SeriesInMemory:
    index = SeriesInMemory()
    for number in range(5):
        index.add({"__name__": "temperature", "sensor": str(number)})
    index.add({"__name__": "orders_total", "shop": "north"}, kind.COUNTER | kind.DELTA)
    index.add({"__name__": "target_info", "job": "a"}, kind.TARGET_INFO)
    return index


def fill(feed: FeedInMemory, frames: int, first: int = 0) -> list[tuple[int, float]]:
    """Five gauges and one delta counter a frame; returns the counter's running total at each time."""
    now_ns = CLOCK.time_ns()
    base = now_ns // 1_000_000 // 1000 * 1000 - 3_600_000
    totals = []
    for at in range(first, first + frames):
        time = base + at * 1000
        feed.append(
            [0, 1, 2, 3, 4, 5], [time] * 6, [at + 0.1 * s for s in range(5)] + [1.0 + at],
            starts_ms=[0] * 5 + [time - 1000], received_ns=now_ns,
        )  # fmt: skip
        totals.append((time, sum(1.0 + k for k in range(at + 1))))
    return totals


def counter_of(target: Target) -> set[tuple[int, float]]:
    return {s for name, samples in target.samples.items() if "orders_total" in name for s in samples}


def accounted(forwarder: Forwarder, feed: FeedInMemory) -> bool:
    stats = forwarder.stats()
    assert stats.acked_rows == stats.forwarded + sum(stats.dropped.values())
    return stats.acked_rows == feed.rows


async def test_rows_arrive_and_are_counted_by_what_became_of_them(target, series, tmp_path):
    feed = FeedInMemory(series)
    totals = fill(feed, 40)
    now_ns = CLOCK.time_ns()
    now = now_ns // 1_000_000
    feed.append([0, 1, 2, 6], [now, now + 3 * 86_400_000, now, now], [math.nan, 1.0, 2.0, 1.0], received_ns=now_ns)
    feed.append(
        [5, 5, 5], [totals[-1][0], now, now], [5.0, math.inf, -1.0], starts_ms=[0] * 3, received_ns=now_ns, lose_rows=7
    )
    async with running(Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        stats = forwarder.stats()
    assert stats.dropped == {
        "nan": 1, "future": 1, "unreadable": 7, "delta_overlap": 1, "delta_not_finite": 1, "delta_negative": 1,
    }  # fmt: skip
    assert stats.forwarded == 40 * 6 + 1
    assert (stats.target_info_forwarded, stats.target_info_dropped) == (1, 0)
    assert counter_of(target) == set(totals)
    assert sum(map(len, target.samples.values())) == stats.forwarded + 1
    assert stats.lag_p99 is not None
    assert target.requests[0]["Content-Encoding"] == "snappy"


async def test_several_blocks_are_on_their_way_at_once_and_never_more_than_set(target, series, tmp_path):
    target.script = lambda number: 0.02
    feed = FeedInMemory(series)
    fill(feed, 60)
    async with running(
        Forwarder(settings_for(target, blocks_in_flight=3), feed, series, tmp_path, clock=CLOCK)
    ) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    assert target.most_in_flight == 3


async def test_failures_that_pass_are_waited_out_and_nothing_is_lost(target, series, tmp_path):
    answers = {
        0: web.Response(status=503), 1: web.Response(status=429, headers={"Retry-After": "0"}), 2: "reset",
        4: web.Response(status=500), 5: web.Response(status=502), 8: "reset", 9: web.Response(status=401),
    }  # fmt: skip
    target.script = answers.get
    feed = FeedInMemory(series)
    totals = fill(feed, 60)
    async with running(Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        stats = forwarder.stats()
    assert (stats.forwarded, stats.dropped, stats.replays) == (360, {}, 0)
    assert counter_of(target) == set(totals)


async def test_a_refused_block_goes_to_the_dead_letter_file_and_the_rest_goes_on(target, series, tmp_path, capsys):
    target.script = lambda number: web.Response(status=400, text="label too long") if number == 3 else None
    feed = FeedInMemory(series)
    fill(feed, 30)
    async with running(Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        stats = forwarder.stats()
    assert stats.dead_letter_blocks == 1
    assert stats.forwarded + stats.dropped["rejected_by_target"] == 180
    [file] = tmp_path.glob("dead-letter-0-*")
    [(letter, _)] = read_letters(file)
    assert (letter.status, letter.words, letter.rows) == (400, "label too long", stats.dropped["rejected_by_target"])
    capsys.readouterr()
    assert show_dead_letters(["--samples", str(file)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + letter.rows
    assert sum(map(len, target.samples.values())) == stats.forwarded


async def test_a_target_that_changes_its_version_is_asked_again(target, series, tmp_path):
    target.zstd = True
    feed = FeedInMemory(series)
    fill(feed, 5)
    async with running(Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        assert target.requests[-1]["Content-Encoding"] == "zstd"
        target.zstd = False
        fill(feed, 5, first=5)
        await until(lambda: accounted(forwarder, feed))
        assert target.requests[-1]["Content-Encoding"] == "snappy"
        assert forwarder.stats().dead_letter_blocks == 0


@pytest.mark.parametrize("tells_its_start", [True, False])
async def test_after_a_restart_of_the_target_the_last_seconds_are_sent_again_alike(
    target, series, tmp_path, tells_its_start
):
    if not tells_its_start:
        target.start_time = None
    feed = FeedInMemory(series)
    totals = fill(feed, 30)
    settings = settings_for(target, replay_seconds=Duration(60.0))
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        await target.stop()
        if not tells_its_start:  # then only a loss that is seen tells of the restart
            await until(lambda: not forwarder.stats().connected)
        await target.start_empty()
        totals += fill(feed, 10, first=30)
        await until(lambda: forwarder.stats().replays == 1)
        await until(lambda: accounted(forwarder, feed))
        stats = forwarder.stats()
    assert stats.forwarded == 40 * 6, "a row that was sent again counts once"
    assert counter_of(target) == set(totals)
    assert all(len(set(samples)) == 40 for samples in target.samples.values())


async def test_nothing_is_sent_in_the_second_in_which_the_target_started(target, series, tmp_path):
    """A process that is killed and started again within that second could not be told from the one before."""
    assert target.start_time is not None
    target.told_at = target.start_time
    feed = FeedInMemory(series)
    fill(feed, 5)
    writes_when_asked = []

    async def sleep(seconds: float) -> None:
        if seconds > 1.0:
            writes_when_asked.append(target.writes)
            target.told_at += seconds
            return
        await asyncio.sleep(seconds)

    forwarder = Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK, sleep=sleep)
    async with running(forwarder):
        await until(lambda: accounted(forwarder, feed))
    assert writes_when_asked == [0]


async def test_the_safe_position_moves_and_the_log_may_forget_what_lies_before(target, series, tmp_path):
    feed = FeedInMemory(series)
    fill(feed, 10)
    async with running(Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: feed.committed_to == feed.frames[-1].frame.end)
        totals = fill(feed, 10, first=10)
        await until(lambda: accounted(forwarder, feed))
        await target.restart_empty()
        await until(lambda: forwarder.stats().replays == 1 and accounted(forwarder, feed))
    assert feed.seeks[-1] >= feed.frames[9].frame.end
    assert set(totals) <= counter_of(target), "totals of the safe position were kept"


@pytest.mark.parametrize("target_restarts", [False, True])
async def test_after_our_own_restart_totals_go_on(target, series, tmp_path, target_restarts):
    feed = FeedInMemory(series)
    totals = fill(feed, 20)
    settings = settings_for(target, replay_seconds=Duration(60.0))
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    if target_restarts:
        await target.restart_empty()

    renumbered = SeriesInMemory()
    order = [5, 0, 1, 2, 3, 4]
    for sid in order:
        renumbered.add(decode_label_blob(series.blob(sid)), int(series.kinds[sid]))
    again = FeedInMemory(renumbered)
    again.frames, again.rows = feed.frames, feed.rows
    for resolved in again.frames:
        resolved.sids = resolved.sids.copy()
        resolved.sids[:] = [order.index(int(s)) for s in resolved.sids]
    writes_before = target.writes
    now_ns = CLOCK.time_ns()
    time = totals[-1][0] + 1000
    again.append([0], [time], [21.0], starts_ms=[time - 1000], received_ns=now_ns)
    totals.append((time, totals[-1][1] + 21.0))
    async with running(Forwarder(settings, again, renumbered, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, again))
        assert forwarder.stats().forwarded == 121
    assert counter_of(target) == set(totals)
    if not target_restarts:
        assert target.writes == writes_before + 1, "what was acknowledged is folded again, not sent again"


async def test_a_damaged_progress_file_is_set_aside_and_everything_is_sent_again(target, series, tmp_path):
    feed = FeedInMemory(series)
    fill(feed, 10)
    settings = settings_for(target, replay_seconds=Duration(60.0))
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    path = tmp_path / "forward-0.progress"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    target.samples.clear()
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    assert sum(map(len, target.samples.values())) == 60
    assert (tmp_path / "forward-0.progress.damaged").exists()


async def test_progress_that_cannot_be_read_is_tried_again_and_never_written_over(
    target, series, tmp_path, monkeypatch
):
    feed = FeedInMemory(series)
    fill(feed, 10)
    settings = settings_for(target, replay_seconds=Duration(60.0))
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    target.samples.clear()
    failures = TASK_FAILURES.labels("forward")._value.get
    before = failures()
    read = ProgressFiles.read
    fails = True

    def reading(files: ProgressFiles) -> object:
        if fails:
            raise OSError(errno.EIO, "planted")
        return read(files)

    monkeypatch.setattr(ProgressFiles, "read", reading)
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: failures() >= before + 2)
        assert "planted" in forwarder.stats().last_error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: failures() >= before + 3)
        fails = False
        await until(lambda: accounted(forwarder, feed))
    assert not target.samples, "it was all acknowledged"


async def test_while_the_target_is_down_only_the_window_is_held(target, series, tmp_path):
    await target.stop()
    feed = FeedInMemory(series)
    fill(feed, 100)
    forwarder = Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)
    async with running(forwarder):
        await until(lambda: forwarder.stats().last_error != "")
        assert not forwarder.stats().connected
        await target.start()
        await until(lambda: accounted(forwarder, feed))
        target.script = lambda number: web.Response(status=503)
        fill(feed, 400, first=100)
        await until(lambda: target.writes > 60)
        held = forwarder.stats().steps_open
        assert held <= 2 * 4 + 1 + 1
        target.script = lambda number: None
        await until(lambda: accounted(forwarder, feed))


async def test_scores_are_written_beside_and_dropped_when_the_queue_is_full(target, series, tmp_path):
    feed = FeedInMemory(series)
    settings = settings_for(target, score_queue_rows=25)
    forwarder = Forwarder(settings, feed, series, tmp_path, clock=CLOCK)
    now = CLOCK.time_ns() // 1_000_000
    blobs = [series.blob(0)] * 30
    assert forwarder.add_score_rows(blobs, list(range(now, now + 30)), [0.5] * 30) == 25
    async with running(forwarder):
        await until(lambda: forwarder.stats().scores_forwarded == 25)
        assert forwarder.add_score_rows(blobs[:3], [now] * 3, [0.1] * 3) == 3
        await until(lambda: forwarder.stats().scores_forwarded == 28)
        stats = forwarder.stats()
    assert (stats.scores_dropped, stats.forwarded, stats.acked_rows) == (5, 0, 0)


async def test_scores_that_are_under_way_when_the_target_restarts_are_sent_to_the_next_one(target, series, tmp_path):
    feed = FeedInMemory(series)
    forwarder = Forwarder(
        settings_for(target, block_rows=100, block_bytes=ByteSize(1024)), feed, series, tmp_path, clock=CLOCK
    )
    now = CLOCK.time_ns() // 1_000_000

    def counted() -> int:
        stats = forwarder.stats()
        return stats.scores_forwarded + stats.scores_dropped + stats.scores_waiting

    target.script = lambda number: None if number == 0 else web.Response(status=503)
    assert forwarder.add_score_rows([series.blob(0)] * 250, list(range(now, now + 250)), [0.5] * 250) == 250
    async with running(forwarder):
        await until(lambda: target.writes > 2)
        assert counted() == 250
        assert 0 < forwarder.stats().scores_forwarded < 100, "the second block of several is under way"
        await target.restart_empty()
        target.script = lambda number: None
        await until(lambda: forwarder.stats().scores_waiting == 0)
        stats = forwarder.stats()
    assert (stats.scores_forwarded, stats.scores_dropped) == (250, 0)


async def test_drain_waits_for_the_window_and_takes_no_more(target, series, tmp_path):
    target.script = lambda number: 0.01
    feed = FeedInMemory(series)
    fill(feed, 200)
    async with running(Forwarder(settings_for(target), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: forwarder.stats().forwarded > 0)
        assert await forwarder.drain(5.0)
        assert forwarder.stats().steps_open == 0
        target.script = lambda number: web.Response(status=503)


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({"username": "u", "password": Secret("p")}, ("Authorization", "Basic dTpw")),
        ({"bearer_token": Secret("t")}, ("Authorization", "Bearer t")),
        ({"headers": {"X-Scope-OrgID": "7"}}, ("X-Scope-OrgID", "7")),
    ],
)
async def test_credentials_and_headers_are_sent(target, series, tmp_path: Path, changes, header):
    feed = FeedInMemory(series)
    fill(feed, 1)
    async with running(Forwarder(settings_for(target, **changes), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    assert target.requests[0][header[0]] == header[1]


async def test_much_that_was_acked_is_noted_before_the_interval_is_over(target, series, tmp_path):
    feed = FeedInMemory(series)
    now = CLOCK.time_ns() // 1_000_000 - 3_600_000
    for at in range(30):
        times = list(range(now + 1000 * at, now + 1000 * at + 1000))
        feed.append([0] * 1000, times, [1.0] * 1000, received_ns=CLOCK.time_ns())
    settings = settings_for(target, commit_interval=Duration(3600.0), block_rows=1000)
    async with running(Forwarder(settings, feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        await until(lambda: (tmp_path / "forward-0.progress").exists())
        files = ProgressFiles(tmp_path, 0)
        assert files.read()[0].rows >= 5_000
