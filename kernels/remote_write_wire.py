"""Steps that both versions of remote write share: fields, text, label hashes, samples, and what a series is.

A text is hashed by kernels.label_hash; a label is a mix of its name's and its value's hash; a label set the sum over
its labels, mixed once more. So the order of labels does not matter, and 2.0 hashes every symbol once, however many
series use it, and arrives at the same hash as 1.0. `keys` are the eight secrets as a tuple.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.label_hash import hash_word, load_tail, mix
from kernels.protobuf_fields import read_tag, skip_value
from kernels.text import HIGH_BITS
from kernels.varint import TRUNCATED, fault, read_varint
from kernels.wire import f64_as_bits, fold_multiply, load_u8, load_u64
from proto.remote_write import (
    SAMPLE_START,
    SAMPLE_TIMESTAMP,
    SAMPLE_VALUE,
    TYPE_COUNTER,
    TYPE_GAUGE,
    TYPE_GAUGE_HISTOGRAM,
    TYPE_HISTOGRAM,
    TYPE_INFO,
    TYPE_STATE_SET,
    TYPE_SUMMARY,
    V1_SERIES_LABELS,
)

# Why a series or a point was not accepted; the index into `rejections`, int64[2 * REASONS]: points
# by reason, then how many times each reason was given (a bad series may carry no point).
ACCEPTED: Final = 0
MISSING_NAME: Final = 1
EMPTY_LABEL_NAME: Final = 2
REPEATED_LABEL: Final = 3
LABEL_TOO_LONG: Final = 4
TOO_MANY_LABELS: Final = 5
INVALID_UTF8: Final = 6
NAN: Final = 7
TOO_OLD: Final = 8
TOO_NEW: Final = 9
BAD_HISTOGRAM: Final = 10
TOO_MANY_BUCKETS: Final = 11
BAD_REFERENCE: Final = 12
"""2.0: a label reference names no symbol, or there is an odd number of them."""
REASONS: Final = 13

# Fault of 2.0 beyond those of kernels.varint.
FIRST_SYMBOL_NOT_EMPTY: Final = 17

FIRST_REJECTIONS: Final = 5
"""How many rejections are remembered one by one, to name them to the sender."""

STALE_BITS: Final = 0x7FF0000000000002

# What the names of a series' labels tell about it, gathered bit by bit.
HAS_LE: Final = 1
HAS_VMRANGE: Final = 2
HAS_QUANTILE: Final = 4

# telemetry.kind; the kernels stand below the telemetry package and repeat its numbers, a test compares them.
KIND_UNKNOWN: Final = 0
KIND_GAUGE: Final = 1
KIND_COUNTER: Final = 2
KIND_COUNT: Final = 3
KIND_SUM: Final = 4
KIND_BUCKET: Final = 5
KIND_QUANTILE: Final = 6
KIND_TARGET_INFO: Final = 7
KIND_VMRANGE: Final = 0x40


def _word(text: bytes) -> int:
    return int.from_bytes(text, "little")


_NAME: Final = _word(b"__name__")
_QUANTILE: Final = _word(b"quantile")
_VMRANGE: Final = _word(b"vmrange")
_LE: Final = _word(b"le")
_BUCKET: Final = _word(b"_bucket")
_COUNT: Final = _word(b"_count")
_TOTAL: Final = _word(b"_total")
_SUM: Final = _word(b"_sum")
_TARGET_I: Final = _word(b"target_i")
_NFO: Final = _word(b"nfo")


@step
def read_double(buf: Any, at: Any, end: Any) -> Any:
    """(bits uint64, next int64)."""
    if end - at < 8:
        return np.uint64(0), fault(at, TRUNCATED)
    return load_u64(buf, at), at + 8


@step
def first_word(buf: Any, at: Any, length: Any) -> Any:
    """The first min(length, 8) bytes as a little-endian word, zeros above."""
    if length >= 8:
        return load_u64(buf, at)
    return load_tail(buf, at, length)


@step
def label_hash(name_hi: Any, name_lo: Any, value_hi: Any, value_lo: Any, keys: Any) -> Any:
    """(hi, lo) of a label from the hashes of its name and its value."""
    return (
        fold_multiply(name_hi ^ keys[4], value_lo ^ keys[5]),
        fold_multiply(name_lo ^ keys[6], value_hi ^ keys[7]),
    )


@step
def part_hash(hi: Any, lo: Any, part: Any, detail: Any, keys: Any) -> Any:
    """(hi, lo) of one row of a native histogram: its series' hash, which part it is, and that part's bound."""
    word_hi, word_lo = hash_word(detail, part, keys)
    return mix(hi ^ word_hi, lo + word_lo, keys)


@step
def prefix_of(word: Any) -> Any:
    """A text's first word with its first byte highest, so that it compares as the bytes do."""
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)) | (
        (word >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    )
    word = ((word & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)) | (
        (word >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    )
    return (word << np.uint64(32)) | (word >> np.uint64(32))


@step
def is_metric_name_label(word: Any, length: Any) -> Any:
    """Whether a label's name, given by its first word and length, is `__name__`."""
    return length == 8 and word == np.uint64(_NAME)


@step
def telling_label(word: Any, length: Any) -> Any:
    """The HAS_ bit of a label name, 0 for any other; int64."""
    if length == 2 and word == np.uint64(_LE):
        return np.int64(HAS_LE)
    if length == 7 and word == np.uint64(_VMRANGE):
        return np.int64(HAS_VMRANGE)
    if length == 8 and word == np.uint64(_QUANTILE):
        return np.int64(HAS_QUANTILE)
    return np.int64(0)


@step
def _ends_with(buf: Any, at: Any, length: Any, word: Any, size: Any) -> Any:
    return length > size and first_word(buf, at + length - size, size) == word


@step
def series_kind(buf: Any, at: Any, length: Any, labels: Any, metadata_type: Any) -> Any:
    """telemetry.kind (int64) of the series whose metric name stands at `at`.

    The metadata's type decides; TYPE_UNSPECIFIED leaves it to the name's suffix, as 1.0 does.
    """
    if length == 11 and first_word(buf, at, np.int64(8)) == np.uint64(_TARGET_I):
        if first_word(buf, at + 8, np.int64(3)) == np.uint64(_NFO):
            return np.int64(KIND_TARGET_INFO)
    if metadata_type == TYPE_COUNTER:
        return np.int64(KIND_COUNTER)
    if (
        metadata_type == TYPE_GAUGE
        or metadata_type == TYPE_INFO
        or metadata_type == TYPE_STATE_SET
        or metadata_type == TYPE_GAUGE_HISTOGRAM
    ):
        return np.int64(KIND_GAUGE)
    if labels & HAS_QUANTILE and (metadata_type == TYPE_SUMMARY or metadata_type != TYPE_HISTOGRAM):
        return np.int64(KIND_QUANTILE)
    if _ends_with(buf, at, length, np.uint64(_BUCKET), np.int64(7)):
        if labels & HAS_LE:
            return np.int64(KIND_BUCKET)
        if labels & HAS_VMRANGE:
            return np.int64(KIND_BUCKET | KIND_VMRANGE)
    if _ends_with(buf, at, length, np.uint64(_COUNT), np.int64(6)):
        return np.int64(KIND_COUNT)
    if _ends_with(buf, at, length, np.uint64(_SUM), np.int64(4)):
        return np.int64(KIND_SUM)
    if _ends_with(buf, at, length, np.uint64(_TOTAL), np.int64(6)):
        return np.int64(KIND_COUNTER)
    return np.int64(KIND_UNKNOWN)


@step
def read_sample(buf: Any, at: Any, end: Any) -> Any:
    """(value bits uint64, time int64, start int64, next int64) of the Sample message at [at, end); next may be a fault.

    A field that occurs twice counts as it stood last, as protobuf says.
    """
    size = end - at - 10
    if (
        1 <= size <= 8
        and load_u8(buf, at) == np.uint64(SAMPLE_VALUE)
        and load_u8(buf, at + 9) == np.uint64(SAMPLE_TIMESTAMP)
    ):
        # As senders write it: the value, then a varint that ends the message, taken as one word.
        word = load_u64(buf, end - 8) >> np.uint64(8 * (8 - size))
        if word & np.uint64(HIGH_BITS) == np.uint64(HIGH_BITS) >> np.uint64(8 * (9 - size)):
            word &= np.uint64(0x7F7F7F7F7F7F7F7F)
            word = (word & np.uint64(0x007F007F007F007F)) | (word & np.uint64(0x7F007F007F007F00)) >> np.uint64(1)
            word = (word & np.uint64(0x00003FFF00003FFF)) | (word & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2)
            word = (word & np.uint64(0x000000000FFFFFFF)) | (word & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4)
            return load_u64(buf, at + 1), np.int64(word), np.int64(0), end
    bits, time, start = np.uint64(0), np.uint64(0), np.uint64(0)
    while at < end:
        tag, after = read_tag(buf, at, end)
        if after < 0:
            return bits, np.int64(0), np.int64(0), after
        if tag == SAMPLE_VALUE:
            bits, after = read_double(buf, after, end)
        elif tag == SAMPLE_TIMESTAMP:
            time, after = read_varint(buf, after, end)
        elif tag == SAMPLE_START:
            start, after = read_varint(buf, after, end)
        else:
            after = skip_value(buf, after, end, tag)
        if after < 0:
            return bits, np.int64(0), np.int64(0), after
        at = after
    return bits, np.int64(time), np.int64(start), at


@hot_step
def read_reference(buf: Any, at: Any, end: Any) -> Any:
    """`read_varint`, without a call for two bytes."""
    if at + 1 < end:
        low, high = load_u8(buf, at), load_u8(buf, at + 1)
        if low >= np.uint64(0x80) and high < np.uint64(0x80):
            return (low & np.uint64(0x7F)) | high << np.uint64(7), at + 2
    return read_varint(buf, at, end)


@step
def value_reason(value: Any, time: Any, least_ms: Any, most_ms: Any) -> Any:
    """Why a sample cannot be taken, or ACCEPTED; int64. The stale marker is the one NaN that is data."""
    if time < least_ms:
        return np.int64(TOO_OLD)
    if time > most_ms:
        return np.int64(TOO_NEW)
    if value != value and f64_as_bits(value) != np.uint64(STALE_BITS):
        return np.int64(NAN)
    return np.int64(ACCEPTED)


@step
def note_rejection(
    rejections: Any, noted: Any, noted_count: Any, reason: Any, points: Any, series: Any, time: Any
) -> Any:
    """Counts a rejection and, for the first few series, notes (series, reason, time); returns the number noted."""
    rejections[REASONS + reason] += 1
    rejections[reason] += points
    if noted_count < FIRST_REJECTIONS and (
        noted_count == 0 or noted[3 * (noted_count - 1)] != series or noted[3 * (noted_count - 1) + 1] != reason
    ):
        noted[3 * noted_count] = series
        noted[3 * noted_count + 1] = reason
        noted[3 * noted_count + 2] = time
        return noted_count + 1
    return noted_count


@step
def note_field(places: Any, count: Any, series: Any, begin: Any, end: Any) -> Any:
    """Notes where a series' native histogram or exemplar stands, in places, int64[·, 4]; returns the new count."""
    places[count, 0], places[count, 1], places[count, 2], places[count, 3] = series, begin, end, 0
    return count + 1


@step
def count_series_parts(
    buf: Any, at: Any, end: Any, of_samples: Any, of_exemplars: Any, of_histograms: Any, counts: Any
) -> Any:
    """Adds a series' fields with these three tags to counts[1:4]; returns `end` or a fault."""
    samples, exemplars, histograms = np.int64(0), np.int64(0), np.int64(0)
    while at < end:
        # Short labels of 1.0, and short lists of references of 2.0, have the same tag.
        if load_u8(buf, at) == np.uint64(V1_SERIES_LABELS) and at + 1 < end:
            length = np.int64(load_u8(buf, at + 1))
            if length < 0x80 and length <= end - at - 2:
                at += 2 + length
                continue
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at
        if tag == of_samples:
            samples += 1
        elif tag == of_exemplars:
            exemplars += 1
        elif tag == of_histograms:
            histograms += 1
        at = skip_value(buf, at, end, tag)
        if at < 0:
            return at
    counts[1] += samples
    counts[2] += exemplars
    counts[3] += histograms
    return end
