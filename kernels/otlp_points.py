"""OTLP metrics requests to columns: the pass that fills.

`kernels.otlp_count` gives an upper bound of the rows first; here every byte is read and checked, what is accepted is
written. Any bytes whatever give a result or a fault with its byte offset (see kernels.varint).
Source: opentelemetry/proto/metrics/v1/metrics.proto; tags in proto/otlp.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.jit import BYTES, F8, I8, RI8, RU4, RU8, U4, U8, hot_step, kernel, step
from kernels.known_labels import TALLIES, memory_of
from kernels.label_hash import hash_word, mix
from kernels.otlp_attributes import STACK, STAMP_BITS
from kernels.otlp_count import Ranges, is_metric_data
from kernels.otlp_exponential import exponential_point
from kernels.otlp_histograms import MOST_BOUNDS, histogram_point
from kernels.otlp_numbers import number_point
from kernels.otlp_reasons import (
    ACCEPTED,
    INVALID_NAME,
    REASONS,
    TEMPORALITY,
)
from kernels.otlp_resources import D_METRIC, D_NAME, D_TARGET_INFO, D_UNIT, read_resource, read_scope, read_text
from kernels.otlp_rows import (
    COUNTER,
    DELTA,
    EXEMPLARS_TYPE,
    GAUGE,
    L_BYTES,
    L_LENGTH,
    L_PROMETHEUS,
    NO_POINT,
    NON_MONOTONIC,
    ORIGINS_TYPE,
    ROLE_TARGET_INFO,
    ROWS_TYPE,
    S_EPOCH,
    S_EXEMPLAR_ROOM,
    S_LATEST,
    S_LENGTH,
    S_METRICS,
    S_RESOURCES,
    S_ROW_ROOM,
    S_SCOPES,
    TARGET_INFO,
    exemplar_pointers,
    put_row,
    row_pointers,
)
from kernels.otlp_summaries import summary_point
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import TRUNCATED, fault, read_varint
from kernels.wire import load_u8, pointer
from proto.otlp import (
    AGGREGATION_TEMPORALITY,
    DATA_POINTS,
    IS_MONOTONIC,
    METRIC_EXPONENTIAL_HISTOGRAM,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_NAME,
    METRIC_SUM,
    METRIC_UNIT,
    REQUEST_RESOURCES,
    SCOPE_ITEMS,
    SCOPES,
    TEMPORALITY_CUMULATIVE,
    TEMPORALITY_DELTA,
)


@step
def has_name_character(buf: Any, at: Any, end: Any) -> Any:
    """Whether a byte of the range may stand in a Prometheus metric name, underscores aside."""
    while at < end:
        byte = load_u8(buf, at)
        lower = byte | np.uint64(0x20)
        if np.uint64(0x61) <= lower <= np.uint64(0x7A) or np.uint64(0x30) <= byte <= np.uint64(0x3A):
            return True
        at += 1
    return False


class Description(NamedTuple):
    """What a Metric message says of its points."""

    data: Any
    """Tag of its points' message; 0 = it has none."""
    data_begin: Any
    """Offset at which the first such field begins."""
    temporality: Any
    monotonic: Any
    name_high: Any
    name_low: Any
    name_reason: Any
    unit_high: Any
    unit_low: Any
    unit_reason: Any


class Judgement(NamedTuple):
    """What becomes of the points of a metric."""

    reason: Any
    """Why they are refused, or ACCEPTED."""
    flags: Any
    """DELTA or 0: of histograms."""
    kind: Any
    """Of rows that are numbers."""


@hot_step
def read_data_fields(buf: Any, at: Any, end: Any, temporality: Any, monotonic: Any) -> Any:
    """What a message of points says beside them, in place of what was read before; returns also `end` or a fault."""
    while 0 <= at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            break
        if tag == AGGREGATION_TEMPORALITY:
            temporality, at = read_varint(buf, at, end)
        elif tag == IS_MONOTONIC:
            monotonic, at = read_varint(buf, at, end)
        else:
            at = skip_value(buf, at, end, tag)
    return at, temporality, monotonic


@hot_step
def read_description(buf: Any, begin: Any, end: Any, k: Any, limits: Any) -> Any:
    """Read all of one Metric but its points; returns `end` or a fault, and a Description."""
    zero = np.uint64(0)
    name_reason, unit_reason = np.int64(INVALID_NAME), np.int64(ACCEPTED)
    name_high, name_low, unit_high, unit_low = zero, zero, zero, zero
    data, data_begin = np.int64(0), begin
    temporality, monotonic = zero, zero
    at = begin
    while 0 <= at < end:
        field = at
        tag, at = read_tag(buf, at, end)
        if at < 0:
            break
        if tag == METRIC_NAME:
            at, name_begin, name_high, name_low, name_reason = read_text(buf, at, end, D_NAME, k, limits[L_BYTES])
            if at >= 0 and name_reason == ACCEPTED:
                if at == name_begin or (limits[L_PROMETHEUS] != 0 and not has_name_character(buf, name_begin, at)):
                    name_reason = np.int64(INVALID_NAME)
        elif tag == METRIC_UNIT:
            at, _, unit_high, unit_low, unit_reason = read_text(buf, at, end, D_UNIT, k, limits[L_BYTES])
        elif is_metric_data(tag):
            if tag != data:
                # Another member of the oneof: what was read of the first is void.
                data, data_begin = tag, field
                temporality, monotonic = zero, zero
            at, behind = read_length(buf, at, end)
            if at >= 0:
                at, temporality, monotonic = read_data_fields(buf, at, behind, temporality, monotonic)
        else:
            at = skip_value(buf, at, end, tag)
    return at, Description(
        data, data_begin, temporality, monotonic, name_high, name_low, name_reason, unit_high, unit_low, unit_reason
    )


