"""TLS of the listeners: contexts from certificate files, renewed when the files change.

With `tls_client_ca` a client must show a certificate that one of these authorities signed (mTLS).

A context that is given other authorities keeps the former ones beside them, and the sessions of clients that these
signed; and one that is given a certificate without its key serves neither. So renewed files always go into a context
of their own, and only a whole one takes the place of the former.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from gateway.access.settings import AccessSettings
from gateway.bounded_text import read_bytes
from gateway.errors import ConfigError


def _read(path: str, key: str) -> bytes:
    try:
        return read_bytes(Path(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", key=key, expected="a PEM file") from error


class _ServedContext(ssl.SSLContext):
    """What a listener is given once and for all: each connection gets the context that is current when it begins."""

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self.current.wrap_socket(*args, **kwargs)


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
        self._context: _ServedContext | None = None
        self._stamp = self.stamp()
        if self.enabled:
            self._context = _ServedContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.current = self._loaded()

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
        self._context.current = self._loaded()
        self._stamp = stamp
        return True

    def _loaded(self) -> ssl.SSLContext:
        s = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            for path in filter(None, (s.tls_certificate, s.tls_key, s.tls_client_ca)):
                read_bytes(Path(path))  # the library would wait for a fifo and read a device for ever
            context.load_cert_chain(s.tls_certificate, s.tls_key)
            if s.tls_client_ca:
                context.load_verify_locations(s.tls_client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            problem = f"{s.tls_certificate} cannot be used: {error}"
            raise ConfigError(problem, key="access.tls_certificate", expected="a PEM chain with its key") from error
        return context

    def stamp(self) -> tuple[int, ...]:
        """Changes when a file does."""
        s = self._settings
        stamp: list[int] = []
        for path in (p for p in (s.tls_certificate, s.tls_key, s.tls_client_ca) if p):
            try:
                status = Path(path).stat()
            except OSError:
                stamp += (0, 0, 0)
            else:  # a copy may keep the time of what it is a copy of
                stamp += (status.st_mtime_ns, status.st_ino, status.st_size)
        return tuple(stamp)


def common_name(peer_certificate: Any) -> str | None:
    """Common name of a certificate as `ssl.SSLSocket.getpeercert` gives it; None where there is none."""
    if not isinstance(peer_certificate, dict):
        return None
    for part in peer_certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
