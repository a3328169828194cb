"""Several requests as one frame."""

from __future__ import annotations

import time

import numpy as np

from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.pipeline.merge import merge_columns
from gateway.telemetry.labels import decode_label_blob
from tests.e2e.otlp import gauge_request


def test_rows_labels_and_points_keep_their_request() -> None:
    now = time.time_ns()
    decoder = OtlpMetricsDecoder((1, 2), DecodeSettings())
    requests = [
        decoder.decode_protobuf(
            gauge_request("a", f"m{i}", [(now, float(10 * i + k), {"k": str(k)}) for k in range(i + 1)]), now // 10**6
        )
        for i in range(4)
    ]
    merged, ends = merge_columns(requests)
    assert ends.tolist() == [1, 3, 6, 10]
    assert merged.values.tolist() == [0.0, 10, 11, 20, 21, 22, 30, 31, 32, 33]
    rows = np.array([0, 2, 4, 9])
    names = [decode_label_blob(merged.source.definitions(rows).blob(i)) for i in range(4)]
    assert [(n["__name__"], n["k"]) for n in names] == [("m0", "0"), ("m1", "1"), ("m2", "1"), ("m3", "3")]
    assert merged.row_points is None, "every row is a point"
    requests[2].row_points, requests[2].points = np.array([0, 1, 1], np.uint32), 2
    merged, _ = merge_columns(requests)
    assert merged.row_points is not None
    assert merged.row_points.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
