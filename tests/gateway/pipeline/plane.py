"""A data plane in this process, with requests made by the real decoder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from gateway.baseline.limit_settings import LimitSettings
from gateway.baseline.settings import DetectionSettings
from gateway.clock import Clock, SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.log.settings import LogSettings
from gateway.pipeline.data_plane import DataPlane
from gateway.series.settings import SeriesSettings
from gateway.telemetry.columns import Receipt
from tests.e2e.otlp import gauge_request


class Plane:
    """A DataPlane without a target; `send` goes through decoder and committer."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock | None = None,
        max_series: int = 1000,
        log: LogSettings | None = None,
        series: SeriesSettings | None = None,
        limits: LimitSettings | None = None,
    ) -> None:
        self.plane = DataPlane(
            directory,
            clock or SystemClock(),
            log_settings=log or LogSettings(),
            series_settings=series or SeriesSettings(),
            detection=DetectionSettings(),
            victoriametrics=VictoriaMetricsSettings(),
            max_series=max_series,
            limits=limits,
        )
        self._decoder = OtlpMetricsDecoder(self.plane.hash_key, DecodeSettings())

    async def __aenter__(self) -> Plane:
        await self.plane.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.plane.stop()

    async def send(self, service: str, name: str, points: list[tuple[int, float, dict[str, str]]]) -> Receipt:
        """Points are (Unix ns, value, attributes)."""
        now_ns = time.time_ns()
        columns = self._decoder.decode_protobuf(gauge_request(service, name, points), now_ns // 10**6)
        return await self.plane.committer.accept(columns, received_ns=now_ns, body_bytes=0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the plane's threads, bounded."""
        deadline = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < deadline, "did not happen within 30 s"
            await asyncio.sleep(0.01)

    async def until_scored(self, rows: int) -> None:
        """Wait until the scorer has taken the first `rows` rows."""
        await self.until(lambda: self.plane.status()["accepted_points"] - self._backlog() >= rows)

    def _backlog(self) -> int:
        backlog: int = self.plane.status()["unscored_backlog_points"]
        return backlog
