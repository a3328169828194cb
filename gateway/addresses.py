"""Addresses of listeners: how they are written, and what to say when one cannot be bound."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from typing import Final

from gateway.errors import AddressNotFree, AddressTaken, ConfigError

ADDRESS_WAIT_SECONDS: Final = 3.0
"""For which a start waits for an address that cannot be had now: what is left of a gateway that was killed holds it
until it has ended, and its memory is given back before its sockets are."""

_PARTS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>.*?))(?::(?P<port>[^:]*))?", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")

_NEEDS_A_RIGHT: Final = (
    ConfigError,
    "a port from 1024 on, or the right to bind lower ones (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
)
_NAMELESS: Final = (ConfigError, "a name that the system can resolve (`getent hosts NAME`), or an IP address")
_REFUSALS: Final[dict[int | None, tuple[type[ConfigError], str]]] = {
    errno.EADDRINUSE: (AddressTaken, "a free address; `gateway doctor` says what uses it"),
    errno.EADDRNOTAVAIL: (
        AddressNotFree,
        "an address of this machine (`ip address` lists them), or 0.0.0.0 for all of them",
    ),
    socket.EAI_AGAIN: (AddressNotFree, "a name that can be resolved when the gateway starts, or an IP address"),
    **dict.fromkeys((socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY, socket.EAI_FAIL), _NAMELESS),
    errno.EACCES: _NEEDS_A_RIGHT,
    errno.EPERM: _NEEDS_A_RIGHT,
    None: (AddressNotFree, "an address that can be bound; `gateway doctor` says what is in the way"),
}


def parse_address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 4317) from "127.0.0.1:4317" or "[::1]:4317". Raises ValueError with what is wrong.

    What it takes no resolver chokes on: names that IDNA refuses raise UnicodeError there, which is no OSError.
    """
    matched = _PARTS.fullmatch(text)
    host, in_brackets, port = (matched["host"], matched["v6"], matched["port"]) if matched else (text, None, None)
    problem = ""
    if in_brackets is not None:
        if not _is_ipv6(in_brackets):
            problem = "only an IPv6 address stands in brackets"
    elif not host:
        problem = "no host precedes the port; 0.0.0.0 is every IPv4 address"
    elif _is_ipv6(text) or _is_ipv6(host) or "[" in host or "]" in host:
        problem = 'an IPv6 address stands in brackets, as "[::1]:4317"'
    elif host == "*":
        problem = "every IPv4 address is 0.0.0.0"
    elif not _is_name(host):
        problem = "letters, digits, hyphens and single dots make a host name, at most 63 characters between two dots"
    if not problem and port is None:
        problem = "no port follows the host"
    elif not problem and not _is_port(port or ""):
        problem = "the port is a number from 0 to 65535"
    if problem or port is None:
        raise ValueError(f'"{text:.300}" is not an address: {problem}')
    return in_brackets or host, int(port)


def _is_port(text: str) -> bool:
    return len(text) <= 5 and text.isascii() and text.isdigit() and int(text) <= 65535


def _is_ipv6(text: str) -> bool:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return address.scope_id is None or _NAME.fullmatch(address.scope_id) is not None


def _is_name(host: str) -> bool:
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return False
    return len(name) <= 254 and _NAME.fullmatch(name) is not None


def join_address(host: str, port: int) -> str:
    """The reverse of `parse_address`: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`, which may stand in brackets."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cannot_bind(error: OSError, key: str, address: str) -> ConfigError:
    """What to say when an address cannot be bound: AddressNotFree where that may pass, and where nobody says why;
    another ConfigError where it does not."""
    kind, expected = _REFUSALS.get(error.errno, (ConfigError, "host:port of this machine"))
    # The event loop puts a sentence of its own in the place of the system's word.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return kind(f"{address} cannot be bound: {reason}", source="start", key=key, expected=expected)


def bind_failure(host: str, port: int) -> OSError | None:
    """Why a listener on an address cannot be bound, found out with a plain socket for a library that does not say it;
    None where it can be bound after all. Blocks while a name is resolved."""
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(place)
    except OSError as error:
        return error
    return None
