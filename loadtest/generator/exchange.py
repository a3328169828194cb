"""One request and its answer, over HTTP/1.1 or gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import cramjam
import grpc
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from loadtest.generator.work import Encoding, Work

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """taken: every point acknowledged. again: the target invites another try, after `wait` seconds."""

    taken: bool
    again: bool = False
    wait: float = 0.0
    detail: str = ""


class Exchange(Protocol):
    """A connection that carries one request at a time."""

    async def send(self, body: Any) -> Answer:
        """Raises OSError and TimeoutError when the connection broke: it is not known whether the request was taken."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


def compress(encoding: Encoding, body: memoryview) -> Any:
    """The body as it goes over the wire; the same memory where nothing is to be done."""
    if encoding == "gzip":
        return bytes(cramjam.gzip.compress(body, level=1))
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=1).compress(body)
    if encoding == "snappy":
        return bytes(cramjam.snappy.compress_raw(body))
    return body


class _HttpConnection(asyncio.Protocol):
    """Reads one answer after another."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(ConnectionResetError(str(exc or "closed by the other side")))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0 or self.answered is None or self.answered.done():
            return
        head = bytes(self._received[:head_end]).lower()
        length = 0
        if (at := head.find(b"\r\ncontent-length:")) >= 0:
            length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        elif b"\r\ntransfer-encoding: chunked" in head:
            if not self._received.endswith(b"0\r\n\r\n"):
                return
            length = len(self._received) - head_end - 4
        if len(self._received) < head_end + 4 + length:
            return
        whole = bytes(self._received)
        self._received.clear()
        self.answered.set_result(whole)


class HttpExchange:
    """Keeps one connection alive, and opens it anew when it broke."""

    def __init__(self, work: Work) -> None:
        self._host, self._port, path = work.address
        self._otlp = work.protocol == "otlp-http"
        self._encoding: Encoding = work.encoding
        kind = "application/x-protobuf"
        more = [f"{name}: {value}" for name, value in work.headers]
        if work.protocol == "remote-write-2":
            kind += ";proto=io.prometheus.write.v2.Request"
            more.append("X-Prometheus-Remote-Write-Version: 2.0.0")
        elif work.protocol == "remote-write":
            more.append("X-Prometheus-Remote-Write-Version: 0.1.0")
        if work.encoding != "none":
            more.append(f"Content-Encoding: {work.encoding}")
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._host}:{self._port}", "User-Agent: loadtest",
                 f"Content-Type: {kind}", *more]  # fmt: skip
        self._head = "\r\n".join(lines).encode() + b"\r\nContent-Length: %d\r\n\r\n"
        self._connection: _HttpConnection | None = None

    async def send(self, body: Any) -> Answer:
        """See Exchange."""
        loop = asyncio.get_running_loop()
        connection = self._connection
        if connection is None or connection.transport is None:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(_HttpConnection, self._host, self._port)
            self._connection = connection
        assert connection.transport is not None
        answered: asyncio.Future[bytes] = loop.create_future()
        connection.answered = answered
        connection.transport.writelines([self._head % len(body), body])
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                raw = await answered
        except TimeoutError:
            await self.close()
            raise
        head, _, content = raw.partition(b"\r\n\r\n")
        if b"\r\nconnection: close" in head.lower():
            await self.close()
        return self._judge(int(head[9:12]), head, content)

    def _judge(self, status: int, head: bytes, content: bytes) -> Answer:
        if status in (200, 204):
            rejected = _rejected(content) if self._otlp and content else ""
            return Answer(taken=not rejected, detail=rejected)
        wait = 0.0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"retry-after:") and line[12:].strip().isdigit():
                wait = float(line[12:])
        return Answer(False, status in (429, 500, 502, 503, 504), wait, f"{status} {content[:200]!r}")

    async def close(self) -> None:
        """See Exchange."""
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.abort()
        self._connection = None


class GrpcExchange:
    """One channel."""

    def __init__(self, work: Work) -> None:
        host, port, _ = work.address
        # "min_reconnect_backoff" is also the time that a connection may take to be made.
        options = [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 5_000), ("grpc.max_reconnect_backoff_ms", 500),
        ]  # fmt: skip
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", options=options)
        self._call = self._channel.unary_unary(EXPORT, None, None)
        self._metadata = tuple((name.lower(), value) for name, value in work.headers) or None
        self._compression = grpc.Compression.Gzip if work.encoding == "gzip" else None

    async def send(self, body: Any) -> Answer:
        """See Exchange."""
        try:
            content = await self._call(
                bytes(body), timeout=_ANSWER_SECONDS, compression=self._compression, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
                raise ConnectionResetError(f"{code.name} {error.details()}") from error
            again = code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED)
            return Answer(False, again, _retry_info(error), f"{code.name} {error.details()}")
        rejected = _rejected(content)
        return Answer(taken=not rejected, detail=rejected)

    async def close(self) -> None:
        """See Exchange."""
        await self._channel.close(None)


def _retry_info(error: grpc.aio.AioRpcError) -> float:
    """Seconds that the refusal asks to wait; 0 where it names none (google.rpc.RetryInfo)."""
    metadata = cast(Iterable[tuple[str, str | bytes]], error.trailing_metadata() or ())
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            for detail in Status.FromString(cast(bytes, value)).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.ToNanoseconds() / 1e9)
    return 0.0


def _rejected(content: bytes) -> str:
    """Why an OTLP answer is not a full acknowledgement; empty when it is."""
    partial = ExportMetricsServiceResponse.FromString(content).partial_success if content else None
    if partial is None or not partial.rejected_data_points:
        return ""
    return f"{partial.rejected_data_points} rejected: {partial.error_message}"
