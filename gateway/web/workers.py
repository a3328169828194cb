"""What several workers of the data plane tell of themselves, put together as if they were one.

Counts are sums. Percentiles of lag come from the workers' histograms added up, not from their percentiles. What is
accepted is asked once more after everything else: rows that were settled meanwhile are then among the accepted ones,
so that accepted = forwarded + pending + dropped at every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.freeze_status import FreezeStatus, merged_freeze_status
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.lag import percentile_of
from gateway.web.exposition import with_label

Row = dict[str, Any]


def merged_status(statuses: Sequence[Row], accepted: Sequence[int]) -> Row:
    """One status of the workers' statuses, in order; accepted: the accepted points of each, asked afterwards."""
    merged = dict(statuses[0])
    shards = [status["shard"] for status in statuses]
    del merged["shard"]
    for name in ("scored_points", "forwarded_points", "active_series"):
        merged[name] = sum(status[name] for status in statuses)
    merged["accepted_points"] = total = sum(accepted)
    merged["dropped_points"] = _added(status["dropped_points"] for status in statuses)
    merged["not_scored_points"] = _added(status["not_scored_points"] for status in statuses)
    merged["unscored_backlog_points"] = max(0, total - sum(shard["scored_rows"] for shard in shards))
    merged["uptime_seconds"] = max(status["uptime_seconds"] for status in statuses)
    merged["log"] = {
        "bytes": sum(status["log"]["bytes"] for status in statuses),
        "limit_bytes": sum(status["log"]["limit_bytes"] for status in statuses),
        "lost_rows": _added(status["log"]["lost_rows"] for status in statuses),
    }
    lags = {"score": [shard["score_lag"] for shard in shards]}
    merged["pending_forward_points"] = 0
    if "forwarding" in merged:
        merged["pending_forward_points"] = max(0, total - sum(shard["settled_rows"] for shard in shards))
        merged["forwarding"] = _forwarding([status["forwarding"] for status in statuses])
        lags["forward"] = [shard["forward_lag"] for shard in shards]
    merged["lag_seconds"] = dict.fromkeys(("score_p50", "score_p99", "forward_p50", "forward_p99"), 0.0) | {
        f"{name}_{word}": percentile_of(np.sum(np.array(counts, np.int64), axis=0), share) or 0.0
        for name, counts in lags.items()
        for word, share in (("p50", 0.5), ("p99", 0.99))
    }
    merged["data_quality"] = [problem for status in statuses for problem in status["data_quality"]]
    frozen = [msgspec.convert(status["frozen_learning"], FreezeStatus) for status in statuses]
    merged["frozen_learning"] = msgspec.to_builtins(merged_freeze_status(frozen))
    merged["problem"] = next(
        (f"worker {i}: {status['problem']}" for i, status in enumerate(statuses) if status["problem"]), ""
    )
    merged["workers"] = [
        {
            "accepted_points": points,
            "scored_points": status["scored_points"],
            "forwarded_points": status["forwarded_points"],
            "active_series": status["active_series"],
            "uptime_seconds": status["uptime_seconds"],
        }
        for status, points in zip(statuses, accepted, strict=True)
    ]
    return merged


def _forwarding(parts: Sequence[Row]) -> Row:
    merged = dict(parts[0])
    for name, value in merged.items():
        if isinstance(value, int) and not isinstance(value, bool):
            merged[name] = sum(part[name] for part in parts)
    merged["connected"] = all(part["connected"] for part in parts)
    merged["last_error"] = next((part["last_error"] for part in parts if part["last_error"]), "")
    return merged


def _added(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for reason, count in part.items():
            total[reason] = total.get(reason, 0) + count
    return total


def merged_senders(answers: Sequence[Row]) -> Row:
    """One table of senders and one of clients: a sender's series lie in several shards, a client's connections in
    several edges."""
    senders: dict[str, Row] = {}
    clients: dict[tuple[str, str, str], Row] = {}
    for answer in answers:
        for row in answer["senders"]:
            known = senders.setdefault(row["sender"], row)
            if known is not row:
                known["points_per_second"] += row["points_per_second"]
                known["live_series"] += row["live_series"]
                known["sdk"] = known["sdk"] or row["sdk"]
                delays = [d for d in (known["delay_seconds"], row["delay_seconds"]) if d is not None]
                known["delay_seconds"] = min(delays, default=None)
        for row in answer["clients"]:
            known = clients.setdefault((row["protocol"], row["agent"], row["address"]), row)
            if known is not row:
                for name in ("requests", "points", "bytes", "refused"):
                    known[name] += row[name]
                known["first"], known["last"] = min(known["first"], row["first"]), max(known["last"], row["last"])
    return {
        "senders": list(senders.values()),
        "clients": sorted(clients.values(), key=lambda row: -float(row["last"])),
    }


def merged_calls(answers: Sequence[list[CallEdge]]) -> list[CallEdge]:
    """Each call edge once; the spans that showed it may have come over several workers."""
    found: dict[tuple[str, str], CallEdge] = {}
    for edge in (edge for answer in answers for edge in answer):
        known = found.get((edge.caller, edge.callee))
        if known is not None:
            edge = CallEdge(edge.caller, edge.callee, known.calls + edge.calls, max(known.last_seen, edge.last_seen))
        found[edge.caller, edge.callee] = edge
    return list(found.values())


def merged_series(answers: Sequence[list[Row]], limit: int) -> list[Row]:
    """Series of all shards, each in one of them; ids are made different."""
    workers = len(answers)
    found = [{**row, "id": row["id"] * workers + worker} for worker, rows in enumerate(answers) for row in rows]
    return sorted(found, key=lambda row: int(row["id"]))[:limit]


def merged_history(answers: Sequence[list[HistorySamples]], limit: int) -> list[HistorySamples]:
    """A series' samples out of every edge's log, in order of time, a repeated time once."""
    parts: dict[tuple[tuple[str, str], ...], list[HistorySamples]] = {}
    for answer in answers:
        for samples in answer:
            parts.setdefault(tuple(sorted(samples.labels.items())), []).append(samples)
    found = []
    for same in list(parts.values())[:limit]:
        values = {time: value for part in same for time, value in zip(part.times, part.values, strict=True)}
        times = sorted(values)
        exemplars = sorted((e for part in same for e in part.exemplars), key=lambda e: e.time)
        found.append(HistorySamples(same[0].labels, same[0].kind, times, [values[time] for time in times], exemplars))
    return found


def merged_metrics(answers: Sequence[bytes | None]) -> bytes:
    """One OpenMetrics text, each sample under its worker's label; a worker that does not answer has None."""
    families: dict[bytes, list[bytes]] = {}
    for worker, text in enumerate(answers):
        current = b""
        for line in (text or b"").splitlines():
            if line.startswith((b"# HELP ", b"# TYPE ", b"# UNIT ")):
                current = line.split(b" ", 3)[2]
                lines = families.setdefault(current, [])
                if line not in lines:
                    lines.append(line)
            elif not line.startswith(b"#"):
                families.setdefault(current, []).append(with_label(line, f'worker="{worker}"'))
    out = [line for lines in families.values() for line in lines]
    out += [
        b"# HELP gateway_worker_up Whether a worker of the data plane answers.",
        b"# TYPE gateway_worker_up gauge",
    ]
    out += [f'gateway_worker_up{{worker="{i}"}} {int(text is not None)}'.encode() for i, text in enumerate(answers)]
    return b"\n".join(out) + b"\n# EOF\n"
