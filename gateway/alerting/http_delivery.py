"""Requests to receivers over HTTP: options, address guard, and the class of every failure.

Rules of the subject:
  * Only an address that the operator wrote in the configuration is asked; nothing from an alert becomes an address.
  * Which addresses may be asked says the guard (`address_guard`); a redirect to another host leads to public ones only.
  * 2xx is delivered. 429, 5xx and every failure of connection or time is tried again, after Retry-After if given.
    Everything else is final.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec
from yarl import URL

from gateway.alerting.address_guard import AddressGuard, GuardedResolver
from gateway.alerting.document import Value
from gateway.alerting.notification import Again, Delivered, Outcome, Refused
from gateway.http_date import http_date
from gateway.settings_types import Secret

MAX_REDIRECTS: Final = 3
MAX_ANSWER: Final = 65536
BODY_SECONDS: Final = 2.0
"""Once the status is there, it decides; the body is waited for so long at most."""
MAX_RETRY_AFTER: Final = 3600.0


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`http_config` of the configuration."""

    username: str = ""
    password: Secret = Secret("")
    authorization_type: str = "Bearer"
    credentials: Secret = Secret("")
    follow_redirects: bool = True
    proxy_url: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, or None for the default one."""
        if not (self.ca_file or self.cert_file or self.insecure_skip_verify):
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Answer(msgspec.Struct, frozen=True):
    """What came back: status, headers in lower case, what came of the first 64 KiB of the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def read_http_options(value: Value | None, default: HttpOptions) -> HttpOptions:
    """An `http_config` section; raises ConfigError. `enable_http2` is taken and changes nothing: HTTP/1.1 is spoken."""
    if value is None:
        return default
    section = value.section()
    found: dict[str, Any] = {"follow_redirects": section.boolean("follow_redirects", True)}
    section.boolean("enable_http2", True)
    found["proxy_url"] = section.text("proxy_url")
    basic, authorization = section.take("basic_auth"), section.take("authorization")
    bearer = section.secret("bearer_token")
    if sum((basic is not None, authorization is not None, bool(bearer))) > 1:
        raise value.refuse("at most one of basic_auth, authorization and bearer_token may be given")
    if basic is not None:
        below = basic.section()
        found |= {"username": below.text("username"), "password": below.secret("password")}
        below.finish("username, password, password_file")
    if authorization is not None:
        below = authorization.section()
        found |= {"authorization_type": below.text("type", "Bearer"), "credentials": below.secret("credentials")}
        below.finish("type, credentials, credentials_file")
    if bearer:
        found["credentials"] = bearer
    tls = section.take("tls_config")
    if tls is not None:
        below = tls.section()
        for key in ("ca_file", "cert_file", "key_file", "server_name"):
            found[key] = below.text(key)
        found["insecure_skip_verify"] = below.boolean("insecure_skip_verify", False)
        below.finish("ca_file, cert_file, key_file, server_name, insecure_skip_verify")
    section.finish("basic_auth, authorization, bearer_token, tls_config, follow_redirects, proxy_url, enable_http2")
    options = HttpOptions(**found)
    try:
        options.tls()
    except (OSError, ssl.SSLError) as error:
        raise value.refuse(f"the TLS files cannot be used: {error}") from error
    return options


def read_url(value: Value) -> str:
    """An http or https address; raises ConfigError, which does not tell it: most such addresses are secrets."""
    url = value.text()
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # brackets that do not match, characters that become others
        good = False
    if not good:
        raise value.refuse("this is not an http or https address")
    return url


class HttpDelivery:
    """The HTTP client of all channels."""

    def __init__(self, guard: AddressGuard, *, timeout: float = 10.0) -> None:
        self.guard = guard
        self._public = AddressGuard()
        self._timeout = timeout
        self._sessions: dict[AddressGuard, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Closes the connections; idempotent."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def _session(self, guard: AddressGuard) -> aiohttp.ClientSession:
        session = self._sessions.get(guard)
        if session is None:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(guard),
                use_dns_cache=False,
                limit=256,
                limit_per_host=64,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "telemetry-gateway", "Accept-Encoding": "identity"},
            )
            self._sessions[guard] = session
        return session

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str], options: HttpOptions, method: str = "POST"
    ) -> Answer:
        """One request, redirects followed as the options say. Raises aiohttp.ClientError, OSError or TimeoutError."""
        sent = dict(headers)
        if options.username:
            sent["Authorization"] = aiohttp.encode_basic_auth(options.username, options.password.reveal())
        elif options.credentials:
            sent["Authorization"] = f"{options.authorization_type} {options.credentials.reveal()}"
        guard = self.guard
        origin = urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS + 1):
            target = _target(url)
            # aiohttp does not ask the resolver about a literal address.
            guard.check_literal(target.raw_host or "")
            async with self._session(guard).request(
                method,
                target,
                data=body,
                headers=sent,
                allow_redirects=False,
                ssl=options.tls() or True,
                server_hostname=options.server_name or None,
                proxy=options.proxy_url or None,
            ) as response:
                text = await _body(response)
                location = response.headers.get("Location")
                if not options.follow_redirects or response.status not in (307, 308) or location is None:
                    return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, text)
                try:
                    url = urljoin(url, location)
                    elsewhere = urlsplit(url).netloc != origin
                except ValueError:
                    return Answer(310, {}, b"the receiver redirects to what is no address")
                if elsewhere:
                    # A stranger decides where this goes: public addresses only, and without our credentials.
                    guard = self._public
                    sent.pop("Authorization", None)
        return Answer(310, {}, b"too many redirects")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """What comes of the body: a receiver that told its status has answered, whatever becomes of the rest."""
    parts: list[bytes] = []
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            while len(part := await response.content.read(MAX_ANSWER - sum(map(len, parts)))):
                parts.append(part)
    return b"".join(parts)


def _target(url: str) -> URL:
    """The address as it is connected to: IDNA makes plain digits of others, so `①②⑦.0.0.1` is an IP address there and
    would be a name here. Raises aiohttp.InvalidURL."""
    try:
        return URL(url)
    except ValueError as error:
        raise aiohttp.InvalidURL(url, str(error)) from error


def outcome_of(answer: Answer, memory: Mapping[str, str] | None = None) -> Outcome:
    """The class of an answer by its status."""
    if 200 <= answer.status < 300:
        return Delivered(dict(memory or {}))
    text = answer.body[:200].decode("utf-8", "replace").strip()
    reason = f"HTTP {answer.status}: {text}" if text else f"HTTP {answer.status}"
    if answer.status == 429 or answer.status >= 500:
        return Again(reason, retry_after(answer.headers))
    return Refused(reason)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from a Retry-After header (a number or a date), at most an hour."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(text)
        return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)
    moment = http_date(text)
    base = http_date(headers.get("date", "")) if now is None else now
    if moment is None or base is None:
        return None
    return min(max(moment - base, 0.0), MAX_RETRY_AFTER)


def failure_of(error: Exception) -> Again:
    """The outcome of an exception that `post` raises."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return Again(f"cannot connect: {error}"[:300])
    if isinstance(error, TimeoutError):
        return Again("no answer in time", uncertain=True)
    return Again(f"{type(error).__name__}: {error}"[:300], uncertain=True)


FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError)
"""What `post` may raise."""
