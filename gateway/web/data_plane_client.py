"""The control plane's side of the data plane's Unix sockets, one a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from gateway.errors import RequestError, Unavailable
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.label_groups import LabelGroups
from gateway.web.workers import (
    merged_calls,
    merged_history,
    merged_metrics,
    merged_senders,
    merged_series,
    merged_status,
)

Parameters = dict[str, str] | list[tuple[str, str]]

_INLINE_BYTES: Final = 65536
_TIMEOUT = aiohttp.ClientTimeout(total=30.0, connect=1.0)


def _decoded_lines(body: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in body.split(b"\n") if line]


def _merged_lines(answers: list[bytes], limit: int) -> list[dict[str, Any]]:
    found = [_decoded_lines(body) for body in answers]
    return found[0] if len(found) == 1 else merged_series(found, limit)


class _Connection:
    """To one worker."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, parameters: Parameters | None = None) -> bytes:
        """The body of the answer. Raises RequestError where the worker refuses the question, Unavailable."""
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


class DataPlaneClient:
    """Asks the workers of the data plane, one or several, and answers as of one.

    Every method but `metrics` raises Unavailable when one of them does not answer: half of a count would look like all
    of it. One with parameters of the user's raises RequestError where a worker refuses them.
    """

    def __init__(self, socket: Path, *further: Path) -> None:
        self._workers = [_Connection(path) for path in (socket, *further)]

    async def status(self) -> dict[str, Any]:
        """The data plane's status, fresh."""
        statuses = [msgspec.json.decode(body) for body in await self._ask("/status")]
        if len(statuses) == 1:
            statuses[0].pop("shard", None)
            found: dict[str, Any] = statuses[0]
            return found
        return merged_status(statuses, [msgspec.json.decode(body, type=int) for body in await self._ask("/accepted")])

    async def ready(self) -> str:
        """Empty when the data plane is ready, else why it is not."""
        for number, worker in enumerate(self._workers):
            try:
                await worker.get("/ready")
            except Unavailable as error:
                return str(error) if len(self._workers) == 1 else f"worker {number}: {error}"
        return ""

    async def metrics(self) -> bytes:
        """The data plane's own metrics, OpenMetrics text; of several workers those that answer. Raises Unavailable if
        none does."""
        if len(self._workers) == 1:
            return await self._workers[0].get("/metrics")
        answers = await asyncio.gather(*(worker.get("/metrics") for worker in self._workers), return_exceptions=True)
        if not any(isinstance(answer, bytes) for answer in answers):
            raise Unavailable("no worker of the data plane answers")
        return merged_metrics([answer if isinstance(answer, bytes) else None for answer in answers])

    async def senders(self) -> dict[str, Any]:
        """`{"senders": [...], "clients": [...]}`, see web.senders."""
        return merged_senders([msgspec.json.decode(body) for body in await self._ask("/senders")])

    async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
        """Active series; raises RequestError for a selector that cannot be read."""
        answers = await self._ask("/series", {"match": match, "limit": str(limit)})
        # One line a series, each decoded by itself: a hundred thousand at once would keep the loop for their time.
        large = sum(map(len, answers)) >= _INLINE_BYTES
        return await asyncio.to_thread(_merged_lines, answers, limit) if large else _merged_lines(answers, limit)

    async def label_groups(self, names: Sequence[str]) -> list[LabelGroups]:
        """Active series counted by the values of some labels, of each worker."""
        answers = await self._ask("/series/groups", [("name", name) for name in names])
        return [msgspec.msgpack.decode(body, type=LabelGroups) for body in answers]

    async def history(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """Samples from the embedded log."""
        parameters = {"match": match, "start_ms": str(start_ms), "end_ms": str(end_ms), "limit": str(limit)}
        answers = [
            msgspec.json.decode(body, type=list[HistorySamples]) for body in await self._ask("/history", parameters)
        ]
        return answers[0] if len(answers) == 1 else merged_history(answers, limit)

    async def calls(self) -> list[CallEdge]:
        """Call edges between services, from traces."""
        return merged_calls([msgspec.json.decode(body, type=list[CallEdge]) for body in await self._ask("/calls")])

    async def close(self) -> None:
        """Idempotent."""
        for worker in self._workers:
            await worker.close()

    async def _ask(self, path: str, parameters: Parameters | None = None) -> list[bytes]:
        """The answer of every worker, in order."""
        return await asyncio.gather(*(worker.get(path, parameters) for worker in self._workers))
