"""Start and end of the alert of an anomaly."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.alerting.anomaly_alert import alert_of
from gateway.alerting.moments import NEVER, SECOND
from gateway.telemetry.anomaly import Anomaly, TraceReference
from gateway.telemetry.selector import parse_selector

START = 1_700_000_000


@pytest.mark.parametrize(
    ("ended", "now", "expected"),
    [
        (START + 90, START + 100, START + 90),  # back after the detection: as the samples say
        (START + 10, START + 100, START + 100),  # back before anybody knew: when it was heard
        (START + 30, START + 100, START + 100),  # at the moment of detection
        (START + 500, START + 100, START + 100),  # a sender's clock is ahead
        (None, START + 100, START + 100),
    ],
)
def test_an_alert_never_ends_when_it_began(ended: float | None, now: int, expected: int) -> None:
    found = Anomaly(
        id="a", time=START, series={"__name__": "latency"}, value=9.0, expected=1.0, lower=0.0, upper=2.0, score=0.8,
        severity="high", reasons=[], detected_ns=(START + 30) * SECOND,
    )  # fmt: skip
    assert alert_of(found, "high", (START + 31) * SECOND, "").ends == NEVER
    found.state, found.ended = "resolved", ended
    alert = alert_of(found, "high", now * SECOND, "")
    assert (alert.starts, alert.ends) == ((START + 30) * SECOND, expected * SECOND)
    assert alert.annotations["anomalous_since"] == "2023-11-14T22:13:20.000Z"
    assert ("anomalous_until" in alert.annotations) == (ended is not None)


def test_an_alert_says_everything_that_was_found() -> None:
    series = {"__name__": "latency", "service": "cart", "path": 'a"b\\c', "severity": "own"}
    found = Anomaly(
        id="a-1", time=START, series=series, value=9.0, expected=1.0, lower=0.5, upper=2.0, score=0.8,
        severity="high", reasons=["level shift", "9 above 2"], detected_ns=(START + 30) * SECOND, kind="level",
        exemplars=[TraceReference(trace_id="t1", span_id="s1", value=9.5, time=START)],
    )  # fmt: skip
    alert = alert_of(
        found, "high", (START + 31) * SECOND, "http://gateway.example", {"runbook_url": "http://r.example"}
    )
    assert alert.labels == {
        "alertname": "AnomalyDetected", "service": "cart", "metric": "latency", "severity": "high",
        "path": 'a"b\\c', "exported_severity": "own",
    }  # fmt: skip
    said = dict(alert.annotations)
    link = urlsplit(said.pop("forecast_url"))
    assert link.path == "/api/v1/forecast"
    assert {m.name: m.value for m in parse_selector(parse_qs(link.query)["match"][0])} == series
    assert said == {
        "summary": "latency: 9, expected 0.5 to 2", "reasons": "level shift; 9 above 2", "score": "0.800", "value": "9",
        "expected": "1", "expected_range": "0.5 to 2", "lower": "0.5", "upper": "2",
        "anomalous_since": "2023-11-14T22:13:20.000Z", "anomaly_id": "a-1", "kind": "level", "trace_ids": "t1",
        "exemplars": "trace t1 span s1 value 9.5 at 2023-11-14T22:13:20.000Z", "runbook_url": "http://r.example",
    }  # fmt: skip
    assert alert.generator_url == "http://gateway.example/#/anomalies/a-1"
    limit = Anomaly(
        id="a-2", time=START, series=series, value=90.0, expected=100.0, lower=None, upper=None, score=0.8,
        severity="high", reasons=["full in 3 h"], detected_ns=(START + 30) * SECOND, kind="exhaustion",
    )  # fmt: skip
    assert alert_of(limit, "high", START * SECOND, "").annotations["forecast"] == "full in 3 h"
