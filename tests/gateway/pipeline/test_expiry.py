"""Idle series are forgotten and their ids given to others; nothing of one series shows up under another's name."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from gateway.baseline.settings import DetectionSettings
from gateway.clock import ManualClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.log.reader import EventReader
from gateway.log.settings import LogSettings
from gateway.pipeline.data_plane import DataPlane
from gateway.series.settings import SeriesSettings
from gateway.settings_types import Duration
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.selector import parse_selector
from tests.e2e.otlp import gauge_request
from tests.gateway.forward.targets import Target

SERIES = 20
SECOND = 10**9


class Expiring:
    """A data plane on a clock of the test, in front of a recording target."""

    def __init__(self, directory: Path, clock: ManualClock, target: Target) -> None:
        self.clock, self.target = clock, target
        self.plane = DataPlane(
            directory,
            clock,
            log_settings=LogSettings(durability="os", segment_age=Duration(600)),
            series_settings=SeriesSettings(expiry=Duration(3600)),
            detection=DetectionSettings(),
            victoriametrics=VictoriaMetricsSettings(url=target.url, scores="none", flush_interval=Duration(0)),
            max_series=1000,
        )
        self._decoder = OtlpMetricsDecoder(self.plane.hash_key, DecodeSettings(max_future=Duration(86400)))
        self._sent = 0

    async def send(self, name: str, at_s: int, values: list[float]) -> None:
        """One point of each series of a gauge, then wait until it is scored and forwarded."""
        points = [(at_s * SECOND, value, {"n": str(n)}) for n, value in enumerate(values)]
        columns = self._decoder.decode_protobuf(gauge_request("s", name, points), self.clock.time_ns() // 10**6)
        before = self.plane.status()["accepted_points"]
        await self.plane.committer.accept(columns, received_ns=self.clock.time_ns(), body_bytes=0)

        def done() -> bool:
            status = self.plane.status()
            settled = not status["unscored_backlog_points"] and not status["pending_forward_points"]
            return bool(settled and status["accepted_points"] == before + len(values))

        await self.until(done)

    async def until(self, condition) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)

    def ids(self, name: str) -> set[int]:
        """Ids of a gauge's series; their labels are checked on the way."""
        found = self.plane.series(parse_selector(name), 1000)
        assert all(entry["labels"]["__name__"] == name for entry in found)
        return {entry["id"] for entry in found}

    def held(self, name: str) -> dict[str, list[float]]:
        """What the target was sent of a gauge: value of label n → values."""
        samples: dict[str, list[float]] = {}
        for text, stored in self.target.samples.items():
            labels = eval(text)  # the target's own repr of a dictionary
            if labels["__name__"] == name:
                samples[labels["n"]] = [value for _, value in sorted(set(stored))]
        return samples


def _each(*values: float) -> dict[str, list[float]]:
    return {str(n): [value + n for value in values] for n in range(SERIES)}


def _values(first: float) -> list[float]:
    return [first + n for n in range(SERIES)]


async def test_reused_ids_never_mix_series(tmp_path: Path) -> None:
    target = Target()
    await target.start()
    clock = ManualClock(time.time_ns())
    long_ago = clock.time_ns() // SECOND
    later = long_ago + 2 * 3600
    try:
        case = Expiring(tmp_path, clock, target)
        await case.plane.start()
        await case.send("old", long_ago, _values(0.0))
        old_ids = case.ids("old")
        assert len(old_ids) == SERIES
        clock.advance(2 * 3600)  # the next append begins a segment, which lets go of the names of the former one
        await case.send("tick", later, [1.0])
        clock.advance(61)  # the scorer looks for idle series once a minute
        await case.until(lambda: not case.ids("old"))
        assert case.ids("tick"), "a series with fresh points stays"
        await case.send("new", later + 1, _values(1000.0))
        assert case.ids("new") & old_ids, "ids are used again"
        await case.send("old", later + 2, _values(500.0))
        assert not case.ids("old") & case.ids("new")
        for name, expected in (("old", _each(0.0, 500.0)), ("new", _each(1000.0))):
            assert case.held(name) == expected
        await case.plane.stop()

        again = Expiring(tmp_path, clock, target)
        await again.plane.start()
        await again.send("new", later + 3, _values(1100.0))
        await again.send("old", later + 3, _values(600.0))
        assert again.held("old") == _each(0.0, 500.0, 600.0)
        assert again.held("new") == _each(1000.0, 1100.0)
        history = again.plane.history(parse_selector('old{n="3"}'), long_ago * 1000, (later + 9) * 1000, 10)
        assert [samples.values for samples in history] == [[3.0, 503.0, 603.0]]
        await again.plane.stop()
    finally:
        await target.stop()


async def test_an_alert_of_a_series_that_is_forgotten_ends_under_the_labels_it_began_with(tmp_path: Path) -> None:
    target = Target()
    await target.start()
    clock = ManualClock(time.time_ns())
    began = clock.time_ns() // SECOND
    try:
        case = Expiring(tmp_path, clock, target)
        await case.plane.start()
        for turn in range(60):
            await case.send("gone", began + 10 * turn, _values(float(turn % 3)))
            clock.advance(10)
        clock.advance(3500)
        await case.send("tick", began + 4100, [1.0])
        await case.until(lambda: len(case.plane.baseline.open_ids()) == SERIES)
        for last in (began + 4200, began + 8000):
            clock.advance(last - clock.time_ns() // SECOND)
            await case.send("tick", last, [1.0])
        clock.advance(61)
        await case.until(lambda: not case.ids("gone"))
        await case.plane.stop()
    finally:
        await target.stop()
    states: dict[str, list[str]] = {}
    reader = EventReader.open(tmp_path / "anomalies", 0)
    for _, payload in reader.read(1 << 24):
        record = msgspec.msgpack.decode(payload, type=Anomaly)
        if record.series.get("__name__") != "tick":
            assert record.series["__name__"] == "gone"
            states.setdefault(record.id, []).append(record.state)
    reader.close()
    assert sorted(states.values()) == [["firing", "resolved"]] * SERIES
