"""Remote write decode: points a CPU-second of one core, 1.0 and 2.0, 8,000 series of about 249 bytes, one sample each.

`python -m bench.remote_write_decode [--series N] [--runs N]` prints one JSON line a figure: the median of the runs.
`decode` repeats a request, as senders do: its label sets are known (kernels.known_labels). `first seen` decodes it with
a new decoder each time. `among 200,000` comes round to a label set only after so many others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import time
from collections.abc import Callable

import numpy as np

from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.remote_write_v2 import RemoteWriteV2Decoder
from gateway.telemetry.varint import varint

NOW_MS = 1_790_000_000_000


def field(tag: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(tag) + varint(len(payload)) + payload


def labels_of(i: int) -> list[tuple[str, str]]:
    """Nine labels, as a Prometheus in a cluster sends them."""
    return [
        ("__name__", f"http_server_requests_{i % 40:02d}_total"),
        ("cluster", "production-eu-1"),
        ("container", "checkout"),
        ("instance", f"10.2.{i // 250 % 250}.{i % 250}:8080"),
        ("job", "shop/checkout"),
        ("method", "POST"),
        ("pod", f"checkout-7d9f8b6c5d-{i:05d}"),
        ("route", "/basket"),
        ("status", "200"),
    ]


def sample(i: int) -> bytes:
    """A Sample message with a value that differs from series to series."""
    return b"\x09" + struct.pack("<d", 1000.5 + i) + b"\x10" + varint(NOW_MS)


def request_v1(series: int, first: int = 0) -> bytes:
    """A 1.0 WriteRequest."""
    out = bytearray()
    for i in range(first, first + series):
        body = b"".join(
            field(0x0A, field(0x0A, name.encode()) + field(0x12, value.encode())) for name, value in labels_of(i)
        )
        out += field(0x0A, body + field(0x12, sample(i)))
    return bytes(out)


def request_v2(series: int) -> bytes:
    """A 2.0 Request of the same series."""
    symbols: dict[str, int] = {"": 0}
    out = bytearray()
    for i in range(series):
        refs = b"".join(varint(symbols.setdefault(text, len(symbols))) for label in labels_of(i) for text in label)
        out += field(0x2A, field(0x0A, refs) + field(0x12, sample(i)) + field(0x2A, b"\x08\x01"))
    return b"".join(field(0x22, text.encode()) for text in symbols) + bytes(out)


def median_seconds(work: Callable[[], object], runs: int, repeats: int) -> float:
    """Median over runs of the CPU seconds that one call takes; the work runs on this thread alone."""
    work()
    times = []
    for _ in range(runs):
        began = time.thread_time()
        for _ in range(repeats):
            work()
        times.append((time.thread_time() - began) / repeats)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    key, settings = (1, 2), RemoteWriteSettings()
    versions = (
        ("1.0", RemoteWriteV1Decoder(key, settings), request_v1(arguments.series)),
        ("2.0", RemoteWriteV2Decoder(key, settings), request_v2(arguments.series)),
    )
    for version, decoder, body in versions:
        columns = decoder.decode(body, NOW_MS)
        if len(columns) != arguments.series or columns.rejected:
            raise SystemExit(f"remote write {version}: decoded {len(columns)} rows, rejected {columns.rejected}")
        rows = np.arange(len(columns))
        for what, work in (
            ("decode", lambda d=decoder, b=body: d.decode(b, NOW_MS)),
            ("decode, first seen", lambda d=decoder, b=body: type(d)(key, settings).decode(b, NOW_MS)),
            ("definitions", lambda c=columns, r=rows: c.source.definitions(r)),
        ):
            seconds = median_seconds(work, arguments.runs, 20)
            figure = {
                "bench": f"remote write {version} {what}",
                "points_per_second": round(arguments.series / seconds),
                "bytes_per_point": round(len(body) / arguments.series, 1),
                "ns_per_point": round(seconds / arguments.series * 1e9, 1),
                "runs": arguments.runs,
            }
            print(json.dumps(figure), flush=True)
    among_many(arguments.series, arguments.runs, RemoteWriteV1Decoder(key, settings))


def among_many(series: int, runs: int, decoder: RemoteWriteV1Decoder) -> None:
    """The 1.0 figure of requests that take turns; each is copied into one place first, as a received one lies in the
    processor's cache."""
    bodies = [request_v1(series, first) for first in range(0, 200_000, series)]
    received = bytearray(max(map(len, bodies)))
    times = []
    for turn in range(runs + 3):
        took = 0.0
        for body in bodies:
            place = memoryview(received)[: len(body)]
            place[:] = body
            began = time.thread_time()
            decoder.decode(place, NOW_MS)
            took += time.thread_time() - began
        if turn >= 3:  # before, the table grows
            times.append(took / len(bodies) / series)
    seconds = statistics.median(times)
    figure = {
        "bench": "remote write 1.0 decode, among 200,000",
        "points_per_second": round(1 / seconds),
        "ns_per_point": round(seconds * 1e9, 1),
        "runs": runs,
    }
    print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
