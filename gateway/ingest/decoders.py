"""What the receivers need decoded, as callables that `app` passes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gateway.access.tokens import Identity
from gateway.telemetry.columns import JoinedColumns, PointColumns

Body: TypeAlias = bytes | bytearray | memoryview
"""One request, decompressed; the receiver does not touch it again, so a LabelSource may keep it."""

PointDecoder: TypeAlias = Callable[[Body, int], PointColumns]
"""(body, now in Unix milliseconds) → columns; raises DecodeError. Releases the GIL where it computes."""

JoinedDecoder: TypeAlias = Callable[[Sequence[Sequence[Body]], int], JoinedColumns | None]
"""(requests, each of one or more pieces; now in Unix milliseconds) → all of them as one, or None where they have to be
decoded one by one. Raises nothing; releases the GIL where it computes."""


class Counted(NamedTuple):
    """Spans or log records that are not stored, by service name, and what else their sender is to be told."""

    by_service: dict[str, int]
    problem: str = ""


RecordCounter: TypeAlias = Callable[[Body, bool, Identity], Counted]
"""(body, whether it is JSON, who sends it) → what was counted; raises DecodeError, DiskFailed, LogFull."""


def one_by_one(bodies: Sequence[Sequence[Body]], now_ms: int) -> JoinedColumns | None:
    """A JoinedDecoder that joins nothing."""
    del bodies, now_ms
    return None


@dataclass(frozen=True, slots=True)
class Decoders:
    """All of them. They are called from several threads at once."""

    otlp_metrics_protobuf: PointDecoder
    otlp_metrics_json: PointDecoder
    remote_write_v1: PointDecoder
    remote_write_v2: PointDecoder
    count_traces: RecordCounter
    count_logs: RecordCounter
    otlp_metrics_joined: JoinedDecoder = one_by_one
