"""CPU of the HTTP receiver alone, by body size and connections: decoder and sink do nothing.

One JSON line a figure: body bytes, connections, CPU of the gateway's process and wall time, µs a request. Against the
same server with aiohttp's usual application, so that the figure says what the leaner path is worth.

    python -m bench.http_transport [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import uvloop
from aiohttp import web

from gateway.access.tokens import Identity
from gateway.clock import SystemClock
from gateway.ingest.admission import Admission
from gateway.ingest.decoders import Body, Counted, Decoders
from gateway.ingest.http_receiver import HttpReceiver
from gateway.ingest.settings import IngestSettings
from gateway.telemetry.columns import Definitions, JoinedColumns, PointColumns, Receipt

CASES = {(1_710, 200): 20_000, (17_100, 200): 12_000, (85_500, 32): 6_000, (1_368_000, 8): 400}
"""(body bytes, connections) → requests a round: 10, 100, 500 and 8,000 points of 171 bytes."""


class _NoLabels:
    def definitions(self, rows: np.ndarray) -> Definitions:
        raise NotImplementedError


_EMPTY = np.zeros(1, np.uint64)
_COLUMNS = PointColumns(
    hash_hi=_EMPTY, hash_lo=_EMPTY, times_ms=np.zeros(1, np.int64), values=np.zeros(1), starts_ms=None,
    kinds=np.ones(1, np.uint8), source=_NoLabels(), points=1,
)  # fmt: skip


def _decode(body: Body, now_ms: int) -> PointColumns:
    return _COLUMNS


def _decode_joined(bodies: Sequence[Sequence[Body]], now_ms: int) -> JoinedColumns:
    ends = np.arange(1, len(bodies) + 1)
    return JoinedColumns(_COLUMNS, ends, np.ones(len(bodies), np.int64))


def _count(body: Body, is_json: bool, sender: Identity) -> Counted:
    return Counted({})


class _Sink:
    async def accept(self, columns: PointColumns, *, received_ns: int, body_bytes: int, latest_ns: int = 0) -> Receipt:
        return Receipt(1)


def serve(kind: str, answers: Any, questions: Any) -> None:
    """The gateway's receiver, or the same in aiohttp's usual way."""

    async def main() -> None:
        decoders = Decoders(_decode, _decode, _decode, _decode, _count, _count, _decode_joined)
        settings = IngestSettings()
        if kind == "receiver":
            receiver = HttpReceiver(
                settings, decoders, _Sink(), host="127.0.0.1", port=0, ready=str,
                admission=Admission(settings.max_in_flight_bytes), clock=SystemClock(),
            )  # fmt: skip
            await receiver.start()
            port = receiver.port
        else:

            async def handler(request: web.Request) -> web.Response:
                await request.read()
                return web.Response(body=b"", content_type="application/x-protobuf")

            app = web.Application(client_max_size=1 << 26)
            app.router.add_post("/v1/metrics", handler)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
        answers.put(port)
        while await asyncio.to_thread(questions.get):
            used = resource.getrusage(resource.RUSAGE_SELF)
            answers.put(used.ru_utime + used.ru_stime)

    uvloop.run(main())


class _Client(asyncio.Protocol):
    """Sends one request after another; reads answers by their end of headers (they have no body)."""

    def __init__(self, request: bytes, count: int, done: asyncio.Future[None]) -> None:
        self.request, self.left, self.done = request, count, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200")
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)


async def _send(port: int, size: int, connections: int, requests: int) -> None:
    loop = asyncio.get_running_loop()
    head = (
        "POST /v1/metrics HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n"
        f"Content-Type: application/x-protobuf\r\nContent-Length: {size}\r\n\r\n"
    )
    request = head.encode() + bytes(size)
    pending = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(partial(_Client, request, requests // connections, done), "127.0.0.1", port)
        pending.append(done)
    async with asyncio.timeout(120):
        await asyncio.gather(*pending)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    context = multiprocessing.get_context("spawn")
    peers: dict[str, Any] = {}
    for kind in ("receiver", "aiohttp application"):
        answers, questions = context.Queue(), context.Queue()
        process = context.Process(target=serve, args=(kind, answers, questions), daemon=True)
        process.start()
        peers[kind] = (answers, questions, process, answers.get(timeout=60))
    try:
        for (size, connections), requests in CASES.items():
            figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in peers}
            for _ in range(rounds):
                for kind, (answers, questions, _, port) in peers.items():
                    questions.put(True)
                    cpu, wall = answers.get(), time.perf_counter()
                    uvloop.run(_send(port, size, connections, requests))
                    wall = time.perf_counter() - wall
                    questions.put(True)
                    figures[kind].append(((answers.get() - cpu) / requests * 1e6, wall / requests * 1e6))
            for kind, measured in figures.items():
                line = {
                    "bench": "http_transport",
                    "server": kind,
                    "body_bytes": size,
                    "connections": connections,
                    "cpu_us_per_request": round(statistics.median(c for c, _ in measured), 1),
                    "wall_us_per_request": round(statistics.median(w for _, w in measured), 1),
                    "rounds": rounds,
                }
                print(json.dumps(line), flush=True)
    finally:
        for _, questions, process, _ in peers.values():
            questions.put(False)
            process.join(10)


if __name__ == "__main__":
    main()
