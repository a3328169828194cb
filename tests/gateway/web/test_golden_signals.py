"""Golden signals of services over a few series, as a history gives them."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.telemetry import kind
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.selector import parse_selector
from gateway.web.golden_signals import GoldenSignals, Signals, growth, selectors, signals_of
from gateway.web.json_api import declared_errors

DURATION = "http_server_request_duration_seconds"


def series(name: str, *values: float | None, kind: int = 0, **labels: str) -> HistorySamples:
    """Samples every ten seconds."""
    labels = {"__name__": name, "job": "shop/cart", **labels}
    return HistorySamples(labels, kind, [10.0 * n for n in range(len(values))], list(values))


def test_a_server_s_histogram_tells_traffic_errors_and_latency() -> None:
    ok, failed = {"http_response_status_code": "200"}, {"http_response_status_code": "503"}
    found = signals_of(
        ["cart"],
        [
            series(f"{DURATION}_count", 100, 190, **ok),
            series(f"{DURATION}_count", 0, 10, **failed),
            series(f"{DURATION}_sum", 10, 19, **ok),
            series(f"{DURATION}_sum", 0, 1, **failed),
            series("http_client_request_duration_seconds_count", 0, 1000),
            series("process_cpu_utilization_ratio", 0.2, 0.3),
            series("process_memory_utilization_ratio", 0.9, None, state="used"),
            series("system_cpu_utilization_ratio", 0.99, 0.99, state="idle"),
        ],
    )
    assert found == {"cart": Signals(traffic=10.0, errors=0.1, latency=0.1, saturation=0.9)}


def test_counters_of_requests_and_of_errors_tell_it_where_there_is_no_histogram() -> None:
    counted = [series("app_requests_total", 0, 50), series("app_errors_total", 0, 5)]
    assert signals_of(["cart"], counted)["cart"] == Signals(traffic=5.0, errors=0.1)
    outcomes = [
        series("app_requests_total", 0, 30, outcome="ok"),
        series("app_requests_total", 0, 10, outcome="error"),
        series(f"{DURATION}_count", 0, 80),
        series(f"{DURATION}_sum", 0, 4),
    ]
    assert signals_of(["cart"], outcomes)["cart"] == Signals(traffic=8.0, errors=0.25, latency=0.05)


def test_what_the_series_do_not_tell_is_not_known() -> None:
    assert signals_of(["cart", "mail"], [series("up", 1, 1)]) == {"cart": Signals(), "mail": Signals()}
    assert signals_of(["cart"], [series("app_requests_total", 5)])["cart"] == Signals()
    silent = signals_of(["cart"], [series("app_requests_total", 5, 5, outcome="ok")])["cart"]
    assert silent == Signals(traffic=0.0)
    calls = [series("rpc_server_duration_count", 0, 7), series("rpc_server_duration_sum", 0, 70)]
    assert signals_of(["cart"], calls)["cart"] == Signals(traffic=0.7), "no unit is known"


@pytest.mark.parametrize(
    ("values", "flags", "expected"),
    [
        ((5.0, 25.0), 0, 2.0),
        ((5.0, 25.0, 10.0), 0, 1.5),
        ((5.0, None, 25.0), 0, 1.0),
        ((7.0, 20.0, 40.0), kind.COUNTER | kind.DELTA, 3.0),
        ((5.0,), 0, None),
        ((), 0, None),
    ],
)
def test_growth_goes_on_over_a_reset_and_adds_increments(
    values: tuple[float | None, ...], flags: int, expected: float | None
) -> None:
    assert growth(series("x", *values, kind=flags)) == expected


def test_only_what_tells_a_figure_is_asked_for() -> None:
    groups = [
        ({"__name__": name, "job": job}, 1)
        for name in (f"{DURATION}_count", f"{DURATION}_sum", f"{DURATION}_bucket", "orders_total", "cpu_utilization")
        for job in ("shop/cart", "mail")
    ]
    groups.append(({"__name__": "cpu_utilization", "service_name": "cart"}, 1))
    by_job, by_name = selectors(groups, {"cart"})
    wanted = {m.name: m.values() for m in parse_selector(by_job)}
    assert wanted == {"__name__": ["cpu_utilization", f"{DURATION}_count", f"{DURATION}_sum"], "job": ["shop/cart"]}
    assert {m.name: m.values() for m in parse_selector(by_name)}["service_name"] == ["cart"]
    assert selectors(groups, {"nobody"}) == []


class Plane:
    """A catalogue and a history of one service."""

    async def groups(self) -> list[tuple[dict[str, str], int]]:
        return [({"__name__": "app_requests_total", "job": "cart"}, 1)]

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        return [series("app_requests_total", 0, 20)]


async def test_services_are_asked_for_by_name_and_not_too_many_at_once() -> None:
    application: Any = web.Application(middlewares=[declared_errors])
    application.add_routes(GoldenSignals(Plane(), Plane()).routes())
    async with TestClient(TestServer(application)) as client:
        answer = await client.get("/api/v1/services/signals?name=cart&name=nobody")
        empty = {"traffic": None, "errors": None, "latency": None, "saturation": None}
        assert await answer.json() == {"cart": empty | {"traffic": 2.0}, "nobody": empty}
        assert (await client.get("/api/v1/services/signals?" + "&".join(f"name={n}" for n in range(51)))).status == 400