@hot_step
def judge_metric(about: Any, outer: Any) -> Any:
    """A Judgement of the points of a metric. `outer`: why everything around it is refused, or 0."""
    reason = outer
    if reason == ACCEPTED:
        reason = about.name_reason
    if reason == ACCEPTED:
        reason = about.unit_reason
    data = about.data
    flags = np.int64(0)
    if data == METRIC_SUM or data == METRIC_HISTOGRAM or data == METRIC_EXPONENTIAL_HISTOGRAM:
        if about.temporality == np.uint64(TEMPORALITY_DELTA):
            flags = np.int64(DELTA)
        elif about.temporality != np.uint64(TEMPORALITY_CUMULATIVE) and reason == ACCEPTED:
            reason = np.int64(TEMPORALITY)
    kind = np.int64(GAUGE)
    if data == METRIC_SUM:
        if about.monotonic != np.uint64(0):
            kind = COUNTER | flags
        elif flags != 0:
            kind = np.int64(COUNTER | DELTA | NON_MONOTONIC)
    return Judgement(reason, flags, kind)


@hot_step
def read_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, data: Any, judged: Any, metric: Any, point: Any,
    limits: Any, stamps: Any, stack: Any, counts: Any, bounds: Any, rows: Any, exemplars: Any, memory: Any,
    ranges: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one point, or count it as refused; returns `end` or a fault."""
    if judged.reason != ACCEPTED:
        rejected[judged.reason] += 1
        return end
    if data == METRIC_GAUGE or data == METRIC_SUM:
        return number_point(
            buf, at, end, k, high, low, judged.kind, metric, point, limits, stamps, stack, rows, exemplars, memory,
            ranges, state, rejected,
        )  # fmt: skip
    if data == METRIC_HISTOGRAM:
        return histogram_point(
            buf, at, end, k, high, low, judged.flags, metric, point, limits, stamps, stack, counts, bounds, rows,
            exemplars, state, rejected,
        )  # fmt: skip
    if data == METRIC_EXPONENTIAL_HISTOGRAM:
        return exponential_point(
            buf, at, end, k, high, low, judged.flags, metric, point, limits, stamps, stack, counts, rows, exemplars,
            state, rejected,
        )  # fmt: skip
    return summary_point(buf, at, end, k, high, low, metric, point, limits, stamps, stack, rows, state, rejected)


@step
def read_metric(
    buf: Any, begin: Any, end: Any, k: Any, base_high: Any, base_low: Any, outer: Any, metric: Any, limits: Any,
    stamps: Any, stack: Any, counts: Any, bounds: Any, rows: Any, exemplars: Any, memory: Any, ranges: Any,
    state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read the points of one Metric; returns `end` or a fault. `outer`: why everything around it is refused, or 0."""
    at, about = read_description(buf, begin, end, k, limits)
    if at < 0:
        return at
    data = about.data
    if data == 0:
        return end
    judged = judge_metric(about, outer)
    h, g = hash_word(np.uint64(judged.kind | judged.flags | data << 8), np.uint64(D_METRIC), k)
    high, low = mix(
        base_high + about.name_high + about.unit_high + h, base_low + about.name_low + about.unit_low + g, k
    )
    at = about.data_begin
    while at < end:
        tag, at = read_tag(buf, at, end)
        if tag != data:
            at = skip_value(buf, at, end, tag)
            continue
        at, behind = read_length(buf, at, end)
        while at < behind:
            tag, at = read_tag(buf, at, behind)
            if tag != DATA_POINTS:
                at = skip_value(buf, at, behind, tag)
                continue
            point = at
            at, point_end = read_length(buf, at, behind)
            at = read_point(
                buf, at, point_end, k, high, low, data, judged, metric, point, limits, stamps, stack, counts, bounds,
                rows, exemplars, memory, ranges, state, rejected,
            )  # fmt: skip
            if at < 0:
                return at
    return end


