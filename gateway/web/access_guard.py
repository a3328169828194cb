"""Access to the control plane: who asks, and whether the role allows it. Reading needs `read`, changing `operate`.

Health is open to everyone: load balancers ask it without credentials, and it tells nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.access.tls import common_name
from gateway.access.tokens import Authenticator
from gateway.errors import Unauthenticated

_OPEN: Final = frozenset({"/-/healthy", "/-/ready"})


def access_guard(authenticator: Authenticator) -> Middleware:
    """A middleware for the control plane; raises Unauthenticated and PermissionDenied."""

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if authenticator.required and request.path not in _OPEN:
            authorization = request.headers.get("Authorization")
            transport = request.transport
            name = common_name(transport.get_extra_info("peercert")) if transport is not None else None
            try:
                identity = authenticator.identify_nowait(authorization, name)
                if identity is None:
                    identity = await asyncio.to_thread(authenticator.identify, authorization, name)
            except Unauthenticated as error:
                challenge = {"WWW-Authenticate": 'Basic realm="gateway", charset="UTF-8"'}
                return web.json_response({"error": str(error)}, status=401, headers=challenge)
            identity.require("read" if request.method in ("GET", "HEAD") else "operate")
        return await handler(request)

    return guard
