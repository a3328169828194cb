"""What others send wrong gets an answer that says so, never a traceback."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.config import check_config
from gateway.control_role import ControlRole
from gateway.errors import ConfigError, RequestError, Unavailable
from gateway.logging_setup import configure_logging
from gateway.web import alertmanager_api
from gateway.web.history import Bands, VictoriaMetricsHistory
from gateway.web.query_parameters import parse_time, whole_number

EXPORT = (
    b'{"metric":{"__name__":"m","le":"+Inf","x":"\\"values\\":[+Inf]"},"values":[1,+Inf,-Inf,NaN,null,"Infinity"],'
    b'"timestamps":[1000,2000,3000,4000,5000,6000]}\n'
)


async def _history(body: bytes, bands: Bands) -> dict[str, Any]:
    async def answer(request: web.Request) -> web.Response:
        of_bands = "anomaly_" in str((await request.post())["match[]"])
        return web.Response(body=b"" if of_bands else body)

    application = web.Application()
    application.router.add_post("/api/v1/export", answer)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        source = VictoriaMetricsHistory(str(server.make_url("")), session)
        return await source.history("m", 0, 10_000, 10, bands)


async def test_values_that_json_does_not_have_are_absent() -> None:
    series = (await _history(EXPORT, "recorded"))["series"][0]
    assert series["values"] == [1.0, None, None, None, None, None]
    assert series["labels"] == {"__name__": "m", "le": "+Inf", "x": '"values":[+Inf]'}
    assert (await _history(EXPORT, "recomputed"))["series"][0]["values"][0] == 1.0
    plain = await _history(EXPORT, "none")
    assert (plain["bands"], plain["series"][0]["values"][0]) == ("none", 1.0)
    assert set(plain["series"][0]["expected"]) == {None}


async def test_a_long_series_is_one_line() -> None:
    values, times = b",".join([b"1.5"] * 100_000), b",".join(b"%d" % (1_700_000_000_000 + n) for n in range(100_000))
    line = b'{"metric":{"__name__":"m"},"values":[' + values + b'],"timestamps":[' + times + b"]}"
    found = (await _history(line + b"\n" + line, "recorded"))["series"]
    assert [len(series["values"]) for series in found] == [100_000, 100_000]


@pytest.mark.parametrize("body", [b"<html>\n", b'{"metric":{}}\n'])
async def test_an_answer_that_is_no_export_is_unavailable(body: bytes) -> None:
    with pytest.raises(Unavailable):
        await _history(body, "recorded")


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1e308", "-²d", "-" + "9" * 5000 + "d", "-" + "9" * 18 + "d", "9" * 5000, "-d", "x"]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(RequestError):
        parse_time(text, "start")


def test_times() -> None:
    assert parse_time("1e9", "start") == 1e9 == parse_time("2001-09-09T01:46:40Z", "start")
    assert math.isclose(parse_time("now", "end") - parse_time("-15m", "start"), 900, abs_tol=5)


def test_limits() -> None:
    assert whole_number(make_mocked_request("GET", "/?limit=70"), "limit", 1, 50) == 50
    for text in ("²", "0", "-1", "1" * 5000):
        with pytest.raises(RequestError):
            whole_number(make_mocked_request("GET", f"/?limit={text}"), "limit", 1, 50)


async def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    loaded = check_config({"server": {"data_dir": str(tmp_path / "file")}}, {})
    role = ControlRole(loaded, SystemClock())
    with pytest.raises(ConfigError, match=r"server\.data_dir"):
        await role.start()
    await role.stop()


@pytest.fixture
async def alertmanager(tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    router = AlertRouter(AlertingSettings(), tmp_path, SystemClock())
    await router.start()
    application = web.Application()
    alertmanager_api.register_routes(application, router)
    async with TestClient(TestServer(application)) as client:
        yield client
    await router.stop()


async def test_a_time_past_the_calendar_costs_only_its_own_alert(alertmanager: TestClient[Any, Any]) -> None:
    late = "9999-12-31T23:59:59-23:00"
    items = [{"labels": {"alertname": "bad"}, "endsAt": late}, {"labels": {"alertname": "good"}}]
    assert (await alertmanager.post("/api/v2/alerts", json=items)).status == 400
    found = await (await alertmanager.get("/api/v2/alerts")).json()
    assert [alert["labels"]["alertname"] for alert in found] == ["good"]
    silence = {
        "matchers": [{"name": "a", "value": "b", "isRegex": False}],
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": late,
        "createdBy": "me",
        "comment": "",
    }
    assert (await alertmanager.post("/api/v2/silences", json=silence)).status == 400


async def test_bodies_nested_beyond_reading_are_refused(alertmanager: TestClient[Any, Any]) -> None:
    for path in ("/api/v2/alerts", "/api/v2/silences"):
        for body in (b"[" * 100_000, b'[{"labels":{"a":' + b"[" * 100_000, b'{"matchers":' + b"[" * 100_000):
            assert (await alertmanager.post(path, data=body)).status == 400


@pytest.mark.parametrize(
    "flood",
    [
        {"labels": {"alertname": "bad", **{f"l{n}": "v" for n in range(20_000)}}},
        {"labels": {"alertname": "bad", "long": "x" * 8_000_000}},
        {"labels": {"alertname": "bad", "n" * 5000: "x"}},
        {"labels": {"alertname": "bad"}, "annotations": {"long": "x" * 8_000_000}},
    ],
    ids=["labels", "value", "name", "annotation"],
)
async def test_a_flood_of_labels_costs_only_its_own_alert(
    alertmanager: TestClient[Any, Any], flood: dict[str, Any]
) -> None:
    refused = await alertmanager.post("/api/v2/alerts", json=[flood, {"labels": {"alertname": "good"}}])
    assert refused.status == 400
    assert "than" in await refused.json()
    found = await (await alertmanager.get("/api/v2/alerts")).json()
    assert [alert["labels"]["alertname"] for alert in found] == ["good"]


@pytest.mark.parametrize("name", ["active", "silenced", "inhibited", "unprocessed"])
async def test_flags_are_true_or_false(alertmanager: TestClient[Any, Any], name: str) -> None:
    refused = await alertmanager.get(f"/api/v2/alerts?{name}=maybe")
    assert refused.status == 400
    assert name in await refused.json()
    for text in ("true", "False", "0"):
        assert (await alertmanager.get(f"/api/v2/alerts?{name}={text}")).status == 200


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    """What reaches the root logger's handlers while the program's logging is configured."""
    root, library = logging.getLogger(), logging.getLogger("aiohttp.server")
    before = root.handlers[:], root.level, library.filters[:]
    structure = structlog.get_config()
    configure_logging("data")
    found: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    root.handlers[:] = [Kept()]
    yield found
    root.handlers[:], library.filters[:] = before[0], before[2]
    root.setLevel(before[1])
    structlog.configure(**structure)  # else later tests would log to the stream that was captured here


async def test_garbage_is_not_logged_and_broken_handlers_are(lines: list[logging.LogRecord]) -> None:
    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("broken")

    application = web.Application()
    application.router.add_get("/", broken)
    async with TestServer(application) as server:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"G\x00T / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(garbage + b"\r\n\r\n")
            assert b" 400 " in await reader.readline()
            writer.close()
        assert lines == []
        async with aiohttp.ClientSession() as session, session.get(server.make_url("/")) as response:
            assert response.status == 500
    assert [line.levelname for line in lines] == ["ERROR"]
