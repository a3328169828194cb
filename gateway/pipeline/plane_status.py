"""What the data plane tells of itself in numbers: the contract's status, and who sends."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.forward.forwarder import Forwarder
from gateway.pipeline.data_quality import DataQuality
from gateway.pipeline.scorer import Scorer
from gateway.selfmetrics import gauge
from gateway.series.index import SeriesIndex

PENDING = gauge(
    "pending_forward_points", "Points in the log that VictoriaMetrics has not acknowledged; add up several workers'."
)

_KIT: Final = ("name", "version", "language")
"""What target_info says of the SDK: resource attributes telemetry.sdk.*"""
_MOST_TARGETS: Final = 5000


def plane_status(
    *,
    accepted: int,
    scorer: Scorer,
    forwarder: Forwarder | None,
    several: bool,
    active_series: int,
    uptime_seconds: float,
    room: tuple[int, int],
    lost: dict[str, int],
    problem: str,
) -> dict[str, Any]:
    """accepted: counted rows in the log. several: whether this is one of several workers, whose statuses are put
    together. room: bytes of the log, and its limit. lost: rows that could not be read, by reason."""
    counts = scorer.counts
    dropped: dict[str, int] = {}
    forwarded = pending = 0
    lag: dict[str, float] = {
        "score_p50": scorer.lag(0.5),
        "score_p99": scorer.lag(0.99),
        "forward_p50": 0.0,
        "forward_p99": 0.0,
    }
    status: dict[str, Any] = {}
    if several:
        # What the control plane needs to put the workers' statuses together; see web.workers.
        status["shard"] = {"settled_rows": 0, "scored_rows": counts.next_row, "score_lag": scorer.lag_counts()}
    if forwarder is not None:
        stats = forwarder.stats()
        forwarded, pending = stats.forwarded, max(0, accepted - stats.acked_rows)
        dropped.update(stats.dropped)
        lag["forward_p50"], lag["forward_p99"] = stats.lag_p50 or 0.0, stats.lag_p99 or 0.0
        if several:
            status["shard"] |= {"settled_rows": stats.acked_rows, "forward_lag": forwarder.lag_counts()}
        status["forwarding"] = {
            "connected": stats.connected,
            "encoding": stats.encoding,
            "target_info_forwarded": stats.target_info_forwarded,
            "target_info_dropped": stats.target_info_dropped,
            "scores_forwarded": stats.scores_forwarded,
            "scores_dropped": stats.scores_dropped,
            "scores_waiting": stats.scores_waiting,
            "dead_letter_blocks": stats.dead_letter_blocks,
            "replays": stats.replays,
            "last_error": stats.last_error,
        }
    # Of several workers each one's gauge may be below 0: rows of its shard came over the others' edges.
    PENDING.set(accepted - status["shard"]["settled_rows"] if several and forwarder is not None else pending)
    used, limit = room
    return {
        "accepted_points": accepted,
        "scored_points": counts.scored,
        "forwarded_points": forwarded,
        "dropped_points": dropped,
        "active_series": active_series,
        "pending_forward_points": pending,
        "lag_seconds": lag,
        "uptime_seconds": uptime_seconds,
        "not_scored_points": {"late": counts.late, "repeated": counts.repeated, "skipped": counts.skipped},
        "unscored_backlog_points": max(0, accepted - counts.next_row),
        "log": {"bytes": used, "limit_bytes": limit, "lost_rows": lost},
        "data_quality": [
            {"sender": p.sender, "check": p.check, "value": p.value, "since": p.since} for p in scorer.quality.problems
        ],
        "frozen_learning": msgspec.to_builtins(scorer.freeze.status()),
        "problem": problem,
        **status,
    }


def senders_of(quality: DataQuality, index: SeriesIndex) -> list[dict[str, Any]]:
    """Senders over the last look: rate, delay, live series, and the SDK that its target_info tells."""
    kits: dict[str, dict[str, str]] = {}
    for labels in index.labels_of([("__name__", "=", "target_info")], _MOST_TARGETS).values():
        if "telemetry_sdk_name" in labels:
            kits[labels.get("job", "")] = {key: labels.get(f"telemetry_sdk_{key}", "") for key in _KIT}
    return [
        {
            "sender": s.sender,
            "points_per_second": s.points_per_second,
            "delay_seconds": s.delay_seconds,
            "live_series": s.live_series,
            "sdk": kits.get(s.sender),
        }
        for s in quality.senders
    ]
