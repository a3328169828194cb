"""Points of OTLP gauges and sums: one row each.

Source: opentelemetry/proto/metrics/v1/metrics.proto, NumberDataPoint; tags in proto/otlp.py.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.known_labels import await_known, recall, remember
from kernels.label_hash import mix
from kernels.otlp_attributes import read_attribute, sum_last_of_each
from kernels.otlp_reasons import (
    ACCEPTED,
    NAN,
    NO_VALUE,
    TOO_MANY_ATTRIBUTES,
)
from kernels.otlp_rows import (
    L_ATTRIBUTES,
    L_BYTES,
    ROLE_VALUE,
    S_EPOCH,
    S_LATEST,
    S_OVERWRITTEN,
    S_POINTS,
    S_RANGE,
    S_ROWS,
    S_STARTS,
    STALE_NAN_BITS,
    milliseconds,
    put_row,
    read_exemplars,
    time_reason,
)
from kernels.protobuf_fields import read_tag, skip_value
from kernels.varint import TRUNCATED, fault, read_varint
from kernels.wire import bits_as_f64, load_u64
from proto.otlp import (
    FLAG_NO_RECORDED_VALUE,
    NUMBER_ATTRIBUTES,
    NUMBER_DOUBLE,
    NUMBER_EXEMPLARS,
    NUMBER_FLAGS,
    NUMBER_INT,
    START_TIME,
    TIME,
)

_AHEAD: Final = 32
"""Points ahead whose attributes are asked for in the table."""


@step
def next_range(field: Any, ranges: Any, memory: Any, state: Any) -> Any:
    """Which of the ranges that the counting pass noted begins at `field`, or -1. Both passes walk upwards."""
    number = state[S_RANGE]
    while number < ranges.count and np.int64(ranges.where[number]) < field:
        number += 1
    state[S_RANGE] = number
    if number + _AHEAD < ranges.count:
        await_known(memory, ranges.high[number + _AHEAD], ranges.low[number + _AHEAD])
    if number < ranges.count and np.int64(ranges.where[number]) == field:
        return number
    return np.int64(-1)


@hot_step
def number_point(
    buf: Any, at: Any, end: Any, k: Any, base_high: Any, base_low: Any, kind: Any, metric: Any, point: Any,
    limits: Any, stamps: Any, stack: Any, rows: Any, exemplars: Any, memory: Any, ranges: Any,
    state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one NumberDataPoint into a row; returns `end` or a fault.

    SDKs write the attributes last: their bytes are looked up as they stand (kernels.known_labels).
    """
    began = at
    zero = np.uint64(0)
    time, start, bits, flags = zero, zero, zero, zero
    high, low = base_high, base_low
    has_value, is_int, met = False, False, False
    count, with_exemplars = np.int64(0), np.int64(0)
    reason = np.int64(ACCEPTED)
    epoch = np.uint32(state[S_EPOCH])
    state[S_EPOCH] += 1
    most = limits[L_BYTES]
    range_high, range_low, entering = zero, zero, False
    while at < end:
        field = at
        tag, at = read_tag(buf, at, end)
        if tag == NUMBER_ATTRIBUTES:
            if count == 0:
                noted = next_range(field, ranges, memory, state)
                if noted >= 0:
                    range_high, range_low = ranges.high[noted], ranges.low[noted]
                    found, h, g, _ = recall(memory, range_high, range_low)
                    if found:
                        high += h
                        low += g
                        break
                    entering = True
            at, h, g, slot, why = read_attribute(buf, at, end, k, most, stack)
            if why != ACCEPTED:
                reason = why
            if stamps[slot] == epoch:
                met = True
            stamps[slot] = epoch
            high += h
            low += g
            count += 1
        elif tag == TIME or tag == START_TIME or tag == NUMBER_DOUBLE or tag == NUMBER_INT:
            if end - at < 8:
                return fault(at, TRUNCATED)
            word = load_u64(buf, at)
            at += 8
            if tag == TIME:
                time = word
            elif tag == START_TIME:
                start = word
            else:
                bits = word
                has_value = True
                is_int = tag == NUMBER_INT
            entering = False
        elif at < 0:
            return at
        elif tag == NUMBER_FLAGS:
            flags, at = read_varint(buf, at, end)
            entering = False
        else:
            entering = False
            if tag == NUMBER_EXEMPLARS:
                with_exemplars += 1
            at = skip_value(buf, at, end, tag)
        if at < 0:
            return at
    if count > limits[L_ATTRIBUTES]:
        reason = np.int64(TOO_MANY_ATTRIBUTES)
    if entering and reason == ACCEPTED and not met:
        remember(memory, range_high, range_low, high - base_high, low - base_low, 0, time)
    time_ms = milliseconds(time)
    if reason == ACCEPTED:
        reason = time_reason(time_ms, limits)
    value = np.float64(np.int64(bits)) if is_int else bits_as_f64(bits)
    if flags & np.uint64(FLAG_NO_RECORDED_VALUE) != zero:
        value = bits_as_f64(np.uint64(STALE_NAN_BITS))
    elif reason == ACCEPTED:
        if not has_value:
            reason = np.int64(NO_VALUE)
        elif value != value and bits != np.uint64(STALE_NAN_BITS):
            reason = np.int64(NAN)
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    if met:
        h, g, overwritten = sum_last_of_each(buf, began, end, np.int64(NUMBER_ATTRIBUTES), k, stack)
        high = base_high + h
        low = base_low + g
        state[S_OVERWRITTEN] += overwritten
    high, low = mix(high, low, k)
    row = state[S_ROWS]
    start_ms = milliseconds(start)
    state[S_STARTS] |= start_ms
    if time_ms > state[S_LATEST]:
        state[S_LATEST] = time_ms
    put_row(
        rows, state, high, low, time_ms, start_ms, value, np.uint8(kind), np.uint8(ROLE_VALUE), np.int32(0),
        np.uint32(point), np.uint32(metric), np.uint32(state[S_POINTS]),
    )  # fmt: skip
    state[S_POINTS] += 1
    if with_exemplars > 0:
        return read_exemplars(buf, began, end, np.int64(NUMBER_EXEMPLARS), row, exemplars, state)
    return end
