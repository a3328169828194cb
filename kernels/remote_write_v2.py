"""Remote write 2.0: Request → columns, in passes: count, symbols (kernels.remote_write_symbols), series.

Every symbol is hashed once, so a label costs two table look-ups and two folded multiplications. A bad series, one
whose references name no symbol or are odd in number among them, is taken back whole and counted; its neighbours stay.
Bad bytes refuse the request.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kernels.jit import BYTES, F8, I8, RI8, RU1, RU8, U1, U4, U8, kernel, step
from kernels.label_hash import mix
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_symbols import SYMBOL_METRIC_NAME, SYMBOL_VALID
from kernels.remote_write_wire import (
    ACCEPTED,
    BAD_REFERENCE,
    EMPTY_LABEL_NAME,
    INVALID_UTF8,
    LABEL_TOO_LONG,
    MISSING_NAME,
    REPEATED_LABEL,
    TOO_MANY_LABELS,
    count_series_parts,
    label_hash,
    note_field,
    note_rejection,
    read_reference,
    read_sample,
    series_kind,
    value_reason,
)
from kernels.text import text_less
from kernels.varint import read_varint
from kernels.wire import bits_as_f64, pointer
from proto.remote_write import (
    METADATA_TYPE,
    V2_REQUEST_SYMBOLS,
    V2_REQUEST_TIMESERIES,
    V2_SERIES_CREATED,
    V2_SERIES_EXEMPLARS,
    V2_SERIES_HISTOGRAMS,
    V2_SERIES_LABEL_REF,
    V2_SERIES_LABEL_REFS,
    V2_SERIES_METADATA,
    V2_SERIES_SAMPLES,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)

BLOB_BUDGET = 256 << 20
"""Bytes of labels that one request's series may name together, so that references cannot multiply a small request
into a large one."""


@kernel(BYTES, I8)
def count_v2(body: Any, counts: Any) -> Any:
    """Counts (series, samples, exemplars, histograms, symbols) into counts, int64[5]; returns 0 or a fault."""
    buf = pointer(body)
    end = np.int64(body.size)
    at = np.int64(0)
    series, symbols = np.int64(0), np.int64(0)
    counts[:5] = 0
    while at < end:
        tag, after = read_tag(buf, at, end)
        if after < 0:
            return after
        if tag != V2_REQUEST_TIMESERIES:
            if tag == V2_REQUEST_SYMBOLS:
                symbols += 1
            at = skip_value(buf, after, end, tag)
            if at < 0:
                return at
            continue
        p, stop = read_length(buf, after, end)
        if p < 0:
            return p
        series += 1
        p = count_series_parts(buf, p, stop, V2_SERIES_SAMPLES, V2_SERIES_EXEMPLARS, V2_SERIES_HISTOGRAMS, counts)
        if p < 0:
            return p
        at = stop
    counts[0], counts[4] = series, symbols
    return np.int64(0)


@step
def _read_metadata_type(body: Any, at: Any, end: Any) -> Any:
    """(type, next position or fault)."""
    kind = np.int64(0)
    while at < end:
        tag, after = read_tag(body, at, end)
        if after < 0:
            return kind, after
        if tag == METADATA_TYPE:
            raw, at = read_varint(body, after, end)
            kind = np.int64(raw)
        else:
            at = skip_value(body, after, end, tag)
        if at < 0:
            return kind, at
    return kind, at


@kernel(
    BYTES, RU8, RI8, RI8, RI8, RU8, RU8, RU8, RU1, U8, U8, I8, F8, I8, U1, U4, I8x2, U8, U8, U1, I8x2, I8x2, I8, U8,
    I8, I8, I8,
)  # fmt: skip
def fill_v2(
    body: Any,
    secrets: Any,
    limits: Any,
    symbol_at: Any,
    symbol_length: Any,
    symbol_hi: Any,
    symbol_lo: Any,
    symbol_prefix: Any,
    symbol_flags: Any,
    row_hi: Any,
    row_lo: Any,
    times: Any,
    values: Any,
    starts: Any,
    kinds: Any,
    row_series: Any,
    series: Any,
    series_hi: Any,
    series_lo: Any,
    series_kinds: Any,
    histograms: Any,
    exemplars: Any,
    names: Any,
    hashes: Any,
    rejections: Any,
    noted: Any,
    out: Any,
) -> Any:
    """Reads every series; returns 0 or a fault. Arguments as those of `fill_v1` and of `fill_symbols`.

    starts: start ms of each row. series: [begin, end) is always the TimeSeries message, and entry 2 is 0. names:
    int64[4 * labels a series] and hashes: uint64[2 * labels a series], scratch. out: int64[5], becomes (rows,
    histograms, exemplars, noted, rows with a start).
    """
    buf = pointer(body)
    k = pointer(secrets)
    oldest, newest, most_labels, most_name, most_value = limits[0], limits[1], limits[2], limits[3], limits[4]
    symbols = np.uint64(symbol_at.size)
    body_end = np.int64(body.size)
    at = np.int64(0)
    rows, histogram_count, exemplar_count, noted_count = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    s, started, blob_bytes, known = np.int64(-1), np.int64(0), np.int64(0), np.int64(0)
    while at < body_end:
        tag, after = read_tag(buf, at, body_end)
        if after < 0:
            return after
        if tag != V2_REQUEST_TIMESERIES:
            at = skip_value(buf, after, body_end, tag)
            if at < 0:
                return at
            continue
        begin, stop = read_length(buf, after, body_end)
        if begin < 0:
            return begin
        at = stop
        s += 1
        first_row, first_histogram, first_exemplar = rows, histogram_count, exemplar_count
        hi, lo = np.uint64(0), np.uint64(0)
        reason = np.int64(ACCEPTED)
        sorted_so_far = True
        told, labels, metadata_type, created = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        metric, name, last = np.int64(-1), np.int64(-1), np.int64(-1)
        p = begin
        while p < stop:
            tag, q = read_tag(buf, p, stop)
            if q < 0:
                return q
            if tag == V2_SERIES_LABEL_REFS or tag == V2_SERIES_LABEL_REF:
                e = stop
                if tag == V2_SERIES_LABEL_REFS:
                    q, e = read_length(buf, q, stop)
                    if q < 0:
                        return q
                    p = e
                while q < e:
                    raw, after = read_reference(buf, q, e)
                    if after < 0:
                        return after
                    if raw >= symbols:
                        reason, raw = np.int64(BAD_REFERENCE), np.uint64(0)
                    q = after
                    if tag == V2_SERIES_LABEL_REF:
                        p = q
                        e = q
                    reference = np.int64(raw)
                    if name < 0:
                        name = reference
                        continue
                    this, name = name, np.int64(-1)
                    if reason != ACCEPTED:
                        continue
                    if labels < known and names[4 * labels] == this and names[4 * labels + 1] == reference:
                        # The previous series' label in this place: only its order among its neighbours is new.
                        if last >= 0 and (
                            symbol_prefix[this] < symbol_prefix[last]
                            or (
                                symbol_prefix[this] == symbol_prefix[last]
                                and not text_less(
                                    buf, symbol_at[last], symbol_length[last], symbol_at[this], symbol_length[this]
                                )
                            )
                        ):
                            sorted_so_far = False
                        last = this
                        blob_bytes += symbol_length[this] + symbol_length[reference]
                        hi += hashes[2 * labels]
                        lo += hashes[2 * labels + 1]
                        flags = names[4 * labels + 2]
                        told |= flags & 7
                        if flags & SYMBOL_METRIC_NAME:
                            metric = reference
                        labels += 1
                        if blob_bytes > BLOB_BUDGET:
                            reason = np.int64(TOO_MANY_LABELS)
                        continue
                    name_length, value_length = symbol_length[this], symbol_length[reference]
                    blob_bytes += name_length + value_length
                    if name_length == 0:
                        reason = np.int64(EMPTY_LABEL_NAME)
                    elif name_length > most_name or value_length > most_value:
                        reason = np.int64(LABEL_TOO_LONG)
                    elif labels >= most_labels or blob_bytes > BLOB_BUDGET:
                        reason = np.int64(TOO_MANY_LABELS)
                    elif not symbol_flags[this] & symbol_flags[reference] & SYMBOL_VALID:
                        reason = np.int64(INVALID_UTF8)
                    if reason != ACCEPTED:
                        continue
                    if last >= 0:
                        if symbol_prefix[this] < symbol_prefix[last] or (
                            symbol_prefix[this] == symbol_prefix[last]
                            and not text_less(
                                buf, symbol_at[last], symbol_length[last], symbol_at[this], symbol_length[this]
                            )
                        ):
                            sorted_so_far = False
                    last = this
                    label_hi, label_lo, flags = np.uint64(0), np.uint64(0), np.int64(0)
                    if value_length > 0:
                        label_hi, label_lo = label_hash(
                            symbol_hi[this], symbol_lo[this], symbol_hi[reference], symbol_lo[reference], k
                        )
                        flags = np.int64(symbol_flags[this])
                    names[4 * labels], names[4 * labels + 1], names[4 * labels + 2] = this, reference, flags
                    hashes[2 * labels], hashes[2 * labels + 1] = label_hi, label_lo
                    labels += 1
                    known = max(known, labels)
                    hi += label_hi
                    lo += label_lo
                    told |= flags & 7
                    if flags & SYMBOL_METRIC_NAME:
                        metric = reference
                continue
            if tag == V2_SERIES_CREATED:
                raw, p = read_varint(buf, q, stop)
                if p < 0:
                    return p
                created = np.int64(raw)
                continue
            if (
                tag != V2_SERIES_SAMPLES
                and tag != V2_SERIES_HISTOGRAMS
                and tag != V2_SERIES_EXEMPLARS
                and tag != V2_SERIES_METADATA
            ):
                p = skip_value(buf, q, stop, tag)
                if p < 0:
                    return p
                continue
            q, e = read_length(buf, q, stop)
            if q < 0:
                return q
            p = e
            if tag == V2_SERIES_SAMPLES:
                bits, time, start, after = read_sample(buf, q, e)
                if after < 0:
                    return after
                times[rows], values[rows], starts[rows] = time, bits_as_f64(bits), start
                rows += 1
            elif tag == V2_SERIES_METADATA:
                metadata_type, after = _read_metadata_type(buf, q, e)
                if after < 0:
                    return after
            elif tag == V2_SERIES_HISTOGRAMS:
                histogram_count = note_field(histograms, histogram_count, s, q, e)
            else:
                exemplar_count = note_field(exemplars, exemplar_count, s, q, e)
        if name >= 0 and reason == ACCEPTED:
            reason = np.int64(BAD_REFERENCE)
        if reason == ACCEPTED and not sorted_so_far:
            for i in range(labels):
                for j in range(i):
                    a, b = names[4 * i], names[4 * j]
                    if symbol_hi[a] == symbol_hi[b] and symbol_lo[a] == symbol_lo[b]:
                        reason = np.int64(REPEATED_LABEL)
        if reason == ACCEPTED and metric < 0:
            reason = np.int64(MISSING_NAME)
        series[s, 0], series[s, 1], series[s, 2], series[s, 3] = begin, stop, 0, -1
        if reason != ACCEPTED:
            points = rows - first_row + histogram_count - first_histogram
            noted_count = note_rejection(rejections, noted, noted_count, reason, points, s, np.int64(0))
            rows, histogram_count, exemplar_count = first_row, first_histogram, first_exemplar
            series[s, 2] = -1
            continue
        hi, lo = mix(hi, lo, k)
        kind = np.uint8(series_kind(buf, symbol_at[metric], symbol_length[metric], told, metadata_type))
        series_hi[s], series_lo[s], series_kinds[s] = hi, lo, kind
        for i in range(first_histogram, histogram_count):
            histograms[i, 3] = created
        kept = first_row
        for row in range(first_row, rows):
            time, value = times[row], values[row]
            reason = value_reason(value, time, oldest, newest)
            if reason != ACCEPTED:
                noted_count = note_rejection(rejections, noted, noted_count, reason, 1, s, time)
                continue
            start = starts[row] if starts[row] != 0 else created
            times[kept], values[kept], starts[kept] = time, value, start
            started += np.int64(start != 0)
            row_hi[kept], row_lo[kept], kinds[kept], row_series[kept] = hi, lo, kind, np.uint32(s)
            series[s, 3] = kept
            kept += 1
        rows = kept
    out[0], out[1], out[2], out[3], out[4] = rows, histogram_count, exemplar_count, noted_count, started
    return np.int64(0)
