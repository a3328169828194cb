"""Workers over one log: one owner for each series, counts that add up, another number of workers at the next start."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from gateway.log.segment import list_segments, map_segment
from gateway.log.settings import LogSettings
from gateway.settings_types import ByteSize
from tests.gateway.workers.planes import Planes

STEP_NS = 10**9


def batch(start_ns: int, turn: int, series: int = 20) -> list[tuple[int, float, dict[str, str]]]:
    return [(start_ns + turn * STEP_NS, float(turn), {"n": str(i)}) for i in range(series)]


def test_series_sent_over_both_edges_have_one_owner(tmp_path: Path) -> None:
    async def scenario() -> None:
        start = time.time_ns() - 100 * STEP_NS
        async with Planes(tmp_path, 2) as planes:
            for turn in range(40):
                await planes.send(turn % 2, "checkout", batch(start, turn))
            await planes.until_scored()
            status = planes.status()
            assert status["accepted_points"] == status["scored_points"] == 800
            assert status["not_scored_points"] == {"late": 0, "repeated": 0, "skipped": 0}
            assert status["active_series"] == 20  # and not 40: no series is in both shards
            assert all(plane.status()["active_series"] for plane in planes.planes)

    asyncio.run(scenario())


def test_the_number_of_workers_changes_and_nothing_is_taken_twice_or_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        start = time.time_ns() - 200 * STEP_NS
        turn = expected = 0
        for workers in (1, 2, 3, 1, 2):
            async with Planes(tmp_path, workers) as planes:
                for _ in range(6):
                    await planes.send(turn % workers, "checkout", batch(start, turn))
                    turn, expected = turn + 1, expected + 20
                await planes.until_scored()
                status = planes.status()
                assert status["accepted_points"] == expected
                assert status["scored_points"] == expected
                assert status["log"]["lost_rows"] == {}
            async with Planes(tmp_path, workers) as planes:  # a start without a change finds what it left
                await planes.until_scored()
                assert planes.status()["scored_points"] == expected

    asyncio.run(scenario())


def test_rows_left_unread_by_one_worker_are_read_by_the_next_ones(tmp_path: Path) -> None:
    """The former scorers stand at different places when their number changes."""

    async def scenario() -> None:
        start = time.time_ns() - 200 * STEP_NS
        async with Planes(tmp_path, 2) as planes:
            for turn in range(4):
                await planes.send(turn % 2, "checkout", batch(start, turn))
            await planes.until_scored()
        async with Planes(tmp_path, 2) as planes:
            await asyncio.to_thread(planes.planes[1]._scorer.stop)
            for turn in range(4, 10):
                await planes.send(turn % 2, "checkout", batch(start, turn))
            await planes.until(lambda: planes.planes[0].status()["scored_points"] > 40)
        async with Planes(tmp_path, 3) as planes:
            await planes.until_scored()
            status = planes.status()
            assert status["accepted_points"] == status["scored_points"] == 200
            assert status["active_series"] == 20

    asyncio.run(scenario())


def test_one_worker_alone_writes_the_first_format(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Planes(tmp_path, 1) as planes:
            await planes.send(0, "checkout", batch(time.time_ns() - STEP_NS, 0))
            await planes.until_scored()
        assert not (tmp_path / "state" / "workers.json").exists()
        for segment in list_segments(tmp_path / "log", 0):
            with map_segment(segment) as mapped:
                assert mapped[8] == 1

    asyncio.run(scenario())


def test_segments_wait_for_the_readers_of_all_workers(tmp_path: Path) -> None:
    async def scenario() -> None:
        small = LogSettings(max_bytes=ByteSize(512 * 1024), segment_bytes=ByteSize(8192))
        start = time.time_ns() - 100 * STEP_NS
        async with Planes(tmp_path, 2, log=small) as planes:
            for turn in range(60):
                await planes.send(0, "checkout", batch(start, turn))
            await planes.until_scored()
            sharding = planes.planes[0]._sharding
            assert sharding is not None
            sharding.refresh_retention()
            # Neither scorer has a snapshot yet, so nothing is committed.
            assert not planes.planes[0]._retention.all_committed(planes.planes[0]._writer.durable_end)
        async with Planes(tmp_path, 2, log=small) as planes:
            await planes.until_scored()
            sharding = planes.planes[0]._sharding
            assert sharding is not None
            sharding.refresh_retention()
            assert planes.planes[0]._retention.all_committed(planes.planes[0]._writer.durable_end)

    asyncio.run(scenario())
