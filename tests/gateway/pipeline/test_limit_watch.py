"""Which series have a limit by their names, companions and rules, and the record of one that runs into it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.baseline.detector import Observation
from gateway.baseline.limit_settings import LimitRule, LimitSettings
from gateway.clock import ManualClock
from gateway.log.reader import EventReader
from gateway.pipeline.limit_names import natural_limit, stem_of
from gateway.pipeline.limit_watch import LimitWatch
from gateway.series.index import SeriesIndex
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition
from kernels.series_state import TRANSITION
from tests.gateway.pipeline.plane import Plane
from tests.gateway.pipeline.test_group_watch import defined

START = 1_700_006_400_000


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("node_filesystem_avail_bytes", (0.0, True)),
        ("system_memory_utilization", (1.0, False)),
        ("mem_used_percent", (100.0, False)),
        ("jvm_heap_usage_ratio", (1.0, False)),
        ("system_cpu_utilization", None),
        ("request_success_ratio", None),
        ("http_requests_total", None),
        ("cache_hit_percent", None),
    ],
)
def test_limits_that_names_tell(name: str, limit: tuple[float, bool] | None) -> None:
    assert natural_limit(name) == limit


@pytest.mark.parametrize(
    ("used", "limit"),
    [
        ("jvm_memory_used_bytes", "jvm_memory_max_bytes"),
        ("process_open_fds", "process_max_fds"),
        ("otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity"),
        ("db_client_connections_usage", "db_client_connections_max"),
        ("container_memory_usage_bytes", "container_memory_limit_bytes"),
    ],
)
def test_companions_have_the_same_words_otherwise(used: str, limit: str) -> None:
    assert stem_of(used)[0] == "used"
    assert stem_of(limit) == ("limit", stem_of(used)[1])


def follow(
    path: Path, settings: LimitSettings, series: list[dict[str, str]], values: np.ndarray, *, forget: bool = True
) -> list[Anomaly]:
    """values: float64[minutes, series]; path: of the watch's state; forget: the series end with their values."""
    index = SeriesIndex()
    sids = defined(index, *series)
    watch = LimitWatch(settings, index, path, ManualClock())
    found: list[Anomaly] = []
    nothing = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
    at, n = LogPosition(0, 0), len(sids)
    band = np.zeros(n)
    seen = Observation(n, 0, 0, 0, band.astype(np.float32), band, band, band, np.empty(0, int), np.empty(0, TRANSITION))
    for minute, row in enumerate(values):
        times = np.full(n, START + minute * 60_000, np.int64)
        frame = Frame(0, 0, at, at, 0, n, 0, sids, times, row, None, 0, nothing)
        if minute == 0:
            watch.learn(sids, frame)
        found += watch.observe(sids, frame, seen)
        found += watch.advance(START + minute * 60_000)
    if forget:
        found += watch.forget(sids)
    return found


def leak(columns: int, of: int) -> np.ndarray:
    """Nothing for a while, then one column rises by one a minute from 20."""
    values = np.full((100, columns), 20.0)
    values[40:, of] += np.arange(60)
    return values


def test_a_companion_gives_the_limit_and_the_end_of_the_series_ends_the_alert(tmp_path: Path) -> None:
    series = [
        {"__name__": "pool_connections_used", "job": "shop", "state": "busy"},
        {"__name__": "pool_connections_max", "job": "shop"},
        {"__name__": "pool_connections_used", "job": "till", "state": "busy"},
        {"__name__": "requests", "job": "shop"},
    ]
    values = leak(4, 0)
    values[:, 1] = 100.0
    values[:, 2] = values[:, 0]
    opened, *_, closed = follow(tmp_path / "state", LimitSettings(), series, values)
    assert (opened.kind, opened.state, opened.series) == ("exhaustion", "firing", series[0])
    assert opened.upper == 100.0
    assert opened.value is not None
    assert 20.0 < opened.value < 70.0, "with half of the time left"
    assert opened.reasons[0].startswith("reaches its limit of 100 in about")
    assert (closed.id, closed.state) == (opened.id, "resolved"), "without a limit of its own the other says nothing"


