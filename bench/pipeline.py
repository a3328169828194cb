"""What each stage of the pipeline costs, µs of one core a point: `python -m bench.pipeline [--batch N] [--series N]`.

The real stages, one after another on one thread, so that each stage's CPU time (user and system) can be told apart:
decode → merge → resolve → append → fsync → local ids → score → fold → encode → compress. A commit takes `--group`
requests as the running gateway's does under load. Series are known and warm when it is measured. The forwarder takes
`--backlog` commits at once: 1 as if it kept up, 60 with the defaults for a backlog of twelve samples a series. One JSON
line a stage, medians over rounds, and one with their sum; transport is measured by bench.http_transport and
bench.grpc_transport.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import zstandard

from gateway.baseline.detector import Baseline
from gateway.baseline.settings import DetectionSettings
from gateway.clock import SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.settings import DecodeSettings
from gateway.forward.preparation import Preparation, SeriesArrays
from gateway.forward.remote_write_encoder import RemoteWriteEncoder
from gateway.forward.running_totals import RunningTotals
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.pipeline.merge import merge_columns
from gateway.series.edge_table import EdgeTable
from gateway.series.index import SeriesIndex
from gateway.series.local_ids import LocalIds
from gateway.telemetry.resolved import ResolvedFrame
from loadtest.generator.template import Template, build

STAGES: Final = (
    "decode", "merge", "resolve", "append", "fsync", "local ids", "score", "fold and encode", "compress",
)  # fmt: skip
KEY: Final = (1, 2)


class Pipeline:
    """The stages, and how long each took in the round under way."""

    def __init__(self, directory: Path, protocol: str, series: int, backlog: int = 1) -> None:
        self._clock = SystemClock()
        target = VictoriaMetricsSettings()
        self.spent: dict[str, float] = defaultdict(float)
        decoders: dict[str, Callable[[bytes, int], Any]] = {
            "otlp-http": OtlpMetricsDecoder(KEY, DecodeSettings()).decode_protobuf,
            "remote-write": RemoteWriteV1Decoder(KEY, RemoteWriteSettings()).decode,
        }
        self._decode = decoders[protocol]
        self._writer = LogWriter.open(directory, 0, LogSettings(segment_bytes=2**30), self._clock)  # type: ignore[arg-type]
        self._edge = EdgeTable(max_series=2 * series)
        self._index = SeriesIndex()
        self._scorer_ids = LocalIds(self._index, "scorer")
        self._forwarder_ids = LocalIds(self._index, "forwarder", touch=False)
        self._baseline = Baseline(DetectionSettings())
        self._compressor = zstandard.ZstdCompressor(level=target.zstd_level)
        self._encoder = _Uncompressed(target.block_rows, int(target.block_bytes), target.zstd_level)
        self._preparation = Preparation(RunningTotals(), self._encoder)
        self._backlog = backlog
        self._waiting: list[ResolvedFrame] = []

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.spent[name] += time.thread_time() - began

    def commit(self, bodies: list[bytes], now_ms: int) -> int:
        """One group commit through every stage; returns its rows."""
        with self._stage("decode"):
            requests = [self._decode(body, now_ms) for body in bodies]
        with self._stage("merge"):
            columns, _ = merge_columns(requests)
        rows = len(columns)
        with self._stage("resolve"):
            segment = self._writer.prepare(rows * 64 + 4096)
            if segment != self._edge.segment:
                self._edge.rotated(segment, self._writer.path_of(segment))
            found = self._edge.resolve(columns)
        with self._stage("append"):
            frame = self._writer.append(
                ids=found.ids, times_ms=columns.times_ms, values=columns.values, starts_ms=columns.starts_ms,
                definitions=found.definitions, first_new_id=found.first_new_id, counted_rows=rows,
                received_ns=now_ms * 1_000_000, exemplars=columns.exemplars, keep=found.keep,
            )  # fmt: skip
            self._edge.appended(frame)
        with self._stage("fsync"):
            self._writer.sync()
        with self._stage("local ids"):
            resolved = self._scorer_ids.resolve(frame)
            forwarded = self._forwarder_ids.resolve(frame)
        with self._stage("score"):
            self._baseline.observe(
                resolved.sids, frame.times_ms, frame.values, frame.starts_ms, self._index.kinds,
                self._index.generations, frame.received_ns,
            )  # fmt: skip
        self._waiting.append(forwarded)
        if len(self._waiting) >= self._backlog:
            self._forward()
        return rows

    def _forward(self) -> None:
        frames, self._waiting = self._waiting, []
        with self._stage("fold and encode"):
            _, packed = self._preparation.prepare(
                frames, SeriesArrays.of(self._index), next_row=0, oldest_ms=None, checkpoint_forgetting_before_ms=None
            )
            for _ in self._encoder.encode(packed, "zstd"):
                pass
        with self._stage("compress"):
            for raw in self._encoder.blocks:
                self._compressor.compress(raw)
        self._encoder.blocks.clear()

    def close(self) -> None:
        """Close the log."""
        self._writer.close()


class _Uncompressed(RemoteWriteEncoder):
    """Keeps the blocks instead of compressing them, so that the two costs can be told apart; a copy is in the first."""

    def __init__(self, block_rows: int, block_bytes: int, zstd_level: int) -> None:
        super().__init__(block_rows, block_bytes, zstd_level)
        self.blocks: list[bytes] = []

    def compress(self, raw: memoryview | bytes, encoding: Any) -> bytes:
        """See RemoteWriteEncoder."""
        self.blocks.append(bytes(raw))
        return b""


def bodies_of(templates: list[Template], time_ms: int) -> list[bytes]:
    """A new request of every template."""
    for template in templates:
        template.stamp(time_ms, -1, 0.0)
    return [template.body.tobytes() for template in templates]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=("otlp-http", "remote-write"), default="otlp-http")
    parser.add_argument("--batch", type=int, default=8_000, help="points in a request")
    parser.add_argument("--series", type=int, default=80_000)
    parser.add_argument("--group", type=int, default=2, help="requests in one commit")
    parser.add_argument("--backlog", type=int, default=1, help="commits the forwarder takes at once")
    parser.add_argument("--rounds", type=int, default=9, help="each sends every series ten times")
    options = parser.parse_args()
    templates = [build(options.protocol, number, options.batch) for number in range(options.series // options.batch)]
    passes, warm = 10, 6
    now_ms = int(time.time() * 1000)
    first_ms = now_ms - (options.rounds * passes + warm) * 15_000
    figures: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        pipeline = Pipeline(Path(name), options.protocol, options.series, options.backlog)
        turn = 0
        for number in range(options.rounds + 1):
            pipeline.spent.clear()
            rows = 0
            for _ in range(warm if number == 0 else passes):
                bodies = bodies_of(templates, first_ms + turn * 15_000)
                turn += 1
                for at in range(0, len(bodies), options.group):
                    rows += pipeline.commit(bodies[at : at + options.group], now_ms)
            if number:
                figures.append({stage: pipeline.spent[stage] / rows * 1e6 for stage in STAGES})
            print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
        pipeline.close()
    middle = {stage: statistics.median(figure[stage] for figure in figures) for stage in STAGES}
    work = {"protocol": options.protocol, "batch": options.batch, "series": options.series, "rounds": options.rounds,
            "backlog": options.backlog}  # fmt: skip
    for stage, spent in middle.items():
        print(json.dumps({"bench": "pipeline", "stage": stage, "us_per_point": round(spent, 4), **work}), flush=True)
    whole = sum(middle.values())
    line = {"bench": "pipeline", "stage": "sum", "us_per_point": round(whole, 4),
            "points_per_cpu_second": round(1e6 / whole), **work}  # fmt: skip
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
