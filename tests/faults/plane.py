"""The data plane in the test's own process: the real decoder, log, scorer and state, without sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.baseline.settings import DetectionSettings
from gateway.clock import Clock, SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.log.reader import LogReader
from gateway.log.settings import LogSettings
from gateway.pipeline.data_plane import DataPlane
from gateway.series.settings import SeriesSettings
from gateway.telemetry.columns import Receipt
from tests.e2e.otlp import gauge_request

STEP_NS = 10**9


@asynccontextmanager
async def running_plane(
    directory: Path, *, log: LogSettings | None = None, max_series: int = 10_000, clock: Clock | None = None
) -> AsyncIterator[DataPlane]:
    """A data plane over `directory`, stopped at the end."""
    plane = DataPlane(
        directory,
        clock or SystemClock(),
        log_settings=log or LogSettings(durability="os"),
        series_settings=SeriesSettings(),
        detection=DetectionSettings(),
        victoriametrics=VictoriaMetricsSettings(),
        max_series=max_series,
    )
    try:
        await plane.start()
        yield plane
    finally:
        await plane.stop()


async def send(plane: DataPlane, first: int, count: int, series: str = "s") -> Receipt:
    """Accept `count` samples of one series with the values first, first + 1, …"""
    now_ns = time.time_ns() - 3600 * STEP_NS
    points = [(now_ns + i * STEP_NS, float(i), {"series": series}) for i in range(first, first + count)]
    decoder = OtlpMetricsDecoder(plane.hash_key, DecodeSettings())
    columns = decoder.decode_protobuf(gauge_request("faults", "numbered", points), time.time_ns() // 10**6)
    return await plane.committer.accept(columns, received_ns=time.time_ns(), body_bytes=100)


async def settled(plane: DataPlane, seconds: float = 10.0) -> dict[str, Any]:
    """The status once every accepted row has been scored or counted as lost."""
    deadline = time.monotonic() + seconds
    while True:
        status = plane.status()
        if status["unscored_backlog_points"] == 0:
            return status
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.002)


def values_in_log(directory: Path) -> list[int]:
    """Values of the numbered samples that can be read from the log, in order."""
    with LogReader.open(directory / "log", 0) as reader:
        found: list[int] = []
        while frames := reader.read(2**20):
            # target_info rows are no samples of ours: theirs is the value 1 and the kind of its own series.
            for frame in frames:
                found += [int(v) for v in frame.values]
        return found
