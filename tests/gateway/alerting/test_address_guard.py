"""Which addresses a receiver may have, however they are written, and over every way out."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiosmtpd.controller import Controller

from gateway.alerting.address_guard import AddressGuard
from gateway.alerting.http_delivery import FAILURES, HttpDelivery, HttpOptions
from gateway.alerting.notification import Again, Delivered
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings, AppriseReceiver
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.settings_types import Secret
from tests.conformance.alertmanager.peers import Receiver, free_port
from tests.gateway.alerting.test_channels import Channels, notification

NEVER = [
    "169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "::169.254.169.254", "2002:a9fe:a9fe::1",
    "64:ff9b::a9fe:a9fe", "::ffff:0:a9fe:a9fe", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    "::ffff:168.63.129.16", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255", "240.0.0.1",
]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "::ffff:0:7f00:1"]
PRIVATE = ["10.1.2.3", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd12::1", "::ffff:10.1.2.3", "64:ff9b::a01:203"]
PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


def _allows(guard: AddressGuard, address: str) -> bool:
    return not guard.refusal(address)


def test_forms_of_addresses() -> None:
    nothing, loopback = AddressGuard(), AddressGuard(["loopback"])
    both, one = AddressGuard(["loopback", "private"]), AddressGuard(["10.1.0.0/16"])
    for address in NEVER:
        assert not any(_allows(guard, address) for guard in (nothing, loopback, both, one)), address
    for address in LOOPBACK:
        assert [_allows(guard, address) for guard in (nothing, loopback, one)] == [False, True, False], address
    for address in PRIVATE:
        assert [_allows(guard, address) for guard in (nothing, loopback, both)] == [False, False, True], address
    for address in PUBLIC:
        assert all(_allows(guard, address) for guard in (nothing, loopback, both, one)), address
    assert _allows(one, "10.1.255.1")
    assert not _allows(one, "10.2.0.1")
    everything = AddressGuard(["0.0.0.0/0", "::/0"])
    assert [address for address in NEVER if _allows(everything, address)] == []


def test_site_local_addresses_are_internal() -> None:
    assert AddressGuard(["loopback"]).refusal("fec0::1") == "an internal address"
    assert not AddressGuard(["fec0::/10"]).refusal("fec0::1")


def test_settings_that_name_no_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"internal_receivers"):
        AlertRouter(AlertingSettings(internal_receivers=("10.1.0.0/40",)), tmp_path, SystemClock())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]"])
async def test_a_webhook_does_not_reach_a_forbidden_address_however_it_is_written(host: str) -> None:
    async with Receiver().running() as receiver:
        url = receiver.url.replace("127.0.0.1", host)
        text = f"    webhook_configs: [{{url: '{url}/hook'}}]\n"
        async with Channels(text, internal_receivers=()) as channels:
            outcome = await channels["webhook"].send(notification())
    assert isinstance(outcome, Again)
    assert "internal_receivers" in outcome.reason or "not a canonical IPv4 address" in outcome.reason, outcome.reason
    assert not receiver.told


async def test_loopback_is_allowed_by_default_and_a_redirect_to_it_is_not() -> None:
    async with Receiver().running() as receiver, Receiver().running() as other:
        text = f"    webhook_configs: [{{url: '{receiver.url}/hook'}}]\n"
        async with Channels(text) as channels:
            assert isinstance(await channels["webhook"].send(notification()), Delivered)
            receiver.failures["hook"] = [web.Response(status=307, headers={"Location": f"{other.url}/inner"})]
            outcome = await channels["webhook"].send(notification())
            assert isinstance(outcome, Again)
            assert "internal address" in outcome.reason
    assert not other.told


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "１２７.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
        "0", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]", "1.1.1.1@127.0.0.1",
    ],
)  # fmt: skip
async def test_loopback_in_any_spelling_is_not_connected_to(host: str) -> None:
    delivery = HttpDelivery(AddressGuard())
    async with Receiver().running() as receiver:
        port = receiver.url.rsplit(":", 1)[1]
        for url in (f"http://{host}:{port}/hook", f"http://{host}:notaport/hook"):
            with pytest.raises(FAILURES) as refused:
                await delivery.post(url, b"{}", headers={}, options=HttpOptions())
            assert not isinstance(refused.value, aiohttp.ClientResponseError)
        await delivery.close()
    assert not receiver.told


async def test_a_name_that_changes_its_answer_is_connected_to_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that first answers with a public address and then with the metadata service's."""
    asked: list[str] = []
    plain = socket.getaddrinfo
    async with Receiver().running() as receiver:
        port = int(receiver.url.rsplit(":", 1)[1])

        def rebinding(host: Any, *arguments: Any, **named: Any) -> list[tuple[Any, ...]]:
            if host != "rebinding.example":
                return list(plain(host, *arguments, **named))
            asked.append(host)
            mixed = ["169.254.169.254", "127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in mixed]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        async with Channels(f"    webhook_configs: [{{url: 'http://rebinding.example:{port}/hook'}}]\n") as channels:
            first = await channels["webhook"].send(notification())
            # The server closes; a new connection asks again.
            await channels["webhook"]._delivery.close()  # type: ignore[attr-defined]
            second = await channels["webhook"].send(notification())
    assert isinstance(first, Delivered)
    assert isinstance(second, Again)
    assert "a link-local address" in second.reason
    assert len(asked) == 2
    assert len(receiver.told["hook"]) == 1


async def test_mail_goes_only_where_the_guard_lets_it() -> None:
    class Handler:
        taken = 0

        async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:
            self.taken += 1
            return "250 ok"

    handler = Handler()
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        for host in ("127.0.0.1", "localhost", "2130706433"):
            text = (
                f"    email_configs: [{{to: a@example.org, from: b@example.org, smarthost: '{host}:{port}', "
                "require_tls: false}]\n"
            )
            async with Channels(text, internal_receivers=()) as channels:
                outcome = await channels["email"].send(notification())
                assert isinstance(outcome, Again)
                assert "internal_receivers" in outcome.reason
                assert not handler.taken
        async with Channels(text) as channels:
            assert isinstance(await channels["email"].send(notification()), Delivered)
        assert handler.taken == 1
    finally:
        controller.stop()


async def test_apprise_goes_only_where_the_guard_lets_it() -> None:
    async with Receiver().running() as receiver, Receiver().running() as other:
        for host in ("127.0.0.1", "localhost", "2130706433"):
            url = receiver.url.replace("http://127.0.0.1", f"json://{host}") + "/long-tail"
            apprise = (AppriseReceiver(receiver="r", urls=(Secret(url),)),)
            async with Channels("", apprise=apprise, internal_receivers=()) as channels:
                assert isinstance(await channels["apprise"].send(notification()), Again)
        assert not receiver.told
        # What this process resolves elsewhere meanwhile is not touched.
        assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
        assert socket.getaddrinfo("localhost", 80)
        async with Channels("", apprise=apprise) as channels:
            assert isinstance(await channels["apprise"].send(notification()), Delivered)
        assert not other.told


async def test_a_socket_goes_to_the_first_address_that_answers() -> None:
    async with Receiver().running() as receiver:
        port = int(receiver.url.rsplit(":", 1)[1])
        (await AddressGuard(["loopback"]).connect("localhost", port)).close()
        with pytest.raises(OSError, match="internal") as refused:
            await AddressGuard().connect("localhost", port)
        assert refused.value.errno == errno.EACCES
