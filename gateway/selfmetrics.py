"""The gateway's own metrics: one registry a process, names prefixed `gateway_`.

A component declares its metrics at module level through these functions, so the list of all metrics is the list of
these calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import generate_latest

REGISTRY = CollectorRegistry()
"""All metrics of this process."""

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""


def counter(name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter `gateway_<name>_total`."""
    return Counter(f"gateway_{name}", help_text, labels, registry=REGISTRY)


def gauge(name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge `gateway_<name>`."""
    return Gauge(f"gateway_{name}", help_text, labels, registry=REGISTRY)


def histogram(
    name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS
) -> Histogram:
    """A histogram `gateway_<name>`; durations are in seconds and end in `_seconds`."""
    return Histogram(f"gateway_{name}", help_text, labels, buckets=tuple(buckets), registry=REGISTRY)


TASK_FAILURES = counter(
    "task_failures", "Unexpected errors caught at the outermost edge of a task or thread.", ["task"]
)
"""Every `except Exception` counts here."""


def exposition() -> bytes:
    """All metrics of this process in OpenMetrics text."""
    text: bytes = generate_latest(REGISTRY)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    return text
