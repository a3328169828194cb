"""Remote write 1.0: WriteRequest → columns, in two passes (count, fill), and label blobs of series on demand.

`count_v1` proves the framing of requests and series and says how large the columns must be; `fill_v1` reads every
series once: it hashes the labels, takes the samples, and remembers where native histograms and exemplars stand. A bad
series is taken back whole and counted; bad bytes end the walk with a fault (kernels.varint).

Metadata messages are stepped over: senders put them into requests of their own, so they cannot tell a series' kind in
the request that defines it. The name's suffix does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kernels.jit import BYTES, F8, I8, RI8, RU4, RU8, U1, U4, U8, b1, i8, kernel, step
from kernels.label_hash import hash_bytes, mix, secrets_tuple
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_labels import (
    copy_bytes,
    override_labels,
    put_label,
    sort_labels,
    varint_size,
    write_blob,
)
from kernels.remote_write_wire import (
    ACCEPTED,
    EMPTY_LABEL_NAME,
    HIGH_BITS,
    INVALID_UTF8,
    LABEL_TOO_LONG,
    MISSING_NAME,
    REPEATED_LABEL,
    TOO_MANY_LABELS,
    first_word,
    is_metric_name_label,
    label_hash,
    note_rejection,
    prefix_of,
    read_sample,
    series_kind,
    telling_label,
    text_less,
    utf8_valid,
    value_reason,
)
from kernels.wire import bits_as_f64, load_u8
from proto.remote_write import (
    LABEL_NAME,
    LABEL_VALUE,
    TYPE_UNSPECIFIED,
    V1_REQUEST_TIMESERIES,
    V1_SERIES_EXEMPLARS,
    V1_SERIES_HISTOGRAMS,
    V1_SERIES_LABELS,
    V1_SERIES_SAMPLES,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)


@kernel(BYTES, I8)
def count_v1(body: Any, counts: Any) -> Any:
    """Counts (series, samples, exemplars, histograms) into counts, int64[4]; returns 0 or a fault."""
    end = np.int64(body.size)
    at = np.int64(0)
    series, samples, exemplars, histograms = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while at < end:
        tag, after = read_tag(body, at, end)
        if after < 0:
            return after
        if tag != V1_REQUEST_TIMESERIES:
            at = skip_value(body, after, end, tag)
            if at < 0:
                return at
            continue
        p, stop = read_length(body, after, end)
        if p < 0:
            return p
        series += 1
        while p < stop:
            if load_u8(body, p) == np.uint64(V1_SERIES_LABELS) and p + 1 < stop:
                length = np.int64(load_u8(body, p + 1))
                if length < 0x80 and length <= stop - p - 2:
                    p += 2 + length
                    continue
            tag, after = read_tag(body, p, stop)
            if after < 0:
                return after
            if tag == V1_SERIES_SAMPLES:
                samples += 1
            elif tag == V1_SERIES_EXEMPLARS:
                exemplars += 1
            elif tag == V1_SERIES_HISTOGRAMS:
                histograms += 1
            p = skip_value(body, after, stop, tag)
            if p < 0:
                return p
        at = stop
    counts[0], counts[1], counts[2], counts[3] = series, samples, exemplars, histograms
    return np.int64(0)


@step
def read_label(body: Any, at: Any, end: Any) -> Any:
    """(name at, length, value at, length, exact, next) of the Label message at [at, end); next may be a fault.

    `exact`: the bytes are the one encoding a label blob uses.
    """
    if end - at >= 4 and load_u8(body, at) == np.uint64(LABEL_NAME):
        length = np.int64(load_u8(body, at + 1))
        value_at = at + 2 + length
        if length < 0x80 and value_at + 2 <= end and load_u8(body, value_at) == np.uint64(LABEL_VALUE):
            value_length = np.int64(load_u8(body, value_at + 1))
            if value_length < 0x80 and value_at + 2 + value_length == end:
                return at + 2, length, value_at + 2, value_length, True, end
    name_at, name_length, value_at, value_length = at, np.int64(0), at, np.int64(0)
    exact, fields = True, 0
    while at < end:
        tag, after = read_tag(body, at, end)
        if after < 0:
            return name_at, name_length, value_at, value_length, False, after
        if tag == LABEL_NAME or tag == LABEL_VALUE:
            begin, stop = read_length(body, after, end)
            if begin < 0:
                return name_at, name_length, value_at, value_length, False, begin
            exact = exact and begin - at == 1 + varint_size(stop - begin)
            if tag == LABEL_NAME:
                exact = exact and fields == 0
                name_at, name_length = begin, stop - begin
            else:
                exact = exact and fields == 1
                value_at, value_length = begin, stop - begin
            fields += 1
            at = stop
        else:
            exact = False
            at = skip_value(body, after, end, tag)
            if at < 0:
                return name_at, name_length, value_at, value_length, False, at
    return name_at, name_length, value_at, value_length, exact and fields == 2, end


@kernel(BYTES, RU8, RI8, U8, U8, I8, F8, U1, U4, I8x2, U8, U8, U1, I8x2, I8x2, U8, I8, I8, I8)
def fill_v1(
    body: Any,
    secrets: Any,
    limits: Any,
    row_hi: Any,
    row_lo: Any,
    times: Any,
    values: Any,
    kinds: Any,
    row_series: Any,
    series: Any,
    series_hi: Any,
    series_lo: Any,
    series_kinds: Any,
    histograms: Any,
    exemplars: Any,
    name_keys: Any,
    rejections: Any,
    noted: Any,
    out: Any,
) -> Any:
    """Reads every series; returns 0 or a fault.

    limits: int64[5] (oldest ms, newest ms, labels a series, bytes a label name, bytes a label value).
    row_hi, row_lo, times, values, kinds, row_series: one entry a sample. series: int64[series, 4] of (begin, end,
    exact, a row or -1): when exact is 1, [begin, end) is the label blob; when 0, it is the TimeSeries message; -1
    marks a rejected series. histograms, exemplars: int64[·, 4] of (series, begin, end, 0). name_keys:
    uint64[2 * labels a series], scratch. rejections, noted: see remote_write_wire. out: int64[4], becomes (rows,
    histograms, exemplars, noted).
    """
    k = secrets_tuple(secrets)
    oldest, newest, most_labels, most_name, most_value = limits[0], limits[1], limits[2], limits[3], limits[4]
    body_end = np.int64(body.size)
    at = np.int64(0)
    rows, histogram_count, exemplar_count, noted_count = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    s = np.int64(-1)
    while at < body_end:
        tag, after = read_tag(body, at, body_end)
        if after < 0:
            return after
        if tag != V1_REQUEST_TIMESERIES:
            at = skip_value(body, after, body_end, tag)
            if at < 0:
                return at
            continue
        begin, stop = read_length(body, after, body_end)
        if begin < 0:
            return begin
        at = stop
        s += 1
        first_row, first_histogram, first_exemplar = rows, histogram_count, exemplar_count
        hi, lo = np.uint64(0), np.uint64(0)
        reason = np.int64(ACCEPTED)
        exact, sorted_so_far = True, True
        told, labels = np.int64(0), np.int64(0)
        metric_at, metric_length = np.int64(-1), np.int64(0)
        last_prefix, last_at, last_length = np.uint64(0), begin, np.int64(0)
        labels_begin, labels_end = begin, np.int64(-1)
        p = begin
        while p < stop:
            tag, q = read_tag(body, p, stop)
            if q < 0:
                return q
            if tag == V1_SERIES_LABELS:
                q, e = read_length(body, q, stop)
                if q < 0:
                    return q
                if labels_end < 0:
                    labels_begin = p
                elif p != labels_end:
                    exact = False
                labels_end = e
                name_at, name_length, value_at, value_length, exact_label, after = read_label(body, q, e)
                if after < 0:
                    return after
                exact = exact and exact_label and value_length > 0 and (q - p == 2 or q - p == 1 + varint_size(e - q))
                p = e
                if reason != ACCEPTED:
                    continue
                if name_length == 0:
                    reason = np.int64(EMPTY_LABEL_NAME)
                    continue
                if name_length > most_name or value_length > most_value:
                    reason = np.int64(LABEL_TOO_LONG)
                    continue
                if labels >= most_labels:
                    reason = np.int64(TOO_MANY_LABELS)
                    continue
                word = first_word(body, name_at, name_length)
                prefix = prefix_of(word)
                if prefix < last_prefix or (
                    prefix == last_prefix and not text_less(body, last_at, last_length, name_at, name_length)
                ):
                    sorted_so_far = False
                last_prefix, last_at, last_length = prefix, name_at, name_length
                name_hi, name_lo, seen = hash_bytes(body, name_at, name_length, np.uint64(0), k)
                name_keys[2 * labels] = name_hi
                name_keys[2 * labels + 1] = name_lo
                labels += 1
                if value_length > 0:
                    value_hi, value_lo, seen_value = hash_bytes(body, value_at, value_length, np.uint64(0), k)
                    seen |= seen_value
                    label_hi, label_lo = label_hash(name_hi, name_lo, value_hi, value_lo, k)
                    hi += label_hi
                    lo += label_lo
                    if is_metric_name_label(word, name_length):
                        metric_at, metric_length = value_at, value_length
                    told |= telling_label(word, name_length)
                if seen & np.uint64(HIGH_BITS) and not (
                    utf8_valid(body, name_at, name_length) and utf8_valid(body, value_at, value_length)
                ):
                    reason = np.int64(INVALID_UTF8)
            elif tag == V1_SERIES_SAMPLES:
                q, e = read_length(body, q, stop)
                if q < 0:
                    return q
                bits, time, _, after = read_sample(body, q, e)
                if after < 0:
                    return after
                times[rows] = time
                values[rows] = bits_as_f64(bits)
                rows += 1
                p = e
            elif tag == V1_SERIES_HISTOGRAMS or tag == V1_SERIES_EXEMPLARS:
                q, e = read_length(body, q, stop)
                if q < 0:
                    return q
                if tag == V1_SERIES_HISTOGRAMS:
                    histograms[histogram_count, 0] = s
                    histograms[histogram_count, 1] = q
                    histograms[histogram_count, 2] = e
                    histograms[histogram_count, 3] = 0
                    histogram_count += 1
                else:
                    exemplars[exemplar_count, 0] = s
                    exemplars[exemplar_count, 1] = q
                    exemplars[exemplar_count, 2] = e
                    exemplars[exemplar_count, 3] = 0
                    exemplar_count += 1
                p = e
            else:
                p = skip_value(body, q, stop, tag)
                if p < 0:
                    return p
        if reason == ACCEPTED and not sorted_so_far:
            exact = False
            for i in range(labels):
                for j in range(i):
                    if name_keys[2 * i] == name_keys[2 * j] and name_keys[2 * i + 1] == name_keys[2 * j + 1]:
                        reason = np.int64(REPEATED_LABEL)
        if reason == ACCEPTED and metric_at < 0:
            reason = np.int64(MISSING_NAME)
        series[s, 0], series[s, 1], series[s, 2], series[s, 3] = begin, stop, 0, -1
        if reason != ACCEPTED:
            points = rows - first_row + histogram_count - first_histogram
            noted_count = note_rejection(rejections, noted, noted_count, reason, points, s, np.int64(0))
            rows, histogram_count, exemplar_count = first_row, first_histogram, first_exemplar
            series[s, 2] = -1
            continue
        if exact:
            series[s, 0], series[s, 1], series[s, 2] = labels_begin, labels_end, 1
        hi, lo = mix(hi, lo, k)
        kind = np.uint8(series_kind(body, metric_at, metric_length, told, TYPE_UNSPECIFIED))
        series_hi[s], series_lo[s], series_kinds[s] = hi, lo, kind
        kept = first_row
        for row in range(first_row, rows):
            time, value = times[row], values[row]
            reason = value_reason(value, time, oldest, newest)
            if reason != ACCEPTED:
                noted_count = note_rejection(rejections, noted, noted_count, reason, 1, s, time)
                continue
            times[kept], values[kept] = time, value
            row_hi[kept], row_lo[kept], kinds[kept], row_series[kept] = hi, lo, kind, np.uint32(s)
            series[s, 3] = kept
            kept += 1
        rows = kept
    out[0], out[1], out[2], out[3] = rows, histogram_count, exemplar_count, noted_count
    return np.int64(0)


@kernel(BYTES, RI8x2, RU4, RI8x2, b1, i8, U4, U1, b1)
def define_v1(
    arena: Any,
    series: Any,
    row_series: Any,
    override: Any,
    overriding: Any,
    most_labels: Any,
    offsets: Any,
    out: Any,
    writing: Any,
) -> Any:
    """Label blobs of accepted rows: first without writing, which fills offsets, uint32[m + 1]; then into `out`.

    arena: the request's bytes, and behind them the texts `override` (see override_labels) points to. row_series:
    uint32[m], the series of each row.
    """
    labels = np.empty((most_labels + 1, 4), np.int64)
    at = np.int64(0)
    offsets[0] = 0
    for row in range(row_series.size):
        s = np.int64(row_series[row])
        begin, end = series[s, 0], series[s, 1]
        exact = series[s, 2] == 1
        if exact and not (overriding and override[row, 0] >= 0):
            if writing:
                at = copy_bytes(arena, begin, end - begin, out, at)
            else:
                at += end - begin
                offsets[row + 1] = np.uint32(at)
            continue
        count, metric = np.int64(0), np.int64(0)
        p = begin
        while p < end:
            # The fill pass has walked these bytes to their end, so no position is a fault here.
            tag, q = read_tag(arena, p, end)
            if tag != V1_SERIES_LABELS:
                p = skip_value(arena, q, end, tag)
                continue
            q, p = read_length(arena, q, end)
            name_at, name_length, value_at, value_length, _, _ = read_label(arena, q, p)
            if is_metric_name_label(first_word(arena, name_at, name_length), name_length):
                metric = count
            count = put_label(labels, count, name_at, name_length, value_at, value_length)
        if overriding:
            count = override_labels(labels, count, override, row, metric)
        sort_labels(arena, labels, count)
        at = write_blob(arena, labels, count, out, at, writing)
        if not writing:
            offsets[row + 1] = np.uint32(at)
    return at


@kernel(BYTES, i8, i8, I8x2)
def describe_v1(body: Any, begin: Any, end: Any, places: Any) -> Any:
    """The first labels of a series (of its blob or its message), good or bad, as (name at, length, value at, length)
    into places, int64[m, 4]; returns how many. The fill pass has walked these bytes."""
    found, p = np.int64(0), begin
    while p < end and found < places.shape[0]:
        tag, q = read_tag(body, p, end)
        if tag != V1_SERIES_LABELS:
            p = skip_value(body, q, end, tag)
            continue
        q, p = read_length(body, q, end)
        name_at, name_length, value_at, value_length, _, _ = read_label(body, q, p)
        places[found, 0], places[found, 1], places[found, 2], places[found, 3] = (
            name_at,
            name_length,
            value_at,
            value_length,
        )
        found += 1
    return found
