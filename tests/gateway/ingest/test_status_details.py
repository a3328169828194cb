"""Hand-written bodies against the generated classes."""

from __future__ import annotations

import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gateway.errors import DecodeError, GatewayError, Overloaded
from gateway.ingest import status_details

_ = error_details_pb2  # json_format resolves RetryInfo only when its module is loaded

SIGNALS = [
    (ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
    (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
]


@pytest.mark.parametrize(("kind", "field", "key"), SIGNALS)
@given(rejected=st.integers(0, 2**63 - 1), message=st.text(max_size=300))
def test_export_responses(kind, field, key, rejected, message):
    binary = kind.FromString(status_details.export_response(rejected, message))
    assert getattr(binary.partial_success, field) == rejected
    assert binary.partial_success.error_message == message
    assert json_format.Parse(status_details.export_response_json(rejected, message, key), kind()) == binary


@given(message=st.text(max_size=300), wait=st.floats(0, 1e6))
def test_statuses(message, wait):
    error: GatewayError
    for error in (Overloaded(message, retry_after=wait), DecodeError(message, offset=9)):
        binary = status_pb2.Status.FromString(status_details.status(error))
        assert (binary.code, binary.message) == (error.grpc_status, str(error))
        text = json_format.Parse(status_details.status_json(error), status_pb2.Status())
        assert (text.code, text.message, len(text.details)) == (binary.code, binary.message, len(binary.details))
        assert len(binary.details) == isinstance(error, Overloaded)
        if binary.details:
            info = error_details_pb2.RetryInfo()
            assert binary.details[0].Unpack(info)
            assert abs(info.retry_delay.seconds + info.retry_delay.nanos / 1e9 - wait) < 1e-6
