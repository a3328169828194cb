"""Remote write 1.0: WriteRequest → columns; the pass that fills.

kernels.remote_write_known has proved the framing of requests and series, found the series whose labels were seen
before, and said how large the columns must be. Here the samples are taken, the labels of the other series hashed and
remembered, and native histograms and exemplars noted. A bad series is taken back whole and counted; bad bytes end the
walk with a fault (kernels.varint).

Metadata messages are stepped over: senders put them into requests of their own, so they cannot tell a series' kind in
the request that defines it. The name's suffix does.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from kernels.jit import BYTES, F8, I8, RI8, RU8, U1, U4, U8, kernel
from kernels.known_labels import memory_of, remember
from kernels.label_hash import hash_bytes, mix
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_known import KNOWN, S_BEGIN, S_END, S_SAMPLE, S_STATE
from kernels.remote_write_labels import varint_size
from kernels.remote_write_v1_labels import read_label
from kernels.remote_write_wire import (
    ACCEPTED,
    EMPTY_LABEL_NAME,
    INVALID_UTF8,
    LABEL_TOO_LONG,
    MISSING_NAME,
    REPEATED_LABEL,
    TOO_MANY_LABELS,
    first_word,
    is_metric_name_label,
    label_hash,
    note_field,
    note_rejection,
    prefix_of,
    read_sample,
    series_kind,
    telling_label,
    value_reason,
)
from kernels.text import HIGH_BITS, is_utf8, same_text, same_words, text_less
from kernels.wire import bits_as_f64, pointer
from proto.remote_write import (
    TYPE_UNSPECIFIED,
    V1_SERIES_EXEMPLARS,
    V1_SERIES_HISTOGRAMS,
    V1_SERIES_LABELS,
    V1_SERIES_SAMPLES,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)


# What is remembered of the label in each place of a series, int64[PLACES] each, beside (hi, lo, prefix) uint64[3].
PLACES: Final = 8
P_SIZE, P_BEGIN, P_NAME, P_NAME_LENGTH, P_VALUE, P_VALUE_LENGTH, P_TELLS = 0, 1, 2, 3, 4, 5, 6
TELLS_METRIC: Final = 8
"""In P_TELLS beside the HAS_ bits: the label is `__name__`."""


@kernel(BYTES, RU8, RI8, U8, I8, U8, U8, I8, F8, U1, U4, I8x2, U8, U8, U1, I8x2, I8x2, U8, I8, I8, I8, I8)
def fill_v1(
    body: Any,
    secrets: Any,
    limits: Any,
    known_table: Any,
    tally: Any,
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
    label_hashes: Any,
    label_places: Any,
    rejections: Any,
    noted: Any,
    out: Any,
) -> Any:
    """Reads every series; returns 0 or a fault.

    limits: int64[5] (oldest ms, newest ms, labels a series, bytes a label name, bytes a label value). known_table,
    tally: see kernels.known_labels. series, series_hi, series_lo, series_kinds: as `match_v1` left them, and then:
    row_hi, row_lo, times, values, kinds, row_series: one entry a sample. series: int64[series, 4] of (begin, end,
    exact, a row or -1): when exact is 1, [begin, end) is the label blob; when 0, it is the TimeSeries message; -1
    marks a rejected series. histograms, exemplars: int64[·, 4] of (series, begin, end, 0). label_hashes: uint64[3 *
    labels a series] and label_places: int64[PLACES * labels a series], scratch. rejections, noted: see
    remote_write_wire. out: int64[4], becomes (rows, histograms, exemplars, noted).
    """
    buf = pointer(body)
    k = pointer(secrets)
    oldest, newest, most_labels, most_name, most_value = limits[0], limits[1], limits[2], limits[3], limits[4]
    rows, histogram_count, exemplar_count, noted_count = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    known = np.int64(0)
    hashes, places = pointer(label_hashes), pointer(label_places)
    memory = memory_of(known_table, tally)
    for s in range(series.shape[0]):
        begin, stop, one_sample = series[s, S_BEGIN], series[s, S_END], series[s, S_SAMPLE]
        if series[s, S_STATE] == KNOWN:
            bits, time, _, after = read_sample(buf, one_sample + 2, stop)
            if after < 0:
                return after
            series[s, 1], series[s, 2], series[s, 3] = one_sample, 1, -1
            value = bits_as_f64(bits)
            reason = value_reason(value, time, oldest, newest)
            if reason != ACCEPTED:
                noted_count = note_rejection(rejections, noted, noted_count, reason, 1, s, time)
                continue
            times[rows], values[rows] = time, value
            row_hi[rows], row_lo[rows] = series_hi[s], series_lo[s]
            kinds[rows], row_series[rows] = series_kinds[s], np.uint32(s)
            series[s, 3] = rows
            rows += 1
            continue
        range_hi, range_lo = series_hi[s], series_lo[s]
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
            if labels < known and reason == ACCEPTED:
                # The same bytes as the previous series' label in this place: everything about it is known.
                place = PLACES * labels
                size = places[place + P_SIZE]
                if size >= 8 and size <= stop - p and same_words(buf, p, places[place + P_BEGIN], size):
                    if labels_end < 0:
                        labels_begin = p
                    elif p != labels_end:
                        exact = False
                    prefix = hashes[3 * labels + 2]
                    name_at, name_length = places[place + P_NAME], places[place + P_NAME_LENGTH]
                    if prefix < last_prefix or (
                        prefix == last_prefix and not text_less(buf, last_at, last_length, name_at, name_length)
                    ):
                        sorted_so_far = False
                    last_prefix, last_at, last_length = prefix, name_at, name_length
                    hi += hashes[3 * labels]
                    lo += hashes[3 * labels + 1]
                    tells = places[place + P_TELLS]
                    if tells != 0:
                        told |= tells
                        if tells == TELLS_METRIC:
                            metric_at, metric_length = places[place + P_VALUE], places[place + P_VALUE_LENGTH]
                    labels += 1
                    p += size
                    labels_end = p
                    continue
            tag, q = read_tag(buf, p, stop)
            if q < 0:
                return q
            if tag == V1_SERIES_LABELS:
                q, e = read_length(buf, q, stop)
                if q < 0:
                    return q
                if labels_end < 0:
                    labels_begin = p
                elif p != labels_end:
                    exact = False
                labels_end = e
                name_at, name_length, value_at, value_length, exact_label, after = read_label(buf, q, e)
                if after < 0:
                    return after
                exact_label = exact_label and value_length > 0 and (q - p == 2 or q - p == 1 + varint_size(e - q))
                exact = exact and exact_label
                begin_label = p
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
                word = first_word(buf, name_at, name_length)
                prefix = prefix_of(word)
                if prefix < last_prefix or (
                    prefix == last_prefix and not text_less(buf, last_at, last_length, name_at, name_length)
                ):
                    sorted_so_far = False
                last_prefix, last_at, last_length = prefix, name_at, name_length
                label_hi, label_lo, seen = np.uint64(0), np.uint64(0), np.uint64(0)
                tells = np.int64(0)
                if exact_label:
                    label_hi, label_lo, seen = hash_bytes(buf, q, e - q, np.uint64(0), k)
                else:
                    name_hi, name_lo, seen = hash_bytes(buf, name_at, name_length, np.uint64(1), k)
                    if value_length > 0:
                        value_hi, value_lo, seen_value = hash_bytes(buf, value_at, value_length, np.uint64(1), k)
                        seen |= seen_value
                        label_hi, label_lo = label_hash(name_hi, name_lo, value_hi, value_lo, k)
                # The length bytes were hashed too and may have their high bit set: that only costs the check.
                if seen & np.uint64(HIGH_BITS) and not (
                    is_utf8(buf, name_at, name_at + name_length) and is_utf8(buf, value_at, value_at + value_length)
                ):
                    reason = np.int64(INVALID_UTF8)
                    continue
                if value_length > 0:
                    tells = telling_label(word, name_length)
                    if is_metric_name_label(word, name_length):
                        tells = np.int64(TELLS_METRIC)
                        metric_at, metric_length = value_at, value_length
                hi += label_hi
                lo += label_lo
                told |= tells
                places[PLACES * labels + P_SIZE] = e - begin_label if exact_label else np.int64(0)
                places[PLACES * labels + P_BEGIN] = begin_label
                places[PLACES * labels + P_NAME] = name_at
                places[PLACES * labels + P_NAME_LENGTH] = name_length
                places[PLACES * labels + P_VALUE] = value_at
                places[PLACES * labels + P_VALUE_LENGTH] = value_length
                places[PLACES * labels + P_TELLS] = tells
                hashes[3 * labels] = label_hi
                hashes[3 * labels + 1] = label_lo
                hashes[3 * labels + 2] = prefix
                labels += 1
                if labels > known:
                    known = labels
            elif tag == V1_SERIES_SAMPLES:
                q, e = read_length(buf, q, stop)
                if q < 0:
                    return q
                bits, time, _, after = read_sample(buf, q, e)
                if after < 0:
                    return after
                times[rows] = time
                values[rows] = bits_as_f64(bits)
                rows += 1
                p = e
            elif tag == V1_SERIES_HISTOGRAMS or tag == V1_SERIES_EXEMPLARS:
                q, e = read_length(buf, q, stop)
                if q < 0:
                    return q
                if tag == V1_SERIES_HISTOGRAMS:
                    histogram_count = note_field(histograms, histogram_count, s, q, e)
                else:
                    exemplar_count = note_field(exemplars, exemplar_count, s, q, e)
                p = e
            else:
                p = skip_value(buf, q, stop, tag)
                if p < 0:
                    return p
        if reason == ACCEPTED and not sorted_so_far:
            exact = False
            for i in range(labels):
                for j in range(i):
                    if hashes[3 * i + 2] == hashes[3 * j + 2] and same_text(
                        buf,
                        places[PLACES * i + P_NAME],
                        places[PLACES * i + P_NAME_LENGTH],
                        places[PLACES * j + P_NAME],
                        places[PLACES * j + P_NAME_LENGTH],
                    ):
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
        kind = np.uint8(series_kind(buf, metric_at, metric_length, told & 7, TYPE_UNSPECIFIED))
        series_hi[s], series_lo[s], series_kinds[s] = hi, lo, kind
        if exact and labels_begin == begin and labels_end == one_sample:
            remember(memory, range_hi, range_lo, hi, lo, kind, times[first_row])
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
