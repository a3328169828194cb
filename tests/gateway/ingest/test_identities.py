"""Whom the decoder of log records is told a request is from, over both transports: that decides who may silence."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import aiohttp
import grpc
import pytest

from gateway.access.settings import AccessSettings, Token
from gateway.access.tokens import ANONYMOUS, Identity
from gateway.ingest.decoders import Body, Counted
from gateway.settings_types import Secret
from tests.gateway.ingest.receivers import TOY_DECODERS, running

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
OPERATOR = Identity("ci", frozenset({"ingest", "operate", "read"}), "shop")
ACCESS = AccessSettings(
    tokens=(
        Token(
            name="ci", sha256=Secret(hashlib.sha256(b"secret").hexdigest()), roles=("ingest", "operate"), tenant="shop"
        ),
    )
)


@pytest.mark.parametrize("access", [None, ACCESS])
async def test_the_sender_is_the_one_of_the_credentials_and_a_page_in_a_browser_may_only_send(
    access: AccessSettings | None,
) -> None:
    seen: list[Identity] = []

    def count(_body: Body, _is_json: bool, sender: Identity) -> Counted:
        seen.append(sender)
        return Counted({"": 1}, "and something else")

    expected = ANONYMOUS if access is None else OPERATOR
    async with running(decoders=replace(TOY_DECODERS, count_logs=count), access=access) as r:
        authorization = {"Authorization": "Bearer secret"} if access is not None else {}
        plain = {"Content-Type": "application/x-protobuf", **authorization}
        async with aiohttp.ClientSession() as session:
            for further in ({}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-origin"}):
                async with session.post(f"{r.url}/v1/logs", data=b"", headers=plain | further) as answer:
                    assert b"does not store them; and something else" in await answer.read()
        metadata = tuple((name.lower(), value) for name, value in authorization.items())
        async with grpc.aio.insecure_channel(r.target) as channel:
            answered = await channel.unary_unary(EXPORT)(b"", metadata=metadata, timeout=10)
            assert b"does not store them; and something else" in answered
    assert [sender.name for sender in seen] == [expected.name] * 4
    assert [sender.tenant for sender in seen] == [expected.tenant] * 4
    assert [sender.roles for sender in seen] == [expected.roles, {"ingest"}, {"ingest"}, expected.roles]
