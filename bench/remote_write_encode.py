"""Speed of the way out: deltas folded, rows encoded, blocks compressed. One JSON line a figure.

    python -m bench.remote_write_encode [--rows 200000] [--label-bytes 300] [--rounds 7]

Rows come in random order of series over 200,000 series, so that label blobs are not in the cache; each figure is the
median of the rounds, on one core. `sequential` has the series in order of the arena, as a steady sender gives them;
`12 samples a series` is a backlog, each series' samples brought together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.forward.remote_write_encoder import EncodedBlock, Encoding, PackedRows, RemoteWriteEncoder
from gateway.series.index import SeriesIndex
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.labels import encode_label_blob
from kernels.cumulative import COUNTS, claim_deltas, fold_rows
from kernels.series_runs import runs_of_series

SERIES = 200_000
ENCODINGS: Final[tuple[Encoding, ...]] = ("zstd", "snappy")
NOW_MS = 1_790_000_000_000


def label_blob(number: int, size: int) -> bytes:
    """A plausible label set of about `size` bytes."""
    labels = {
        "__name__": f"http_server_request_duration_seconds_{number % 97}", "job": "shop/checkout",
        "instance": f"10.0.{number % 256}.{number % 199}:8080", "http_route": f"/api/v1/orders/{number % 1000}",
        "otel_scope_name": "opentelemetry.instrumentation.fastapi", "series": f"{number:08d}",
    }  # fmt: skip
    blob = encode_label_blob(labels)
    return encode_label_blob(labels | {"zone": "z" * max(1, size - len(blob) - 10)})


def rate(work: Callable[[], object], rows: int, rounds: int) -> float:
    """Median rows per CPU-second of this thread (the machine may be shared)."""
    work()
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return rows / statistics.median(times)


def report(name: str, rows_per_second: float, **more: object) -> None:
    """One line."""
    print(json.dumps({"bench": name, "rows_per_cpu_second": round(rows_per_second), **more}), flush=True)


def blocks_of(encoder: RemoteWriteEncoder, packed: PackedRows, encoding: Encoding) -> list[EncodedBlock]:
    """All of them."""
    return list(encoder.encode(packed, encoding))


def bench_encoder(rows: int, label_bytes: int, rounds: int) -> None:
    """Kernel alone (both passes), then with each compression."""
    blobs = [label_blob(i, label_bytes) for i in range(SERIES)]
    index = SeriesIndex(SERIES)
    of_series = index.define(Definitions.from_blobs(blobs, np.zeros(SERIES, np.uint8)))
    lengths = index.label_lengths[:SERIES]
    generator = np.random.default_rng(1)
    values, times = generator.normal(100, 5, rows), np.full(rows, NOW_MS)
    slots = np.zeros(SERIES, np.uint32)
    orders = (
        ("random", generator.integers(0, SERIES, rows)), ("sequential", np.arange(rows) % SERIES),
        ("12 samples a series", np.arange(rows) % -(-rows // 12)),
    )  # fmt: skip
    for order, picks in orders:
        sids, series, ends = of_series[picks], np.zeros(rows, np.uint32), np.zeros(rows, np.int64)
        placed_times, placed_values = np.zeros(rows, np.int64), np.zeros(rows)

        def bring_together(
            sids: NDArray[np.uint32] = sids, series: NDArray[np.uint32] = series, ends: NDArray[np.int64] = ends,
            placed_times: NDArray[np.int64] = placed_times, placed_values: NDArray[np.float64] = placed_values,
        ) -> int:  # fmt: skip
            copied = sids.copy()
            return int(runs_of_series(copied, times, values, rows, slots, series, ends, placed_times, placed_values))

        report("series_runs", rate(bring_together, rows, rounds), order=order)
        runs = bring_together()
        if runs == rows:
            placed_times, placed_values = times, values
        packed = PackedRows(
            index.label_arena, index.label_sets, index.label_lengths, index.kinds, series[:runs], ends[:runs],
            placed_times, placed_values,
        )  # fmt: skip
        encoder = RemoteWriteEncoder(20_000, 8 << 20, 1)
        plain = RemoteWriteEncoder(20_000, 8 << 20, 1)
        plain.compress = lambda raw, encoding: b""  # type: ignore[method-assign]
        report("remote_write_encode", rate(partial(blocks_of, plain, packed, "zstd"), rows, rounds), order=order,
               label_bytes=round(float(lengths.mean())))  # fmt: skip
        for encoding in ENCODINGS:
            blocks = blocks_of(encoder, packed, encoding)
            report(f"remote_write_encode_{encoding}", rate(partial(blocks_of, encoder, packed, encoding), rows, rounds),
                   order=order, bytes_per_row=round(sum(len(b.body) for b in blocks) / rows, 1))  # fmt: skip


def bench_folding(rows: int, rounds: int) -> None:
    """Judging and folding a frame over 800,000 series, half of them deltas."""
    states = 800_000
    generator = np.random.default_rng(2)
    sids = generator.permutation(states)[:rows].astype(np.uint32)
    kinds = generator.choice(np.array([kind.GAUGE, kind.COUNTER | kind.DELTA], np.uint8), states)
    lengths = np.full(states, 300, np.uint32)
    generations, claimed = np.zeros(states, np.uint32), np.zeros(states, np.uint32)
    totals, ends, fresh = np.zeros(states), np.zeros(states, np.int64), np.zeros(rows, np.uint32)
    starts, values = np.zeros(0, np.int64), np.ones(rows)
    out = (np.zeros(rows, np.uint32), np.zeros(rows, np.int64), np.zeros(rows))
    counts = np.zeros(COUNTS, np.int64)
    clock = iter(range(1_000_000))

    def fold() -> None:
        times = np.full(rows, NOW_MS + next(clock))
        claim_deltas(sids, kinds, generations, claimed, totals, ends, fresh)
        kept = fold_rows(sids, starts, times, values, kinds, lengths, 0, NOW_MS * 2, totals, ends, *out, counts)
        assert kept == rows

    report("delta_folding", rate(fold, rows, rounds), series=states)


def main() -> None:
    """All figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--label-bytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    bench_encoder(arguments.rows, arguments.label_bytes, arguments.rounds)
    bench_folding(arguments.rows, arguments.rounds)


if __name__ == "__main__":
    main()
