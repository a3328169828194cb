"""How many rows an OTLP metrics request has at most: the pass before the one that fills, which walks lengths only.

Source: opentelemetry/proto/metrics/v1/metrics.proto; tags in proto/otlp.py.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import BYTES, I8, kernel, step
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import TRUNCATED, fault
from kernels.wire import pointer
from proto.otlp import (
    DATA_POINTS,
    EXPONENTIAL_NEGATIVE,
    EXPONENTIAL_POSITIVE,
    HISTOGRAM_BUCKETS_ONE,
    HISTOGRAM_BUCKETS_PACKED,
    METRIC_EXPONENTIAL_HISTOGRAM,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_SUM,
    METRIC_SUMMARY,
    REQUEST_RESOURCES,
    SCOPE_ITEMS,
    SCOPES,
    SUMMARY_QUANTILES,
)

# Places in what the counting pass returns.
C_ROWS: Final = 0
C_METRICS: Final = 1
C_SCOPES: Final = 2
C_RESOURCES: Final = 3
C_LENGTH: Final = 4

_LEAST_POINT: Final = 9
"""A point that can be accepted has at least a time; shorter ones need no row."""


@step
def is_metric_data(tag: Any) -> Any:
    """Whether a field of a Metric is one of its data."""
    return (
        tag == METRIC_GAUGE
        or tag == METRIC_SUM
        or tag == METRIC_HISTOGRAM
        or tag == METRIC_EXPONENTIAL_HISTOGRAM
        or tag == METRIC_SUMMARY
    )


@step
def count_point_rows(buf: Any, at: Any, end: Any, data: Any) -> Any:
    """(rows a histogram or summary point may need at most, end or a fault)."""
    rows = np.int64(4)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return rows, at
        if tag & 7 != 2:
            if data == METRIC_HISTOGRAM and tag == HISTOGRAM_BUCKETS_ONE:
                rows += 1
            at = skip_value(buf, at, end, tag)
            if at < 0:
                return rows, at
            continue
        at, behind = read_length(buf, at, end)
        if at < 0:
            return rows, at
        if data == METRIC_HISTOGRAM:
            if tag == HISTOGRAM_BUCKETS_PACKED:
                rows += (behind - at) >> 3
        elif data == METRIC_EXPONENTIAL_HISTOGRAM:
            if tag == EXPONENTIAL_POSITIVE or tag == EXPONENTIAL_NEGATIVE:
                rows += behind - at
        elif tag == SUMMARY_QUANTILES:
            rows += 1
        at = behind
    return rows, at


@step
def count_request(buf: Any, end: Any, counts: Any) -> Any:
    """`count_rows` on pointers."""
    rows, metrics, scopes, resources = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    at = np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at
        if tag != REQUEST_RESOURCES:
            at = skip_value(buf, at, end, tag)
            if at < 0:
                return at
            continue
        at, resource_end = read_length(buf, at, end)
        if at < 0:
            return at
        resources += 1
        while at < resource_end:
            tag, at = read_tag(buf, at, resource_end)
            if at < 0:
                return at
            if tag != SCOPES:
                at = skip_value(buf, at, resource_end, tag)
                if at < 0:
                    return at
                continue
            at, scope_end = read_length(buf, at, resource_end)
            if at < 0:
                return at
            scopes += 1
            while at < scope_end:
                tag, at = read_tag(buf, at, scope_end)
                if at < 0:
                    return at
                if tag != SCOPE_ITEMS:
                    at = skip_value(buf, at, scope_end, tag)
                    if at < 0:
                        return at
                    continue
                at, metric_end = read_length(buf, at, scope_end)
                if at < 0:
                    return at
                metrics += 1
                while at < metric_end:
                    tag, at = read_tag(buf, at, metric_end)
                    if at < 0:
                        return at
                    if not is_metric_data(tag):
                        at = skip_value(buf, at, metric_end, tag)
                        if at < 0:
                            return at
                        continue
                    data = tag
                    at, data_end = read_length(buf, at, metric_end)
                    if at < 0:
                        return at
                    while at < data_end:
                        tag, at = read_tag(buf, at, data_end)
                        if at < 0:
                            return at
                        if tag != DATA_POINTS:
                            at = skip_value(buf, at, data_end, tag)
                            if at < 0:
                                return at
                            continue
                        at, point_end = read_length(buf, at, data_end)
                        if at < 0:
                            return at
                        if point_end - at >= _LEAST_POINT:
                            if data == METRIC_GAUGE or data == METRIC_SUM:
                                rows += 1
                            else:
                                more, at = count_point_rows(buf, at, point_end, data)
                                if at < 0:
                                    return at
                                rows += more
                        at = point_end
    counts[C_ROWS] = rows + resources  # each resource may have its target_info
    counts[C_METRICS] = metrics
    counts[C_SCOPES] = scopes
    counts[C_RESOURCES] = resources
    return np.int64(0)


@kernel(BYTES, I8)
def count_rows(buf: Any, counts: Any) -> Any:
    """Upper bounds of what a request holds, into counts (int64[C_LENGTH]); returns 0 or a fault.

    Exponential buckets are counted by their bytes.
    """
    counts[:] = 0
    if counts.size < C_LENGTH:
        return fault(np.int64(0), TRUNCATED)
    return count_request(pointer(buf), np.int64(buf.size), pointer(counts))
