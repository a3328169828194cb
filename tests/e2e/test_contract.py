"""What the control plane promises: status, series, anomalies, history, readiness, banner, configuration."""

from __future__ import annotations

import math
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.otlp import gauge_request, metric_of
from tests.e2e.pair import Pair
from tests.e2e.program import Gateway
from tests.peers import VictoriaMetrics

pytestmark = pytest.mark.real

PROTOBUF = "application/x-protobuf"
SECOND = 10**9
STEPS, STEP_S = 120, 15


def _send(gateway: Gateway, name: str, points: list[tuple[int, float, dict[str, str]]]) -> None:
    answer = gateway.post("/v1/metrics", gauge_request("contract", name, points), Content_Type=PROTOBUF)
    assert answer == (200, b"")


def _send_history(gateway: Gateway, name: str) -> list[tuple[float, float]]:
    """Half an hour of a quiet gauge; returns (Unix seconds, value)."""
    draw = random.Random(11)
    begin = time.time_ns() // SECOND - STEPS * STEP_S
    points = [(float(begin + n * STEP_S), 100.0 + draw.gauss(0.0, 1.0)) for n in range(STEPS)]
    for first in range(0, STEPS, 20):
        _send(gateway, name, [(int(t) * SECOND, v, {"route": "/a"}) for t, v in points[first : first + 20]])
    gateway.until(lambda: gateway.json("/api/v1/status")["scored_points"] >= STEPS)
    return points


def _refusal(gateway: Gateway, path: str) -> str:
    with pytest.raises(urllib.error.HTTPError) as raised:
        gateway.get(path)
    assert raised.value.code == 400
    return raised.value.read().decode()


def _history(gateway: Gateway, match: str, points: list[tuple[float, float]]) -> dict[str, Any]:
    query = urllib.parse.urlencode({"match": match, "start": points[0][0], "end": points[-1][0] + 1})
    found: dict[str, Any] = gateway.json(f"/api/v1/history?{query}")
    return found


