"""Server-sent events: the present first, then changes; nobody who is slow holds the others back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.telemetry.anomaly import Anomaly
from gateway.web.events import RECORD_LENGTH, Events
from gateway.web.status_record import StatusRecord, StatusSample


class DataPlane:
    """Answers with a status, or not at all."""

    def __init__(self) -> None:
        self.down = False
        self.asked = 0

    async def status(self) -> dict[str, Any]:
        """A new count with every question."""
        if self.down:
            raise Unavailable("the data plane does not answer")
        self.asked += 1
        return {
            "accepted_points": self.asked,
            "scored_points": 0,
            "forwarded_points": 0,
            "pending_forward_points": 0,
            "dropped_points": {"late": 2, "odd": 1},
            "active_series": 5,
            "lag_seconds": {"score_p99": 0.1, "forward_p99": 0.2},
        }


class Feed:
    """Anomalies that a test opens."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.all: list[Anomaly] = []

    def newest(
        self, *, since: float = 0.0, limit: int = 100, severity: str | None = None, state: str | None = None
    ) -> list[Anomaly]:
        """As the real one, without order."""
        return [a for a in self.all if state in (None, a.state)][:limit]

    @property
    def open_count(self) -> int:
        """As the real one."""
        return sum(a.state == "firing" for a in self.all)

    def open(self, name: str) -> None:
        """One more."""
        self.all.append(
            Anomaly(
                id=name,
                time=1.0,
                series={"__name__": name},
                value=1.0,
                expected=0.0,
                lower=0.0,
                upper=0.5,
                score=0.9,
                severity="critical",
                reasons=["far away"],
            )
        )
        self.changed.set()


class Stage:
    """The endpoint with its neighbours."""

    def __init__(self, client: TestClient[Any, Any], plane: DataPlane, feed: Feed, events: Events) -> None:
        self.client, self.plane, self.feed, self.events = client, plane, feed, events


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    plane, feed = DataPlane(), Feed()
    counts = {"alerts": 0, "groups": 0, "silences": 0}
    events = Events(plane, feed, lambda: counts, SystemClock(), version="1")
    application = web.Application()
    application.add_routes(events.routes())
    async with TestClient(TestServer(application)) as client:
        events.start()
        yield Stage(client, plane, feed, events)
        await events.stop()


async def until(response: ClientResponse, name: str) -> dict[str, Any]:
    """The data of the next event of this name."""
    async with asyncio.timeout(20):
        current = b""
        async for line in response.content:
            if line.startswith(b"event: "):
                current = line[7:].strip()
            elif line.startswith(b"data: ") and current == name.encode():
                found: dict[str, Any] = msgspec.json.decode(line[6:])
                return found
    raise AssertionError("the stream ended")


async def test_a_listener_hears_the_status_and_every_change_of_it(stage: Stage) -> None:
    async with stage.client.get("/api/v1/events") as response:
        assert response.content_type == "text/event-stream"
        first = await until(response, "status")
        second = await until(response, "status")
        assert second["status"]["accepted_points"] > first["status"]["accepted_points"]
        assert second["status"]["version"] == "1"


async def test_an_anomaly_is_told_and_a_new_listener_is_told_the_present(stage: Stage) -> None:
    async with stage.client.get("/api/v1/events") as response:
        assert (await until(response, "anomalies"))["open"] == 0
        stage.feed.open("cpu")
        told = await until(response, "anomalies")
        assert told["open"] == 1
        assert told["newest"][0]["id"] == "cpu"
    async with stage.client.get("/api/v1/events") as response:
        assert (await until(response, "anomalies"))["open"] == 1
        assert (await until(response, "status"))["status"]["active_series"] == 5


async def test_a_data_plane_that_is_down_is_said_to_be_down(stage: Stage) -> None:
    stage.plane.down = True
    async with stage.client.get("/api/v1/events") as response:
        told = await until(response, "status")
        while told["status"] is not None:
            told = await until(response, "status")
        assert "does not answer" in told["error"]


async def test_the_last_hours_are_remembered_in_brief(stage: Stage) -> None:
    async with stage.client.get("/api/v1/events") as response:
        await until(response, "status")
    record = await (await stage.client.get("/api/v1/status/recent")).json()
    assert record[0]["dropped"] == 3
    assert record[0]["series"] == 5


def newest(events: Events) -> StatusSample:
    sample = events._record.newest()
    assert sample is not None
    return sample


async def test_rates_are_told_from_what_is_remembered_to_a_new_listener_too(stage: Stage) -> None:
    async with stage.client.get("/api/v1/events") as response:
        await until(response, "status")
    sample, counts = newest(stage.events), {"accepted_points": 500, "scored_points": 450, "forwarded_points": 0}
    remembered = [(60.0, 0), (80.0, 100), (100.0, 300), (115.0, 400)]
    stage.events._record = StatusRecord(RECORD_LENGTH)
    for time, accepted in remembered:
        stage.events._record.append(msgspec.structs.replace(sample, time=time, accepted=accepted, scored=accepted))
    rates = stage.events._rates(120.0, counts | {"dropped_points": {"late": 3}})
    assert rates == {"accepted": 10.0, "scored": 8.75, "forwarded": 0.0, "dropped": 0.0}
    # What was counted before the data plane began anew is no beginning.
    assert stage.events._rates(120.0, counts | {"accepted_points": 350, "dropped_points": {}})["accepted"] == 6.25
    assert stage.events._rates(120.0, counts | {"accepted_points": 0, "dropped_points": {}}) == {}


async def test_of_many_remembered_moments_a_plot_s_worth_is_told_with_the_last(stage: Stage) -> None:
    async with stage.client.get("/api/v1/events") as response:
        await until(response, "status")
    first = newest(stage.events)
    stage.events._record = StatusRecord(RECORD_LENGTH)
    for second in range(0, 10_000, 5):
        stage.events._record.append(msgspec.structs.replace(first, time=float(second)))
    for since, least in (("0", 600), ("9000", 200)):
        told = await (await stage.client.get(f"/api/v1/status/recent?since={since}")).json()
        assert least <= len(told) <= 720
        assert told[-1]["time"] == 9995
        assert told[0]["time"] >= float(since)
        assert len({b["time"] - a["time"] for a, b in itertools.pairwise(told)}) == 1


async def test_stopping_ends_every_stream(stage: Stage) -> None:
    async with stage.client.get("/api/v1/events") as response:
        await until(response, "status")
        await stage.events.stop()
        async with asyncio.timeout(10):
            await response.content.read()
