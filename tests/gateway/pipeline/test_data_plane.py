"""The data plane in one process: accounting, recovery, limits, history."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from gateway.errors import ShuttingDown
from gateway.log.settings import LogSettings
from gateway.settings_types import ByteSize
from gateway.telemetry.selector import parse_selector
from tests.gateway.pipeline.plane import Plane

SECOND = 10**9


def _points(count: int, series: int = 3) -> list[tuple[int, float, dict[str, str]]]:
    begin = time.time_ns() - 3600 * SECOND
    return [(begin + i * SECOND, float(i), {"s": str(i % series)}) for i in range(count)]


async def test_what_is_acknowledged_is_counted_scored_and_in_the_history(tmp_path: Path) -> None:
    async with Plane(tmp_path) as plane:
        points = _points(10)
        receipts = await asyncio.gather(*(plane.send("a", "m", points) for _ in range(20)))
        assert [r.rows for r in receipts] == [10] * 20
        await plane.until_scored(200)
        status = plane.plane.status()
        assert status["accepted_points"] == 200
        assert status["scored_points"] + sum(status["not_scored_points"].values()) == 200
        assert status["active_series"] == 3
        found = await asyncio.to_thread(plane.plane.history, parse_selector('m{s="1"}'), 0, time.time_ns() // 10**6, 10)
        assert len(found) == 1
        assert found[0].values == [1.0, 4.0, 7.0]


async def test_a_restart_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    points = _points(60)
    async with Plane(tmp_path) as plane:
        await plane.send("a", "m", points[:30])
        await plane.until_scored(30)
        before = plane.plane.status()
    async with Plane(tmp_path) as plane:
        status = plane.plane.status()
        assert status["accepted_points"] == 30
        assert status["scored_points"] == before["scored_points"]
        await plane.send("a", "m", points[30:])
        await plane.until_scored(60)
        assert plane.plane.status()["accepted_points"] == 60


async def test_a_copy_taken_while_running_recovers_every_acknowledged_row(tmp_path: Path) -> None:
    """What a kill at that moment leaves behind: the same files, no last words."""
    async with Plane(tmp_path / "a") as plane:
        await plane.send("a", "m", _points(50))
        await plane.until_scored(50)
        await asyncio.to_thread(shutil.copytree, tmp_path / "a", tmp_path / "b")
    async with Plane(tmp_path / "b") as plane:
        assert plane.plane.status()["accepted_points"] == 50
        await plane.until_scored(50)
        assert plane.plane.status()["scored_points"] == 50


async def test_series_over_the_limit_are_refused_by_point_and_known_ones_still_pass(tmp_path: Path) -> None:
    async with Plane(tmp_path, max_series=2) as plane:
        now = time.time_ns()
        first = await plane.send("a", "m", [(now - SECOND, 1.0, {"s": "0"}), (now - SECOND, 1.0, {"s": "1"})])
        assert not first.refused
        second = await plane.send("a", "m", [(now, 2.0, {"s": str(i)}) for i in range(5)])
        assert second.rows == 2
        assert second.refused == {"series_limit": 3}
        assert "max_series" in second.message
        third = await plane.send("a", "m", [(now, 2.0, {"s": "9"})])
        assert (third.rows, third.refused) == (0, {"series_limit": 1})
        assert plane.plane.status()["accepted_points"] == 4


async def test_small_segments_rotate_and_known_series_keep_their_names(tmp_path: Path) -> None:
    settings = LogSettings(segment_bytes=ByteSize(4096))
    async with Plane(tmp_path, log=settings) as plane:
        points = _points(300)
        for first in range(0, 300, 30):
            await plane.send("a", "m", points[first : first + 30])
        await plane.until_scored(300)
        assert plane.plane.status()["active_series"] == 3
        found = await asyncio.to_thread(plane.plane.history, parse_selector("m"), 0, time.time_ns() // 10**6, 10)
        assert sorted(v for h in found for v in h.values if v is not None) == [float(i) for i in range(300)]
    assert len(list((tmp_path / "log" / "edge-0").glob("*.seg"))) > 2


async def test_a_stopped_plane_refuses_with_a_wait(tmp_path: Path) -> None:
    async with Plane(tmp_path) as plane:
        await plane.send("a", "m", _points(1))
        await plane.plane.stop()
        await plane.plane.stop()
        with pytest.raises(ShuttingDown):
            await plane.send("a", "m", _points(1))


async def test_baselines_and_bucket_bounds_are_taken_up_after_a_restart(tmp_path: Path) -> None:
    points = _points(90)
    async with Plane(tmp_path) as plane:
        await plane.send("a", "m", points[:60])
        await plane.until_scored(60)
        known = plane.plane.baseline.states["count"][:3].copy()
        assert known.min() > 10
    async with Plane(tmp_path) as plane:
        await plane.send("a", "m", points[60:63])
        await plane.until_scored(63)
        assert plane.plane.baseline.states["count"][:3].tolist() == (known + 1).tolist()


async def test_more_series_than_any_first_size_are_scored(tmp_path: Path) -> None:
    now = time.time_ns()
    async with Plane(tmp_path, max_series=10_000) as plane:
        for round_number in range(3):
            when = now - (3 - round_number) * SECOND
            await plane.send("a", "m", [(when, float(i), {"s": str(i)}) for i in range(3000)])
        await plane.until_scored(9000)
        status = plane.plane.status()
        assert status["scored_points"] == 9000
        assert status["not_scored_points"] == {"late": 0, "repeated": 0, "skipped": 0}
