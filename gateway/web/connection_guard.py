"""What a slow or greedy client can hold of the control plane: connections, time for headers and for bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.errors import RequestError
from gateway.selfmetrics import counter, gauge

_CONNECTIONS = gauge("http_connections", "Open HTTP connections of the control plane.")
_CLOSED = counter("http_connections_closed", "Connections of the control plane closed by us.", ["reason"])

MAX_CONNECTIONS: Final = 2000
HEADER_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0


def guard_connections(
    server: web.Server, *, max_connections: int = MAX_CONNECTIONS, header_seconds: float = HEADER_SECONDS
) -> None:
    """Further connections are closed at once; one whose first headers are not whole in time is closed."""
    loop = asyncio.get_running_loop()
    original = server.connection_made

    def close_silent(handler: RequestHandler) -> None:
        if handler.transport is not None and handler._request_count == 0:
            _CLOSED.labels("slow_headers").inc()
            handler.force_close()

    def connection_made(handler: RequestHandler, transport: asyncio.Transport) -> None:
        original(handler, transport)
        if len(server.connections) > max_connections:
            _CLOSED.labels("too_many").inc()
            transport.abort()
            return
        loop.call_later(header_seconds, close_silent, handler)

    server.connection_made = connection_made  # type: ignore[method-assign]  # aiohttp has no hook for this
    _CONNECTIONS.set_function(lambda: len(server.connections))


@web.middleware
async def read_bodies(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Reads a body within BODY_SECONDS before the handler sees the request; raises RequestError."""
    if request.can_read_body:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await request.read()
        except TimeoutError:
            raise RequestError("the body did not arrive in time", reason="slow_body") from None
    return await handler(request)
