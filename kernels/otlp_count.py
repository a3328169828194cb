"""How many rows an OTLP metrics request has at most, and which attribute sets it may have in common with former ones.

The pass before the one that fills. It walks lengths, and hashes the attributes of number points as they stand, so that
what is known of them (kernels.known_labels) can be asked for well before it is needed.

Source: opentelemetry/proto/metrics/v1/metrics.proto; tags in proto/otlp.py.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from kernels.jit import BYTES, I8, RU8, U4, U8, kernel, step
from kernels.known_labels import MOST_BYTES, hash_range
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import TRUNCATED, fault
from kernels.wire import load_u8, pointer
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
    NUMBER_ATTRIBUTES,
    NUMBER_DOUBLE,
    NUMBER_INT,
    REQUEST_RESOURCES,
    SCOPE_ITEMS,
    SCOPES,
    START_TIME,
    SUMMARY_QUANTILES,
    TIME,
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


class Ranges(NamedTuple):
    """Attributes of number points that run to the end of their point: where they begin, ascending, and their hash."""

    where: Any
    high: Any
    low: Any
    count: Any


@step
def attributes_at_end(buf: Any, at: Any, end: Any) -> Any:
    """Where the attributes of a number point begin, if nothing but its times and its value stands before; else -1."""
    while at < end:
        tag = np.int64(load_u8(buf, at))
        if tag == NUMBER_ATTRIBUTES:
            return at if end - at <= MOST_BYTES else np.int64(-1)
        if tag != START_TIME and tag != TIME and tag != NUMBER_DOUBLE and tag != NUMBER_INT:
            break
        at += 9
    return np.int64(-1)


@step
def count_request(buf: Any, end: Any, counts: Any, k: Any, ranges: Any) -> Any:
    """`count_rows` on pointers; ranges.count is the room for ranges."""
    rows, metrics, scopes, resources = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    noted = np.int64(0)
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
                                if noted < ranges.count:
                                    where = attributes_at_end(buf, at, point_end)
                                    if where >= 0:
                                        high, low = hash_range(buf, where, point_end - where, k)
                                        ranges.where[noted] = np.uint32(where)
                                        ranges.high[noted], ranges.low[noted] = high, low
                                        noted += 1
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
    return noted


@kernel(BYTES, RU8, U4, U8, U8, I8)
def count_rows(buf: Any, secrets: Any, where: Any, high: Any, low: Any, counts: Any) -> Any:
    """Upper bounds of what a request holds, into counts (int64[C_LENGTH]); returns a fault or how many ranges it noted.

    Exponential buckets are counted by their bytes. where uint32[n], high, low uint64[n]: become the Ranges, as many as
    there is room for. secrets: uint64[8].
    """
    counts[:] = 0
    if counts.size < C_LENGTH or secrets.size < 8:
        return fault(np.int64(0), TRUNCATED)
    room = np.int64(min(where.size, min(high.size, low.size)))
    ranges = Ranges(pointer(where), pointer(high), pointer(low), room)
    return count_request(pointer(buf), np.int64(buf.size), pointer(counts), pointer(secrets), ranges)
