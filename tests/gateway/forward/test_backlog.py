"""A backlog goes out by series: fewer label sets, the same samples, the same accounts."""

import asyncio

import pytest
from aiohttp import web

from gateway.forward.dead_letter import read_letters
from gateway.forward.forwarder import Forwarder
from gateway.forward.remote_write_encoder import decode_request, decompress
from gateway.forward.step_size import StepSize
from tests.gateway.forward.feeds import FeedInMemory
from tests.gateway.forward.test_forwarder import (
    CLOCK,
    accounted,
    counter_of,
    fill,
    running,
    series,
    settings_for,
    target,
    until,
)

__all__ = ["series", "target"]  # fixtures

FRAMES = 200


def backlog(series):
    feed = FeedInMemory(series)
    return feed, fill(feed, FRAMES)


def forwarder_of(target, feed, series, path, **changes):
    settings = settings_for(target, **({"block_rows": 50, "blocks_in_flight": 1} | changes))
    return Forwarder(settings, feed, series, path, clock=CLOCK)


async def test_samples_of_a_series_share_its_labels_and_stay_in_order(target, series, tmp_path):
    feed, totals = backlog(series)
    async with running(forwarder_of(target, feed, series, tmp_path)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
    assert forwarder.stats().forwarded == 6 * FRAMES
    assert {len(samples) for samples in target.samples.values()} == {FRAMES}
    assert all(samples == sorted(samples) for samples in target.samples.values())
    assert counter_of(target) == set(totals)
    assert target.label_sets < FRAMES, "1,200 of them without bringing rows together"


async def test_what_comes_bit_by_bit_goes_out_as_it_comes(target, series, tmp_path):
    feed = FeedInMemory(series)
    async with running(forwarder_of(target, feed, series, tmp_path)) as forwarder:
        for number in range(10):
            fill(feed, 1, number)
            await until(lambda: accounted(forwarder, feed))
    assert target.label_sets == 60


async def test_a_step_that_was_sent_in_part_is_sent_again_whole_with_the_same_totals(target, series, tmp_path):
    """Stopped between two blocks of one step: nothing of it counts, and everything comes again."""
    feed, totals = backlog(series)
    stuck = asyncio.Event()

    def script(number):
        if number < 6:
            return None
        stuck.set()
        return web.Response(status=503)

    target.script = script
    first = forwarder_of(target, feed, series, tmp_path, backlog_rows=10_000)
    async with running(first):
        async with asyncio.timeout(10):
            await stuck.wait()
    sent = sum(map(len, target.samples.values()))
    assert 0 < first.stats().acked_rows < sent, "the step under way had blocks that were taken"
    target.script = lambda number: None
    async with running(forwarder_of(target, feed, series, tmp_path)) as second:
        await until(lambda: accounted(second, feed))
    assert second.stats().forwarded == 6 * FRAMES
    assert counter_of(target) == set(totals), "what was sent twice had the same values"
    assert {len(set(samples)) for samples in target.samples.values()} == {FRAMES}
    assert sum(map(len, target.samples.values())) > 6 * FRAMES


async def test_a_target_that_lost_its_memory_amid_a_backlog_gets_everything_since_safe_again(target, series, tmp_path):
    feed, totals = backlog(series)
    reached = asyncio.Event()

    def script(number):
        if number >= 8:
            reached.set()
            return 5.0  # until it is stopped
        return None

    target.script = script
    async with running(forwarder_of(target, feed, series, tmp_path)) as forwarder:
        async with asyncio.timeout(10):
            await reached.wait()
        await target.stop()
        target.script = lambda number: None
        await target.start_empty()
        await until(lambda: accounted(forwarder, feed))
        assert forwarder.stats().replays == 1
    assert counter_of(target) == set(totals)
    assert {len(set(samples)) for samples in target.samples.values()} == {FRAMES}


async def test_a_refused_block_of_a_backlog_is_buried_with_exact_counts(target, series, tmp_path):
    feed = FeedInMemory(series)
    now_ns = CLOCK.time_ns()
    now = now_ns // 1_000_000
    for number in range(40):
        feed.append([0, 6, 1], [now + number] * 3, [1.0 * number] * 3, received_ns=now_ns)
    target.script = lambda number: web.Response(status=400, text="no") if number == 1 else None
    async with running(forwarder_of(target, feed, series, tmp_path)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        stats = forwarder.stats()
    [file] = tmp_path.glob("dead-letter-0-*")
    [(letter, body)] = read_letters(file)
    buried = [
        (labels["__name__"], time)
        for labels, samples in decode_request(decompress(body, letter.encoding))
        for time, _ in samples
    ]
    apart = sum(name == "target_info" for name, _ in buried)
    assert apart
    assert letter.rows == len(buried)
    assert stats.dropped == {"rejected_by_target": len(buried) - apart}
    assert stats.forwarded == 80 - (len(buried) - apart)
    assert (stats.target_info_dropped, stats.target_info_forwarded) == (apart, 40 - apart)
    taken = sum(map(len, target.samples.values()))
    assert taken == 120 - len(buried)


@pytest.mark.parametrize("seconds", [0.0, 1.9])
def test_full_steps_grow_while_they_pass_quickly(seconds):
    size = StepSize(100, 1000)
    grown = []
    for _ in range(6):
        size.taken(size.rows, seconds)
        grown.append(size.rows)
    assert grown == [200, 400, 800, 1000, 1000, 1000]
    size.reset()
    assert size.rows == 100


def test_steps_shrink_where_the_target_takes_its_time_and_stay_where_there_is_no_backlog():
    size = StepSize(100, 1000)
    for _ in range(4):
        size.taken(size.rows, 0.1)
    size.taken(20, 0.1)
    assert size.rows == 1000
    size.taken(1000, 3.0)
    assert size.rows == 1000
    size.taken(20, 9.0)
    assert size.rows == 500
    for _ in range(5):
        size.taken(size.rows, 4.0)
    assert size.rows == 100


def test_a_large_step_that_leaves_room_for_a_frame_took_all_there_was():
    size = StepSize(100_000, 1_000_000)
    assert size.is_full(50_000)
    size.taken(100_000, 0.1)
    size.taken(200_000, 0.1)
    assert size.rows == 400_000
    assert not size.is_full(275_000)
    assert size.is_full(350_000)
    size.taken(275_000, 0.1)
    assert size.rows == 400_000


def test_a_limit_below_one_block_does_not_count():
    assert StepSize(100, 5).rows == 100
