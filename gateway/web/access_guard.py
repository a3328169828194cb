"""Access to the control plane: who asks, whether the role allows it, and whether a browser was tricked into asking.

    request                              needs
    /-/healthy, /-/ready                 nothing: load balancers ask without credentials, and it tells nothing
    /v2/…                                what inbound_api asks for: a token inside of the event
    /callbacks/…                         a signature, which callbacks_api checks
    GET, HEAD                            the role read
    everything else                      the role operate

Browsers send a remembered password, and reach a loopback address, on behalf of any page. There are no cookies; against
the rest stand two checks. A request that changes something and names its origin (Fetch standard, Origin and
Sec-Fetch-Site) must come from our own pages. And where nobody has to say who he is, the Host must be a loopback name,
an address, or a name that is configured, so that a foreign name that was made to resolve to 127.0.0.1 (DNS rebinding)
reads nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.access.tls import common_name
from gateway.access.tokens import ANONYMOUS, Authenticator, Identity
from gateway.errors import GatewayError, PermissionDenied, Unauthenticated
from gateway.selfmetrics import counter

DENIED = counter("http_access_denied", "Requests to the control plane that were refused for who sent them.", ["reason"])

IDENTITY: Final = web.RequestKey("identity", Identity)
"""Who sent a request that passed the guard."""
_OPEN: Final = frozenset({"/-/healthy", "/-/ready"})
_OWN_CREDENTIALS: Final = ("/v2/", "/callbacks/")
"""PagerDuty's and Opsgenie's interfaces and what Slack and Twilio say back: their handlers check their senders' own
kind of credential."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not bring its own."""
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="gateway", charset="UTF-8"'}


def access_guard(authenticator: Authenticator, *, names: frozenset[str] = frozenset(), place: str = "") -> Middleware:
    """A middleware for the control plane.

    names: host names under which people reach it; place: host[:port] of its own pages where a proxy serves them under
    another Host. Both in lower case.
    """

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            if request.path not in _OPEN:
                _check_origin(request, place)
                if not authenticator.required:
                    _check_host(request.host, names)
                    identity = ANONYMOUS
                elif request.path.startswith(_OWN_CREDENTIALS):
                    identity = ANONYMOUS  # the handler finds out
                else:
                    identity = await _identify(authenticator, request)
                identity.require("read" if request.method in ("GET", "HEAD") else "operate")
                request[IDENTITY] = identity
        except GatewayError as error:
            DENIED.labels(error.reason).inc()
            headers = _HEADERS | (_CHALLENGE if isinstance(error, Unauthenticated) else {})
            answer = {"error": str(error), "reason": error.reason}
            return web.json_response(answer, status=error.http_status, headers=headers)
        response = await handler(request)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return guard


async def _identify(authenticator: Authenticator, request: web.Request) -> Identity:
    authorization = request.headers.get("Authorization")
    transport = request.transport
    name = common_name(transport.get_extra_info("peercert")) if transport is not None else None
    identity = authenticator.identify_nowait(authorization, name)
    if identity is None:
        identity = await asyncio.to_thread(authenticator.identify, authorization, name)
    return identity


def _check_origin(request: web.Request, own_place: str) -> None:
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise PermissionDenied("this request comes from another site", reason="cross_site")
    origin = request.headers.get("Origin")
    if origin is None:
        return
    try:
        place = urlsplit(origin).netloc.lower()
    except ValueError:
        place = ""
    if not place or place not in (request.host.lower(), own_place):
        raise PermissionDenied("this request comes from another origin", reason="cross_origin")


def _check_host(host: str, names: frozenset[str]) -> None:
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        name = ""
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise PermissionDenied(
            f'"{name[:80]}" is not a name of this gateway; set server.external_url to it, or configure credentials',
            reason="host",
        ) from None
