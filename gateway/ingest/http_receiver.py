"""The HTTP listener of the data plane: OTLP, remote write and the health addresses, on aiohttp's protocol server.

aiohttp's low-level server is used without an application: no router, no middleware, one dictionary look-up, because at
ten points a request the framework would cost more than the points.

Guards: a bound on connections; a time limit for the first headers, for every body and for idling; limits on header
sizes (aiohttp's own); bytes in flight (admission). A client that goes away frees what its request holds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway import selfmetrics
from gateway.access.settings import AccessSettings
from gateway.access.tls import Certificates, common_name
from gateway.access.tokens import Authenticator, anonymous_at, require_safe_address
from gateway.clock import Clock, SystemClock
from gateway.errors import GatewayError, Unavailable
from gateway.ingest import otlp_http, remote_write
from gateway.ingest.admission import Admission
from gateway.ingest.clients import ClientTable
from gateway.ingest.decoders import Decoders
from gateway.ingest.http_exchange import SENDER, Exchange
from gateway.ingest.large_body import LargeBodyHandler
from gateway.ingest.plain_connection import PlainConnection
from gateway.ingest.receiver_metrics import ReceiverMetrics
from gateway.ingest.request_head import OTLP, REMOTE_WRITE, Heads
from gateway.ingest.settings import IngestSettings
from gateway.ingest.small_requests import Identify, SmallRequests
from gateway.telemetry.columns import Sink

_log = structlog.get_logger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_CONNECTIONS = selfmetrics.gauge("ingest_http_connections", "Open HTTP connections of the data plane.")
_TURNED_AWAY = selfmetrics.counter("ingest_http_connections_closed", "Connections closed by us.", ["reason"])
_TOO_MANY: Final = _TURNED_AWAY.labels("too_many")
_SLOW_HEADERS: Final = _TURNED_AWAY.labels("slow_headers")

_LINGER_AT_STOP: Final = 0.5
"""Seconds for which what comes of a body is read when its request is answered while the receiver stops. aiohttp does
not see the body's end then and would wait for all its time, and to close at once can cost the sender the answer."""


