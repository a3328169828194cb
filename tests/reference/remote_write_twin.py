"""Slow, obvious remote write: a pure-Python protobuf walk, encoders for tests, and the rows a request should become."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def varint(value: int) -> bytes:
    """Encode; negative numbers as their 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> bytes:
    """Encode a sint."""
    return varint((value << 1) ^ (value >> 63))


def message(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number_field(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3) + varint(value)


def double_field(number: int, value: float) -> bytes:
    """A double field."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


@dataclass
class Histogram:
    """A native histogram as a test writes it."""

    time: int
    count: float = 0
    total: float = 0.0
    schema: int = 0
    zero_threshold: float = 0.0
    zero_count: float = 0
    positive: list[tuple[int, list[int]]] = field(default_factory=list)
    """(offset, counts) of each span."""
    negative: list[tuple[int, list[int]]] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    hint: int = 0
    start: int = 0
    floating: bool = False

    def encode(self) -> bytes:
        """The Histogram message."""
        out = double_field(2, self.count) if self.floating else number_field(1, int(self.count))
        out += double_field(3, self.total) + varint(4 << 3) + zigzag(self.schema)
        out += double_field(5, self.zero_threshold)
        out += double_field(7, self.zero_count) if self.floating else number_field(6, int(self.zero_count))
        for spans, span_field in ((self.negative, 8), (self.positive, 11)):
            counts: list[int] = []
            for offset, values in spans:
                out += message(span_field, varint(8) + zigzag(offset) + number_field(2, len(values)))
                counts += values
            if self.floating:
                out += message(span_field + 2, b"".join(struct.pack("<d", float(c)) for c in counts))
            else:
                deltas = [c - (counts[i - 1] if i else 0) for i, c in enumerate(counts)]
                out += message(span_field + 1, b"".join(zigzag(d) for d in deltas))
        out += number_field(14, self.hint) + number_field(15, self.time)
        if self.bounds:
            out += message(16, b"".join(struct.pack("<d", b) for b in self.bounds))
        if self.start:
            out += number_field(17, self.start)
        return out

    def rows(self) -> list[tuple[str, str, str, float]]:
        """(suffix, label, label value, value) of every row it should become."""
        rows = [("_count", "", "", float(self.count)), ("_sum", "", "", self.total)]
        if self.schema == -53:
            dense = [0.0] * (len(self.bounds) + 1)
            index = 0
            for offset, values in self.positive:
                index += offset
                for value in values:
                    dense[index] += value
                    index += 1
            so_far = 0.0
            for i, value in enumerate(dense):
                so_far += value
                le = "+Inf" if i == len(self.bounds) else repr(self.bounds[i]).removesuffix(".0")
                rows.append(("_bucket", "le", le, so_far))
            return rows
        if self.zero_count:
            rows.append(("_bucket", "vmrange", f"0.000e+00...{self.zero_threshold:.3e}", float(self.zero_count)))
        base = 2.0 ** (2.0**-self.schema)
        for sign, spans in ((1, self.positive), (-1, self.negative)):
            index = 0
            for offset, values in spans:
                index += offset
                for value in values:
                    low, high = base ** (index - 1), base**index
                    text = f"{low:.3e}...{high:.3e}" if sign > 0 else f"{-high:.3e}...{-low:.3e}"
                    if value:
                        rows.append(("_bucket", "vmrange", text, float(value)))
                    index += 1
        return rows


@dataclass
class Series:
    """One series of a test's request."""

    labels: list[tuple[str, str]]
    samples: list[tuple[int, float]] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)
    exemplars: list[tuple[int, float, str, str]] = field(default_factory=list)
    """(time, value, trace id, span id)."""
    kind: int = 0
    start: int = 0


def encode_v1(series: list[Series]) -> bytes:
    """A prometheus.WriteRequest."""
    out = b""
    for one in series:
        body = b"".join(message(1, message(1, n.encode()) + message(2, v.encode())) for n, v in one.labels)
        body += b"".join(message(2, double_field(1, v) + number_field(2, t)) for t, v in one.samples)
        for time, value, trace, span in one.exemplars:
            labels = b"".join(
                message(1, message(1, n) + message(2, v.encode()))
                for n, v in ((b"span_id", span), (b"trace_id", trace))
            )
            body += message(3, labels + double_field(2, value) + number_field(3, time))
        body += b"".join(message(4, h.encode()) for h in one.histograms)
        out += message(1, body)
    return out


def encode_v2(series: list[Series], packed: bool = True) -> bytes:
    """An io.prometheus.write.v2.Request."""
    symbols: dict[str, int] = {"": 0}

    def refs(texts: list[str], number: int = 1) -> bytes:
        places = [symbols.setdefault(text, len(symbols)) for text in texts]
        if packed:
            return message(number, b"".join(varint(p) for p in places))
        return b"".join(number_field(number, p) for p in places)

    out = b""
    for one in series:
        body = refs([text for label in one.labels for text in label])
        for time, value in one.samples:
            start = number_field(3, one.start) if one.start else b""
            body += message(2, double_field(1, value) + number_field(2, time) + start)
        body += b"".join(message(3, h.encode()) for h in one.histograms)
        for time, value, trace, span in one.exemplars:
            body += message(
                4, refs(["span_id", span, "trace_id", trace]) + double_field(2, value) + number_field(3, time)
            )
        if one.kind:
            body += message(5, number_field(1, one.kind))
        out += message(5, body)
    return b"".join(message(4, s.encode()) for s in symbols) + out


def fields(data: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """(number, wire type, value) of every field; raises ValueError for anything that is not protobuf 3."""
    at = 0

    def read() -> int:
        nonlocal at
        value = 0
        for i in range(10):
            if at >= len(data):
                raise ValueError("truncated")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if value >> 64:
                    raise ValueError("overlong")
                return value
        raise ValueError("overlong")

    while at < len(data):
        tag = read()
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >> 32:
            raise ValueError("field number")
        if wire == 0:
            yield number, wire, read()
            continue
        if wire not in (1, 2, 5):
            raise ValueError("wire type")
        length = read() if wire == 2 else {1: 8, 5: 4}[wire]
        if length > len(data) - at:
            raise ValueError("truncated")
        yield number, wire, data[at : at + length]
        at += length


def samples_v1(data: bytes) -> list[tuple[tuple[tuple[bytes, bytes], ...], int, bytes]]:
    """(sorted labels, time, value bits) of every sample of a request; raises ValueError for malformed bytes.

    No rule about good labels and good times is applied: tests generate what keeps them.
    """
    rows = []
    for number, wire, body in fields(data):
        if (number, wire) != (1, 2):
            continue
        assert isinstance(body, bytes)
        labels, samples = [], []
        for inner, inner_wire, value in fields(body):
            if (inner, inner_wire) == (1, 2):
                assert isinstance(value, bytes)
                parts = {n: v for n, w, v in fields(value) if w == 2}
                labels.append((parts.get(1, b""), parts.get(2, b"")))
            elif (inner, inner_wire) == (2, 2):
                assert isinstance(value, bytes)
                numbers = {(n, w): v for n, w, v in fields(value)}
                samples.append((numbers.get((2, 0), 0), numbers.get((1, 1), bytes(8))))
        kept = tuple(sorted((n, v) for n, v in labels if v))  # type: ignore[misc]
        rows += [(kept, time, bits) for time, bits in samples]
    return rows  # type: ignore[return-value]
