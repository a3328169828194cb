"""One series' samples over a time range, on their way from the log to the API."""

from __future__ import annotations

import msgspec

from gateway.telemetry.anomaly import TraceReference


class HistorySamples(msgspec.Struct, frozen=True):
    """Parallel lists in order of time; times are Unix seconds, a value is None where the series was marked stale."""

    labels: dict[str, str]
    kind: int
    times: list[float]
    values: list[float | None]
    exemplars: list[TraceReference] = []
