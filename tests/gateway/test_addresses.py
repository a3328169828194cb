"""Addresses as they are written, and what is said of one that cannot be bound."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from gateway.addresses import bind_failure, cannot_bind, is_loopback, join_address, parse_address
from gateway.errors import AddressNotFree, AddressTaken, ConfigError

ELSEWHERE = "192.0.2.1"
"""Of no machine: kept for documentation (RFC 5737)."""


def test_addresses() -> None:
    assert parse_address("[::1]:4317") == ("::1", 4317)
    assert parse_address("0.0.0.0:1") == ("0.0.0.0", 1)
    for written in ("[::1]:4317", "127.0.0.1:0", "localhost:65535"):
        assert join_address(*parse_address(written)) == written
    for written in ("[fe80::1%eth0]:4317", "nosuch.invalid:4317", "host_1.example.:4317", "bücher.example:4317"):
        assert join_address(*parse_address(written)) == written


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("x", "no port follows"),
        ("127.0.0.1", "no port follows"),
        (":1", "no host precedes the port"),
        ("[]:1", "IPv6"),
        ("h:", "port"),
        ("h:-1", "port"),
        ("h:70000", "port"),
        ("h:" + "9" * 5000, "port"),
        ("127.0.0.1:²", "port"),
        ("127.0.0.1:١", "port"),
        ("::1", "in brackets"),
        ("::1:24363", "in brackets"),
        ("[::1:5", "IPv6"),
        ("[[::1]]:5", "IPv6"),
        ("::1]:5", "in brackets"),
        ("[::1]", "no port follows"),
        ("[::1]4317", "in brackets"),
        ("[localhost]:4317", "IPv6"),
        ("[127.0.0.1]:4317", "IPv6"),
        ("[fe80::1%a..b]:4317", "IPv6"),
        ("a..b:24361", "host name"),
        (".:24361", "host name"),
        ("a" * 64 + ":1", "host name"),
        ("a." * 140 + "b:1", "host name"),
        ("http://localhost:4317", "host name"),
        ("*:4317", "0.0.0.0"),
        ("a b:1", "host name"),
        ("a\0b:1", "host name"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_wrong_with_it(wrong: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"is not an address: .*{why}") as refused:
        parse_address(wrong)
    assert type(refused.value) is ValueError, "UnicodeError says nothing to people"


def test_loopback_addresses() -> None:
    for host in ("127.0.0.9", "::1", "[::1]", "localhost"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "example.org", "[::]"):
        assert not is_loopback(host)


@pytest.mark.parametrize(
    ("number", "kind", "fix"),
    [
        (errno.EADDRINUSE, AddressTaken, "gateway doctor"),
        (errno.EADDRNOTAVAIL, AddressNotFree, "ip address"),
        (socket.EAI_AGAIN, AddressNotFree, "resolved"),
        (socket.EAI_NONAME, ConfigError, "a name that the system can resolve"),
        (errno.EACCES, ConfigError, "CAP_NET_BIND_SERVICE"),
        (errno.EPERM, ConfigError, "CAP_NET_BIND_SERVICE"),
        (errno.EAFNOSUPPORT, ConfigError, "this machine"),
        (None, AddressNotFree, "gateway doctor"),
    ],
)
def test_each_reason_has_its_error_and_its_remedy(number: int | None, kind: type[ConfigError], fix: str) -> None:
    error = OSError("no port for gRPC") if number is None else OSError(number, os.strerror(abs(number)))
    found = cannot_bind(error, "server.otlp_grpc", "192.0.2.1:4317")
    assert type(found) is kind
    for part in ("192.0.2.1:4317", "server.otlp_grpc", fix):
        assert part in str(found)


def test_a_plain_socket_tells_why_an_address_cannot_be_bound() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        in_use = bind_failure("127.0.0.1", taken.getsockname()[1])
    assert in_use is not None
    assert in_use.errno == errno.EADDRINUSE
    elsewhere = bind_failure(ELSEWHERE, 0)
    assert elsewhere is not None
    assert elsewhere.errno == errno.EADDRNOTAVAIL
    nameless = bind_failure("name.invalid", 0)
    assert isinstance(nameless, socket.gaierror)
    assert bind_failure("127.0.0.1", 0) is None
