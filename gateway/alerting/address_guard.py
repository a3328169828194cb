"""Which addresses receivers may have: the guard between what was configured and what is connected to.

Rules of the subject:
  * Public addresses may be asked. Of internal ones only those of the networks that the settings name: the loopback by
    default, so that a receiver on the same host works and nothing else inside of a network can be reached by a name
    that leads there.
  * Link-local addresses, clouds' metadata services, multicast, reserved and unspecified addresses are never asked,
    whatever the settings name.
  * An IPv4 address inside of an IPv6 one (mapped, compatible, translated, 6to4, NAT64, Teredo) is judged as that IPv4
    address.
  * What is judged is what is connected to: a name is resolved once, and a connection goes to an address that passed.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.0.170", "192.0.0.171", "fd00:ec2::254")
)
"""Where clouds answer beside 169.254.0.0/16; some are among private or even public addresses."""
_TRANSLATED: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
"""What translators (NAT64, SIIT) make an IPv4 address of."""
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_NAMES: Final = {"loopback": LOOPBACK, "private": PRIVATE}


class AddressGuard:
    """See the head of the file. `networks`: "loopback", "private" and networks such as "10.1.0.0/16"."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Raises ConfigError for what is not a network."""
        self._networks: list[Network] = []
        for text in networks:
            try:
                self._networks += [ipaddress.ip_network(part) for part in _NAMES.get(text, (text,))]
            except ValueError as error:
                raise ConfigError(
                    str(error),
                    key="alerting.internal_receivers",
                    expected='"loopback", "private" or a network such as "10.1.0.0/16"',
                ) from error

    def refusal(self, text: str) -> str:
        """Why an IP address may not be asked, or "". Raises ValueError for what is not an IP address."""
        address = ipaddress.ip_address(text.split("%", 1)[0])
        inner = _embedded(address)
        for one in (address,) if inner is None else (address, inner):
            if one in METADATA:
                return "a cloud's metadata service"
            if one.is_link_local:
                return "a link-local address"
        judged = inner or address
        if judged.is_unspecified or judged.is_multicast or (judged.version == 4 and judged.is_reserved):
            return "not the address of a host"
        # Site-local addresses (fec0::/10) are private ones of old, which Python takes for public.
        public = judged.is_global and not (judged.version == 6 and judged.is_site_local)
        if public or any(judged in network for network in self._networks):
            return ""
        return "an internal address"

    def check_literal(self, host: str) -> None:
        """Raises OSError if the text is an IP address that may not be asked."""
        try:
            reason = self.refusal(host)
        except ValueError:
            return
        if reason:
            raise _refused(host, reason)

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[tuple[Any, ...]]:
        """What `getaddrinfo` finds for streams and may be asked; raises OSError if that is nothing."""
        loop = asyncio.get_running_loop()
        return self._among(host, await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family))

    def _among(self, host: str, found: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        allowed, reason = [], "a name without an address"
        for entry in found:
            if entry[0] in (socket.AF_INET, socket.AF_INET6):
                refusal = self.refusal(str(entry[4][0]))
                if not refusal:
                    allowed.append(entry)
                reason = refusal or reason
        if not allowed:
            raise _refused(host, reason)
        return allowed

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket to the first address of a name that may be asked and answers. Raises OSError."""
        failure: OSError | None = None
        for family, kind, protocol, _, address in await self.resolve(host, port):
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, address)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
                continue
            return sock
        assert failure is not None
        raise failure

    @contextmanager
    def over_library(self) -> Iterator[None]:
        """Everything that the calling context resolves meanwhile by `socket.getaddrinfo`, in threads that take it over
        too, passes the guard; for libraries that connect by themselves, with their own redirects."""
        _install()
        token = _over.set(self)
        try:
            yield
        finally:
            _over.reset(token)

    def judged(self, host: Any, found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """What a guarded library is given."""
        return self._among(str(host), found)


class GuardedResolver(AbstractResolver):
    """The guard as aiohttp's resolver."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See aiohttp."""
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=its_family, proto=protocol, flags=0)
            for its_family, _, protocol, _, address in await self._guard.resolve(host, port, family)
        ]

    async def close(self) -> None:
        """See aiohttp."""


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _TRANSLATED) or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _refused(host: str, reason: str) -> OSError:
    return OSError(errno.EACCES, f"{host} is {reason}, which the settings do not allow (alerting.internal_receivers)")


_over: ContextVar[AddressGuard | None] = ContextVar("address guard", default=None)
_installed = threading.Lock()
_plain_getaddrinfo = socket.getaddrinfo


def _install() -> None:
    """Libraries resolve by `socket.getaddrinfo`; for contexts without a guard it stays what it was."""
    with _installed:
        if socket.getaddrinfo is _plain_getaddrinfo:
            socket.getaddrinfo = _guarded_getaddrinfo


def _guarded_getaddrinfo(host: Any, *arguments: Any, **named: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = _plain_getaddrinfo(host, *arguments, **named)
    guard = _over.get()
    return found if guard is None else guard.judged(host, found)
