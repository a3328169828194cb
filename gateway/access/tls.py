"""TLS of the listeners: contexts from certificate files, renewed when the files change.

With `tls_client_ca` a client must show a certificate that one of these authorities signed (mTLS).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from gateway.access.settings import AccessSettings
from gateway.errors import ConfigError


def _read(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", key=key, expected="a PEM file") from error


class Certificates:
    """The certificate files of the listeners."""

    def __init__(self, settings: AccessSettings) -> None:
        """Raises ConfigError for files that cannot be used."""
        self._settings = settings
        self.enabled = bool(settings.tls_certificate)
        if bool(settings.tls_certificate) != bool(settings.tls_key):
            raise ConfigError(
                "a certificate and its key belong together", key="access.tls_key", expected="both or none"
            )
        if settings.tls_client_ca and not self.enabled:
            raise ConfigError("client certificates need TLS", key="access.tls_certificate", expected="a PEM file")
        self._context: ssl.SSLContext | None = None
        self._stamp = self.stamp()
        if self.enabled:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._load(self._context)
            if settings.tls_client_ca:
                self._context.verify_mode = ssl.CERT_REQUIRED

    @property
    def context(self) -> ssl.SSLContext | None:
        """For HTTP listeners; None without TLS. The same object for ever: a reload changes what it serves."""
        return self._context

    def pem(self) -> tuple[bytes, bytes, bytes | None]:
        """(key, chain, client authorities) as gRPC takes them. Raises ConfigError."""
        s = self._settings
        authorities = _read(s.tls_client_ca, "access.tls_client_ca") if s.tls_client_ca else None
        chain = _read(s.tls_certificate, "access.tls_certificate")
        return _read(s.tls_key, "access.tls_key"), chain, authorities

    def reload_if_changed(self) -> bool:
        """Take up renewed files; keeps the old ones and raises ConfigError when the new ones cannot be used."""
        stamp = self.stamp()
        if self._context is None or stamp == self._stamp:
            return False
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # try them on a context that nobody uses
        self._load(self._context)
        self._stamp = stamp
        return True

    def _load(self, context: ssl.SSLContext) -> None:
        s = self._settings
        try:
            context.load_cert_chain(s.tls_certificate, s.tls_key)
            if s.tls_client_ca:
                context.load_verify_locations(s.tls_client_ca)
        except (OSError, ssl.SSLError) as error:
            problem = f"{s.tls_certificate} cannot be used: {error}"
            raise ConfigError(problem, key="access.tls_certificate", expected="a PEM chain with its key") from error

    def stamp(self) -> tuple[int, ...]:
        """Changes when a file does."""
        s = self._settings
        paths = [p for p in (s.tls_certificate, s.tls_key, s.tls_client_ca) if p]
        return tuple(Path(p).stat().st_mtime_ns if Path(p).exists() else 0 for p in paths)


def common_name(peer_certificate: Any) -> str | None:
    """Common name of a certificate as `ssl.SSLSocket.getpeercert` gives it; None where there is none."""
    if not isinstance(peer_certificate, dict):
        return None
    for part in peer_certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
