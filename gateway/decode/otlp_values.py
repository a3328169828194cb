"""Values of OTLP attributes and points as label text, read from bytes that the kernel has checked.

This is the way for what is met once a request, and for the rare attribute that the kernel leaves; see `otlp_labels`.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from gateway.telemetry.varint import read_varint
from kernels import otlp_rows as part
from kernels.exponential_histogram import FINEST_SCALE
from proto import otlp


class Field(NamedTuple):
    """One field of a message: its tag, and its value (begin and end for a length-delimited one)."""

    tag: int
    value: int
    end: int


def fields(body: bytes, at: int, end: int) -> list[Field]:
    """The fields of a message that the kernel has checked."""
    found = []
    while at < end:
        tag, at = read_varint(body, at)
        wire = tag & 7
        if wire == otlp.BYTES:
            length, at = read_varint(body, at)
            found.append(Field(tag, at, at + length))
            at += length
        elif wire == otlp.VARINT:
            value, at = read_varint(body, at)
            found.append(Field(tag, value, at))
        else:
            width = 8 if wire == otlp.FIXED64 else 4
            found.append(Field(tag, int.from_bytes(body[at : at + width], "little"), at + width))
            at += width
    return found


def _double(bits: int) -> float:
    value: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def format_float(value: float) -> str:
    """Shortest digits that read back the same, never with an exponent; +Inf, -Inf, NaN."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e15:
        # A negative zero keeps its sign, as strconv.FormatFloat has it.
        return str(int(value)) if value or math.copysign(1.0, value) > 0.0 else "-0"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json_float(value: float) -> Any:
    """A number as JSON has it; what JSON has no number for is a string."""
    if value != value or value in (float("inf"), float("-inf")):
        return format_float(value)
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def any_value(body: bytes, at: int, end: int) -> Any:
    """The Python value of an AnyValue: str, bool, int, float, list, dict, bytes as base64 text, or None."""
    result: Any = None
    for tag, value, behind in fields(body, at, end):
        if tag == otlp.ANY_STRING:
            result = body[value:behind].decode()
        elif tag == otlp.ANY_BOOL:
            result = value != 0
        elif tag == otlp.ANY_INT:
            result = _signed(value)
        elif tag == otlp.ANY_DOUBLE:
            result = _double(value)
        elif tag == otlp.ANY_BYTES:
            result = base64.b64encode(body[value:behind]).decode()
        elif tag == otlp.ANY_ARRAY:
            items = [any_value(body, f.value, f.end) for f in fields(body, value, behind) if f.tag == otlp.LIST_VALUES]
            result = [_json_float(item) if isinstance(item, float) else item for item in items]
        elif tag == otlp.ANY_KVLIST:
            result = {}
            for member in fields(body, value, behind):
                if member.tag == otlp.LIST_VALUES:
                    key, inner = key_value(body, member.value, member.end)
                    result[key] = _json_float(inner) if isinstance(inner, float) else inner
    return result


def key_value(body: bytes, at: int, end: int) -> tuple[str, Any]:
    """Key and value of a KeyValue."""
    key, value = "", None
    for tag, begin, behind in fields(body, at, end):
        if tag == otlp.KEY:
            key = body[begin:behind].decode()
        elif tag == otlp.KEY_VALUE:
            value = any_value(body, begin, behind)
    return key, value


def as_label_value(value: Any) -> str:
    """Text of an attribute: strings as they are, maps and arrays as JSON, nothing as the empty string."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=isinstance(value, dict))


def bucket_range(role: int, index: int, scale: int, threshold: float) -> str:
    """`vmrange` of an exponential bucket: `lower...upper`, in VictoriaMetrics' way of writing it."""
    if role == part.ROLE_ZERO:
        return f"{0.0:.3e}...{abs(threshold):.3e}"
    low, high = _power(index, scale), _power(index + 1, scale)
    if role == part.ROLE_NEGATIVE:
        low, high = -high, -low
    return f"{_range_end(low)}...{_range_end(high)}"


def _power(index: int, scale: int) -> float:
    try:
        return float(2.0 ** (index / 2**scale if scale >= 0 else index * 2**-scale))
    except OverflowError:
        return float("inf")


def _range_end(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.3e}"


@lru_cache(maxsize=65_536)
def part_label(role: int, detail: int) -> tuple[bytes, bytes]:
    """Name and value of the label that tells a row from the others of its point; see otlp_parts.part_details."""
    if role == part.ROLE_BUCKET:
        return b"le", format_float(_double(detail)).encode()
    if role == part.ROLE_QUANTILE:
        return b"quantile", format_float(_double(detail)).encode()
    if role == part.ROLE_ZERO:
        return b"vmrange", bucket_range(role, 0, 0, _double(detail)).encode()
    index = detail & 0xFFFFFFFF
    scale = min((detail >> 32) - 128, FINEST_SCALE)
    return b"vmrange", bucket_range(role, index - (index >> 31 << 32), scale, 0.0).encode()