def test_rules_go_first_and_the_number_of_series_is_bounded(tmp_path: Path) -> None:
    rule = LimitRule(match='orders_waiting{job="shop"}', limit=100.0)
    series = [{"__name__": "orders_waiting", "job": "shop"}, {"__name__": "orders_waiting", "job": "till"}]
    values = leak(2, 0)
    values[:, 1] = values[:, 0]
    found = follow(tmp_path / "state", LimitSettings(rules=(rule,)), series, values)
    assert {a.series["job"] for a in found} == {"shop"}
    assert follow(tmp_path / "none", LimitSettings(rules=(rule,), max_series=0), series, values) == []


def test_only_the_used_part_of_memory_runs_into_its_limit(tmp_path: Path) -> None:
    name = "system_memory_utilization"
    series = [{"__name__": name, "state": "free"}, {"__name__": name, "state": "used"}, {"__name__": name}]
    values = leak(3, 0) / 100.0
    values[:, 1] = values[:, 2] = values[:, 0]
    found = follow(tmp_path / "state", LimitSettings(), series, values)
    assert {a.series.get("state") for a in found} == {"used", None}


def test_what_was_open_before_a_restart_is_closed_after_it(tmp_path: Path) -> None:
    """Kill -9: nothing is saved at the end, and the rings that would close it are gone."""
    series = [{"__name__": "mem_used_percent"}]
    *_, opened = follow(tmp_path / "state", LimitSettings(), series, leak(1, 0), forget=False)
    assert opened.state == "firing"
    (closed,) = follow(tmp_path / "state", LimitSettings(), series, np.full((2, 1), 20.0))
    assert (closed.id, closed.state, closed.reasons[-1]) == (opened.id, "resolved", "the gateway was started again")
    assert closed.ended is not None
    assert follow(tmp_path / "state", LimitSettings(), series, np.full((2, 1), 20.0)) == [], "once"


def test_nothing_is_kept_of_series_that_ended(tmp_path: Path) -> None:
    """Pods come and go, each with a limit of its own."""
    index = SeriesIndex()
    watch = LimitWatch(LimitSettings(), index, tmp_path / "state", ManualClock())
    nothing = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
    at = LogPosition(0, 0)
    empty = [dict(kept) for kept in vars(watch).values() if isinstance(kept, dict)]
    for pod in range(3):
        names = ("memory_used_bytes", "memory_max_bytes", "disk_used_bytes")
        sids = defined(index, *({"__name__": name, "pod": str(pod)} for name in names))
        frame = Frame(0, 0, at, at, 0, 3, 0, sids, np.full(3, START, np.int64), np.full(3, 9.0), None, 0, nothing)
        band = np.zeros(3)
        seen = Observation(
            3, 0, 0, 0, band.astype(np.float32), band, band, band, np.empty(0, int), np.empty(0, TRANSITION)
        )
        watch.learn(sids, frame)
        watch.observe(sids, frame, seen)
        watch.forget(sids)
    assert [kept for kept in vars(watch).values() if isinstance(kept, dict)] == empty


def test_a_damaged_state_is_left_and_learned_anew(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"\xff no state")
    assert follow(tmp_path / "state", LimitSettings(), [{"__name__": "mem_used_percent"}], np.full((2, 1), 20.0)) == []


def test_a_rule_whose_selector_cannot_be_read_is_refused_with_the_configuration() -> None:
    with pytest.raises(msgspec.ValidationError, match="match"):
        msgspec.convert({"rules": [{"match": "orders{", "limit": 1.0}]}, LimitSettings)


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_data_plane_watches_limits_unless_told_not_to(tmp_path: Path, enabled: bool) -> None:
    rule = LimitRule(match='orders_waiting{job="shop"}', limit=100.0)
    begin = time.time_ns() - 100 * 60 * 10**9
    points = [(begin + n * 60 * 10**9, float(value), {}) for n, (value,) in enumerate(leak(1, 0).tolist())]
    async with Plane(tmp_path, limits=LimitSettings(enabled=enabled, rules=(rule,))) as plane:
        await plane.send("shop", "orders_waiting", points)
        await plane.until_scored(len(points))
    reader = EventReader.open(tmp_path / "anomalies", 0)
    written = [msgspec.msgpack.decode(payload, type=Anomaly) for _, payload in reader.read(1 << 24)]
    assert ("exhaustion" in {anomaly.kind for anomaly in written}) == enabled
