"""Settings of the receivers: section `[ingest]`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.settings_types import ByteSize, Duration, Settings


class TenantLimits(Settings, frozen=True):
    """What one tenant may use. A tenant is what [access] says a token, user or certificate belongs to."""

    name: str
    """Of the tenant; `*` = every tenant that is not named, each with limits of its own."""
    weight: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 1.0
    """Share of the bytes in flight where tenants compete: a tenant may hold so many times what is free."""
    bytes_per_second: ByteSize = ByteSize(0)
    """Bytes of requests, received and decompressed, a second; above: 429 / RESOURCE_EXHAUSTED. 0 = no limit."""
    rows_per_second: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """Rows a second, of which a histogram has several; above: 429 / RESOURCE_EXHAUSTED. 0 = no limit."""
    burst: Duration = Duration(5)
    """Seconds of unused rate that may be used at once."""
    max_series: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Series seen within series.expiry; points of further ones are refused, the rest taken. 0 = no limit."""


class IngestSettings(Settings, frozen=True):
    """Limits on what comes in. The defaults suit one machine with a few gigabytes."""

    max_request_bytes: ByteSize = ByteSize(64 * 2**20)
    """Bytes of one request after decompression; more is 413 / RESOURCE_EXHAUSTED."""
    max_in_flight_bytes: ByteSize = ByteSize(256 * 2**20)
    """Bytes of all requests that are read but not yet answered; more is 429 / RESOURCE_EXHAUSTED with a wait. Small
    bodies that are here whole may use an eighth more. As many bytes again may be held of HTTP requests that wait for
    room; who does not fit into that is refused at once.
    At least twice max_request_bytes, so that the largest request can be held compressed and decompressed."""
    tenants: tuple[TenantLimits, ...] = ()
    """Limits of tenants, as [[ingest.tenants]]. Without any, tenants that compete still get equal shares. With several
    workers each limit and share holds for each of them."""
    max_series: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 2_000_000
    """Active series; points of further new ones are refused with partial_success / 400."""
    max_age: Duration = Duration(48 * 3600)
    """Seconds; older points are refused with partial_success / 400."""
    max_future: Duration = Duration(600)
    """Seconds; points further ahead of our clock are refused with partial_success / 400."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """Open HTTP connections; further ones are closed at once."""
    header_timeout: Duration = Duration(10)
    """Seconds from connecting until the first request's headers are whole."""
    body_timeout: Duration = Duration(30)
    """Seconds from a request's headers until its body is whole."""
    idle_timeout: Duration = Duration(180)
    """Seconds an idle HTTP connection is kept; above the 60 s at which SDKs export."""
    decode_threads: Annotated[int, msgspec.Meta(ge=1)] = 2
    """Threads that decompress and decode large HTTP bodies beside the event loop."""
    grpc_threads: Annotated[int, msgspec.Meta(ge=1)] = 32
    """gRPC calls served at once; each holds a thread until its points are durable."""
    grpc_max_concurrent_streams: Annotated[int, msgspec.Meta(ge=1)] = 128
    """gRPC calls one connection may have open."""
    grpc_max_message_bytes: ByteSize = ByteSize(64 * 2**20)
    """Bytes of one gRPC message after decompression, if less than max_request_bytes. gRPC holds a message whole before
    admission can see it, so grpc_threads times this much may be held beside max_in_flight_bytes: lower it where
    senders are not trusted."""
    grpc_message_timeout: Duration = Duration(20)
    """Seconds a gRPC call may hold a thread before its message is whole."""

    def __post_init__(self) -> None:
        """Raises ValueError for limits that would refuse an allowed request for ever."""
        if self.max_request_bytes < 1024:
            raise ValueError("max_request_bytes must be at least 1KiB")
        names = [limits.name for limits in self.tenants]
        if len(set(names)) != len(names):
            raise ValueError("tenants must have different names")
        if self.max_in_flight_bytes < 2 * self.max_request_bytes:
            raise ValueError("max_in_flight_bytes must be at least twice max_request_bytes")
