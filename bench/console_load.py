"""What `bench.console` sends: OTLP of series that are there, at a rate or as fast as it is taken."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

REQUEST_POINTS: Final = 1000
Points = Iterator[tuple[int, int, int, float]]
"""Item, host, Unix nanoseconds and value of gauge `bench.value`."""


def request_body(services: Iterable[tuple[int, Points]]) -> bytes:
    """OTLP of some services, each a resource."""
    request = ExportMetricsServiceRequest()
    for service, points in services:
        resource = request.resource_metrics.add()
        resource.resource.attributes.add(key="service.name").value.string_value = f"service-{service}"
        metric = resource.scope_metrics.add().metrics.add(name="bench.value")
        for item, host, at, value in points:
            point = metric.gauge.data_points.add(time_unix_nano=at, as_double=value)
            point.attributes.add(key="item").value.string_value = str(item)
            point.attributes.add(key="host").value.string_value = f"host-{host}"
    return request.SerializeToString()


def bodies_of(series: int, services: int, now: int) -> Iterator[bytes]:
    """One sample of every series at Unix nanoseconds `now`, some REQUEST_POINTS a request."""
    each = math.ceil(series / services)
    together = max(1, REQUEST_POINTS // each)
    for first in range(0, services, together):
        yield request_body(
            (service, ((i, i % 500, now, float(i % 17)) for i in range(each)))
            for service in range(first, min(first + together, services))
        )


CONNECTIONS: Final = 4
SENDER: Final = """
import http.client, itertools, sys, threading, time
import numpy as np
from bench.console_load import CONNECTIONS, bodies_of

host, rate, end = sys.argv[1], float(sys.argv[2]), time.monotonic() + float(sys.argv[3])
mark = 0x0123456789ABCDEF
bodies = [np.frombuffer(body, np.uint8) for body in bodies_of(int(sys.argv[4]), int(sys.argv[5]), mark)]
sample = mark.to_bytes(8, "little")
places = []
for body in bodies:
    raw, at, found = body.tobytes(), -1, []
    while (at := raw.find(sample, at + 1)) >= 0:
        found.append(at)
    places.append(np.array(found)[:, None] + np.arange(8))
sent, lock = 0, threading.Lock()

def send(first):
    global sent
    connection, due = http.client.HTTPConnection(host), time.monotonic()
    for number in itertools.count(first, CONNECTIONS):
        if time.monotonic() >= end:
            return
        body, samples = bodies[number % len(bodies)].copy(), places[number % len(bodies)]
        body[samples] = np.frombuffer(time.time_ns().to_bytes(8, "little"), np.uint8)
        connection.request("POST", "/v1/metrics", body.tobytes(), {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            with lock:
                sent += len(samples)
                print(sent, flush=True)
        if rate:
            due += CONNECTIONS * len(samples) / rate
            time.sleep(max(0.0, due - time.monotonic()))

print(0, flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=send, args=(n,)) for n in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
"""Requests of some 1,000 points of series that are there, made once, with a new time in each; prints how many
points are acknowledged. What one connection cannot send because an answer took long, it sends afterwards."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the sender sends, and where to."""

    address: str
    series: int
    services: int


@contextlib.contextmanager
def background(load: Load, rate: int, seconds: float = 3600.0) -> Iterator[Callable[[], int]]:
    """Load from a process of its own while the body runs; without a rate as much as is taken.

    What it gives tells how many points are acknowledged by now.
    """
    if rate == 0 and seconds == 3600.0:
        yield lambda: 0
        return
    command = [
        sys.executable,
        "-c",
        SENDER,
        load.address,
        str(rate),
        str(seconds),
        str(load.series),
        str(load.services),
    ]
    with tempfile.NamedTemporaryFile("w+") as told:
        sender = subprocess.Popen(command, env=os.environ, stdin=subprocess.PIPE, stdout=told, text=True)
        assert sender.stdin is not None

        def acknowledged() -> int:
            lines = Path(told.name).read_bytes().split(b"\n")
            return int(lines[-2]) if len(lines) > 1 else 0

        try:
            while not Path(told.name).stat().st_size:
                time.sleep(0.05)
            sender.stdin.write("go\n")
            sender.stdin.flush()
            yield acknowledged
        finally:
            sender.kill()
            sender.wait()


def maximum(load: Load, seconds: float = 8.0) -> float:
    """Points a second that are acknowledged to connections that do not wait between two requests."""
    with background(load, 0, seconds + 2.0) as acknowledged:
        time.sleep(1.0)
        before, began = acknowledged(), time.monotonic()
        time.sleep(seconds)
        return (acknowledged() - before) / (time.monotonic() - began)
