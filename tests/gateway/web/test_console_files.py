"""The console's files as they are served: small, compressed once, kept by browsers, under a strict policy."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.web import console
from tests.e2e.console_stage import CONSOLE, must_have

MOST_BYTES = 150 * 1000


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    must_have((CONSOLE / "dist" / "index.html").is_file(), "the console is not built: make console")
    application = web.Application()
    application.add_routes(console.routes())
    async with TestClient(TestServer(application), auto_decompress=False) as found:
        yield found


async def files(client: TestClient[Any, Any]) -> list[str]:
    page = await (await client.get("/", headers={"Accept-Encoding": "identity"})).text()
    return ["/", *re.findall(r'(?:src|href)="(/assets/[^"]+)"', page)]


async def test_everything_that_the_first_view_fetches_is_small(client: TestClient[Any, Any]) -> None:
    paths = await files(client)
    assert len(paths) >= 3
    sizes = {path: len(await (await client.get(path, headers={"Accept-Encoding": "gzip"})).read()) for path in paths}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


async def test_what_is_compressed_is_the_same(client: TestClient[Any, Any]) -> None:
    for path in await files(client):
        plain = await client.get(path, headers={"Accept-Encoding": "gzip;q=0, identity"})
        assert "Content-Encoding" not in plain.headers
        packed = await client.get(path, headers={"Accept-Encoding": "deflate, gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await packed.read()) == await plain.read()
        best = await client.get(path, headers={"Accept-Encoding": "gzip, br"})
        assert best.headers["Content-Encoding"] == "br"
        assert {answer.headers["Vary"] for answer in (plain, packed, best)} == {"Accept-Encoding"}


async def test_a_browser_asks_again_only_for_the_page_and_is_told_that_it_has_it(client: TestClient[Any, Any]) -> None:
    page, *assets = await files(client)
    first = await client.get(page)
    assert first.headers["Cache-Control"] == "no-cache"
    again = await client.get(page, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    for path in assets:
        assert "immutable" in (await client.get(path)).headers["Cache-Control"]


async def test_the_policy_allows_nothing_from_elsewhere_and_nothing_inline(client: TestClient[Any, Any]) -> None:
    for path in await files(client):
        policy = (await client.get(path)).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
