"""Anomalies as alerts: what the baselines found, in the words of the alert router.

Rules of the subject:
  * One open anomaly is one alert; it has no assumed end and stays active until the anomaly is resolved.
  * The labels are those of the series, with `alertname`, `service`, `metric` and `severity` set; a label of the
    series by one of these names becomes `exported_…`. The severity is part of the identity, so it only rises while an
    anomaly is open: the alert of the lower severity ends when that of the higher one begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from gateway.alerting.alert import ALERT_NAME, Alert, fingerprint
from gateway.alerting.moments import NEVER, SECOND, format_moment
from gateway.telemetry.anomaly import SEVERITIES, Anomaly, TraceReference
from gateway.telemetry.labels import format_labels
from gateway.telemetry.service_labels import service_as_named

NAME: Final = "AnomalyDetected"
GROUP_NAME: Final = "ServiceAnomalyDetected"
"""Many series of one service at once."""
LIMIT_NAME: Final = "LimitApproaching"
"""A limit will be reached."""
MEMBERS_TOLD: Final = 20
_OWN: Final = frozenset({ALERT_NAME, "service", "metric", "severity"})


class KnownAnomaly(msgspec.Struct, frozen=True):
    """What is remembered of an anomaly while it is open and for a while after."""

    fingerprint: str
    severity: str
    closed: int = 0
    """When it was resolved; 0 while open."""


def labels_of(series: Mapping[str, str], severity: str, kind: str = "") -> dict[str, str]:
    """The alert's labels, sorted, without empty values. kind: see Anomaly."""
    service = service_as_named(series)
    labels = {
        (f"exported_{name}" if name in _OWN and not (name == "service" and value == service) else name): value
        for name, value in series.items()
        if name != "__name__"
    }
    name = {"group": GROUP_NAME, "exhaustion": LIMIT_NAME}.get(kind, NAME)
    labels |= {ALERT_NAME: name, "service": service, "metric": series.get("__name__", ""), "severity": severity}
    return {name: labels[name] for name in sorted(labels) if labels[name]}


def higher(one: str, other: str) -> str:
    """The higher of two severities."""
    return max(one, other, key=lambda name: SEVERITIES.index(name) if name in SEVERITIES else 0)


def alert_of(
    anomaly: Anomaly, severity: str, now: int, external_url: str, context: Mapping[str, str] | None = None
) -> Alert:
    """The alert of an anomaly that is open, or that ended if its state is "resolved". context: further annotations."""
    labels = labels_of(anomaly.series, severity, anomaly.kind)
    metric = anomaly.series.get("__name__", "a series")
    told = f"{metric}: {_number(anomaly.value)}, expected {_range(anomaly)}"
    annotations = {
        "summary": anomaly.reasons[0] if anomaly.kind in ("group", "exhaustion") and anomaly.reasons else told,
        "reasons": "; ".join(anomaly.reasons),
        "score": f"{anomaly.score:.3f}",
        "value": _number(anomaly.value),
        "expected": _number(anomaly.expected),
        "expected_range": _range(anomaly),
        "lower": _number(anomaly.lower) if anomaly.lower is not None else "",
        "upper": _number(anomaly.upper) if anomaly.upper is not None else "",
        "anomalous_since": format_moment(round(anomaly.time * SECOND)),
        "anomaly_id": anomaly.id,
        "kind": anomaly.kind,
        "members": "; ".join(format_labels(member.series) for member in anomaly.members[:MEMBERS_TOLD]),
        "trace_ids": ", ".join(reference.trace_id for reference in anomaly.exemplars),
        "exemplars": "; ".join(_exemplar(reference) for reference in anomaly.exemplars),
        "forecast": anomaly.reasons[0] if anomaly.kind == "exhaustion" and anomaly.reasons else "",
        "forecast_url": _forecast_url(anomaly, external_url),
        **(context or {}),
    }
    if anomaly.state == "resolved" and anomaly.ended is not None:
        annotations["anomalous_until"] = format_moment(round(anomaly.ended * SECOND))
    starts, ends = _span(anomaly, now)
    return Alert(
        fingerprint=fingerprint(labels),
        labels=labels,
        annotations={name: value for name, value in annotations.items() if value},
        starts=starts,
        ends=ends,
        updated=now,
        generator_url=f"{external_url}/#/anomalies/{anomaly.id}" if external_url else "",
        origin="anomaly",
    )


def _span(anomaly: Anomaly, now: int) -> tuple[int, int]:
    """Start and end of the alert: from its detection until the series was back. Where samples come late or the anomaly
    was short, the series was back before anybody knew that it had been away; the alert then ends when that is heard,
    so that nobody reads of an alert that ended when it began. `anomalous_since` and `anomalous_until` are the times of
    the samples."""
    starts = min(anomaly.detected_ns or round(anomaly.time * SECOND), now)
    if anomaly.state != "resolved":
        return starts, NEVER
    ends = round((anomaly.ended or anomaly.time) * SECOND)
    return starts, ends if starts < ends <= now else now


def _exemplar(reference: TraceReference) -> str:
    """Trace, span, value and time, for a person to look up."""
    moment = format_moment(round(reference.time * SECOND))
    return f"trace {reference.trace_id} span {reference.span_id} value {_number(reference.value)} at {moment}"


def _forecast_url(anomaly: Anomaly, external_url: str) -> str:
    """Where to ask how the series will probably go on; "" for what is not one series."""
    if not external_url or anomaly.kind == "group":
        return ""
    return f"{external_url}/api/v1/forecast?{urlencode({'match': format_labels(anomaly.series), 'horizon': '6h'})}"


def _number(value: float | None) -> str:
    return "no value" if value is None else f"{value:.6g}"


def _range(anomaly: Anomaly) -> str:
    if anomaly.lower is None or anomaly.upper is None:
        return "no range yet"
    return f"{anomaly.lower:.6g} to {anomaly.upper:.6g}"
