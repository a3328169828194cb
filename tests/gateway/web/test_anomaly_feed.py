"""Anomalies of all workers' logs, each handed on once, also over a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from gateway.clock import SystemClock
from gateway.log.event_writer import EventWriter
from gateway.log.settings import LogSettings
from gateway.telemetry.anomaly import Anomaly
from gateway.web.anomaly_feed import AnomalyFeed


def anomaly(name: str, time: float, state: str = "firing") -> Anomaly:
    made = Anomaly(
        id=name, time=time, series={"__name__": "m"}, value=1.0, expected=0.0, lower=0.0, upper=0.0, score=0.9,
        severity="high", reasons=[], detected_ns=0,
    )  # fmt: skip
    made.state = state
    return made


def write(writer: EventWriter, *anomalies: Anomaly) -> None:
    for one in anomalies:
        writer.append(msgspec.msgpack.encode(one))
    writer.sync()


async def test_the_logs_of_all_workers_are_one_list(tmp_path: Path) -> None:
    directory, offsets = tmp_path / "anomalies", tmp_path / "anomaly-feed.offset"
    first, second = (EventWriter.open(directory, edge, LogSettings(), SystemClock()) for edge in (0, 1))
    handed: list[str] = []

    async def take(one: Anomaly) -> None:
        handed.append(one.id)

    async def until(count: int) -> None:
        async with asyncio.timeout(20.0):
            while len(handed) < count:
                await asyncio.sleep(0.01)

    write(first, anomaly("a", 1.0))
    write(second, anomaly("b", 2.0), anomaly("c", 0.5))
    feed = AnomalyFeed(directory, offsets, take, 2)
    feed.start()
    await until(3)
    assert [one.id for one in feed.newest()] == ["b", "a", "c"]
    write(first, anomaly("a", 1.0, "resolved"))
    await until(4)
    assert feed.open_count == 2
    await feed.stop()

    handed.clear()
    write(second, anomaly("d", 3.0))
    again = AnomalyFeed(directory, offsets, take, 1)  # one worker now: what the other left is read to its end
    again.start()
    await until(1)
    async with asyncio.timeout(20.0):
        while len(again) < 4:
            await asyncio.sleep(0.01)
    await again.stop()
    assert handed == ["d"]
    first.close()
    second.close()
