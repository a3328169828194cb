"""GET /api/v1/forecast over a source with known samples."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.telemetry import kind
from gateway.telemetry.history_samples import HistorySamples
from gateway.web.forecasts import Forecasts
from gateway.web.history import Bands
from gateway.web.json_api import declared_errors


class Source:
    """A gauge, a counter with a reset, and a series with too little past."""

    name = "log"

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        assert match == '{job="shop"}'
        end = end_ms // 60_000 * 60
        times = [float(end - 60 * k) for k in range(3000, 0, -1)]
        values = [10.0 + math.sin(2 * math.pi * t / 86400.0) for t in times]
        counted = [5.0 * (t - times[0]) - (9000.0 if t > times[1500] else 0.0) for t in times]
        found = [
            HistorySamples({"__name__": "queue_length"}, kind.GAUGE, times, [*values[:-1], None]),
            HistorySamples({"__name__": "requests_total"}, kind.COUNTER, times, counted),
            HistorySamples({"__name__": "young"}, kind.GAUGE, times[:2], values[:2]),
        ]
        return found[:limit]

    async def history(
        self, match: str, start_ms: int, end_ms: int, limit: int, bands: Bands = "recorded"
    ) -> dict[str, Any]:
        raise NotImplementedError


@pytest.fixture
async def client() -> Any:
    application = web.Application(middlewares=[declared_errors])
    application.add_routes(Forecasts(Source()).routes())
    async with TestClient(TestServer(application)) as client:
        yield client


async def test_every_series_is_answered_for(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/api/v1/forecast", params={"match": '{job="shop"}', "horizon": "2h", "level": "0.8"})
    found = await answer.json()
    assert answer.status == 200, found
    gauge, counter, young = found["series"]
    assert found["source"] == "log"
    assert (gauge["scored_as"], counter["scored_as"]) == ("value", "rate")
    assert (gauge["step"], gauge["level"], len(gauge["times"])) == (60.0, 0.8, 120)
    assert gauge["times"][0] > time.time() - 180
    assert all(8.99 < v < 11.01 for v in gauge["expected"])
    assert all(abs(v - 5.0) < 1e-6 for v in counter["expected"])
    assert "at least" in young["problem"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"match": ""}, "say which series"),
        ({"match": "x", "horizon": "31d"}, "30d"),
        ({"match": "x", "horizon": "tomorrow"}, "not a duration"),
        ({"match": "x", "history": "0s"}, "expected"),
        ({"match": "x", "level": "1"}, "0.5 to 0.99"),
        ({"match": "x", "level": "nan"}, "0.5 to 0.99"),
        ({"match": "{", "level": "0.9"}, ""),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_reason(
    client: TestClient[Any, Any], parameters: dict[str, str], said: str
) -> None:
    answer = await client.get("/api/v1/forecast", params=parameters)
    assert answer.status == 400
    assert said in (await answer.json())["error"]
