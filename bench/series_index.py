"""Series identity and the log: edge table, index, definitions on restart, appends. One JSON line a figure.

python -m bench.series_index [--series 800000]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.clock import SystemClock
from gateway.log.reader import LogReader
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.series.edge_table import EdgeTable
from gateway.series.index import SeriesIndex
from gateway.series.local_ids import LocalIds
from gateway.settings_types import ByteSize
from gateway.telemetry.columns import Definitions, PointColumns
from gateway.telemetry.frame import Frame
from gateway.telemetry.labels import encode_label_blob

FRAME_ROWS = 8_000


class NumberedSeries:
    """Label source of series numbered from 0: row r of a request is series rows[r]."""

    def __init__(self, pattern: bytes, numbers: NDArray[np.int64]) -> None:
        self._pattern, self._numbers = pattern, numbers

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        """See LabelSource."""
        blobs = [self._pattern % int(n) for n in self._numbers[rows]]
        return Definitions.from_blobs(blobs, np.ones(len(blobs), np.uint8))


def label_pattern() -> bytes:
    """A blob of about 160 bytes with %08d where the series number goes."""
    labels = {
        "__name__": "http_server_request_duration_seconds",
        "instance": "XXXXXXXX",
        "http_route": "/api/v1/orders/{id}",
        "job": "checkout",
        "service_namespace": "shop-production",
        "zone": "eu-central-1a",
    }
    return encode_label_blob(labels).replace(b"XXXXXXXX", b"%08d")


def requests(series: int, rows: int, order: int = 7) -> list[PointColumns]:
    """One request for each `rows` series, covering all series once, in the shuffled order number `order`."""
    draw = np.random.default_rng(7)
    numbers = np.random.default_rng(order).permutation(series)
    high = draw.integers(1, 2**63, series).astype(np.uint64)
    low = draw.integers(0, 2**63, series).astype(np.uint64)
    pattern = label_pattern()
    out = []
    for first in range(0, series, rows):
        chosen = numbers[first : first + rows]
        n = len(chosen)
        out.append(
            PointColumns(
                high[chosen],
                low[chosen],
                np.full(n, 1_700_000_000_000, np.int64),
                draw.random(n),
                None,
                np.ones(n, np.uint8),
                NumberedSeries(pattern, chosen),
                points=n,
            )
        )
    return out


def report(name: str, value: float, unit: str, **more: object) -> None:
    """One JSON line."""
    print(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, **more}), flush=True)


def rss() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def write_all(writer: LogWriter, edge: EdgeTable, batches: list[PointColumns]) -> tuple[list[Frame], float, float]:
    """Resolve and append every batch, one sync each; frames, seconds in resolve, seconds in append and sync."""
    frames, resolving, writing = [], 0.0, 0.0
    for columns in batches:
        segment = writer.prepare(1 << 20)
        if segment != edge.segment:
            edge.rotated(segment, writer.path_of(segment))
        began = time.perf_counter()
        found = edge.resolve(columns)
        resolved = time.perf_counter()
        frame = writer.append(
            ids=found.ids,
            times_ms=columns.times_ms,
            values=columns.values,
            starts_ms=None,
            definitions=found.definitions,
            first_new_id=found.first_new_id,
            counted_rows=len(columns),
            received_ns=0,
        )
        writer.sync()
        writing += time.perf_counter() - resolved
        edge.appended(frame)
        resolving += resolved - began
        frames.append(frame)
    return frames, resolving, writing


def main() -> None:
    """Run all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=800_000)
    series = parser.parse_args().series
    batches = requests(series, FRAME_ROWS)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        writer = LogWriter.open(
            directory, 0, LogSettings(segment_bytes=ByteSize(2**30), durability="os"), SystemClock()
        )
        edge = EdgeTable(max_series=2 * series)
        first, seconds, _ = write_all(writer, edge, batches)
        report("edge_resolve_first_sight", 1e9 * seconds / series, "ns/row", series=series)
        best, best_write = 1e9, 1e9
        shuffled = requests(series, FRAME_ROWS, order=11)
        for _ in range(3):
            again, seconds, writing = write_all(writer, edge, shuffled)
            best, best_write = min(best, seconds), min(best_write, writing)
        report("edge_resolve_known", 1e9 * best / series, "ns/row", series=series)
        report("log_append_os", series / best_write / 1e6, "M rows/s", rows_per_frame=FRAME_ROWS)

        writer.rotate()
        _, seconds, _ = write_all(writer, edge, batches)
        report("edge_resolve_after_rotation", 1e9 * seconds / series, "ns/row", series=series)
        writer.close()

        index = SeriesIndex()
        ids = LocalIds(index, "bench")
        before = rss()
        began = time.perf_counter()
        for frame in first:
            ids.resolve(frame)
        report("index_define", 1e9 * (time.perf_counter() - began) / series, "ns/series", series=series)
        report("index_memory", (rss() - before) / series, "B/series", series=series)
        best = 1e9
        nothing = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
        known = [replace(frame, definitions=nothing) for frame in again]
        for _ in range(3):
            began = time.perf_counter()
            for frame in known:
                ids.resolve(frame)
            best = min(best, time.perf_counter() - began)
        report("index_lookup", 1e9 * best / series, "ns/row", series=series)
        began = time.perf_counter()
        found = index.find([("instance", "=", f"{series // 2:08d}")], 10)
        report("index_find_equal", 1e3 * (time.perf_counter() - began), "ms", series=series, found=len(found))

        end = first[-1].end
        began = time.perf_counter()
        reader = LogReader.open(directory, 0, end)
        fresh = LocalIds(SeriesIndex(), "restart")
        for frame in reader.definitions_before():
            fresh.resolve(frame)
        report("restart_definitions", time.perf_counter() - began, "s", series=series)
        began = time.perf_counter()
        reader = LogReader.open(directory, 0)
        rows = 0
        while frames := reader.read(8 << 20):
            rows += sum(map(len, frames))
        report("log_read", rows / (time.perf_counter() - began) / 1e6, "M rows/s", rows=rows)


if __name__ == "__main__":
    main()
