"""What undoing a content encoding costs, µs of one core a point: `python -m bench.content_encoding [--rounds 25]`.

A request of 8,000 OTLP points as the load generator makes it, packed by each encoding; `zlib` is how a gzip body goes
that is not one member alone. The least of the rounds is told, which other work on the machine disturbs least. One JSON
line each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable

import cramjam
import zstandard

from gateway.ingest.content_encoding import decompress
from loadtest.generator.template import build

POINTS = 8_000


def least(work: Callable[[], object], rounds: int) -> float:
    """Seconds of this thread."""
    found = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        work()
        found = min(found, time.thread_time() - began)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    template = build("otlp-http", 0, POINTS)
    template.stamp(int(time.time() * 1000), -1, 0.0)
    body = template.body.tobytes()
    middle = len(body) // 2
    packed = {
        "gzip, level 1": ("gzip", gzip.compress(body, 1)),
        "gzip, level 6": ("gzip", gzip.compress(body, 6)),
        "gzip, level 6, two members (zlib)": ("gzip", gzip.compress(body[:middle]) + gzip.compress(body[middle:])),
        "zstd, level 1": ("zstd", zstandard.compress(body, 1)),
        "snappy": ("snappy", bytes(cramjam.snappy.compress_raw(body))),
    }
    for name, (encoding, data) in packed.items():

        def undo(encoding: str = encoding, data: bytes = data) -> object:
            return decompress(data, encoding, 2**26, lambda amount: None)

        line = {
            "bench": "content_encoding", "encoding": name, "us_per_point": round(least(undo, rounds) / POINTS * 1e6, 4),
            "bytes": len(data), "bytes_plain": len(body),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
