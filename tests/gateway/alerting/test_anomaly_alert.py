"""Start and end of the alert of an anomaly."""

from __future__ import annotations

import pytest

from gateway.alerting.anomaly_alert import alert_of
from gateway.alerting.moments import NEVER, SECOND
from gateway.telemetry.anomaly import Anomaly

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
