"""What bounds a gateway of N workers: the parts whose cost grows with N are measured, the rest is put in.

A row costs its worker, whatever N is, its way through the pipeline (`--row-us`, from `python -m bench.pipeline` plus
transport). With N workers come: the row is grouped by shard once; every frame of the other N - 1 edges is read from
the page cache and checked by two readers of each worker, with a cost for its bytes and one for itself; every page of
the others is looked at 50 times a second. Output: one JSON line a figure, then a table for 1 to 64 workers, each with
a core of its own, at `--commits` group commits a second and edge.

A row's cost to a worker with N workers, where T rows a second come in all:
    own part    row + group                                  for T / N rows
    reading     2 * (N - 1) / N * T rows of others' frames   at read_row
    frames      2 * (N - 1) * commits frames                 at read_frame
    pages       3 * (N - 1) * looks                          at read_page
T is the most for which the sum is one second a second.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from gateway.clock import SystemClock
from gateway.log.segment import FORMAT_VERSION
from gateway.log.settings import LogSettings
from gateway.log.sharing import DurableEnd, EdgePage, EdgePageReader
from gateway.log.writer import LogWriter
from gateway.pipeline.shard_feed import ShardFeed
from gateway.series.index import SeriesIndex
from gateway.series.shard import Shard
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import LogPosition, ShardRows
from gateway.telemetry.labels import encode_label_blob
from kernels.shard_rows import group_rows

_ROWS: Final = 8000
_FRAMES: Final = 40
_LOOKS: Final = 50
_READERS: Final = 2
_KEY: Final = (1, 2)
_NO_DEFINITIONS: Final = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))


class Costs(NamedTuple):
    """Microseconds."""

    group_row: float
    read_row: float
    read_frame: float
    read_page: float


def _best(call: Callable[[], object], times: int = 9) -> float:
    found = []
    for _ in range(times):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return min(found) * 1e6


def _grouping(shards: int) -> float:
    n = _ROWS
    draw = np.random.default_rng(1)
    shard_of = draw.integers(0, shards, n).astype(np.uint8)
    ids, kinds = np.arange(n, dtype=np.uint32), np.ones(n, np.uint8)
    times, values, none = np.arange(n, dtype=np.int64), draw.random(n), np.empty(0, np.int64)
    out = (np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n), none, np.empty(n, np.uint32))
    rows, counted = np.empty(shards, np.uint32), np.empty(shards, np.uint32)

    def once() -> None:
        for _ in range(20):
            group_rows(ids, kinds, shard_of, times, values, none, shards, *out, rows, counted)

    return _best(once) / (20 * n)


class _Edge:
    """A log whose first frame defines all series; every frame has a row of each."""

    def __init__(self, directory: Path, edge: int, rows: int, shards: int) -> None:
        self._writer = LogWriter.open(directory / "log", edge, LogSettings(durability="os"), SystemClock())
        self._writer.format_version = FORMAT_VERSION
        blobs = [encode_label_blob({"__name__": "requests", "host": f"host-{i}"}) for i in range(rows)]
        self._definitions = Definitions.from_blobs(blobs, np.ones(rows, np.uint8))
        owners = Shard(0, shards, _KEY).owners(self._definitions)
        self._ids = np.argsort(owners, kind="stable").astype(np.uint32)
        self._table = np.bincount(owners, minlength=shards).astype(np.uint32)
        self._page = EdgePage(directory / "run", edge)

    def append(self, frames: int) -> None:
        rows = len(self._ids)
        for _ in range(frames):
            new = self._writer.segment == 0
            self._writer.prepare(rows * 28)
            self._writer.append(
                ids=self._ids, times_ms=np.arange(rows, dtype=np.int64), values=np.ones(rows), starts_ms=None,
                definitions=self._definitions if new else _NO_DEFINITIONS, first_new_id=0 if new else rows,
                counted_rows=rows, received_ns=self._writer.next_row * 10**9,
                shards=ShardRows(self._writer.next_row * 10**9, self._table, self._table),
            )  # fmt: skip
            self._writer.sync()
        self._page.tell(DurableEnd(self._writer.durable_end, self._writer.next_row))


def _reading(directory: Path, rows: int, shards: int) -> float:
    """Microseconds in which a shard's feed reads one more frame of so many rows and takes its part."""
    edges = [_Edge(directory, edge, rows, shards) for edge in range(2)]
    found = []
    for _ in range(2):
        for edge in edges:
            edge.append(_FRAMES)

        def once() -> None:
            feed = ShardFeed(
                "bench", directory / "log", directory / "run", SeriesIndex(rows), Shard(0, shards, _KEY), 2, None,
                LogPosition(0, 0), former=[], former_until=[], on_committed=lambda *_: None, touch=False,
            )  # fmt: skip
            feed.seek(None)
            while feed.poll(2 * 2**20):
                pass
            feed.close()

        found.append(_best(once))
    return (found[1] - found[0]) / (2 * _FRAMES)


def _page(directory: Path) -> float:
    writer, reader = EdgePage(directory, 0), EdgePageReader(directory, 0)
    writer.tell(DurableEnd(LogPosition(1, 64), 1))

    def once() -> None:
        for _ in range(2000):
            reader.read()

    return _best(once) / 2000


def measure(shards: int) -> Costs:
    """The parts that several workers add."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        small = _reading(directory / "small", 8 * shards, shards)
        large = _reading(directory / "large", _ROWS, shards)
        row = (large - small) / (_ROWS - 8 * shards)
        return Costs(_grouping(shards), row, small - row * 8 * shards, _page(directory))


def rows_a_second(workers: int, row_us: float, commits: float, costs: Costs) -> float:
    """The model: the most rows a second of so many workers; see the module's text."""
    others = workers - 1
    fixed = others * (_READERS * commits * costs.read_frame + (1 + _READERS) * _LOOKS * costs.read_page)
    own = (row_us + (costs.group_row if others else 0.0)) / workers
    a_row = own + _READERS * others / workers * costs.read_row
    return max(0.0, (1e6 - fixed) / a_row)


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row-us", type=float, default=0.75, help="cost of a row with one worker, microseconds")
    parser.add_argument("--commits", type=float, default=50.0, help="group commits a second and edge")
    given = parser.parse_args()
    costs = measure(8)
    for name, value in costs._asdict().items():
        print(json.dumps({"figure": f"workers_{name}_us", "value": round(value, 5)}))
    alone = rows_a_second(1, given.row_us, given.commits, costs)
    for workers in (1, 2, 4, 8, 16, 32, 64):
        rows = rows_a_second(workers, given.row_us, given.commits, costs)
        share = _READERS * (workers - 1) / workers * costs.read_row * rows / 1e6
        print(
            json.dumps(
                {
                    "figure": "workers_model",
                    "workers": workers,
                    "rows_per_second": round(rows),
                    "times_one": round(rows / alone, 2),
                    "share_of_a_core_reading_others": round(share, 3),
                    "log_bytes_per_second": round(rows * 20),
                }
            )
        )


if __name__ == "__main__":
    main()
