"""Wires the stages into the two roles of the program. Each role is an object with `start` and `stop`; `stop` is
idempotent and bounded, and runs whatever part of `start` had been reached."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import structlog
import uvloop
from aiohttp import web

from gateway.access.tls import Certificates
from gateway.access.tokens import Authenticator, require_safe_address
from gateway.alerting.router import AlertRouter
from gateway.clock import Clock, SystemClock
from gateway.config import Config, LoadedConfig, parse_address, shown
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.otlp_signals import count_by_service, count_by_service_json
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.remote_write_v2 import RemoteWriteV2Decoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import ConfigError
from gateway.ingest.admission import Admission
from gateway.ingest.decoders import Decoders
from gateway.ingest.http_receiver import HttpReceiver
from gateway.ingest.otlp_grpc import GrpcReceiver
from gateway.pipeline.data_plane import DataPlane
from gateway.supervisor import Heartbeat
from gateway.web import alertmanager_api, console
from gateway.web.access_guard import access_guard
from gateway.web.anomaly_feed import AnomalyFeed
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.data_plane_socket import DataPlaneSocket
from gateway.web.history import HistorySource, LogHistory, VictoriaMetricsHistory
from gateway.web.json_api import JsonApi, declared_errors
from kernels import warmup

log = structlog.get_logger(__name__)

VERSION: Final = distribution_version("telemetry-gateway")
_STOP_SECONDS: Final = 9.0
_GRACE_SECONDS: Final = 3.0
_MAX_API_BODY: Final = 16 * 2**20


def socket_path(config: Config) -> Path:
    """The data plane's Unix socket."""
    return Path(config.server.data_dir).resolve() / "run" / "data.sock"


def _cannot_bind(error: OSError, key: str, address: str) -> ConfigError:
    return ConfigError(
        f"{address} cannot be bound: {error.strerror or error}",
        source="start",
        key=key,
        expected="a free address; `gateway doctor` says what uses it",
    )


