"""Probes against real servers on the loopback: what succeeds, what fails and why, what is never asked, what is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from gateway.clock import SystemClock
from gateway.config import load_config
from gateway.errors import ConfigError
from gateway.probes.asking import ask, may_be_asked, shown_target
from gateway.probes.prober import Failing, Prober
from gateway.probes.settings import Probe, ProbesSettings
from gateway.settings_types import Duration
from tests.peers import free_port


class Site:
    """A web server that answers as its paths say, and takes OTLP."""

    def __init__(self) -> None:
        self.received: list[ExportMetricsServiceRequest] = []
        self.authorization: list[str] = []
        self.asked: list[str] = []
        self.down = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Every path."""
        self.asked.append(request.path)
        if request.path == "/v1/metrics":
            if self.down:
                return web.Response(status=503)
            self.authorization.append(request.headers.get("Authorization", ""))
            self.received.append(ExportMetricsServiceRequest.FromString(await request.read()))
            return web.Response()
        if request.path == "/moved":
            raise web.HTTPFound("/ok")
        if request.path == "/slow":
            await asyncio.sleep(30)
        if request.path == "/broken":
            return web.Response(status=500)
        return web.Response(text="all is well here")


@pytest.fixture
async def site() -> AsyncIterator[tuple[Site, str]]:
    found = Site()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield found, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "options", "status", "problem"),
    [
        ("/ok", {}, 200, ""),
        ("/ok", {"expect_text": "is well"}, 200, ""),
        ("/ok", {"expect_text": "is ill"}, 200, "the expected text is not in the answer"),
        ("/broken", {}, 500, "HTTP 500"),
        ("/broken", {"expect_status": (500,)}, 500, ""),
        ("/moved", {}, 302, "HTTP 302"),
        ("/slow", {"timeout": Duration(0.1)}, 0, "no answer within 0.1 s"),
    ],
)
async def test_http(site: tuple[Site, str], path: str, options: dict[str, object], status: int, problem: str) -> None:
    server, base = site
    probe = Probe(name="p", target=base + path, **options)  # type: ignore[arg-type]
    result = await ask(probe, allow_internal=True, now=1.0)
    assert (result.status, result.problem, result.ok) == (status, problem, not problem)
    assert server.asked == [path], "a redirect is an answer, not a way"


async def test_tcp(site: tuple[Site, str]) -> None:
    place = site[1].removeprefix("http://")
    assert (await ask(Probe(name="p", target=place), allow_internal=True, now=1.0)).ok
    closed = await ask(Probe(name="p", target=f"127.0.0.1:{free_port()}"), allow_internal=True, now=1.0)
    assert not closed.ok
    assert "refused" in closed.problem.lower()


async def test_internal_and_link_local_addresses_are_not_asked(site: tuple[Site, str]) -> None:
    server, base = site
    for target in (f"{base}/ok", f"http://localhost:{base.rpartition(':')[2]}/ok"):
        result = await ask(Probe(name="p", target=target), allow_internal=False, now=1.0)
        assert "not asked" in result.problem
    result = await ask(Probe(name="p", target="169.254.169.254:80"), allow_internal=True, now=1.0)
    assert "not asked" in result.problem
    assert server.asked == []
    assert not may_be_asked("::ffff:169.254.169.254", allow_internal=True)
    assert not may_be_asked("fe80::1%eth0", allow_internal=True)
    assert not may_be_asked("10.0.0.1", allow_internal=False)
    assert may_be_asked("10.0.0.1", allow_internal=True)


def test_a_target_is_shown_without_its_query() -> None:
    assert shown_target("https://example.test/a?key=secret#x") == "https://example.test/a"


@pytest.mark.parametrize(
    "line",
    [
        'target = "ftp://x/"',
        'target = "host"',
        'target = "http://user:word@host/"',
        'target = "host:80"\nexpect_text = "x"',
        'target = "host:80"\ninterval = "100ms"',
        'target = "host:80"\ninterval = "5s"\ntimeout = "6s"',
    ],
)
def test_a_probe_that_cannot_be_is_refused(line: str, tmp_path: object) -> None:
    file = tmp_path / "gateway.toml"  # type: ignore[operator]
    file.write_text(f'[[probes.probe]]\nname = "a"\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment={})
    assert caught.value.key.startswith("probes")


async def test_results_go_out_as_otlp_and_failures_are_told(site: tuple[Site, str]) -> None:
    server, base = site
    told: list[str] = []

    async def on_failing(failing: object) -> None:
        assert isinstance(failing, list)
        told.extend(one.probe.name for one in failing if isinstance(one, Failing))

    settings = load_config(
        environment={},
        assignments=['probes.token="word"'],
        given=(
            {
                "probes": {
                    "probe": [
                        {"name": "good", "target": f"{base}/ok", "interval": 1, "timeout": 1},
                        {"name": "bad", "target": f"{base}/broken", "interval": 1, "timeout": 1, "alert_after": 1},
                    ]
                }
            },
            "test",
        ),
    ).config.probes
    assert isinstance(settings, ProbesSettings)
    server.down = True
    prober = Prober(settings, SystemClock(), endpoint=f"{base}/v1/metrics", instance="i", on_failing=on_failing)
    prober.start()
    try:
        deadline = time.monotonic() + 20
        while not (told and len(server.received) >= 1):
            assert time.monotonic() < deadline
            if told:
                server.down = False
            await asyncio.sleep(0.02)
    finally:
        await prober.stop()
    assert set(told) == {"bad"}
    assert server.authorization[0] == "Bearer word"
    (resource,) = server.received[0].resource_metrics
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    values = {
        next(a.value.string_value for a in point.attributes if a.key == "probe"): point.as_double
        for point in metrics["probe.success"].gauge.data_points
    }
    assert values == {"good": 1.0, "bad": 0.0}
    assert "probe.certificate.expiry" not in metrics
    health = prober.health()
    assert [line["name"] for line in health] == ["bad", "good"]
    assert health[0]["last"].problem == "HTTP 500"
