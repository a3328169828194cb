"""Credentials, roles, and addresses that need them."""

from __future__ import annotations

import base64
import hashlib

import aiohttp
import grpc
import pytest

from gateway.access.settings import AccessSettings, Token, User
from gateway.access.tokens import ANONYMOUS, Authenticator, hash_password, require_safe_address
from gateway.errors import ConfigError, PermissionDenied, Unauthenticated
from gateway.settings_types import Secret
from tests.gateway.ingest.receivers import running

TOKEN = "k3J9-a-random-token-of-enough-bits"
READER = "another-random-token-for-reading"


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def access() -> AccessSettings:
    return AccessSettings(
        tokens=(
            Token(name="collector", sha256=Secret(hashlib.sha256(TOKEN.encode()).hexdigest())),
            Token(name="viewer", sha256=Secret(hashlib.sha256(READER.encode()).hexdigest()), roles=("read",)),
        ),
        users=(User(name="prometheus", scrypt=Secret(hash_password("pa:ss wörd", n=1024))),),
    )


def test_tokens_and_passwords(access):
    authenticator = Authenticator(access)
    assert authenticator.identify(f"Bearer {TOKEN}").name == "collector"
    right = basic("prometheus", "pa:ss wörd")
    assert authenticator.identify_nowait(right) is None
    assert authenticator.identify(right).name == "prometheus"
    remembered = authenticator.identify_nowait(right)
    assert remembered is not None
    assert remembered.name == "prometheus"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        "Digest a",
        "Basic !!!",
        basic("prometheus", "no"),
        basic("nobody", "x"),
        "Bearer " + "x" * 9000,
    ],
)
def test_everything_else_is_refused(access, authorization):
    with pytest.raises(Unauthenticated) as refused:
        Authenticator(access).identify(authorization)
    assert TOKEN not in str(refused.value)


def test_roles():
    admin = Authenticator(
        AccessSettings(tokens=(Token(name="root", sha256=Secret(hashlib.sha256(b"t").hexdigest()), roles=("admin",)),))
    ).identify("Bearer t")
    for role in ("ingest", "read", "operate", "admin"):
        admin.require(role)
    with pytest.raises(PermissionDenied):
        Authenticator(
            AccessSettings(tokens=(Token(name="r", sha256=Secret(hashlib.sha256(b"t").hexdigest()), roles=("read",)),))
        ).identify("Bearer t").require("ingest")


def test_without_settings_everyone_is_anonymous():
    assert Authenticator(AccessSettings()).identify(None) is ANONYMOUS


@pytest.mark.parametrize(
    "settings",
    [
        AccessSettings(tokens=(Token(name="a", sha256=Secret("short")),)),
        AccessSettings(tokens=(Token(name="a", sha256=Secret("0" * 64), roles=("emperor",)),)),
        AccessSettings(users=(User(name="a", scrypt=Secret("md5:1")),)),
    ],
)
def test_unusable_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        Authenticator(settings)


@pytest.mark.parametrize(
    ("host", "safe"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("", False),
        ("10.1.2.3", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_addresses_that_others_reach_need_credentials(access, host, safe):
    if safe:
        require_safe_address(host, AccessSettings(), key="server.otlp_http")
    else:
        with pytest.raises(ConfigError, match="allow_unauthenticated"):
            require_safe_address(host, AccessSettings(), key="server.otlp_http")
    require_safe_address(host, AccessSettings(allow_unauthenticated=True), key="server.otlp_http")
    require_safe_address(host, access, key="server.otlp_http")


async def test_receivers_ask_for_credentials(access):
    metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
    protobuf = {"Content-Type": "application/x-protobuf"}
    async with running(access=access) as r, aiohttp.ClientSession() as session:
        cases = [
            (None, 401),
            (f"Bearer {READER}", 403),
            (f"Bearer {TOKEN}", 200),
            (basic("prometheus", "pa:ss wörd"), 200),
        ]
        for authorization, status in cases:
            headers = protobuf | ({"Authorization": authorization} if authorization else {})
            answer = await session.post(f"{r.url}/v1/metrics", data=b"points=1", headers=headers)
            assert answer.status == status
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)
            async with grpc.aio.insecure_channel(r.target) as channel:
                call = channel.unary_unary(metrics)(
                    b"points=1", metadata=(("authorization", authorization),) if authorization else ()
                )
                code = {
                    200: grpc.StatusCode.OK,
                    401: grpc.StatusCode.UNAUTHENTICATED,
                    403: grpc.StatusCode.PERMISSION_DENIED,
                }
                assert await call.code() is code[status]
        answer = await session.post(f"{r.url}/api/v1/write", data=b"", headers=protobuf)
        assert answer.status == 401
        assert (await session.get(f"{r.url}/-/ready")).status == 200
        assert r.sink.points == 4
