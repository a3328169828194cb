"""One probe: ask once, say how it went.

Rules of the subject:
  * Success of HTTP is the expected status and text within the time limit; of TCP, a connection.
  * Redirects are not followed: 301 is an answer like any other. A body is read only as far as its text is looked for.
  * Addresses are judged at name resolution and the connection goes to the address that was judged, so a name that
    changes its answer in between does not lead elsewhere. Link-local addresses are never asked.
  * Nothing of an answer is kept but its status, its times and when its certificate ends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.probes.settings import Probe

_MOST_BODY: Final = 65536


@dataclass(frozen=True, slots=True)
class Result:
    """How one probe went. Durations in seconds; certificate_ends in Unix seconds, 0 without TLS."""

    at: float
    ok: bool
    duration: float
    status: int = 0
    """Of HTTP; 0 where there was no answer."""
    certificate_ends: float = 0.0
    problem: str = ""


class _Refused(Exception):
    """The address may not be asked."""


async def ask(probe: Probe, *, allow_internal: bool, now: float) -> Result:
    """Ask once; never raises for what the target does. now: Unix seconds."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(probe.timeout):
            status, ends, problem = await (_http if probe.is_http else _tcp)(probe, allow_internal)
    except TimeoutError:
        status, ends, problem = 0, 0.0, f"no answer within {probe.timeout:g} s"
    except _Refused as error:
        status, ends, problem = 0, 0.0, str(error)
    except aiohttp.ClientConnectorCertificateError as error:
        status, ends, problem = 0, 0.0, f"certificate: {error.certificate_error}"[:300]
    except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
        status, ends, problem = 0, 0.0, f"{type(error).__name__}: {error}"[:300]
    return Result(now, not problem, time.perf_counter() - began, status, ends, problem)


async def addresses(host: str, port: int, *, allow_internal: bool) -> list[ResolveResult]:
    """Addresses of a name that may be asked. Raises _Refused if there are none, OSError if it has none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=family, proto=protocol, flags=0)
        for family, _, protocol, _, address in found
        if may_be_asked(str(address[0]), allow_internal=allow_internal)
    ]
    if not allowed:
        raise _Refused(f"{host} leads to an address that is not asked (see probes.allow_internal)")
    return allowed


def may_be_asked(address: str, *, allow_internal: bool) -> bool:
    """Whether an IP address may be asked."""
    ip = ipaddress.ip_address(address.split("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return False
    return allow_internal or ip.is_global


class _Judged(AbstractResolver):
    """Answers with addresses that were judged before."""

    def __init__(self, found: list[ResolveResult]) -> None:
        self._found = found

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See aiohttp."""
        del host, port, family
        return self._found

    async def close(self) -> None:
        """See aiohttp."""


@lru_cache(maxsize=64)
def _tls(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


async def _http(probe: Probe, allow_internal: bool) -> tuple[int, float, str]:
    found = await addresses(*probe.endpoint(), allow_internal=allow_internal)
    connector = aiohttp.TCPConnector(resolver=_Judged(found), use_dns_cache=False, force_close=True)
    context = await asyncio.to_thread(_tls, probe.ca_file) if probe.target.startswith("https:") else True
    async with (
        aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "telemetry-gateway-probe"}
        ) as session,
        session.request(probe.method, probe.target, allow_redirects=False, ssl=context) as response,
    ):
        transport = response.connection.transport if response.connection is not None else None
        ends = _certificate_end(transport)
        expected = probe.expect_status
        if response.status not in expected if expected else not 200 <= response.status < 300:
            return response.status, ends, f"HTTP {response.status}"
        if probe.expect_text:
            body = b""
            while len(body) < _MOST_BODY and (part := await response.content.read(_MOST_BODY - len(body))):
                body += part
            if probe.expect_text.encode() not in body:
                return response.status, ends, "the expected text is not in the answer"
        return response.status, ends, ""


async def _tcp(probe: Probe, allow_internal: bool) -> tuple[int, float, str]:
    found = await addresses(*probe.endpoint(), allow_internal=allow_internal)
    problem = ""
    for address in found:
        try:
            _, writer = await asyncio.open_connection(address["host"], address["port"])
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else str(error)
            continue
        writer.transport.abort()
        return 0, 0.0, ""
    return 0, 0.0, problem


def _certificate_end(transport: asyncio.Transport | None) -> float:
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate and "notAfter" in certificate else 0.0


def shown_target(target: str) -> str:
    """A target without the query, which may carry a key."""
    if not target.startswith(("http://", "https://")):
        return target
    parts = urlsplit(target)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