class _Server(web.Server):
    """aiohttp's connection factory with a bound on connections and a limit for the first headers."""

    def __init__(self, handler: Handler, settings: IngestSettings, small: SmallRequests, identify: Identify) -> None:
        super().__init__(
            handler,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=float(settings.idle_timeout),
            lingering_time=5.0,
            read_bufsize=2**18,
        )
        self._settings = settings
        self._small, self._identify, self._heads = small, identify, Heads()
        _CONNECTIONS.set_function(lambda: len(self._connections))

    def __call__(self) -> RequestHandler:
        return PlainConnection(self, self._small, self._heads, self._identify, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._settings.max_connections:
            _TOO_MANY.inc()
            transport.abort()
            return
        self._loop.call_later(float(self._settings.header_timeout), _close_silent, handler)


def _close_silent(handler: RequestHandler) -> None:
    if handler.transport is not None and handler._request_count == 0:
        _SLOW_HEADERS.inc()
        handler.force_close()


class HttpReceiver:
    """Serves `host:port` from `start` to `stop`; belongs to the event loop that starts it."""

    def __init__(
        self,
        settings: IngestSettings,
        decoders: Decoders,
        sink: Sink,
        *,
        host: str,
        port: int,
        ready: Callable[[], str],
        admission: Admission,
        access: AccessSettings | None = None,
        clock: Clock | None = None,
        reuse_port: bool = False,
        clients: ClientTable | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        """`ready` gives an empty text, or why requests cannot be accepted now. `listener`: bound to the
        address already. Raises ConfigError (address, access)."""
        self._settings, self._decoders, self._sink = settings, decoders, sink
        self._host, self._port, self._reuse_port = host, port, reuse_port
        self._listener = listener
        self._ready, self._admission = ready, admission
        self._clock = clock or SystemClock()
        self._clients = clients
        access = access or AccessSettings()
        require_safe_address(host, access, key="server.otlp_http")
        self._authenticator = Authenticator(access)
        self._certificates = Certificates(access)
        self._runner: web.ServerRunner | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._posts: dict[str, Handler] = {}
        self._small: SmallRequests | None = None
        self._other = ReceiverMetrics("http", "none")

    @property
    def port(self) -> int:
        """The bound port, once started; differs from the given one if that was 0."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    @property
    def decoding(self) -> bool:
        """Whether requests are being decoded that will be with the sink soon. May be read from any thread."""
        return self._small is not None and self._small.decoding

    async def start(self) -> None:
        """Bind and serve. Raises OSError if the address is taken."""
        self._pool = ThreadPoolExecutor(self._settings.decode_threads, thread_name_prefix="http-decode")
        exchange = Exchange(
            self._settings, self._admission, self._pool, self._clock, self._clients, anonymous_at(self._host)
        )
        otlp = otlp_http.OtlpHttp(exchange, self._decoders, self._sink)
        self._remote_write = remote_write.RemoteWrite(exchange, self._decoders, self._sink)
        self._posts = {
            "/v1/metrics": otlp.export_metrics,
            "/v1/traces": otlp.export_traces,
            "/v1/logs": otlp.export_logs,
            "/api/v1/write": self._remote_write.write,
            "/api/v1/push": self._remote_write.write,
        }
        routes = {OTLP: otlp.route(), REMOTE_WRITE: self._remote_write.route()}
        self._small = SmallRequests(exchange, routes, self._sink)
        self._runner = web.ServerRunner(_Server(self._handle, self._settings, self._small, self._tenant))
        await self._runner.setup()
        tls, backlog = self._certificates.context, 1024
        if self._listener is not None:
            await web.SockSite(self._runner, self._listener, ssl_context=tls, backlog=backlog).start()
            return
        reuse_port = self._reuse_port or None
        site = web.TCPSite(
            self._runner, self._host, self._port, ssl_context=tls, backlog=backlog, reuse_port=reuse_port
        )
        await site.start()

    async def stop(self, grace: float = 5.0) -> None:
        """Refuse new connections and those who wait for room, let requests in progress finish for at most `grace`
        seconds, end. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner._shutdown_timeout = grace
            if self._small is not None:
                self._small.exchange.waiting_room.close()
            await runner.cleanup()
            if self._small is not None:
                await self._small.stop()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def reload_certificates(self) -> bool:
        """Take up renewed certificate files; raises ConfigError and keeps the old ones if they cannot be used."""
        return self._certificates.reload_if_changed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        post = self._posts.get(path)
        if post is None:
            path = path.partition("?")[0]
            post = self._posts.get(path)
        try:
            if post is not None and request.method == "POST":
                if self._authenticator.required:
                    refusal = await self._authenticate(request, path)
                    if refusal is not None:
                        return refusal
                response = await post(request)
                if self._runner is None and isinstance(response, web.Response):
                    response.force_close()
                    request.protocol._lingering_time = _LINGER_AT_STOP
                return response
            return await self._answer_other(request, path, known=post is not None)
        except Exception as error:  # noqa: BLE001  # a request's outermost edge: 503 keeps the sender's data, 500 would not
            selfmetrics.TASK_FAILURES.labels("http_request").inc()
            _log.exception("http request failed", path=path, error=str(error))
            return self._refuse(Unavailable("the request could not be handled; send it again"), request, path)
        finally:
            handler = request.protocol
            if isinstance(handler, LargeBodyHandler) and handler.holds_body:
                handler.release_body(request)

    def _tenant(self, authorization: str | None) -> str | None:
        """See Identify."""
        try:
            identity = self._authenticator.identify_nowait(authorization)
            if identity is not None:
                identity.require("ingest")
                return identity.tenant
        except GatewayError:
            pass  # the usual way says so to the sender
        return None

    async def _authenticate(self, request: web.BaseRequest, path: str) -> web.Response | None:
        authorization = request.headers.get("Authorization")
        transport = request.transport
        name = common_name(transport.get_extra_info("peercert")) if transport is not None else None
        try:
            identity = self._authenticator.identify_nowait(authorization, name)
            if identity is None:
                loop = asyncio.get_running_loop()
                identity = await loop.run_in_executor(self._pool, self._authenticator.identify, authorization, name)
            identity.require("ingest")
            request[SENDER] = identity
        except GatewayError as error:
            return self._refuse(error, request, path)
        return None

    def _refuse(self, error: GatewayError, request: web.BaseRequest, path: str) -> web.Response:
        content_type = request.headers.get("Content-Type", "")
        if path.startswith("/api/"):
            version = remote_write.V2 if remote_write.V2 in content_type else remote_write.V1
            return self._remote_write.refuse(error, version)
        form = otlp_http.PROTOBUF if "protobuf" in content_type else otlp_http.JSON
        return otlp_http.refuse(error, form, self._other, 0)

    async def _answer_other(self, request: web.BaseRequest, path: str, *, known: bool) -> web.StreamResponse:
        if request.method in ("GET", "HEAD"):
            if path == "/-/healthy":
                return web.Response(text="healthy\n")
            if path == "/-/ready":
                problem = self._ready()
                return web.Response(status=503 if problem else 200, text=f"{problem or 'ready'}\n")
            if path.startswith("/api/v1/") and known:
                probe = await self._remote_write.probe(request)
                if probe is not None:
                    return probe
        if known or path in ("/-/healthy", "/-/ready"):
            self._other.answered("405", 0)
            allowed = "POST" if known else "GET, HEAD"
            return web.Response(status=405, text=f"{path} takes {allowed}\n", headers={"Allow": allowed})
        self._other.answered("404", 0)
        return web.Response(status=404, text="nothing here; see /v1/metrics, /api/v1/write, /-/healthy, /-/ready\n")
