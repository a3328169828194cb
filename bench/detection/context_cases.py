"""Silent cases that need something beside the series: a deploy's marker, a maintenance window.

A recording goes through the detector; its anomalies then go through what the product knows around them
(gateway.alerting.context): told is what nothing mutes, or what is still open when that ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.detection.detectors import Gateway
from bench.detection.injections import HOUR_S
from bench.detection.recordings import Recording
from bench.detection.spread import usual_spread
from gateway.alerting.context import MUTED_UNTIL, AnomalyContext
from gateway.alerting.context_settings import ContextSettings
from gateway.alerting.inbound import Marker
from gateway.alerting.journal import Journal
from gateway.alerting.maintenance import Window
from gateway.alerting.markers import Markers
from gateway.alerting.matcher import all_match, parse_matcher
from gateway.alerting.moments import SECOND, parse_moment
from gateway.baseline.detector import Baseline
from gateway.baseline.offline import run_series
from gateway.baseline.scorecard import DAY_S, Opening
from gateway.baseline.settings import DetectionSettings
from gateway.pipeline.anomaly_book import AnomalyBook
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.labels import encode_label_blob

LABELS = {"__name__": "kpi", "job": "shop"}
MARKER_LATE_S = 60.0
"""Deploy tools send their marker when they are through."""
AFTERMATH_S = 3 * HOUR_S


def deployed(twin: Recording, row: int, rng: np.random.Generator) -> tuple[Recording, AnomalyContext]:
    """From a row on another level, for good, and the marker that says why."""
    reach = round(DAY_S / 2 / twin.interval_s)
    change = float(rng.choice([4.0, 6.0, 10.0])) * usual_spread(twin.values[max(row - reach, 0) : row + reach])
    # Downward only where that leaves something: a deploy after which nothing is left should be told.
    down = rng.random() < 0.5 and (np.nanmin(twin.values) < 0 or np.nanmin(twin.values[row:]) > change)
    values = twin.values.copy()
    values[row:] += -change if down else change
    markers = Markers(Journal(), retention=10**19)
    moment = round((float(twin.times_s[row]) + MARKER_LATE_S) * SECOND)
    markers.mark(Marker(id="1", time=moment, title="shop 1.4", service="shop", version="1.4"), moment)
    return replace(twin, values=values), AnomalyContext(ContextSettings(), markers)


def maintained(twin: Recording, row: int, rng: np.random.Generator) -> tuple[Recording, Window]:
    """Two planned hours in which the service is first slower to come, then gone, then comes back."""
    count = round(2 * HOUR_S / twin.interval_s)
    start = float(twin.times_s[row])
    end = start + 2 * HOUR_S
    values = twin.values.copy()
    values[row : row + count // 2] *= rng.uniform(0.2, 0.6)
    if rng.random() < 0.5:
        values[row + count // 4 : row + count // 2] = np.nan
    window = Window(
        id="1", name="move", matchers=(parse_matcher('service="shop"'),),
        starts=round((start - 300) * SECOND), ends=round((end + 300) * SECOND),
    )  # fmt: skip
    return replace(twin, values=values), window


def told(recording: Recording, detector: Gateway, context: AnomalyContext, windows: Sequence[Window]) -> list[float]:
    """Starts of the anomalies that people are told of. In windows learning is frozen, as the data plane does."""
    result = run_series(
        recording.times_s, recording.values, settings=DetectionSettings(sensitivity=detector.sensitivity),
        overrides=dict(detector.overrides), frozen=[(w.starts / SECOND, w.ends / SECOND) for w in windows],
    )  # fmt: skip
    blob = encode_label_blob(LABELS)
    book = AnomalyBook(Baseline(DetectionSettings(), capacity=1), lambda _sid: blob)
    anomalies: dict[str, Anomaly] = {}
    for anomaly in book.take(result.transitions, 0):
        anomalies[anomaly.id] = anomaly
    return [a.time for a in anomalies.values() if _is_told(a, context, windows)]


def _is_told(anomaly: Anomaly, context: AnomalyContext, windows: Sequence[Window]) -> bool:
    judgement = context.judge(anomaly, anomaly.severity)
    at = anomaly.time
    muted = True
    while muted:
        until = _muted_until(round(at * SECOND), judgement.annotations, windows)
        muted = until > at * SECOND
        at = until / SECOND
        if muted and anomaly.ended is not None and anomaly.ended <= at:
            return False
    return True


def _muted_until(now: int, annotations: Mapping[str, str], windows: Sequence[Window]) -> float:
    until = -math.inf
    if MUTED_UNTIL in annotations:
        until = parse_moment(annotations[MUTED_UNTIL])
    labels = {**LABELS, "service": "shop"}
    for window in windows:
        if all_match(window.matchers, labels) and window.holds(now):
            until = max(until, window.ends)
    return max(until, now)


def context_case(name: str, twin: Recording, row: int, rng: np.random.Generator, detector: Gateway) -> bool:
    """Whether people are told of something that the case made. row: where it begins."""
    nothing = AnomalyContext(ContextSettings(), Markers(Journal(), retention=10**19))
    windows: list[Window] = []
    context = nothing
    if name == "deploy_marker":
        changed, context = deployed(twin, row, rng)
    else:
        changed, window = maintained(twin, row, rng)
        windows = [window]
    start = float(twin.times_s[row])
    when = Opening(start - 300.0, start + 2 * HOUR_S + AFTERMATH_S)
    known = [*told(twin, detector, nothing, [])]
    return any(
        when.start <= at <= when.end and not any(abs(at - other) <= HOUR_S for other in known)
        for at in told(changed, detector, context, windows)
    )
