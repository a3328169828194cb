"""What a series costs when it is seen for the first time, stage by stage: `python -m bench.first_seen`.

One JSON line a stage, µs of CPU a series, best of five: labels read from the request, all rows of it and every 60th
(as under churn), the index, the sender of the data quality checks, bounds of buckets.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from bench.otlp_decode import NOW, request
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.pipeline.bucket_bounds import BucketBounds
from gateway.pipeline.data_quality import DataQuality
from gateway.series.index import SeriesIndex
from gateway.series.label_values import distinct_values

RUNS = 5
SPARSE = 60

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """(what it returned, seconds of CPU)."""
    began = time.thread_time()
    result = work()
    return result, time.thread_time() - began


def stages(decoder: OtlpMetricsDecoder, body: bytes) -> dict[str, float]:
    """Microseconds a series, by stage."""
    columns = decoder.decode_protobuf(body, NOW)
    rows = np.arange(len(columns))
    sparse = rows[::SPARSE].copy()
    index = SeriesIndex(2 * len(rows), arena_bytes=1 << 26)
    quality = DataQuality(lambda sids: distinct_values(index, sids, "job"))
    bounds = BucketBounds(index)
    definitions, of_labels = timed(lambda: columns.source.definitions(rows))
    again = decoder.decode_protobuf(body, NOW)
    _, of_sparse = timed(lambda: again.source.definitions(sparse))
    sids, of_index = timed(lambda: index.define(definitions))
    _, of_sender = timed(lambda: quality.learn(sids))
    _, of_bounds = timed(lambda: bounds.learn(sids))
    n = len(rows)
    return {
        "labels": of_labels / n * 1e6, "labels_sparse": of_sparse / len(sparse) * 1e6, "index": of_index / n * 1e6,
        "sender": of_sender / n * 1e6, "bounds": of_bounds / n * 1e6,
    }  # fmt: skip


def main() -> None:
    """All figures."""
    for settings in (DecodeSettings(naming="prometheus"), DecodeSettings(naming="otlp")):
        decoder = OtlpMetricsDecoder((1, 2), settings)
        for shape, body in (("sums", request(8000)), ("histograms", request(1000, histograms=True))):
            runs = [stages(decoder, body) for _ in range(RUNS)]
            for stage in runs[0]:
                best = round(min(run[stage] for run in runs), 3)
                line = {
                    "bench": f"first_seen_{stage}",
                    "naming": settings.naming,
                    "shape": shape,
                    "us_per_series": best,
                }
                print(json.dumps(line))


if __name__ == "__main__":
    main()
