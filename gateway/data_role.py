"""The data plane's process: ports 4317 and 4318, the pipeline behind them, and the socket for the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from gateway.access.renewal import CertificateRenewal
from gateway.access.tokens import Identity
from gateway.addresses import ADDRESS_WAIT_SECONDS, cannot_bind, parse_address
from gateway.clock import Clock
from gateway.config import Config, LoadedConfig, socket_path
from gateway.data_directory import unusable
from gateway.decode.otlp_events import LogEvents, events_of
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.otlp_signals import count_by_service, count_by_service_json
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.remote_write_v2 import RemoteWriteV2Decoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import AddressNotFree, ConfigError
from gateway.heartbeat import listener_of_parent
from gateway.ingest.admission import Admission
from gateway.ingest.clients import ClientTable
from gateway.ingest.decoders import Body, Counted, Decoders
from gateway.ingest.http_receiver import HttpReceiver
from gateway.ingest.otlp_grpc import GrpcReceiver
from gateway.ingest.tenants import Tenants
from gateway.pipeline.change_log import MAINTENANCE_REFUSED
from gateway.pipeline.data_plane import DataPlane
from gateway.pipeline.free_memory import keep_free_memory
from gateway.pipeline.hash_key import load_or_make_hash_key
from gateway.pipeline.resharding import prepare_workers
from gateway.pipeline.sharding import Sharding
from gateway.pipeline.workers import LOCK_SECONDS, lock_path, locked_within, wait_for_workers
from gateway.telemetry.state_file import open_kept
from gateway.web.data_plane_socket import DataPlaneSocket
from kernels import warmup

_GRACE_SECONDS: Final = 3.0
_BIND_AGAIN_SECONDS: Final = 0.1


async def start_when_free(start: Callable[[], Awaitable[None]], key: str, address: str, clock: Clock) -> None:
    """Call `start`, which binds `address`, until it can. Raises AddressNotFree after ADDRESS_WAIT_SECONDS, and another
    ConfigError at once for what does not pass; `key`: the setting to name then."""
    until = clock.monotonic() + ADDRESS_WAIT_SECONDS
    while True:
        try:
            return await start()
        except OSError as error:
            failure = cannot_bind(error, key, address)
            if not isinstance(failure, AddressNotFree) or clock.monotonic() > until:
                raise failure from error
        await asyncio.sleep(_BIND_AGAIN_SECONDS)


class DataRole:
    """Ports 4317 and 4318, the pipeline behind them, and the socket for the control plane."""

    def __init__(self, loaded: LoadedConfig, clock: Clock, worker: int = 0) -> None:
        config: Config = loaded.config
        self._worker = worker
        self._config = config
        self._clock = clock
        self._data_dir = Path(config.server.data_dir).resolve()
        self._stack = contextlib.AsyncExitStack()
        self._plane: DataPlane | None = None

    async def start(self) -> None:
        """Raises ConfigError, StateError, DiskFailed."""
        config, workers = self._config, self._config.server.workers
        keep_free_memory()
        sharding = await asyncio.to_thread(self._take_place, self._data_dir)
        await asyncio.to_thread(warmup.load_all)
        plane = await self._start_plane(sharding)
        decoders = self._decoders(plane.hash_key)
        tenants = Tenants(config.ingest, self._clock, series_memory=float(config.series.expiry))
        # Memory is the machine's, so the workers share it; two of the largest requests must fit in any case.
        in_flight = max(config.ingest.max_in_flight_bytes // workers, 2 * config.ingest.max_request_bytes)
        admission, clients = Admission(in_flight, tenants=tenants), ClientTable()
        http = await self._start_http(plane, decoders, admission, clients)
        grpc = await self._start_grpc(plane, decoders, admission, clients)
        self.addresses = {"otlp_http": http.port, "otlp_grpc": grpc.port}
        socket = DataPlaneSocket(plane, socket_path(config, self._worker), clients.rows)
        await socket.start()
        self._stack.push_async_callback(socket.stop)

    async def _start_plane(self, sharding: Sharding | None) -> DataPlane:
        config = self._config
        plane = DataPlane(
            self._data_dir,
            self._clock,
            log_settings=config.log,
            series_settings=config.series,
            detection=config.detection,
            limits=config.limits,
            victoriametrics=config.victoriametrics,
            max_series=config.ingest.max_series,
            sharding=sharding,
        )
        self._plane = plane
        self._stack.push_async_callback(plane.stop)
        await plane.start()
        return plane

    async def _start_http(
        self, plane: DataPlane, decoders: Decoders, admission: Admission, clients: ClientTable
    ) -> HttpReceiver:
        config, server = self._config, self._config.server
        host, port = parse_address(server.otlp_http)
        http = HttpReceiver(
            config.ingest,
            decoders,
            plane.committer,
            host=host,
            port=port,
            ready=plane.ready,
            admission=admission,
            access=config.access,
            clock=self._clock,
            clients=clients,
            reuse_port=server.workers > 1,
            listener=listener_of_parent(),
        )
        try:
            await http.start()
        except OSError as error:
            raise cannot_bind(error, "server.otlp_http", server.otlp_http) from error
        self._stack.push_async_callback(http.stop, _GRACE_SECONDS)
        plane.committer.more_coming = lambda: http.decoding
        if config.access.tls_certificate:
            self._stack.push_async_callback(CertificateRenewal(http.reload_certificates).stop)
        return http

    async def _start_grpc(
        self, plane: DataPlane, decoders: Decoders, admission: Admission, clients: ClientTable
    ) -> GrpcReceiver:
        config, server = self._config, self._config.server
        host, port = parse_address(server.otlp_grpc)
        grpc = GrpcReceiver(
            config.ingest,
            decoders,
            plane.committer,
            host=host,
            port=port,
            ready=plane.ready,
            admission=admission,
            access=config.access,
            clock=self._clock,
            clients=clients,
            reuse_port=server.workers > 1,
        )
        await start_when_free(grpc.start, "server.otlp_grpc", server.otlp_grpc, self._clock)
        self._stack.push_async_callback(grpc.stop, _GRACE_SECONDS)
        return grpc

    async def stop(self) -> None:
        """Receivers first, then the pipeline; idempotent."""
        await self._stack.aclose()

    async def reload(self) -> None:
        """Nothing here changes without a restart but certificates, which are taken up by themselves."""

    def waits_for(self) -> int | None:
        """For the supervisor: None while the pipeline moves, else the thread that stands still, or 0."""
        return 0 if self._plane is None else self._plane.waits_for()

    def _take_place(self, data_dir: Path) -> Sharding | None:
        """Lock the worker's place in the data directory; None where one worker is, and always was, alone.

        The first worker makes the directory's key and, where their number has changed, the workers' states.
        """
        workers = self._config.server.workers
        if self._worker == 0:
            self._lock(data_dir)
            hash_key = load_or_make_hash_key(data_dir)
            layout = prepare_workers(data_dir, workers)
        else:
            layout = wait_for_workers(data_dir, workers)
            self._lock(data_dir)
            hash_key = load_or_make_hash_key(data_dir)
        return None if layout is None else Sharding(data_dir, self._worker, layout, hash_key)

    def _lock(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            descriptor = open_kept(lock_path(data_dir, self._worker))
        except OSError as error:
            raise unusable(data_dir, error) from error
        self._stack.callback(os.close, descriptor)
        if not locked_within(descriptor, LOCK_SECONDS if self._worker else 0.0):
            raise ConfigError(
                "is in use by another gateway",
                source=str(data_dir),
                key="server.data_dir",
                expected="a directory of its own",
            )

    def _decoders(self, hash_key: tuple[int, int]) -> Decoders:
        ingest = self._config.ingest
        otlp = OtlpMetricsDecoder(
            hash_key,
            DecodeSettings(
                naming=self._config.victoriametrics.naming, max_age=ingest.max_age, max_future=ingest.max_future
            ),
        )
        remote_write = RemoteWriteSettings(max_age=ingest.max_age, max_future=ingest.max_future)
        return Decoders(
            otlp_metrics_protobuf=otlp.decode_protobuf,
            otlp_metrics_json=lambda body, now_ms: otlp.decode_json(bytes(body), now_ms),
            remote_write_v1=RemoteWriteV1Decoder(hash_key, remote_write).decode,
            remote_write_v2=RemoteWriteV2Decoder(hash_key, remote_write).decode,
            count_traces=self._take_traces,
            count_logs=self._take_logs,
            otlp_metrics_joined=otlp.decode_joined,
        )

    def _take_traces(self, body: Body, is_json: bool, _sender: Identity) -> Counted:
        """Count spans; who calls whom among them is kept. Raises DecodeError."""
        counts = _count_records(body, is_json)
        if counts and self._plane is not None:
            self._plane.call_edges.take(bytes(body), is_json)
        return Counted(counts)

    def _take_logs(self, body: Body, is_json: bool, sender: Identity) -> Counted:
        """Count log records; deploys and maintenance among them are kept. Raises DecodeError, DiskFailed, LogFull."""
        counts = _count_records(body, is_json)
        if self._plane is None:
            return Counted(counts)
        events = events_of(bytes(body), is_json, self._clock.time_ns(), sender)
        self._plane.changes.take([*events.changes, *events.maintenance])
        for service, kept in events.kept.items():  # the others are what is received and not stored
            if service in counts:
                counts[service] = max(counts[service] - kept, 0)
        return Counted(counts, _refusal(events, sender))


def _refusal(events: LogEvents, sender: Identity) -> str:
    """What the sender is told of maintenance events that are refused, which are counted."""
    for reason, count in events.refused.items():
        MAINTENANCE_REFUSED.labels(sender.name, reason).inc(count)
    if not events.refused:
        return ""
    return f"maintenance events refused: {events.refused.total()}, the first because {events.problem}"


def _count_records(body: bytes | bytearray | memoryview, is_json: bool) -> dict[str, int]:
    return count_by_service_json(bytes(body)) if is_json else count_by_service(bytes(body))