def _check_band(series: dict[str, Any]) -> None:
    rows = list(zip(*(series[key] for key in ("values", "expected", "lower", "upper", "score")), strict=True))
    scored = [row for row in rows if None not in row]
    assert len(scored) >= STEPS // 3, "expected values from the end of the warm-up on"
    for value, expected, lower, upper, score in scored[-20:]:
        assert lower <= expected <= upper
        assert abs(expected - 100.0) < 5.0
        assert lower <= value <= upper
        assert 0.0 <= score <= 1.0


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without a target."""
    directory = tmp_path_factory.mktemp("embedded")
    (directory / "token").write_text("s3cret")
    token = f'victoriametrics.bearer_token={{ file = "{directory / "token"}" }}'
    with Gateway(directory, token) as gateway:
        yield gateway


def test_status_has_every_promised_field(pair: Pair) -> None:
    status = pair.gateway.json("/api/v1/status")
    for name in ("accepted_points", "scored_points", "forwarded_points", "active_series", "pending_forward_points"):
        assert isinstance(status[name], int), name
    assert isinstance(status["dropped_points"], dict)
    assert set(status["lag_seconds"]) >= {"score_p50", "score_p99", "forward_p50", "forward_p99"}
    assert status["uptime_seconds"] > 0


def test_an_idle_gateway_is_ready_and_without_a_target_nothing_is_pending(embedded: Gateway) -> None:
    assert embedded.is_ready()
    _send(embedded, "idle", [(time.time_ns(), 1.0, {})])
    status = embedded.json("/api/v1/status")
    assert status["accepted_points"] >= 1, "counted before the acknowledgement"
    assert status["forwarded_points"] == status["pending_forward_points"] == 0


def test_the_banner_names_the_addresses(embedded: Gateway) -> None:
    text = embedded.output.read_text()
    for address in (embedded.otlp_grpc, embedded.otlp_http, embedded.http):
        assert address in text
    assert text.count("gateway is ready") == 1


def test_configuration_is_shown_with_sources_and_without_secrets(embedded: Gateway) -> None:
    tree = embedded.json("/api/v1/configuration")
    assert tree["server"]["http"] == {"value": embedded.http, "source": "--set server.http"}
    assert tree["log"]["retention"]["source"] == "default"
    assert "s3cret" not in embedded.get("/api/v1/configuration").decode()
    assert "s3cret" not in embedded.output.read_text()
    request = urllib.request.Request(f"http://{embedded.http}/-/reload", method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def test_series_are_found_by_selectors(embedded: Gateway) -> None:
    _send(embedded, "orders", [(time.time_ns(), 1.0, {"region": r}) for r in ("eu", "us", "asia")])

    def regions(match: str) -> set[str]:
        found = embedded.json(f"/api/v1/series?{urllib.parse.urlencode({'match': match})}")
        assert all(isinstance(entry["id"], int) for entry in found)
        return {entry["labels"]["region"] for entry in found}

    embedded.until(lambda: regions("orders") == {"eu", "us", "asia"})
    assert regions('{__name__="orders",region="eu"}') == {"eu"}
    assert regions('orders{region=~"eu|us"}') == {"eu", "us"}
    assert regions('orders{region!~"e.*"}') == {"us", "asia"}
    assert regions('orders{region!="us"}') == {"eu", "asia"}
    assert len(embedded.json("/api/v1/series?match=orders&limit=2")) == 2
    assert "expected" in _refusal(embedded, "/api/v1/series?match=orders%7Bregion%7D")
    assert "limit" in _refusal(embedded, "/api/v1/series?limit=none")


def test_anomalies_refuse_what_they_cannot_mean(embedded: Gateway) -> None:
    assert isinstance(embedded.json("/api/v1/anomalies?since=-1h&limit=5&severity=high"), list)
    assert "critical" in _refusal(embedded, "/api/v1/anomalies?severity=loud")
    assert "since" in _refusal(embedded, "/api/v1/anomalies?since=yesterday")
    assert "start" in _refusal(embedded, "/api/v1/history?match=x&start=5&end=4")


def test_an_anomaly_has_every_promised_field_and_its_traces(embedded: Gateway) -> None:
    draw = random.Random(5)
    begin = time.time_ns() // SECOND - 500 * STEP_S
    trace = bytes(range(16))
    for first in range(0, 500, 20):
        request, metric = metric_of("traced", "checkout_latency")
        for n in range(first, first + 20):
            fault = n >= 480
            point = metric.gauge.data_points.add(
                time_unix_nano=(begin + n * STEP_S) * SECOND,
                as_double=(900.0 if fault else 100.0) + draw.gauss(0.0, 2.0),
            )
            if fault:
                point.exemplars.add(
                    time_unix_nano=point.time_unix_nano, as_double=900.0, trace_id=trace, span_id=trace[:8]
                )
        answer = embedded.post("/v1/metrics", request.SerializeToString(), Content_Type=PROTOBUF)
        assert answer == (200, b"")

    def found(query: str = "") -> list[dict[str, Any]]:
        every = embedded.json(f"/api/v1/anomalies?limit=1000{query}")
        assert [a["time"] for a in every] == sorted((a["time"] for a in every), reverse=True), "newest first"
        return [a for a in every if a["series"]["__name__"] == "checkout_latency"]

    embedded.until(lambda: bool(found()))
    anomaly = found()[0]
    for name in ("id", "time", "series", "value", "expected", "lower", "upper", "score", "severity", "reasons"):
        assert anomaly[name] is not None, name
    assert anomaly["series"]["job"] == "traced"
    assert anomaly["lower"] <= anomaly["expected"] <= anomaly["upper"] < anomaly["value"]
    assert 0.0 < anomaly["score"] <= 1.0
    assert anomaly["exemplars"][0]["trace_id"] == trace.hex()
    assert embedded.json(f"/api/v1/anomalies/{anomaly['id']}")["id"] == anomaly["id"]
    assert not found(f"&since={anomaly['time'] + 3600}")
    assert found("&severity=low")


def test_history_from_the_embedded_log_survives_a_restart(embedded: Gateway) -> None:
    points = _send_history(embedded, "temperature")
    for restart in (False, True):
        if restart:
            embedded.stop()
            embedded.start()
        found = _history(embedded, "temperature", points)
        assert found["source"] == "log"
        (series,) = found["series"]
        assert series["labels"]["route"] == "/a"
        assert list(zip(series["times"], series["values"], strict=True)) == points
        _check_band(series)


def test_history_from_victoria_metrics_has_the_scores_that_were_written_back(tmp_path: Path) -> None:
    target = VictoriaMetrics(tmp_path / "vm", "-dedup.minScrapeInterval=1ms")
    target.start()
    try:
        settings = (f"victoriametrics.url={target.url}", "victoriametrics.scores=all")
        with Gateway(tmp_path, *settings) as gateway:
            points = _send_history(gateway, "temperature")

            def complete() -> bool:
                target.get("/internal/force_flush")
                found = _history(gateway, "temperature", points)["series"]
                if not found or len(found[0]["times"]) < len(points):
                    return False
                return sum(x is not None for x in found[0]["expected"]) >= STEPS // 3

            gateway.until(complete)
            found = _history(gateway, "temperature", points)
            assert found["source"] == "victoriametrics"
            (series,) = found["series"]
            assert series["times"] == [t for t, _ in points]
            assert series["values"] == pytest.approx([v for _, v in points])
            _check_band(series)
            written = target.export('{__name__=~"anomaly_.*"}')
            assert written
            for labels in written:
                assert '"for": "temperature"' in labels
                assert '"route": "/a"' in labels
            scores = [v for s in target.export('{__name__="anomaly_score"}').values() for _, v in s]
            assert all(math.isfinite(v) and 0.0 <= v <= 1.0 for v in scores)
    finally:
        target.stop()
