"""What the receivers need decoded, as callables that `app` passes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gateway.telemetry.columns import PointColumns

Body: TypeAlias = bytes | bytearray | memoryview
"""One request, decompressed; the receiver does not touch it again, so a LabelSource may keep it."""

PointDecoder: TypeAlias = Callable[[Body, int], PointColumns]
"""(body, now in Unix milliseconds) → columns; raises DecodeError. Releases the GIL where it computes."""

RecordCounter: TypeAlias = Callable[[Body, bool], dict[str, int]]
"""(body, whether it is JSON) → spans or log records by service name; raises DecodeError."""


@dataclass(frozen=True, slots=True)
class Decoders:
    """All of them. They are called from several threads at once."""

    otlp_metrics_protobuf: PointDecoder
    otlp_metrics_json: PointDecoder
    remote_write_v1: PointDecoder
    remote_write_v2: PointDecoder
    count_traces: RecordCounter
    count_logs: RecordCounter
