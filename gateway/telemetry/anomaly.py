"""An anomaly: what a baseline tells the rest of the program."""

from __future__ import annotations

from typing import Final

import msgspec

SEVERITIES: Final = ("none", "low", "medium", "high", "critical")
SEVERITY_FLOORS: Final = (0.0, 0.0, 0.5, 0.7, 0.9)
"""Score at which each severity begins; `low` is an exceedance under 0.5."""
"""`low` is an exceedance with a score under 0.5; the others begin at 0.5, 0.7 and 0.9."""


class TraceReference(msgspec.Struct, frozen=True):
    """An exemplar: where to look in the traces."""

    trace_id: str
    span_id: str
    value: float
    time: float


class Member(msgspec.Struct, frozen=True):
    """A series that takes part in an anomaly of kind "group"."""

    series: dict[str, str]
    onset: float
    """When it began to deviate, Unix seconds."""
    score: float
    """The highest it has shown since."""


class Anomaly(msgspec.Struct, kw_only=True):
    """One open or closed deviation of one series, or of a service as a whole; times are Unix seconds.

    `state` is "firing" while open and "resolved" once the series is back (or the state ended otherwise, see reasons).
    The same id is written again when severity, state or value changes; the last record wins.
    """

    id: str
    time: float
    series: dict[str, str]
    value: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    score: float
    severity: str
    reasons: list[str]
    state: str = "firing"
    ended: float | None = None
    detected_ns: int = 0
    """Wall clock when the alert rule fired."""
    exemplars: list[TraceReference] = []
    kind: str = ""
    """What was found: spike, sustained, season, noisier, calmer, zero, flat, stale; group (many series of a service at
    once); exhaustion (a limit will be reached). Empty in records of earlier versions."""
    members: list[Member] = []
    """Of a group, in the order of their onset."""
    evidence: str = ""
    """What the pattern model weighed when it opened the alert (baseline.evidence_text): verdicts teach it by that."""
