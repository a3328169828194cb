"""Several workers' data planes in one process, over one data directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.baseline.settings import DetectionSettings
from gateway.clock import SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.log.settings import LogSettings
from gateway.pipeline.data_plane import DataPlane
from gateway.pipeline.hash_key import load_or_make_hash_key
from gateway.pipeline.resharding import prepare_workers
from gateway.pipeline.sharding import Sharding
from gateway.series.settings import SeriesSettings
from gateway.web.workers import merged_status
from tests.e2e.otlp import gauge_request


class Planes:
    """`workers` data planes; use as an async context manager. Requests go through the real decoder."""

    def __init__(self, directory: Path, workers: int, *, url: str = "", log: LogSettings | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        key = load_or_make_hash_key(directory)
        layout = prepare_workers(directory, workers)
        self.planes = [
            DataPlane(
                directory,
                SystemClock(),
                log_settings=log or LogSettings(),
                series_settings=SeriesSettings(),
                detection=DetectionSettings(),
                victoriametrics=VictoriaMetricsSettings(url=url, scores="none"),
                max_series=1000,
                sharding=None if layout is None else Sharding(directory, worker, layout, key),
            )
            for worker in range(workers)
        ]
        self._decoder = OtlpMetricsDecoder(key, DecodeSettings())

    async def __aenter__(self) -> Planes:
        for plane in self.planes:
            await plane.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for plane in self.planes:
            await plane.stop()

    async def send(self, edge: int, service: str, points: list[tuple[int, float, dict[str, str]]]) -> None:
        """Over one edge; durable on return. Points are (Unix ns, value, attributes)."""
        now_ns = time.time_ns()
        columns = self._decoder.decode_protobuf(gauge_request(service, "m", points), now_ns // 10**6)
        await self.planes[edge].committer.accept(columns, received_ns=now_ns, body_bytes=0)

    def status(self) -> dict[str, Any]:
        """As the control plane puts it together."""
        statuses = [plane.status() for plane in self.planes]
        if "shard" not in statuses[0]:
            return statuses[0]
        return merged_status(statuses, [plane.accepted() for plane in self.planes])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the planes' threads, bounded."""
        deadline = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within 60 s: {self.status()}"
            await asyncio.sleep(0.01)

    async def until_scored(self) -> None:
        """Wait until every accepted row was taken by its scorer."""
        await self.until(lambda: bool(self.status()["unscored_backlog_points"] == 0))
