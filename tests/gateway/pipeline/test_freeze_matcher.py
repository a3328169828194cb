"""Which series maintenance windows freeze: the same as those whose alerts the windows mute."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.alerting.anomaly_alert import labels_of
from gateway.alerting.freeze_publisher import conditions_of
from gateway.alerting.matcher import Matcher, all_match
from gateway.pipeline import freeze_matcher
from gateway.pipeline.freeze_matcher import FreezeMatcher
from gateway.series.index import SeriesIndex
from gateway.telemetry.anomaly import SEVERITIES
from gateway.telemetry.columns import Definitions
from gateway.telemetry.freeze_window import FreezeWindow, LabelCondition
from gateway.telemetry.labels import encode_label_blob

NAMES = (
    "__name__", "service", "service_name", "job", "instance", "metric", "exported_metric", "severity",
    "exported_severity", "alertname", "exported_alertname", "exported_service", "exported_job",
)  # fmt: skip
VALUES = ("a", "b", "ab", "a\nb", "ü")
PATTERNS = ("a|b", "a.*", ".+", ".*", "", "[^b]+", "critical|a")
EMPTY = np.empty(0)


def index_of(series: list[dict[str, str]]) -> tuple[SeriesIndex, NDArray[np.uint32]]:
    index = SeriesIndex(100, arena_bytes=1 << 20)
    blobs = [encode_label_blob(labels) for labels in series]
    return index, index.define(Definitions.from_blobs(blobs, np.ones(len(blobs), np.uint8)))


def matchers(draw: random.Random) -> tuple[Matcher, ...]:
    found = []
    for _ in range(draw.randint(1, 3)):
        is_regex = draw.random() < 0.5
        value = draw.choice(PATTERNS if is_regex else (*VALUES, *SEVERITIES[1:], "", "AnomalyDetected"))
        found.append(Matcher(draw.choice(NAMES), value, is_regex, draw.random() < 0.7))
    return tuple(found)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_a_series_is_covered_exactly_if_a_window_mutes_the_alert_of_its_anomaly(seed: int) -> None:
    draw = random.Random(seed)
    series = [
        {"__name__": draw.choice(VALUES), "n": str(n)}
        | {name: draw.choice(VALUES) for name in NAMES[1:] if draw.random() < 0.4}
        for n in range(20)
    ]
    index, sids = index_of(series)
    windows = [matchers(draw) for _ in range(draw.randint(1, 4))]
    spans = [((n * 10, n * 10 + 15),) for n in range(len(windows))]
    matcher = FreezeMatcher(index)
    freezing = [
        FreezeWindow(str(n), conditions, span)
        for n, (window, span) in enumerate(zip(windows, spans, strict=True))
        if (conditions := conditions_of(window)) is not None
    ]
    assert matcher.reload(freezing) == []
    for at in range(0, 60, 5):
        covered = matcher.match(sids, np.full(len(sids), at, np.int64))
        for labels, found in zip(series, covered.tolist(), strict=True):
            alerts = [labels_of(dict(sorted(labels.items())), severity, "sustained") for severity in SEVERITIES[1:]]
            assert found == any(
                start <= at < end and any(all_match(window, alert) for alert in alerts)
                for window, ((start, end),) in zip(windows, spans, strict=True)
            )


def everything(*spans: tuple[int, int], number: str = "1") -> FreezeWindow:
    return FreezeWindow(number, (), spans)


def test_spans_that_touch_are_one_and_the_grace_reaches_back() -> None:
    index, sids = index_of([{"__name__": "m"}])
    matcher = FreezeMatcher(index)
    matcher.reload([everything((10, 20), (40, 50)), everything((20, 30), (60, 60), number="2")])

    def covered(at: int, grace: int = 0) -> bool:
        return bool(matcher.match(sids, np.array([at]), np.array([grace]))[0])

    assert [at for at in range(0, 70, 5) if covered(at)] == [10, 15, 20, 25, 40, 45]
    assert not covered(33)
    assert covered(33, 4)
    assert covered(55, 40), "a whole span lies within the grace"
    assert not covered(9, 100)
    assert matcher.any_between(0, 10)
    assert matcher.any_between(5, 60)
    assert matcher.any_between(29, 29)
    assert not matcher.any_between(30, 39)
    assert not matcher.any_between(50, 90)
    assert (matcher.holding(25), matcher.holding(35)) == (1, 0)


def test_windows_that_cannot_be_read_are_left_out_and_named() -> None:
    index, sids = index_of([{"__name__": "m"}])
    matcher = FreezeMatcher(index)
    problems = matcher.reload(
        [
            FreezeWindow("bad", (LabelCondition("job", "=~", "("),), ((0, 9),)),
            FreezeWindow("odd", (LabelCondition("job", "~", "x"),), ((0, 9),)),
            everything((5, 9)),
        ]
    )
    assert [problem.split(":")[0] for problem in problems] == ["maintenance window bad", "maintenance window odd"]
    assert (len(matcher), matcher.any_between(0, 4)) == (1, False)
    assert matcher.match(sids, np.array([5]))[0]


def test_series_are_asked_once_and_again_under_a_reused_id(monkeypatch: pytest.MonkeyPatch) -> None:
    index, sids = index_of([{"__name__": "m", "job": str(n % 2), "n": str(n)} for n in range(10)])
    matched: list[int] = []
    services = freeze_matcher.services_of

    def counting(series: Any, some: NDArray[np.uint32]) -> Any:
        matched.append(len(some))
        return services(series, some)

    monkeypatch.setattr(freeze_matcher, "services_of", counting)
    matcher = FreezeMatcher(index)
    matcher.reload([FreezeWindow("1", (LabelCondition("service", "=", "1"),), ((0, 9),))])
    times = np.full(len(sids), 5, np.int64)
    assert matcher.match(sids, times).sum() == 5
    assert matcher.match(np.concatenate([sids, sids]), np.concatenate([times, times])).sum() == 10
    assert matched == [10]
    matcher.forget(sids[:3])
    assert matcher.match(sids, times).sum() == 5
    assert matched == [10, 3]
