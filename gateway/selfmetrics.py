"""The gateway's own metrics, names prefixed `gateway_`.

A component declares its metrics at module level through these functions, so the list of all metrics is the list of
these calls. A process may have loaded the modules of several planes and be one of them: each plane's metrics are in a
registry of their own, what all of them count is in REGISTRY, and `expose` says whose are shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.openmetrics.exposition import generate_latest

REGISTRY = CollectorRegistry()
"""What was declared outside of `declared_by`."""
_planes: dict[str, CollectorRegistry] = {}
_declaring = REGISTRY
_exposed: tuple[CollectorRegistry, ...] = (REGISTRY,)

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""


@contextlib.contextmanager
def declared_by(plane: str) -> Iterator[None]:
    """What is declared within belongs to this plane."""
    global _declaring
    before, _declaring = _declaring, _planes.setdefault(plane, CollectorRegistry())
    try:
        yield
    finally:
        _declaring = before


def expose(plane: str) -> None:
    """This process is the plane: its metrics and those of no plane are shown."""
    global _exposed
    _exposed = (REGISTRY, _planes.setdefault(plane, CollectorRegistry()))


def registry() -> CollectorRegistry:
    """Where a metric that is declared now belongs, for one whose name is not ours."""
    return _declaring


def counter(name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter `gateway_<name>_total`."""
    return Counter(f"gateway_{name}", help_text, labels, registry=_declaring)


def gauge(name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge `gateway_<name>`."""
    return Gauge(f"gateway_{name}", help_text, labels, registry=_declaring)


def histogram(
    name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS
) -> Histogram:
    """A histogram `gateway_<name>`; durations are in seconds and end in `_seconds`."""
    return Histogram(f"gateway_{name}", help_text, labels, buckets=tuple(buckets), registry=_declaring)


TASK_FAILURES = counter(
    "task_failures", "Unexpected errors caught at the outermost edge of a task or thread.", ["task"]
)
"""Every `except Exception` counts here."""


class _Exposed:
    """What is shown, as prometheus_client wants it."""

    def collect(self) -> Iterable[Metric]:
        for exposed in _exposed:
            yield from exposed.collect()


def exposition() -> bytes:
    """All metrics that this process shows, in OpenMetrics text."""
    text: bytes = generate_latest(_Exposed())  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    return text
