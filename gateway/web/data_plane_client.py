"""The control plane's side of the data plane's Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from gateway.errors import RequestError, Unavailable
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.history_samples import HistorySamples

_INLINE_BYTES: Final = 65536
_TIMEOUT = aiohttp.ClientTimeout(total=30.0, connect=1.0)


def _decoded_lines(body: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in body.split(b"\n") if line]


class DataPlaneClient:
    """Asks the data plane. Every method raises Unavailable when it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def status(self) -> dict[str, Any]:
        """The data plane's status, fresh."""
        found: dict[str, Any] = msgspec.json.decode(await self._get("/status"))
        return found

    async def ready(self) -> str:
        """Empty when the data plane is ready, else why it is not."""
        try:
            await self._get("/ready")
        except Unavailable as error:
            return str(error)
        return ""

    async def metrics(self) -> bytes:
        """The data plane's own metrics, OpenMetrics text."""
        return await self._get("/metrics")

    async def senders(self) -> dict[str, Any]:
        """`{"senders": [...], "clients": [...]}`, see web.senders."""
        found: dict[str, Any] = msgspec.json.decode(await self._get("/senders"))
        return found

    async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
        """Active series; raises RequestError for a selector that cannot be read."""
        body = await self._get("/series", {"match": match, "limit": str(limit)})
        # One line a series, each decoded by itself: a hundred thousand at once would keep the loop for their time.
        return _decoded_lines(body) if len(body) < _INLINE_BYTES else await asyncio.to_thread(_decoded_lines, body)

    async def calls(self) -> list[CallEdge]:
        """Call edges between services, from traces."""
        return msgspec.json.decode(await self._get("/calls"), type=list[CallEdge])

    async def history(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """Samples from the embedded log."""
        parameters = {"match": match, "start_ms": str(start_ms), "end_ms": str(end_ms), "limit": str(limit)}
        return msgspec.json.decode(await self._get("/history", parameters), type=list[HistorySamples])

    async def close(self) -> None:
        """Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(self, path: str, parameters: dict[str, str] | None = None) -> bytes:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self._socket))
            self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        try:
            async with self._session.get(f"http://data-plane{path}", params=parameters) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"the data plane does not answer ({type(error).__name__})") from error
        if response.status == 200:
            return body
        said = msgspec.json.decode(body) if response.content_type == "application/json" else {}
        if response.status == 400:
            raise RequestError(said.get("error", "refused by the data plane"), reason=said.get("reason"))
        raise Unavailable(said.get("problem") or said.get("error") or f"the data plane answered {response.status}")
