"""OTLP over gRPC: Export for metrics, traces and logs, and grpc.health.v1 (grpc_health.py).

    accepted                      OK, ExportXServiceResponse
    some points not accepted      OK with partial_success: how many and why
    spans, log records            OK with partial_success: received and counted, not stored
    damaged                       INVALID_ARGUMENT, with the byte offset
    too large                     RESOURCE_EXHAUSTED without RetryInfo (by gRPC itself: never sent again)
    too much in flight            waits for room for a second, then RESOURCE_EXHAUSTED with RetryInfo
    log full, disk failed, ends   UNAVAILABLE with RetryInfo

The synchronous server with threads is used: per call it costs less CPU than grpc.aio (bench/grpc_transport.py), and
waiting for the disk is natural in a thread. Requests stay bytes; gRPC has decompressed them.

Guards: size of a message, streams of a connection, connections, bytes in flight. A thread is held while gRPC waits for
a call's message, so calls that open and send nothing are cancelled after `grpc_message_timeout`, and after a second
where others wait for a thread.

Source: OTLP specification 1.x, "OTLP/gRPC".
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from typing import Any, Final, cast

import grpc
import structlog

from gateway import selfmetrics
from gateway.access.settings import AccessSettings
from gateway.access.tls import Certificates
from gateway.access.tokens import Authenticator, Identity, anonymous_at, require_safe_address
from gateway.addresses import bind_failure, join_address
from gateway.clock import Clock, SystemClock
from gateway.errors import ConfigError, GatewayError, Unavailable
from gateway.ingest import status_details
from gateway.ingest.admission import Admission, Ticket
from gateway.ingest.clients import ClientTable, address_of_peer
from gateway.ingest.decoders import Decoders, RecordCounter
from gateway.ingest.grpc_health import Health
from gateway.ingest.otlp_http import LOGS, METRICS, TRACES, Signal, unstored_message
from gateway.ingest.receiver_metrics import ReceiverMetrics, count_unstored, rejected_message
from gateway.ingest.settings import IngestSettings
from gateway.owned_tasks import end_tasks
from gateway.telemetry.columns import BlockingSink

_log = structlog.get_logger(__name__)

_SERVICES: Final = {
    METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_SWEEP: Final = 1.0
"""Seconds between looks for silent calls and for a change of readiness."""
_PATIENCE: Final = 1.0
"""Seconds that a call may wait for its message while others wait for a thread."""
_WAIT: Final = 1.0
"""Seconds that a call may wait for room. Its thread waits with it, so that further calls stay with their senders, whom
HTTP/2 holds back, instead of being received and refused."""
_TRIES: Final = 2
"""How often gRPC must refuse an address that a plain socket gets: whoever held it may have let go of it in between."""

_SILENT: Final = selfmetrics.counter("ingest_grpc_silent_calls", "Calls cancelled because no message came.")


class _CallThreads(futures.ThreadPoolExecutor):
    """gRPC's threads, which remembers the calls that wait for their message."""

    def __init__(self, count: int) -> None:
        super().__init__(count, thread_name_prefix="grpc-call")
        self._waiting: dict[int, tuple[float, Any]] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """See Executor; grpc passes the call's event among the arguments."""
        call = next((a.call for a in args if hasattr(a, "call") and hasattr(a, "call_details")), None)
        return (
            super().submit(self._run, call, fn, args, kwargs)
            if call is not None
            else super().submit(fn, *args, **kwargs)
        )

    def _run(self, call: Any, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        thread = threading.get_ident()
        self._waiting[thread] = (time.monotonic(), call)
        try:
            return fn(*args, **kwargs)
        finally:
            self._waiting.pop(thread, None)

    def message_arrived(self) -> None:
        """Called first by every handler."""
        self._waiting.pop(threading.get_ident(), None)

    def cancel_silent(self, older_than: float) -> None:
        """Cancel calls that have waited for their message longer than this many seconds, or than _PATIENCE where other
        calls find no thread."""
        now = time.monotonic()
        if self._work_queue.qsize():
            older_than = min(older_than, _PATIENCE)
        for thread, (since, call) in list(self._waiting.items()):
            if now - since > older_than and self._waiting.pop(thread, None) is not None:
                _SILENT.inc()
                call.cancel()


def _discard(server: grpc.Server) -> None:
    """End a server that never started: gRPC frees only what had begun to serve."""
    server.start()
    server.stop(None).wait()


class GrpcReceiver:
    """Serves `host:port` from `start` to `stop`. The sink is called from gRPC's threads."""

    def __init__(
        self,
        settings: IngestSettings,
        decoders: Decoders,
        sink: BlockingSink,
        *,
        host: str,
        port: int,
        ready: Callable[[], str],
        admission: Admission,
        access: AccessSettings | None = None,
        clock: Clock | None = None,
        reuse_port: bool = False,
        clients: ClientTable | None = None,
    ) -> None:
        """`ready` gives an empty text, or why requests cannot be accepted now. Raises ConfigError (address, access)."""
        self._settings, self._decoders, self._sink = settings, decoders, sink
        self._host, self._given_port, self._reuse_port = host, port, reuse_port
        self._ready, self._admission = ready, admission
        self._clock = clock or SystemClock()
        self._clients = clients
        access = access or AccessSettings()
        require_safe_address(host, access, key="server.otlp_grpc")
        self._authenticator = Authenticator(access)
        self._anonymous = anonymous_at(host)
        self._certificates = Certificates(access)
        self._served_stamp = self._certificates.stamp()
        self._metrics = {s: ReceiverMetrics("otlp_grpc", s.name) for s in _SERVICES}
        self._health = Health(_SERVICES.values())
        self._server: grpc.Server | None = None
        self._threads: _CallThreads | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.port = 0
        """The bound port, once started."""

    async def start(self) -> None:
        """Bind and serve. Raises OSError with what the system says against the address, and ConfigError where it says
        nothing and gRPC refuses all the same. Nothing is left of a start that failed."""
        threads = _CallThreads(self._settings.grpc_threads)
        server = self._server_on(threads)
        try:
            self.port = await self._bind(server)
        except BaseException:
            await asyncio.to_thread(_discard, server)
            threads.shutdown(wait=False)
            raise
        self._server, self._threads = server, threads
        self._refresh_health()
        server.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="grpc-sweep")

    def _server_on(self, threads: _CallThreads) -> grpc.Server:
        settings = self._settings
        # Windows and frame sizes stay at gRPC's own: larger frames cost more CPU on 1.4 MB messages, and a larger
        # window is memory that every open stream may fill before a thread looks at it.
        server = grpc.server(
            threads,
            options=[
                ("grpc.max_receive_message_length", min(settings.max_request_bytes, settings.grpc_max_message_bytes)),
                ("grpc.max_concurrent_streams", settings.grpc_max_concurrent_streams),
                ("grpc.max_allowed_incoming_connections", settings.max_connections),
                ("grpc.so_reuseport", int(self._reuse_port)),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.server_handshake_timeout_ms", int(settings.header_timeout * 1000)),
                ("grpc.max_metadata_size", 16 * 1024),
            ],
        )
        handlers = {METRICS: self._export_metrics, TRACES: self._export_traces, LOGS: self._export_logs}
        for signal, service in _SERVICES.items():
            method = grpc.unary_unary_rpc_method_handler(handlers[signal])
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
        server.add_generic_rpc_handlers((self._health.handler(),))
        return server

    async def _bind(self, server: grpc.Server) -> int:
        """The bound port. In threads, as names are resolved."""
        host = self._host or "0.0.0.0"
        address = join_address(host, self._given_port)
        for _ in range(_TRIES):
            try:
                return await asyncio.to_thread(self._listen, server, address)
            except OSError as error:
                # The library does not say why.
                reason = await asyncio.to_thread(bind_failure, host, self._given_port)
                if reason is not None:
                    raise reason from error
        raise ConfigError(
            f"gRPC cannot listen on {address}, although the system lets others",
            source="start",
            key="server.otlp_grpc",
            expected="an address of another form; GRPC_VERBOSITY=ERROR in the environment shows what gRPC says of it",
        )

    def _listen(self, server: grpc.Server, address: str) -> int:
        try:
            if self._certificates.enabled:
                port = server.add_secure_port(address, self._credentials())
            else:
                port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if not port:
            raise OSError(f"cannot listen on {address}")
        return int(port)

    async def stop(self, grace: float = 5.0) -> None:
        """Refuse new calls, let those in progress finish for at most `grace` seconds, end. Idempotent."""
        sweeper, self._sweeper = self._sweeper, None
        await end_tasks(sweeper)
        server, self._server = self._server, None
        if server is not None:
            self._health.serving = False
            await asyncio.to_thread(server.stop(grace).wait, grace + 1.0)
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _sweep(self) -> None:
        threads = self._threads
        assert threads is not None
        while True:
            await asyncio.sleep(_SWEEP)
            threads.cancel_silent(float(self._settings.grpc_message_timeout))
            self._refresh_health()

    def _refresh_health(self) -> None:
        self._health.serving = not self._ready()

    def _credentials(self) -> grpc.ServerCredentials:
        def configuration() -> Any:
            key, chain, authorities = self._certificates.pem()
            return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)

        def renewed() -> Any:
            stamp = self._certificates.stamp()
            if stamp == self._served_stamp:
                return None
            try:
                fresh = configuration()
            except GatewayError as error:
                _log.warning("renewed certificate cannot be used", error=str(error))
                return None
            self._served_stamp = stamp
            return fresh

        mutual = self._certificates.pem()[2] is not None
        return grpc.dynamic_ssl_server_credentials(configuration(), renewed, mutual)

    def _authenticate(self, context: grpc.ServicerContext) -> Identity:
        """Raises Unauthenticated or PermissionDenied."""
        if not self._authenticator.required:
            return self._anonymous
        authorization = None
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                authorization = value if isinstance(value, str) else value.decode("latin-1")
        # The stubs say bytes; grpc delivers a list of bytes for each property.
        properties = cast("Mapping[str, Iterable[bytes]]", context.auth_context())
        names = list(properties.get("x509_common_name", ()))
        name = names[0].decode("utf-8", "replace") if names else None
        identity = self._authenticator.identify(authorization, name)
        identity.require("ingest")
        return identity

    def _count_client(
        self, context: grpc.ServicerContext, received_ns: int, size: int, points: int, refused: bool = False
    ) -> None:
        if self._clients is None:
            return
        agent = next((str(v) for k, v in context.invocation_metadata() or () if k == "user-agent"), "")
        address = address_of_peer(context.peer())
        self._clients.count(
            "otlp_grpc", agent, address, received_ns=received_ns, points=points, size=size, refused=refused
        )

    def _export_metrics(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        def handle(received_ns: int, ticket: Ticket, _sender: Identity) -> bytes:
            columns = self._decoders.otlp_metrics_protobuf(request, received_ns // 1_000_000)
            columns = ticket.hold(columns)
            receipt = None
            if len(columns):
                receipt = self._sink.accept_blocking(columns, received_ns=received_ns, body_bytes=len(request))
            rejected = self._metrics[METRICS].accepted(columns, receipt)
            self._count_client(context, received_ns, len(request), columns.points)
            if not rejected and not columns.rejected_message:
                return b""
            return status_details.export_response(rejected, rejected_message(columns, receipt))

        return self._call(METRICS, request, context, handle)

    def _export_traces(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return self._count(TRACES, request, context, self._decoders.count_traces)

    def _export_logs(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return self._count(LOGS, request, context, self._decoders.count_logs)

    def _count(
        self,
        signal: Signal,
        request: bytes,
        context: grpc.ServicerContext,
        counter: RecordCounter,
    ) -> bytes:
        def handle(_received_ns: int, _ticket: Ticket, sender: Identity) -> bytes:
            counted = counter(request, False, sender)
            total = count_unstored(signal.name, counted.by_service)
            return status_details.export_response(total, unstored_message(signal, total, counted))

        return self._call(signal, request, context, handle)

    def _call(
        self,
        signal: Signal,
        request: bytes,
        context: grpc.ServicerContext,
        handle: Callable[[int, Ticket, Identity], bytes],
    ) -> bytes:
        """What all calls share; runs in a thread of gRPC's."""
        if self._threads is not None:
            self._threads.message_arrived()
        received_ns = self._clock.time_ns()
        metrics = self._metrics[signal]
        ticket: Ticket | None = None
        try:
            sender = self._authenticate(context)
            ticket = self._admission.ticket(sender.tenant)
            self._admission.wait_for_room(len(request), _WAIT)
            ticket.take(len(request))
            answer = handle(received_ns, ticket, sender)
        except GatewayError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # a call's outermost edge: UNAVAILABLE keeps the sender's data
            selfmetrics.TASK_FAILURES.labels("grpc_call").inc()
            _log.exception("grpc call failed", signal=signal.name, error=str(error))
            failure = Unavailable("the request could not be handled; send it again")
        else:
            metrics.answered("OK", len(request))
            return answer
        finally:
            if ticket is not None:
                ticket.close()
        if signal is METRICS:
            self._count_client(context, received_ns, len(request), 0, refused=True)
        code = _CODES[failure.grpc_status]
        metrics.refused(failure)
        metrics.answered(code.name, len(request))
        context.set_trailing_metadata((("grpc-status-details-bin", status_details.status(failure)),))
        context.set_code(code)
        context.set_details(str(failure)[:2048])
        return b""
