"""Addresses of listeners: how they are written, and what to say when one cannot be bound."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Final

from gateway.errors import AddressNotFree, AddressTaken, ConfigError

ADDRESS_WAIT_SECONDS: Final = 3.0
"""For which a start waits for an address that cannot be had now: what is left of a gateway that was killed holds it
until it has ended, and its memory is given back before its sockets are."""

_NEEDS_A_RIGHT: Final = (
    ConfigError,
    "a port from 1024 on, or the right to bind lower ones (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
)
_REFUSALS: Final[dict[int | None, tuple[type[ConfigError], str]]] = {
    errno.EADDRINUSE: (AddressTaken, "a free address; `gateway doctor` says what uses it"),
    errno.EADDRNOTAVAIL: (
        AddressNotFree,
        "an address of this machine (`ip address` lists them), or 0.0.0.0 for all of them",
    ),
    socket.EAI_AGAIN: (AddressNotFree, "a name that can be resolved when the gateway starts, or an IP address"),
    errno.EACCES: _NEEDS_A_RIGHT,
    errno.EPERM: _NEEDS_A_RIGHT,
    None: (AddressNotFree, "an address that can be bound; `gateway doctor` says what is in the way"),
}


def parse_address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 4317) from "127.0.0.1:4317" or "[::1]:4317". Raises ValueError."""
    host, separator, port = text.rpartition(":")
    host = host.strip("[]")
    if not separator or not port.isdigit() or int(port) > 65535 or not host:
        raise ValueError(f'"{text}" is not an address')
    return host, int(port)


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
