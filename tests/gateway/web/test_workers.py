"""Several workers' answers put together."""

from __future__ import annotations

from typing import Any

from gateway.telemetry.anomaly import TraceReference
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.lag import LagWindow
from gateway.web.workers import (
    merged_calls,
    merged_history,
    merged_metrics,
    merged_senders,
    merged_series,
    merged_status,
)


def status(accepted: int, forwarded: int, dropped: int, lag: float, problem: str = "") -> dict[str, Any]:
    window = LagWindow()
    window.add(0.0, lag, forwarded)
    counts = window.counts(0.0).tolist()
    return {
        "accepted_points": accepted,
        "scored_points": forwarded,
        "forwarded_points": forwarded,
        "dropped_points": {"nan": dropped},
        "active_series": 3,
        "pending_forward_points": 0,
        "lag_seconds": {},
        "uptime_seconds": lag,
        "not_scored_points": {"late": 1, "repeated": 0, "skipped": 0},
        "unscored_backlog_points": 0,
        "log": {"bytes": 10, "limit_bytes": 20, "lost_rows": {}},
        "data_quality": [],
        "frozen_learning": {
            "windows": 1,
            "series": 2,
            "new_series": 0,
            "refused_series": 3,
            "bytes": 1000,
            "problem": problem,
        },
        "problem": problem,
        "shard": {
            "settled_rows": forwarded + dropped,
            "scored_rows": forwarded,
            "score_lag": counts,
            "forward_lag": counts,
        },
        "forwarding": {"connected": not problem, "replays": 1, "encoding": "zstd", "last_error": problem},
    }


def test_counts_add_up_whatever_was_settled_between_the_questions() -> None:
    # The second worker forwarded rows that the first accepted after it had been asked.
    merged = merged_status([status(100, 60, 5, 0.01), status(50, 90, 5, 1.0, "scoring stands still")], [160, 50])
    dropped = sum(merged["dropped_points"].values())
    assert merged["accepted_points"] == 210
    assert merged["forwarded_points"] + merged["pending_forward_points"] + dropped == 210
    assert merged["unscored_backlog_points"] == 60
    assert merged["problem"] == "worker 1: scoring stands still"
    assert merged["forwarding"] == {
        "connected": False, "replays": 2, "encoding": "zstd", "last_error": "scoring stands still",
    }  # fmt: skip
    assert merged["frozen_learning"] == {
        "windows": 1, "windows_left_out": 0, "series": 4, "new_series": 0, "refused_series": 6, "bytes": 2000,
        "problem": "scoring stands still",
    }  # fmt: skip
    assert merged["log"] == {"bytes": 20, "limit_bytes": 40, "lost_rows": {}}
    assert [worker["accepted_points"] for worker in merged["workers"]] == [160, 50]
    assert "shard" not in merged


def test_percentiles_are_of_all_rows_together() -> None:
    merged = merged_status([status(90, 90, 0, 0.01), status(10, 10, 0, 1.0)], [90, 10])
    lag = merged["lag_seconds"]
    assert 0.01 <= lag["score_p50"] < 0.012
    assert 1.0 <= lag["score_p99"] < 1.2
    assert lag["forward_p50"] == lag["score_p50"]


def test_metrics_of_all_workers_are_one_exposition() -> None:
    text = b'# HELP a what\n# TYPE a counter\na_total 1.0\na_total{x="y"} 2.0\n# EOF\n'
    lines = merged_metrics([text, None, text]).decode().splitlines()
    assert lines.count("# TYPE a counter") == 1
    assert 'a_total{worker="0"} 1.0' in lines
    assert 'a_total{worker="2",x="y"} 2.0' in lines
    assert 'gateway_worker_up{worker="1"} 0' in lines
    assert lines[-1] == "# EOF"


def test_history_of_two_edges_is_in_order_and_each_time_once() -> None:
    mark = TraceReference("t", "s", 1.0, 2.0)
    one = [HistorySamples({"n": "a"}, 1, [1.0, 3.0], [1.0, 3.0])]
    two = [HistorySamples({"n": "a"}, 1, [2.0, 3.0], [2.0, 3.0], [mark]), HistorySamples({"n": "b"}, 1, [1.0], [None])]
    merged = merged_history([one, two], 10)
    assert merged == [
        HistorySamples({"n": "a"}, 1, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [mark]),
        HistorySamples({"n": "b"}, 1, [1.0], [None]),
    ]
    assert len(merged_history([one, two], 1)) == 1


def test_series_keep_apart_and_the_limit_holds() -> None:
    merged = merged_series([[{"id": 0}, {"id": 1}], [{"id": 0}]], 10)
    assert len({row["id"] for row in merged}) == 3
    assert len(merged_series([[{"id": 0}, {"id": 1}], [{"id": 0}]], 2)) == 2


def test_a_sender_over_two_edges_is_one_line() -> None:
    sender = {"sender": "a", "points_per_second": 1.0, "delay_seconds": 2.0, "live_series": 3, "sdk": None}
    client = {"protocol": "p", "agent": "x", "address": "y", "requests": 1, "points": 2, "bytes": 3, "refused": 0}
    answers = [
        {"senders": [dict(sender)], "clients": [{**client, "first": 1.0, "last": 5.0}]},
        {"senders": [{**sender, "delay_seconds": None, "sdk": {}}], "clients": [{**client, "first": 0.0, "last": 3.0}]},
    ]
    merged = merged_senders(answers)
    (one,) = merged["senders"]
    assert (one["points_per_second"], one["live_series"], one["delay_seconds"]) == (2.0, 6, 2.0)
    (line,) = merged["clients"]
    assert (line["requests"], line["first"], line["last"]) == (2, 0.0, 5.0)


def test_calls_seen_by_two_workers_are_one_edge() -> None:
    merged = merged_calls([[CallEdge("a", "b", 1, 5)], [CallEdge("a", "b", 2, 3), CallEdge("b", "a", 1, 1)]])
    assert merged == [CallEdge("a", "b", 3, 5), CallEdge("b", "a", 1, 1)]
