"""What the forwarder tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.telemetry.frame import Place


@dataclass(frozen=True, slots=True)
class ForwardStats:
    """What the status says about forwarding. Counts are log rows; target_info and scores are counted apart."""

    acked_position: Place
    acked_rows: int
    """Log rows accounted for: forwarded + dropped. Pending is the log's row count minus this."""
    forwarded: int
    dropped: dict[str, int]
    target_info_forwarded: int
    target_info_dropped: int
    scores_forwarded: int
    scores_dropped: int
    scores_waiting: int
    lag_p50: float | None
    """Seconds from the bytes' arrival to the target's answer, last five minutes; None without rows."""
    lag_p99: float | None
    connected: bool
    encoding: str
    steps_open: int
    dead_letter_blocks: int
    """Since this process started."""
    replays: int
    """Times the position went back, since this process started."""
    last_error: str
    """What the target or the network last said against us; empty if nothing."""
