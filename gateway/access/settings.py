"""Who may do what: section `[access]`."""

from __future__ import annotations

from gateway.settings_types import Secret, Settings


class Token(Settings, frozen=True):
    """One bearer token. Only its digest is kept: `printf %s TOKEN | sha256sum`."""

    name: str
    """Who carries it; appears in logs and counters."""
    sha256: Secret
    """Digest of the token, 64 hexadecimal digits. Tokens must be random, at least 128 bits."""
    roles: tuple[str, ...] = ("ingest",)
    """Of ingest, read, operate, admin."""
    tenant: str = ""
    """Whose limits and share what it sends counts against; empty = a tenant of this one's own name."""


class User(Settings, frozen=True):
    """One name and password for basic authentication."""

    name: str
    """Who logs in; appears in logs and counters."""
    scrypt: Secret
    """`scrypt:n:r:p:salt:key`, salt and key in hexadecimal; made by access.tokens.hash_password."""
    roles: tuple[str, ...] = ("ingest",)
    """Of ingest, read, operate, admin."""
    tenant: str = ""
    """Whose limits and share what it sends counts against; empty = a tenant of this one's own name."""


class ClientCertificate(Settings, frozen=True):
    """One identity proven by mTLS."""

    common_name: str
    """Common name of the certificate's subject."""
    roles: tuple[str, ...] = ("ingest",)
    """Of ingest, read, operate, admin."""
    tenant: str = ""
    """Whose limits and share what it sends counts against; empty = a tenant of this one's own name."""


class AccessSettings(Settings, frozen=True):
    """Empty means: no authentication, and therefore loopback addresses only."""

    allow_unauthenticated: bool = False
    """Let listeners without authentication bind addresses that other machines reach."""
    tokens: tuple[Token, ...] = ()
    """Bearer tokens: `Authorization: Bearer …`."""
    users: tuple[User, ...] = ()
    """Passwords: `Authorization: Basic …`."""
    client_certificates: tuple[ClientCertificate, ...] = ()
    """Certificates; needs tls_client_ca."""
    tls_certificate: str = ""
    """File with the listeners' certificate chain (PEM); empty = no TLS."""
    tls_key: str = ""
    """File with its private key (PEM)."""
    tls_client_ca: str = ""
    """File with the authorities that sign clients' certificates (PEM); given = clients must show one."""
