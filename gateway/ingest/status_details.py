"""Answers of OTLP as bytes: export responses and google.rpc.Status, protobuf and JSON.

    ExportMetricsServiceResponse { ExportMetricsPartialSuccess partial_success = 1 }      (traces and logs alike)
    ExportMetricsPartialSuccess  { int64 rejected_data_points = 1; string error_message = 2 }
    google.rpc.Status            { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3 }
    google.protobuf.Any          { string type_url = 1; bytes value = 2 }
    google.rpc.RetryInfo         { google.protobuf.Duration retry_delay = 1 }
    google.protobuf.Duration     { int64 seconds = 1; int32 nanos = 2 }

Sources: opentelemetry/proto/collector/metrics/v1/metrics_service.proto, google/rpc/status.proto,
google/rpc/error_details.proto; OTLP specification 1.x, "Failures" and "Full and partial success". The messages are a
few fields each, so they are written here rather than through generated classes.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from gateway.errors import GatewayError, RetryLater
from gateway.telemetry.varint import varint

RETRY_INFO_TYPE: Final = "type.googleapis.com/google.rpc.RetryInfo"

_MAX_MESSAGE: Final = 2048
"""Characters of an error text; it also travels in HTTP/2 headers, which are limited to 8 KiB."""


def _integer(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number) if number else b""


def _bytes(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace")) if value else b""


def export_response(rejected: int, message: str) -> bytes:
    """Protobuf body of a successful export; empty when everything was accepted and there is nothing to say."""
    if not rejected and not message:
        return b""
    return _bytes(1, _integer(1, rejected) + _text(2, message[:_MAX_MESSAGE]))


def export_response_json(rejected: int, message: str, rejected_key: str) -> bytes:
    """The same in JSON; `rejected_key` is rejectedDataPoints, rejectedSpans or rejectedLogRecords."""
    if not rejected and not message:
        return b"{}"
    partial = {rejected_key: str(rejected), "errorMessage": message[:_MAX_MESSAGE]}
    return msgspec.json.encode({"partialSuccess": partial})


def retry_after_seconds(error: GatewayError) -> int | None:
    """Whole seconds for a Retry-After header; None where the request must not be sent again."""
    return max(1, math.ceil(error.retry_after)) if isinstance(error, RetryLater) else None


def status(error: GatewayError) -> bytes:
    """google.rpc.Status of an error; with RetryInfo if it may be sent again."""
    body = _integer(1, error.grpc_status) + _text(2, str(error)[:_MAX_MESSAGE])
    if isinstance(error, RetryLater):
        seconds, fraction = divmod(max(error.retry_after, 0.0), 1.0)
        delay = _integer(1, int(seconds)) + _integer(2, int(fraction * 1e9))
        body += _bytes(3, _text(1, RETRY_INFO_TYPE) + _bytes(2, _bytes(1, delay)))
    return body


def status_json(error: GatewayError) -> bytes:
    """The same in JSON (ProtoJSON of Any and Duration)."""
    answer: dict[str, object] = {"code": error.grpc_status, "message": str(error)[:_MAX_MESSAGE]}
    if isinstance(error, RetryLater):
        delay = f"{max(error.retry_after, 0.0):.9f}".rstrip("0").rstrip(".")
        answer["details"] = [{"@type": RETRY_INFO_TYPE, "retryDelay": f"{delay}s"}]
    return msgspec.json.encode(answer)
