"""Authentication of requests: a credential → an identity with roles.

    Authorization header   kept as                      compared
    Bearer token           SHA-256 of a random token    by digest, constant time over all tokens
    Basic name:password    scrypt with a salt           by key, constant time; a wrong name costs the same
    client certificate     common name                  after TLS has verified the chain

A password costs tens of milliseconds on purpose, so a credential that proved right is remembered by its keyed digest,
bounded, and `identify_nowait` answers from there; `identify` may compute and belongs in a thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gateway.access.settings import AccessSettings
from gateway.addresses import is_loopback
from gateway.errors import ConfigError, PermissionDenied, Unauthenticated

ROLES: Final = frozenset({"ingest", "read", "operate", "admin"})
_IMPLIED: Final = {"admin": ROLES, "operate": frozenset({"operate", "read"})}
_REMEMBERED: Final = 4096
_MAX_CREDENTIAL: Final = 8192


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request, and what that sender may do."""

    name: str
    roles: frozenset[str]
    tenant: str = ""
    """Whose limits and share its requests count against."""

    def require(self, role: str) -> None:
        """Raises PermissionDenied."""
        if role not in self.roles:
            raise PermissionDenied(f'"{self.name}" does not have the role {role}')


ANONYMOUS: Final = Identity("anonymous", ROLES, "anonymous")
"""Everyone, where no authentication is configured."""


def confined(identity: Identity) -> Identity:
    """The same sender with no right but to send, whatever its credentials allow."""
    return Identity(identity.name, identity.roles & {"ingest"}, identity.tenant)


def anonymous_at(host: str) -> Identity:
    """Who sends to a listener that asks nobody who they are: from other machines, one that may only send."""
    return ANONYMOUS if is_loopback(host) else confined(ANONYMOUS)


def _roles(given: tuple[str, ...], key: str) -> frozenset[str]:
    unknown = set(given) - ROLES
    if unknown:
        raise ConfigError(f"unknown role {sorted(unknown)[0]!r}", key=key, expected=", ".join(sorted(ROLES)))
    return frozenset().union(*(_IMPLIED.get(r, frozenset({r})) for r in given))


def hash_password(password: str, *, n: int = 16384, r: int = 8, p: int = 1) -> str:
    """What to write into `scrypt` of a user."""
    salt = os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r)
    return f"scrypt:{n}:{r}:{p}:{salt.hex()}:{key.hex()}"


class _Password:
    def __init__(self, text: str, key: str) -> None:
        try:
            scheme, n, r, p, salt, derived = text.split(":")
            self.n, self.r, self.p = int(n), int(r), int(p)
            self.salt, self.key = bytes.fromhex(salt), bytes.fromhex(derived)
            if scheme != "scrypt" or not self.key or self.n * self.r > 2**22:
                raise ValueError
        except ValueError:
            raise ConfigError("not a password hash", key=key, expected="scrypt:n:r:p:salt:key") from None

    def matches(self, password: bytes) -> bool:
        derived = hashlib.scrypt(
            password, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=256 * self.n * self.r, dklen=len(self.key)
        )
        return hmac.compare_digest(derived, self.key)


class Authenticator:
    """Checks credentials. Immutable but for its memory of proven ones; may be called from any thread."""

    def __init__(self, settings: AccessSettings) -> None:
        """Raises ConfigError."""
        self._tokens: list[tuple[bytes, Identity]] = []
        for token in settings.tokens:
            digest = token.sha256.reveal()
            if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
                raise ConfigError(
                    "not a SHA-256 digest", key=f"access.tokens.{token.name}.sha256", expected="64 hexadecimal digits"
                )
            identity = Identity(
                token.name, _roles(token.roles, f"access.tokens.{token.name}.roles"), token.tenant or token.name
            )
            self._tokens.append((bytes.fromhex(digest), identity))
        self._users = {
            user.name.encode(): (
                _Password(user.scrypt.reveal(), f"access.users.{user.name}.scrypt"),
                Identity(user.name, _roles(user.roles, f"access.users.{user.name}.roles"), user.tenant or user.name),
            )
            for user in settings.users
        }
        # Costs what a real one costs and matches nothing; a hash of its own would cost every start a tenth of a second.
        self._nobody = _Password(f"scrypt:16384:8:1:{os.urandom(16).hex()}:{os.urandom(64).hex()}", "")
        self._certificates = {
            c.common_name: Identity(
                c.common_name,
                _roles(c.roles, f"access.client_certificates.{c.common_name}.roles"),
                c.tenant or c.common_name,
            )
            for c in settings.client_certificates
        }
        if self._certificates and not settings.tls_client_ca:
            raise ConfigError("client certificates without an authority", key="access.tls_client_ca", expected="a file")
        self.required = bool(self._tokens or self._users or self._certificates)
        """False where every request is ANONYMOUS."""
        self._memory_key = os.urandom(32)
        self._proven: OrderedDict[bytes, Identity] = OrderedDict()
        self._lock = threading.Lock()
        self._one_password = threading.Semaphore(1)

    def identify_nowait(self, authorization: str | None, common_name: str | None = None) -> Identity | None:
        """The identity if that is cheap to say; None when `identify` must compute. Raises Unauthenticated."""
        if not self.required:
            return ANONYMOUS
        if authorization is None:
            identity = self._certificates.get(common_name) if common_name is not None else None
            if identity is None:
                raise Unauthenticated("credentials are required")
            return identity
        scheme, _, credential = authorization.partition(" ")
        scheme = scheme.lower()
        if len(credential) > _MAX_CREDENTIAL or scheme not in ("bearer", "basic"):
            raise Unauthenticated("the Authorization header is neither Bearer nor Basic")
        if scheme == "bearer":
            return self._bearer(credential.strip())
        return self._proven.get(self._digest(authorization))

    def identify(self, authorization: str | None, common_name: str | None = None) -> Identity:
        """The identity; may take as long as a password hash. Raises Unauthenticated."""
        identity = self.identify_nowait(authorization, common_name)
        if identity is not None:
            return identity
        assert authorization is not None
        try:
            name, _, password = base64.b64decode(authorization.partition(" ")[2], validate=True).partition(b":")
        except (binascii.Error, ValueError):
            raise Unauthenticated("the Basic credentials are not base64") from None
        known = self._users.get(name)
        with self._one_password:  # guessing cannot take more than one core's worth of memory and time
            right = (known[0] if known else self._nobody).matches(password)
        if known is None or not right:
            raise Unauthenticated("name or password is wrong")
        with self._lock:
            self._proven[self._digest(authorization)] = known[1]
            while len(self._proven) > _REMEMBERED:
                self._proven.popitem(last=False)
        return known[1]

    def _digest(self, authorization: str) -> bytes:
        return hashlib.blake2b(authorization.encode("utf-8", "surrogateescape"), key=self._memory_key).digest()

    def _bearer(self, token: str) -> Identity:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found: Identity | None = None
        for kept, identity in self._tokens:
            if hmac.compare_digest(kept, digest):
                found = identity
        if found is None:
            raise Unauthenticated("the token is not known")
        return found


def require_safe_address(host: str, settings: AccessSettings, *, key: str) -> None:
    """Raises ConfigError for a listener that others reach and that asks nobody who they are."""
    authenticated = bool(settings.tokens or settings.users or settings.client_certificates or settings.tls_client_ca)
    if authenticated or settings.allow_unauthenticated or is_loopback(host):
        return
    raise ConfigError(
        f"{host or 'every address'} is reachable from other machines and no authentication is configured",
        key=key,
        expected="a loopback address, credentials in [access], or access.allow_unauthenticated = true",
    )
