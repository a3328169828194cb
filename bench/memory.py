"""What a series costs in memory, everything counted: the program runs, takes so many series, and is looked at.

`python -m bench.memory [--series 1000000] [--segments 2]`. One JSON line a figure, all in bytes a series: each process'
proportional set size with no series and with all of them. The target takes everything and keeps nothing. With
--segments 2 the log begins another segment meanwhile, as it does every hour, so that the series of two segments are
held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from loadtest.generator.sender import Senders
from loadtest.generator.work import Work
from loadtest.measure import at
from loadtest.processes import await_true, free_port, resident_bytes
from loadtest.programs import Gateway

WAIT_SECONDS: Final = 900.0
SETTLE_SECONDS: Final = 75.0
"""After the last point: free memory goes back to the system once a minute."""


class Sink:
    """Takes remote write and answers as VictoriaMetrics does. Runs in a thread of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._started = int(time.time()) - 60
        self._ready = threading.Event()
        threading.Thread(target=self._run, name="sink", daemon=True).start()
        self._ready.wait(10.0)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        self._ready.set()
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                body = b"1"
                if head.startswith(b"GET /metrics"):
                    body = b"vm_app_start_timestamp %d\n" % self._started
                status = b"200 OK" if head.startswith(b"GET") else b"204 No Content"
                body = body if head.startswith(b"GET") else b""
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def processes(gateway: Gateway) -> dict[str, int]:
    """Proportional set size of each role, and of the supervisor with the process they are forked from."""
    found = {name: resident_bytes(pid) for name, pid in gateway.role_pids().items()}
    whole = resident_bytes(gateway.pid)
    return {**found, "supervisor and fork server": whole - sum(found.values()), "whole": whole}


def look(gateway: Gateway, series: int, when: str) -> None:
    """Print what there is now."""
    for name, size in processes(gateway).items():
        report(f"{name}, {when}", size, series)


def report(name: str, size: float, series: int) -> None:
    """One JSON line."""
    print(json.dumps({"bench": "memory", "what": name, "bytes_per_series": round(size / series, 1)}), flush=True)


def send(gateway: Gateway, series: int, rounds: int, batch: int) -> None:
    """So many samples of each series, all of them handed on."""
    work = Work("otlp-http", "http://127.0.0.1:1/", series=series, batch=batch, requests=1, warm_rounds=rounds,
                connections=2, step_ms=15_000)  # fmt: skip
    senders = Senders(at(work, gateway))
    try:
        senders.build()
        senders.warm_up()
        senders.start()
        senders.wait()
        await_true(lambda: gateway.pending() == 0, WAIT_SECONDS, "all handed on", 0.5)
    finally:
        senders.kill()


def main() -> None:
    """All figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="samples of each series")
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--segments", type=int, default=1, help="segments of the log that define the series")
    parser.add_argument("--settle", type=float, default=SETTLE_SECONDS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the gateway is ended
    with tempfile.TemporaryDirectory() as name:
        gateway = Gateway(Path(name), Sink().url, ("log.segment_age=45s",) if options.segments > 1 else ())
        try:
            gateway.start()
            time.sleep(8.0)
            look(gateway, options.series, "empty")
            for _ in range(options.segments):
                send(gateway, options.series, options.rounds, options.batch)
                time.sleep(options.settle)
            look(gateway, options.series, "with all series")
        finally:
            gateway.kill()


if __name__ == "__main__":
    main()
