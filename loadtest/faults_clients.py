"""Clients that are too many, too slow, or bring too much, beside others that must not notice."""

from __future__ import annotations

import contextlib
import queue
import resource
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final

import grpc
import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from loadtest.generator.exchange import EXPORT
from loadtest.processes import LoadTestError, await_true, resident_bytes
from loadtest.scene import RECOVERY_SECONDS, Fault, Scene
from tests.e2e.otlp import gauge_request

_ASK_READY: Final = b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n"
_OTLP_HEAD: Final = b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
_GRPC_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _descriptors(count: int) -> None:
    """As many for this process, and so for those it starts. Raises LoadTestError."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (ValueError, OSError) as error:
        raise LoadTestError(f"{count} descriptors are needed: ulimit -n {count} ({error})") from error


def prepare_descriptors(_: object) -> dict[str, str]:
    """For Fault.environment: the gateway is started with as many descriptors as 10,000 connections need."""
    _descriptors(12_000)
    return {}


def _connect(port: int, seconds: float = 30.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), seconds)


def _many_connections(scene: Scene) -> None:
    """Each is opened, asks once, and stays."""
    wanted = 10_000 if scene.load.rate >= 5_000 else 1_000
    before = resident_bytes(scene.gateway.role_pids()["data"])
    clients: list[socket.socket] = []
    try:
        began = time.monotonic()
        for _ in range(wanted):
            client = _connect(scene.gateway.http_port)
            client.sendall(_ASK_READY)
            clients.append(client)
        for client in clients:
            scene.injected += b" 200 " in client.recv(4096)
        took = time.monotonic() - began
        open_now = scene.gateway.metric("gateway_ingest_http_connections{") or scene.gateway.metric(
            "gateway_ingest_http_connections "
        )
        time.sleep(scene.seconds)
        scene.recover_accepting()
        grown = resident_bytes(scene.gateway.role_pids()["data"]) - before
        scene.detail |= {
            "connections_open": int(open_now), "seconds_to_open": round(took, 1),
            "bytes_per_connection": round(grown / wanted),
        }  # fmt: skip
        scene.expect(scene.injected == wanted, f"{wanted - scene.injected} of {wanted} were not served")
        scene.expect(open_now >= wanted, f"only {open_now:.0f} were open at the same time")
    finally:
        for client in clients:
            client.close()
    scene.recover_forwarding()


def _trickled(port: int, start: bytes, count: int) -> list[socket.socket]:
    found = []
    for _ in range(count):
        client = _connect(port)
        client.sendall(start)
        client.setblocking(False)
        found.append(client)
    return found


def _still_open(clients: list[socket.socket], trickle: bytes) -> list[socket.socket]:
    """Send a byte on each; those that the other side has not closed."""
    kept = []
    for client in clients:
        with contextlib.suppress(OSError):
            client.send(trickle)
            try:
                ended = client.recv(65_536) == b""
            except BlockingIOError:
                ended = False
            if not ended:
                kept.append(client)
                continue
        client.close()
    return kept


def _slow_clients(scene: Scene) -> None:
    """Headers, bodies and gRPC handshakes that trickle, and gRPC calls whose message never comes."""
    count = 100
    kinds = {
        "headers": _trickled(scene.gateway.http_port, b"POST /v1/metrics HTTP/1.1\r\nX-Slow: ", count),
        "bodies": _trickled(scene.gateway.http_port, _OTLP_HEAD + b"Content-Length: 100000\r\n\r\n", count),
        "handshakes": _trickled(scene.gateway.grpc_port, _GRPC_PREFACE[:5], count),
    }
    scene.injected += 3 * count
    never: queue.Queue[None] = queue.Queue()

    def silence() -> Iterator[bytes]:
        never.get()
        yield b""

    channel = grpc.insecure_channel(f"127.0.0.1:{scene.gateway.grpc_port}")
    calls = [channel.stream_unary(EXPORT, None, None).future(silence(), timeout=120.0) for _ in range(64)]
    scene.injected += len(calls)
    answered: list[float] = []
    stop = threading.Event()
    asker = threading.Thread(target=_ask_by_grpc, args=(scene.gateway.grpc_port, stop, answered), daemon=True)
    asker.start()
    began = time.monotonic()
    closed: dict[str, float] = {}
    while (kinds or not all(call.done() for call in calls)) and time.monotonic() - began < 60.0:
        for kind, clients in list(kinds.items()):
            kinds[kind] = _still_open(clients, b"a")
            if not kinds[kind]:
                closed[kind] = round(time.monotonic() - began, 1)
                del kinds[kind]
        if "calls" not in closed and all(call.done() for call in calls):
            closed["calls"] = round(time.monotonic() - began, 1)
        time.sleep(0.2)
    stop.set()
    asker.join()
    for _ in calls:
        never.put(None)
    channel.close()
    scene.detail |= {
        "closed_after_seconds": closed, "grpc_calls_answered": len(answered),
        "worst_grpc_seconds": round(max(answered, default=0.0), 2),
    }  # fmt: skip
    scene.expect(not kinds and all(call.done() for call in calls), f"still held after a minute: {sorted(kinds)}")
    scene.expect(bool(answered), "no gRPC call was answered meanwhile")
    scene.recover_accepting()
    scene.recover_forwarding()


def _ask_by_grpc(port: int, stop: threading.Event, answered: list[float]) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.unary_unary(EXPORT, None, None)
        number = 0
        while not stop.is_set():
            began = time.monotonic()
            body = gauge_request("asker", "asked", [(time.time_ns(), float(number), {})])
            with contextlib.suppress(grpc.RpcError):
                call(body, timeout=30.0)
                answered.append(time.monotonic() - began)
            number += 1
            stop.wait(0.2)


def _readers_that_do_not_read(scene: Scene) -> None:
    """Consoles whose connection stands: the event stream is written to nobody, and everything."""
    clients = [_connect(scene.gateway.control_port) for _ in range(50)]
    pages = [_connect(scene.gateway.control_port) for _ in range(50)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        scene.injected += 1
    for client in pages:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        scene.injected += 1
    pid = scene.gateway.role_pids()["control"]
    before = resident_bytes(pid)
    time.sleep(scene.seconds)
    await_true(lambda: "uptime_seconds" in scene.gateway.status(), RECOVERY_SECONDS, "the control plane answers")
    scene.recover_accepting()
    scene.detail["control_plane_grew_bytes"] = resident_bytes(pid) - before
    scene.expect(scene.gateway.role_pids().get("control") == pid, "the control plane did not outlive it")
    for client in (*clients, *pages):
        client.close()
    scene.recover_forwarding()


def _export(port: int, body: bytes) -> bytes:
    """Raises OSError."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/metrics", data=body)
    request.add_header("Content-Type", "application/x-protobuf")
    with urllib.request.urlopen(request, timeout=60.0) as answer:
        content: bytes = answer.read()
        return content


