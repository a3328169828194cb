"""CPU of the gRPC transport alone: the synchronous server with threads against grpc.aio, by message size.

One JSON line a figure: server, message bytes, CPU of the server process and wall time, µs a call (median of rounds that
alternate between the servers). The handlers do nothing, so the difference is the transport's. Four channels with one
call each in flight.

    python -m bench.grpc_transport [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import threading
import time
from concurrent import futures
from multiprocessing.queues import Queue
from typing import Any

import grpc

SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)]
SIZES = {0: 1200, 85_000: 800, 1_370_000: 120}
"""Message bytes → calls a round: empty, 500 points, 8,000 points."""
CHANNELS = 4


def _answer_cpu(answers: Queue[Any], questions: Queue[Any]) -> None:
    while questions.get():
        used = resource.getrusage(resource.RUSAGE_SELF)
        answers.put(used.ru_utime + used.ru_stime)


def _handlers(handler: Any) -> tuple[Any, ...]:
    method = grpc.unary_unary_rpc_method_handler(handler)
    return (grpc.method_handlers_generic_handler(SERVICE, {"Export": method}),)


def serve_synchronous(answers: Queue[Any], questions: Queue[Any]) -> None:
    """The threaded server."""
    server = grpc.server(futures.ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers(_handlers(lambda request, context: b""))
    answers.put(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    _answer_cpu(answers, questions)
    server.stop(0).wait()


def serve_aio(answers: Queue[Any], questions: Queue[Any]) -> None:
    """The asyncio server."""

    async def handler(request: bytes, context: Any) -> bytes:
        return b""

    async def main() -> None:
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers(_handlers(handler))
        answers.put(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await asyncio.to_thread(_answer_cpu, answers, questions)
        await server.stop(0)

    asyncio.run(main())


class Peer:
    """A server process and channels to it."""

    def __init__(self, serve: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.answers, self.questions = context.Queue(), context.Queue()
        self.process = context.Process(target=serve, args=(self.answers, self.questions), daemon=True)
        self.process.start()
        target = f"127.0.0.1:{self.answers.get(timeout=60)}"
        private = [("grpc.use_local_subchannel_pool", 1)]
        self.channels = [grpc.insecure_channel(target, options=private) for _ in range(CHANNELS)]
        self.calls = [channel.unary_unary(f"/{SERVICE}/Export", None, None) for channel in self.channels]

    def _cpu(self) -> float:
        self.questions.put(True)
        used: float = self.answers.get(timeout=60)
        return used

    def measure(self, size: int, calls: int) -> tuple[float, float]:
        """(CPU, wall) µs a call."""
        body = os.urandom(size)
        for call in self.calls:
            call(body)

        def send(call: Any) -> None:
            for _ in range(calls // CHANNELS):
                call(body)

        threads = [threading.Thread(target=send, args=(call,)) for call in self.calls]
        cpu, wall = self._cpu(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - wall
        return (self._cpu() - cpu) / calls * 1e6, wall / calls * 1e6

    def close(self) -> None:
        """End the process."""
        for channel in self.channels:
            channel.close()
        self.questions.put(False)
        self.process.join(10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    peers = {"threads": Peer(serve_synchronous), "aio": Peer(serve_aio)}
    try:
        for size, calls in SIZES.items():
            results: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
            for _ in range(rounds):
                for name, peer in peers.items():
                    results[name].append(peer.measure(size, calls))
            for name, measured in results.items():
                line = {
                    "bench": "grpc_transport",
                    "server": name,
                    "message_bytes": size,
                    "cpu_us_per_call": round(statistics.median(cpu for cpu, _ in measured)),
                    "wall_us_per_call": round(statistics.median(wall for _, wall in measured)),
                    "rounds": rounds,
                }
                print(json.dumps(line), flush=True)
    finally:
        for peer in peers.values():
            peer.close()


if __name__ == "__main__":
    main()
