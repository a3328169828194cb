"""What is to be sent, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from loadtest.generator.template import Protocol

Encoding = Literal["none", "gzip", "zstd", "snappy"]

ENCODINGS: Final[dict[Protocol, tuple[Encoding, ...]]] = {
    "otlp-http": ("none", "gzip", "zstd"),
    "otlp-grpc": ("none", "gzip"),
    "remote-write": ("snappy", "zstd"),
    "remote-write-2": ("snappy", "zstd"),
}
"""What each protocol allows; the first is the default."""


@dataclass(frozen=True, slots=True)
class Work:
    """One run of the senders. `requests` or `seconds` ends it, whichever comes first; 0 = no such end."""

    protocol: Protocol
    url: str
    """Where to: http://host:port/path, or host:port for gRPC."""
    series: int = 80_000
    batch: int = 8_000
    """Points in a request."""
    requests: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    """Points a second, open loop; 0 = closed loop: each connection sends as soon as it is answered."""
    warm_rounds: int = 0
    """Requests with each body before the run proper, so that every series is known; in the ledger, in no figure."""
    connections: int = 8
    encoding: Encoding = "none"
    churn_per_minute: float = 0.0
    """Share of the series that a minute of sample time replaces."""
    step_ms: int = 0
    """Time between two samples of a series; the last of them is about now. 0 = the wall clock at sending."""
    numbered: bool = False
    """Values are sample numbers for a ledger, else noise around levels and growing counters."""
    senders: int = 1
    """Processes."""
    patience: float = 60.0
    """Seconds that one request is tried again after refusals that invite it and broken connections."""
    ledger_dir: Path | None = None
    headers: tuple[tuple[str, str], ...] = ()
    latency_from_sending: bool = False
    """Count latencies from when a request leaves instead of when it was due: what an accepted request met, where the
    generator cannot keep up on purpose."""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.encoding not in ENCODINGS[self.protocol]:
            raise ValueError(
                f"{self.protocol} does not take {self.encoding}: one of {', '.join(ENCODINGS[self.protocol])}"
            )
        if self.series < self.batch or self.series % self.batch:
            raise ValueError(f"series ({self.series}) must be a multiple of the points in a request ({self.batch})")
        if not self.requests and not self.seconds:
            raise ValueError("requests or seconds must say when to end")
        if self.senders < 1 or self.connections < self.senders:
            raise ValueError("at least one connection for each sender process")

    @property
    def templates(self) -> int:
        """Different bodies."""
        return self.series // self.batch

    @property
    def warm_requests(self) -> int:
        """Requests of the warm-up; the run proper is numbered from here."""
        return self.templates * self.warm_rounds

    @property
    def address(self) -> tuple[str, int, str]:
        """Host, port and path."""
        parts = urlsplit(self.url if "//" in self.url else f"//{self.url}")
        return parts.hostname or "127.0.0.1", parts.port or 80, parts.path or "/"


@dataclass(slots=True)
class Outcome:
    """What the senders saw."""

    work: Work
    wall_seconds: float
    cpu_seconds: float
    """Of the senders themselves."""
    acknowledged: int
    """Requests."""
    refused: int
    given_up: int
    retries: int
    latencies: NDArray[np.float64] = field(repr=False)
    """Seconds from when a request was due until its acknowledgement, retries included."""
    body_bytes: int
    """Of all first attempts, as sent."""
    first_refusal: str = ""
    asked_to_wait: int = 0
    """Refusals that named a wait."""

    @property
    def points(self) -> int:
        """Acknowledged points."""
        return self.acknowledged * self.work.batch

    def figures(self) -> dict[str, float | int | str]:
        """For a JSON line."""
        work = self.work
        figures: dict[str, float | int | str] = {
            "protocol": work.protocol, "encoding": work.encoding, "series": work.series, "batch": work.batch,
            "connections": work.connections, "rate": work.rate, "churn_per_minute": work.churn_per_minute,
            "requests": self.acknowledged, "refused": self.refused, "given_up": self.given_up,
            "retries": self.retries, "wall_seconds": round(self.wall_seconds, 3),
            "sender_cpu_seconds": round(self.cpu_seconds, 3),
            "points_per_second": round(self.points / self.wall_seconds) if self.wall_seconds else 0,
            "bytes_per_point": round(self.body_bytes / max(1, self.points), 1),
        }  # fmt: skip
        if len(self.latencies):
            for share in (50, 90, 99, 100):
                figures[f"ack_p{share}_ms"] = round(float(np.percentile(self.latencies, share)) * 1e3, 2)
        if self.first_refusal:
            figures["first_refusal"] = self.first_refusal
        return figures