class _NewSeries:
    """Requests of so many points, each of a series of its own; only their numbers are written anew."""

    def __init__(self, points: int) -> None:
        now = time.time_ns()
        request = gauge_request("explosion", "exploded", [(now, 1.0, {"n": f"{n:08d}"}) for n in range(points)])
        places, at = [], 0
        for number in range(points):
            at = request.index(b"%08d" % number, at)
            places.append(at)
        self._body, self._places = np.frombuffer(bytearray(request), np.uint8), np.array(places)

    def request(self, first: int) -> bytes:
        """The points of the series from this number on."""
        numbers = first + np.arange(len(self._places))
        for digit in range(8):
            self._body[self._places + digit] = 48 + numbers // 10 ** (7 - digit) % 10
        return self._body.tobytes()


def _series_explosion(limit: int) -> Callable[[Scene], None]:
    """Ten times as many new series as the limit; those known before go on as before."""

    def inject(scene: Scene) -> None:
        batch, offered = min(10_000, limit // 10), 10 * limit
        new = _NewSeries(batch)
        pid = scene.gateway.role_pids()["data"]
        before = resident_bytes(pid)
        # Those that are to go on as before have to be known.
        known = scene.load.series
        await_true(
            lambda: scene.gateway.status()["active_series"] >= known, RECOVERY_SECONDS, "the senders' series known"
        )
        partly, first = 0, ""
        for start in range(0, offered, batch):
            answer = _export(scene.gateway.http_port, new.request(start))
            refusal = ExportMetricsServiceResponse.FromString(answer).partial_success
            partly += refusal.rejected_data_points > 0
            first = first or refusal.error_message
        scene.injected += offered
        active = scene.gateway.status()["active_series"]
        scene.detail |= {
            "series_offered": offered, "series_limit": limit, "active_series": active,
            "requests_partly_refused": partly, "first_refusal": first[:200],
            "grew_bytes": resident_bytes(pid) - before,
        }  # fmt: skip
        scene.expect(active <= limit, f"{active} series are active and {limit} is the limit")
        scene.expect(partly > 0, "nothing was refused")
        scene.recover_accepting()
        scene.recover_forwarding()

    return inject


FAULTS: Final[dict[str, Fault]] = {
    "connections": Fault("10,000 connections that stay open", _many_connections, ("ingest.max_connections=11000",),
                         environment=prepare_descriptors),
    "slow-clients": Fault("slow-loris over HTTP and gRPC", _slow_clients, (
        "ingest.header_timeout=3s", "ingest.body_timeout=3s", "ingest.grpc_message_timeout=3s")),
    "deaf-readers": Fault("readers of the control plane that do not read", _readers_that_do_not_read),
    "series": Fault("ten times as many new series as the limit", _series_explosion(30_000),
                    ("ingest.max_series=30000",)),
    "series-million": Fault("10 million new series against a limit of 1 million", _series_explosion(1_000_000),
                            ("ingest.max_series=1000000",)),
}  # fmt: skip