@step
def decode_request(
    buf: Any, end: Any, k: Any, limits: Any, stamps: Any, stack: Any, counts: Any, bounds: Any, rows: Any,
    exemplars: Any, origins: Any, memory: Any, ranges: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """`fill_rows` on pointers."""
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
        resource = state[S_RESOURCES]
        if resource >= origins.resource_begin.size:
            return fault(at, TRUNCATED)
        origins.resource_begin[resource] = at
        origins.resource_end[resource] = resource_end
        state[S_RESOURCES] = resource + 1
        after, resource_high, resource_low, resource_reason, keys = read_resource(
            buf, at, resource_end, k, limits, stamps, stack, state
        )
        if after < 0:
            return after
        state[S_LATEST] = 0
        while at < resource_end:
            tag, at = read_tag(buf, at, resource_end)
            if tag != SCOPES:
                at = skip_value(buf, at, resource_end, tag)
                continue
            at, scope_end = read_length(buf, at, resource_end)
            scope = state[S_SCOPES]
            if scope >= origins.scope_begin.size:
                return fault(at, TRUNCATED)
            origins.scope_begin[scope] = at
            origins.scope_end[scope] = scope_end
            origins.scope_resource[scope] = resource
            state[S_SCOPES] = scope + 1
            after, high, low, reason = read_scope(buf, at, scope_end, k, limits, stamps, stack, state)
            if after < 0:
                return after
            if resource_reason != ACCEPTED:
                reason = resource_reason
            high += resource_high
            low += resource_low
            while at < scope_end:
                tag, at = read_tag(buf, at, scope_end)
                if tag != SCOPE_ITEMS:
                    at = skip_value(buf, at, scope_end, tag)
                    continue
                at, metric_end = read_length(buf, at, scope_end)
                metric = state[S_METRICS]
                if metric >= origins.metric_begin.size:
                    return fault(at, TRUNCATED)
                origins.metric_begin[metric] = at
                origins.metric_end[metric] = metric_end
                origins.metric_scope[metric] = scope
                state[S_METRICS] = metric + 1
                at = read_metric(
                    buf, at, metric_end, k, high, low, reason, metric, limits, stamps, stack, counts, bounds, rows,
                    exemplars, memory, ranges, state, rejected,
                )  # fmt: skip
                if at < 0:
                    return at
        if limits[L_PROMETHEUS] != 0 and state[S_LATEST] != 0 and keys & 1 != 0 and keys & 4 != 0:
            h, g = hash_word(np.uint64(0), np.uint64(D_TARGET_INFO), k)
            h, g = mix(resource_high + h, resource_low + g, k)
            put_row(
                rows, state, h, g, state[S_LATEST], np.int64(0), 1.0, np.uint8(TARGET_INFO),
                np.uint8(ROLE_TARGET_INFO), np.int32(0), np.uint32(0), np.uint32(resource), np.uint32(NO_POINT),
            )  # fmt: skip
    return np.int64(0)


@kernel(BYTES, RU8, RI8, U4, I8, U8, F8, ROWS_TYPE, EXEMPLARS_TYPE, ORIGINS_TYPE, U8, I8, RU4, RU8, RU8, I8, I8)
def fill_rows(
    buf: Any, secrets: Any, limits: Any, stamps: Any, stack: Any, counts: Any, bounds: Any, rows: Any, exemplars: Any,
    origins: Any, known_table: Any, tally: Any, where: Any, range_high: Any, range_low: Any, state: Any,
    rejected: Any,
) -> Any:  # fmt: skip
    """Decode a request into `rows`, `exemplars` and `origins`; returns 0 or a fault.

    buf: uint8[n], the request. secrets: uint64[8], see label_hash.derive_secrets. limits: int64[L_LENGTH].
    stamps uint32[2 ** STAMP_BITS], zeros; stack int64[2 * STACK], counts uint64[MOST_BOUNDS + 1], bounds
    float64[MOST_BOUNDS + 1]: scratch. rows, exemplars, origins: as long as `count_rows` found; what does not fit is
    left out. known_table, tally: see kernels.known_labels. where, range_high, range_low: the ranges that
    `count_rows` noted. state: int64[S_LENGTH], zeros; afterwards how many of each
    there are. rejected: int64[], points refused by reason number.
    """
    sizes_fit = (
        secrets.size >= 8
        and limits.size >= L_LENGTH
        and stamps.size >= 1 << STAMP_BITS
        and stack.size >= 2 * STACK
        and counts.size > MOST_BOUNDS
        and bounds.size > MOST_BOUNDS
        and tally.size >= TALLIES
        and state.size >= S_LENGTH
        and rejected.size >= len(REASONS)
    )
    if not sizes_fit:
        return fault(np.int64(0), TRUNCATED)
    state[S_EPOCH] = 1
    state[S_ROW_ROOM] = rows.high.size
    state[S_EXEMPLAR_ROOM] = exemplars.rows.size
    noted = np.int64(min(where.size, min(range_high.size, range_low.size)))
    ranges = Ranges(pointer(where), pointer(range_high), pointer(range_low), noted)
    return decode_request(
        pointer(buf), np.int64(buf.size), pointer(secrets), pointer(limits), pointer(stamps), pointer(stack),
        pointer(counts), pointer(bounds), row_pointers(rows), exemplar_pointers(exemplars), origins,
        memory_of(known_table, tally), ranges, pointer(state), pointer(rejected),
    )  # fmt: skip
