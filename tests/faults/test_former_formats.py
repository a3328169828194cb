"""An upgrade: a data directory as version 1 of every format left it, under today's program."""

from __future__ import annotations

import time
from pathlib import Path

from kernels.series_state import STATE
from tests.faults import format_1
from tests.faults.plane import running_plane, send, settled, values_in_log

SERIES = [{"__name__": "numbered", "job": "faults", "series": f"old-{n}"} for n in range(3)]


def frames() -> list[tuple[list[tuple[int, int, float]], list[dict[str, str]]]]:
    """Two frames: values 0 … 5 of two series, then 6 … 9 of these and a third."""
    begin = int(time.time() * 1000) - 7_200_000
    rows = [(n % 2, begin + n * 1000, float(n)) for n in range(6)]
    more = [(n % 3, begin + n * 1000, float(n)) for n in range(6, 10)]
    return [(rows, SERIES[:2]), (more, SERIES[2:])]


async def test_a_log_of_version_1_is_read_scored_and_continued(tmp_path: Path) -> None:
    format_1.write_log(tmp_path, frames())
    async with running_plane(tmp_path) as plane:
        assert (await settled(plane))["scored_points"] == 10
        await send(plane, 10, 4)
        status = await settled(plane)
        assert status["accepted_points"] == status["scored_points"] == 14
        assert status["log"]["lost_rows"] == {}
        names = {series["labels"]["series"] for series in plane.series((), 10)}
        assert {"old-0", "old-1", "old-2", "s"} <= names
    assert values_in_log(tmp_path) == list(range(14))


async def test_an_offset_and_a_snapshot_of_version_1_are_gone_on_from(tmp_path: Path) -> None:
    begins = format_1.write_log(tmp_path, frames())
    state = tmp_path / "state"
    counts = b'{"scored":6,"next_row":6}'
    payload = b'{"snapshot":"baseline-0-1.snapshot","counts":' + counts + b"}"
    format_1.write_offset(state / "scorer-0.offset", 1, begins[1], 6, payload)
    format_1.write_snapshot(state / "baseline-0-1.snapshot", STATE.itemsize, 0)
    async with running_plane(tmp_path) as plane:
        status = await settled(plane)
        assert status["accepted_points"] == 10
        assert status["scored_points"] == 10, "six before, four now"
        assert status["log"]["lost_rows"] == {}
    assert values_in_log(tmp_path) == list(range(10))
