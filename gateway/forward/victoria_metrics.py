"""The HTTP client for VictoriaMetrics: write, ask for the protocol, ask since when it has been running.

Nothing here raises for what the target or the network does: an answer is an Outcome, a silence is one too.

Which body encoding: `GET /api/v1/write?get_vm_proto_version=1` answers 200 and a number from 1 on where zstd is taken;
anything else means snappy only. Since when: `vm_app_start_timestamp` (else `process_start_time_seconds`) on /metrics,
where `flag{name="retentionPeriod",…}` tells the retention too. Sources: VictoriaMetrics docs, "VictoriaMetrics remote
write protocol"; its /metrics.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from gateway.errors import ConfigError
from gateway.forward.remote_write_encoder import Encoding
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.http_date import http_date

_LONGEST_ANSWER: Final = 4096
_LONGEST_METRICS: Final = 8 * 2**20
_START_TIMES: Final = tuple(
    re.compile(rb"^" + name + rb"(?:\{[^}\n]*\})? +([0-9.eE+]+)", re.MULTILINE)
    for name in (b"vm_app_start_timestamp", b"process_start_time_seconds")
)
_RETENTION: Final = re.compile(rb'^flag\{name="retentionPeriod", *value="([0-9.]+)([a-z]?)"', re.MULTILINE)
_RETENTION_UNITS: Final = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0, "": 31 * 86400.0}


class Outcome(Enum):
    """What became of a block."""

    DONE = "done"
    """2xx: the target has it in memory."""
    REJECTED = "rejected"
    """A final 4xx: this block is bad and will never be taken."""
    MISCONFIGURED = "misconfigured"
    """401, 403, 404, 405 or a redirect: credentials or address are wrong; the data is good."""
    BUSY = "busy"
    """429 or 5xx: later."""
    UNREACHABLE = "unreachable"
    """No connection, a broken one, or no answer in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An outcome with the target's words; `retry_after` in seconds if it gave one.

    refused: nobody listened, so the process was gone at that moment.
    """

    outcome: Outcome
    status: int = 0
    words: str = ""
    retry_after: float | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody told who answers: why, and whether nobody even listened."""

    words: str
    refused: bool


@dataclass(frozen=True, slots=True)
class TargetIdentity:
    """Which process answers: its start (Unix seconds) and retention (seconds); None where it does not tell."""

    start_time: float | None
    retention: float | None
    told_at: float | None = None
    """The target's own time of this answer (its Date header, whole seconds)."""

    @property
    def distinct(self) -> bool:
        """Whether every later process of this target will tell another start time.

        Start times count whole seconds: as long as the second of the start is not over, a restart cannot be told.
        """
        return self.start_time is None or (self.told_at is not None and self.told_at > self.start_time)


def tls_context(settings: VictoriaMetricsSettings) -> ssl.SSLContext | None:
    """What the target's certificate is checked with; None = the system's authorities, no certificate of ours.

    Raises ConfigError for certificate files that cannot be used.
    """
    if not (settings.tls_ca_file or settings.tls_cert_file):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file or None)
        if settings.tls_cert_file:
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"certificate files cannot be used: {error}", key="victoriametrics.tls_*", expected="readable PEM files"
        ) from error
    return context


def open_session(settings: VictoriaMetricsSettings, tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """A session with the target's credentials, certificates and time limits; the caller closes it."""
    headers = dict(settings.headers)
    if settings.username:
        pair = f"{settings.username}:{settings.password.reveal()}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    elif settings.bearer_token:
        headers["Authorization"] = f"Bearer {settings.bearer_token.reveal()}"
    connector = aiohttp.TCPConnector(limit=settings.blocks_in_flight + 2, ssl=tls if tls is not None else True)
    timeout = aiohttp.ClientTimeout(total=settings.request_timeout, sock_connect=settings.connect_timeout)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers, trust_env=False)


class VictoriaMetrics:
    """One target. Use as an async context manager; `begin` may be called again to drop all connections."""

    def __init__(self, settings: VictoriaMetricsSettings) -> None:
        """Raises ConfigError for certificate files that cannot be used."""
        self._settings = settings
        base = settings.url.rstrip("/")
        parts = urlsplit(base)
        self._write_url = f"{base}/api/v1/write"
        self._metrics_url = f"{parts.scheme}://{parts.netloc}/metrics"
        self._tls = tls_context(settings)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> VictoriaMetrics:
        self._session = open_session(self._settings, self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def write(self, body: bytes, encoding: Encoding) -> Answer:
        """Send one block."""
        headers = {
            "Content-Encoding": encoding,
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        if encoding == "zstd":
            headers["X-VictoriaMetrics-Remote-Write-Version"] = "1"
        session = self._open_session()
        try:
            async with session.post(self._write_url, data=body, headers=headers, allow_redirects=False) as response:
                if 200 <= response.status < 300:
                    await response.read()
                    return Answer(Outcome.DONE, response.status)
                words = (await response.content.read(_LONGEST_ANSWER)).decode("utf-8", "replace")
                return Answer(
                    outcome_of(response.status), response.status, words.strip(), _retry_after(response.headers)
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(Outcome.UNREACHABLE, 0, _words_of(error), refused=_refused(error))

    async def encoding(self) -> Encoding | None:
        """What the target takes now; None if it cannot be reached or is not able to tell (429, 5xx)."""
        session = self._open_session()
        try:
            async with session.get(
                self._write_url, params={"get_vm_proto_version": "1"}, allow_redirects=False
            ) as response:
                text = (await response.content.read(_LONGEST_ANSWER)).strip()
                if response.status == 429 or response.status >= 500:
                    return None
                return "zstd" if response.status == 200 and text.isdigit() and int(text) >= 1 else "snappy"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def identity(self) -> TargetIdentity | Silence:
        """Who answers, if somebody does."""
        session = self._open_session()
        try:
            timeout = aiohttp.ClientTimeout(total=self._settings.connect_timeout + 10.0)
            async with session.get(self._metrics_url, timeout=timeout, allow_redirects=False) as response:
                text, told_at = b"", _date(response.headers)
                if response.status == 200:
                    while len(text) < _LONGEST_METRICS and (chunk := await response.content.read(2**16)):
                        text += chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Silence(_words_of(error), _refused(error))
        return replace(parse_identity(text), told_at=told_at)

    def _open_session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "used outside of its context"
        return self._session


def outcome_of(status: int) -> Outcome:
    """What an HTTP status of the write address means for a block."""
    if 200 <= status < 300:
        return Outcome.DONE
    if status in (408, 429) or status >= 500:
        return Outcome.BUSY
    if status in (401, 403, 404, 405, 407) or status < 400:
        return Outcome.MISCONFIGURED
    return Outcome.REJECTED


def parse_identity(metrics: bytes) -> TargetIdentity:
    """Start time and retention from the text of /metrics."""
    start = None
    for pattern in _START_TIMES:
        if found := pattern.search(metrics):
            start = float(found[1])
            break
    retention = None
    if found := _RETENTION.search(metrics):
        unit = found[2].decode()
        if unit in _RETENTION_UNITS:
            retention = float(found[1]) * _RETENTION_UNITS[unit]
    return TargetIdentity(start, retention)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After")
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _date(headers: Mapping[str, str]) -> float | None:
    """The Date header in Unix seconds (RFC 9110, 6.6.1)."""
    return http_date(headers.get("Date", ""))


def _refused(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError)


def _words_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
