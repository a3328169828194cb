"""Receivers on free ports with decoders of a toy format, so that transport is tested apart from wire formats.

The toy format: "points=N[,reject=M][,pad=…]" is N points, "bad" raises DecodeError, "boom" an unexpected error.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from gateway.access.settings import AccessSettings
from gateway.access.tokens import Identity
from gateway.addresses import join_address
from gateway.clock import SystemClock
from gateway.errors import DecodeError, GatewayError
from gateway.ingest.admission import Admission
from gateway.ingest.decoders import Body, Counted, Decoders
from gateway.ingest.http_receiver import HttpReceiver
from gateway.ingest.otlp_grpc import GrpcReceiver
from gateway.ingest.settings import IngestSettings
from gateway.ingest.tenants import Tenants
from gateway.telemetry.columns import Definitions, PointColumns, Receipt


class NoLabels:
    """A LabelSource of series without labels."""

    def definitions(self, rows: np.ndarray) -> Definitions:
        return Definitions.from_blobs([b""] * len(rows), np.ones(len(rows), np.uint8))


def columns_of(points: int, rejected: dict[str, int] | None = None, message: str = "") -> PointColumns:
    """Columns of so many gauges."""
    return PointColumns(
        hash_hi=np.arange(1, points + 1, dtype=np.uint64),
        hash_lo=np.zeros(points, np.uint64),
        times_ms=np.full(points, 1_700_000_000_000, np.int64),
        values=np.zeros(points),
        starts_ms=None,
        kinds=np.ones(points, np.uint8),
        source=NoLabels(),
        points=points,
        rejected=rejected or {},
        rejected_message=message,
    )


def toy_points(body: Body, now_ms: int) -> PointColumns:
    """The toy format."""
    text = bytes(body).decode()
    if text.startswith("bad"):
        raise DecodeError("not the toy format", offset=3)
    if text.startswith("boom"):
        raise ZeroDivisionError("planted")
    fields = dict(part.split("=", 1) for part in text.split(",") if part)
    rejected = int(fields.get("reject", 0))
    message = f'{rejected} points of "toy" are older than 48h' if rejected else ""
    return columns_of(int(fields.get("points", 0)), {"too_old": rejected} if rejected else {}, message)


def toy_records(body: Body, json: bool, sender: Identity) -> Counted:
    """The toy format again: N records of the service "shop"."""
    columns = toy_points(body, 0)
    return Counted({"shop": len(columns)} if len(columns) else {})


TOY_DECODERS = Decoders(toy_points, toy_points, toy_points, toy_points, toy_records, toy_records)


@dataclass
class MemorySink:
    """Keeps what it is given; answers with what it is told to."""

    accepted: list[PointColumns] = field(default_factory=list)
    failure: GatewayError | None = None
    refused: dict[str, int] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    thread_gate: threading.Event | None = None

    @property
    def points(self) -> int:
        return sum(c.points for c in self.accepted)

    def _take(self, columns: PointColumns) -> Receipt:
        if self.failure is not None:
            raise self.failure
        self.accepted.append(columns)
        return Receipt(len(columns), dict(self.refused))

    async def accept(self, columns: PointColumns, *, received_ns: int, body_bytes: int, latest_ns: int = 0) -> Receipt:
        if self.gate is not None:
            await self.gate.wait()
        return self._take(columns)

    def accept_blocking(self, columns: PointColumns, *, received_ns: int, body_bytes: int) -> Receipt:
        if self.thread_gate is not None:
            self.thread_gate.wait(10)
        return self._take(columns)


@dataclass
class Receivers:
    """Both receivers, running."""

    http: HttpReceiver
    grpc: GrpcReceiver
    sink: MemorySink
    admission: Admission
    host: str = "127.0.0.1"
    problem: str = ""

    @property
    def url(self) -> str:
        return f"http://{join_address(self.host, self.http.port)}"

    @property
    def target(self) -> str:
        return join_address(self.host, self.grpc.port)


@asynccontextmanager
async def running(
    settings: IngestSettings | None = None,
    decoders: Decoders = TOY_DECODERS,
    access: AccessSettings | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Receivers]:
    """Start on free ports, stop at the end."""
    settings = settings or IngestSettings()
    sink = MemorySink()
    tenants = Tenants(settings, SystemClock(), series_memory=60.0)
    admission = Admission(settings.max_in_flight_bytes, tenants=tenants)
    holder: list[Receivers] = []

    def ready() -> str:
        return holder[0].problem if holder else ""

    common = {"host": host, "port": 0, "ready": ready, "admission": admission, "access": access}
    http = HttpReceiver(settings, decoders, sink, **common)
    grpc_receiver = GrpcReceiver(settings, decoders, sink, **common)
    both = Receivers(http, grpc_receiver, sink, admission, host)
    holder.append(both)
    await http.start()
    await grpc_receiver.start()
    try:
        yield both
    finally:
        await http.stop(1.0)
        await grpc_receiver.stop(1.0)
