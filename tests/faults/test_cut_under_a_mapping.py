"""A closed segment that another program cuts while it is mapped: labels come from requests, the process lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from gateway.log.settings import LogSettings
from gateway.settings_types import ByteSize
from tests.faults.plane import running_plane, send, settled, values_in_log

SERIES = 100


async def under(directory: Path) -> None:
    """As many segments as are needed; the closed one is cut to nothing when the open one has just been begun."""
    # A segment is closed at a quarter of max_bytes at the latest.
    small = LogSettings(durability="os", segment_bytes=ByteSize(64 * 1024), max_bytes=ByteSize(512 * 1024))
    number = 0
    async with running_plane(directory, log=small) as plane:

        async def next_sample() -> list[Path]:
            nonlocal number
            await send(plane, number, 1, series=f"with-a-long-name-{number % SERIES:0300d}")
            number += 1
            return sorted((directory / "log" / "edge-0").glob("*.seg"))

        segments = await next_sample()
        while len(segments) < 2:
            segments = await next_sample()
        await settled(plane)
        os.truncate(segments[0], 0)
        cut_at = number
        for _ in range(2 * SERIES):
            await next_sample()
        status = await settled(plane)
        assert status["accepted_points"] == number
        assert status["problem"] == ""
        assert len(plane.series((), 2 * SERIES)) >= SERIES
    assert set(range(cut_at, number)) <= set(values_in_log(directory))


def test_the_process_lives_and_every_series_keeps_its_labels(tmp_path: Path) -> None:
    # In a process of its own: what is to be prevented is a signal.
    code = f"import asyncio, pathlib; from {__name__} import under; asyncio.run(under(pathlib.Path({str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != -signal.SIGBUS
    assert done.returncode == 0, done.stderr[-3000:]
