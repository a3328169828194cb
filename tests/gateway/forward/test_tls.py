"""The way to VictoriaMetrics over TLS: its authority is checked, and our certificate is shown where it asks for one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gateway.errors import ConfigError
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.forward.victoria_metrics import Outcome, VictoriaMetrics
from tests.security.certificates import Authority


@asynccontextmanager
async def target(
    directory: Path, authority: Authority, *, clients: Authority | None
) -> AsyncIterator[tuple[str, list]]:
    """A write address over TLS that notes who wrote; clients: whose certificates it asks for."""
    wrote: list[str] = []

    async def write(request: web.Request) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("peercert") or {}
        wrote.append(dict(pair for part in shown.get("subject", ()) for pair in part).get("commonName", ""))
        await request.read()
        return web.Response(status=204)

    certificate, key = authority.issue("victoria", "victoria")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.load_verify_locations(clients.path)
        context.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_post("/api/v1/write", write)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}", wrote
    finally:
        await runner.cleanup()


async def written(url: str, **settings: str) -> Outcome:
    async with VictoriaMetrics(VictoriaMetricsSettings(url=url, **settings)) as to:
        return (await to.write(b"block", "snappy")).outcome


async def test_only_a_target_whose_authority_is_ours_gets_anything(tmp_path: Path) -> None:
    ours, another = Authority(tmp_path, "ours"), Authority(tmp_path, "another")
    async with target(tmp_path, ours, clients=None) as (url, wrote):
        assert await written(url) is Outcome.UNREACHABLE, "the system's authorities do not know it"
        assert await written(url, tls_ca_file=str(another.path)) is Outcome.UNREACHABLE
        assert wrote == []
        assert await written(url, tls_ca_file=str(ours.path)) is Outcome.DONE
        assert wrote == [""]


async def test_our_certificate_is_shown_to_a_target_that_asks(tmp_path: Path) -> None:
    servers, clients, strangers = (Authority(tmp_path, name) for name in ("servers", "clients", "strangers"))
    certificate, key = clients.issue("gateway-7", "client")
    unknown, unknown_key = strangers.issue("gateway-7", "stranger")
    async with target(tmp_path, servers, clients=clients) as (url, wrote):
        trust = {"tls_ca_file": str(servers.path)}
        assert await written(url, **trust) is Outcome.UNREACHABLE
        wrong = {"tls_cert_file": str(unknown), "tls_key_file": str(unknown_key)}
        assert await written(url, **trust, **wrong) is Outcome.UNREACHABLE
        assert wrote == []
        right = {"tls_cert_file": str(certificate), "tls_key_file": str(key)}
        assert await written(url, **trust, **right) is Outcome.DONE
        assert wrote == ["gateway-7"]


@pytest.mark.parametrize("missing", [("tls_ca_file",), ("tls_cert_file", "tls_key_file")])
def test_files_that_cannot_be_used_are_named(tmp_path: Path, missing: tuple[str, ...]) -> None:
    files = dict.fromkeys(missing, str(tmp_path / "absent.pem"))
    with pytest.raises(ConfigError, match=r"victoriametrics\.tls"):
        VictoriaMetrics(VictoriaMetricsSettings(url="https://127.0.0.1:1", **files))