class DataRole:
    """Ports 4317 and 4318, the pipeline behind them, and the socket for the control plane."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._data_dir = Path(config.server.data_dir).resolve()
        self._stack = contextlib.AsyncExitStack()
        self._plane: DataPlane | None = None

    async def start(self) -> None:
        """Raises ConfigError, StateError, DiskFailed."""
        config, server, data_dir = self._config, self._config.server, self._data_dir
        self._lock(data_dir)
        await asyncio.to_thread(warmup.load_all)
        plane = DataPlane(
            data_dir,
            self._clock,
            log_settings=config.log,
            series_settings=config.series,
            detection=config.detection,
            victoriametrics=config.victoriametrics,
            max_series=config.ingest.max_series,
        )
        self._plane = plane
        self._stack.push_async_callback(plane.stop)
        await plane.start()
        decoders = self._decoders(plane.hash_key)
        admission = Admission(config.ingest.max_in_flight_bytes)
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
        )
        try:
            await http.start()
        except OSError as error:
            raise _cannot_bind(error, "server.otlp_http", server.otlp_http) from error
        self._stack.push_async_callback(http.stop, _GRACE_SECONDS)
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
        )
        try:
            await grpc.start()
        except OSError as error:
            raise _cannot_bind(error, "server.otlp_grpc", server.otlp_grpc) from error
        self._stack.push_async_callback(grpc.stop, _GRACE_SECONDS)
        self.addresses = {"otlp_http": http.port, "otlp_grpc": grpc.port}
        socket = DataPlaneSocket(plane, socket_path(config))
        await socket.start()
        self._stack.push_async_callback(socket.stop)

    async def stop(self) -> None:
        """Receivers first, then the pipeline; idempotent."""
        await self._stack.aclose()

    def progressing(self) -> bool:
        """For the supervisor: whether the pipeline moves."""
        return self._plane is not None and not self._plane.problem()

    def _lock(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(data_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(
                f"cannot be used: {error.strerror}",
                source=str(data_dir),
                key="server.data_dir",
                expected="a directory that can be written",
            ) from error
        self._stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "is in use by another gateway",
                source=str(data_dir),
                key="server.data_dir",
                expected="a directory of its own",
            ) from None

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
            count_traces=_count_records,
            count_logs=_count_records,
        )


def _count_records(body: bytes | bytearray, is_json: bool) -> dict[str, int]:
    return count_by_service_json(bytes(body)) if is_json else count_by_service(bytes(body))


class ControlRole:
    """Port 4319: console, JSON API, Alertmanager API, alert router."""

    def __init__(self, loaded: LoadedConfig, clock: Clock) -> None:
        self._loaded = loaded
        self._clock = clock
        self._data_dir = Path(loaded.config.server.data_dir).resolve()
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Raises ConfigError, StateError, DiskFailed."""
        config = self._loaded.config
        server, data_dir = config.server, self._data_dir
        state_dir = data_dir / "state"
        await asyncio.to_thread(state_dir.mkdir, parents=True, exist_ok=True)
        host, port = parse_address(server.http)
        require_safe_address(host, config.access, key="server.http")
        external_url = server.external_url or f"http://{server.http}"
        self._router = AlertRouter(config.alerting, state_dir, self._clock, external_url=external_url)
        self._stack.push_async_callback(self._router.stop)
        await self._router.start()
        data_plane = DataPlaneClient(socket_path(config))
        self._stack.push_async_callback(data_plane.close)
        feed = AnomalyFeed(data_dir / "anomalies", state_dir / "anomaly-feed.offset", self._router.submit_anomaly)
        self._stack.push_async_callback(feed.stop)
        feed.start()
        history = await self._history(config, data_plane)
        application = web.Application(
            middlewares=[declared_errors, access_guard(Authenticator(config.access))], client_max_size=_MAX_API_BODY
        )
        api = JsonApi(
            data_plane,
            feed,
            history,
            version=VERSION,
            reload=self._reload,
            configuration=lambda: shown(config, self._loaded.sources),
        )
        application.add_routes(api.routes())
        alertmanager_api.register_routes(application, self._router)
        application.add_routes(console.routes())
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port, ssl_context=Certificates(config.access).context).start()
        except OSError as error:
            raise _cannot_bind(error, "server.http", server.http) from error
        self.addresses = {"http": runner.addresses[0][1]}

    async def stop(self) -> None:
        """Idempotent."""
        await self._stack.aclose()

    def progressing(self) -> bool:
        """The loop turns, as this is called from it."""
        return True

    async def _history(self, config: Config, data_plane: DataPlaneClient) -> HistorySource:
        target = config.victoriametrics
        if not target.url:
            return LogHistory(data_plane, config.detection)
        authentication = aiohttp.BasicAuth(target.username, target.password.reveal()) if target.username else None
        headers = dict(target.headers)
        if target.bearer_token:
            headers["Authorization"] = f"Bearer {target.bearer_token.reveal()}"
        session = aiohttp.ClientSession(auth=authentication)
        self._stack.push_async_callback(session.close)
        return VictoriaMetricsHistory(target.url, session, headers)

    async def _reload(self) -> dict[str, Any]:
        await self._router.reload()
        return {"reloaded": ["alerting"]}


class RoleProcess(Protocol):
    """What `run_role` runs."""

    async def start(self) -> None:
        """Return once the role serves."""
        ...

    async def stop(self) -> None:
        """End in an orderly way."""
        ...

    def progressing(self) -> bool:
        """Whether the role moves."""
        ...


def run_role(name: str, loaded: LoadedConfig) -> None:
    """Run one role until SIGTERM. Raises what its start raised."""
    clock = SystemClock()
    role: RoleProcess = DataRole(loaded.config, clock) if name == "data" else ControlRole(loaded, clock)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signal(role))


async def _until_signal(role: RoleProcess) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    heartbeat = Heartbeat(role.progressing)
    try:
        await role.start()
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        heartbeat.start()
        await stopping.wait()
    finally:
        await heartbeat.stop()
        await _bounded(role.stop)


async def _bounded(stop: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await stop()
    except TimeoutError:
        log.error("stopping took too long; what is acknowledged is on disk", seconds=_STOP_SECONDS)
