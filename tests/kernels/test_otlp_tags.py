"""The tags in proto/otlp.py against the descriptors of the generated classes."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1 import resource_pb2 as resource
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

from proto import otlp

_WIRE = {1: otlp.FIXED64, 6: otlp.FIXED64, 16: otlp.FIXED64, 9: otlp.BYTES, 11: otlp.BYTES, 12: otlp.BYTES}
"""Wire type by field type of a descriptor; all others that occur are varints."""

E = m.ExponentialHistogramDataPoint
TABLE: list[tuple[Any, str, list[int]]] = [
    (service.ExportMetricsServiceRequest, "resource_metrics", [otlp.REQUEST_RESOURCES]),
    (m.ResourceMetrics, "resource", [otlp.RESOURCE]),
    (m.ResourceMetrics, "scope_metrics", [otlp.SCOPES]),
    (resource.Resource, "attributes", [otlp.RESOURCE_ATTRIBUTES]),
    (m.ScopeMetrics, "scope", [otlp.SCOPE]),
    (m.ScopeMetrics, "metrics", [otlp.SCOPE_ITEMS]),
    (m.ScopeMetrics, "schema_url", [otlp.SCOPE_SCHEMA_URL]),
    (common.InstrumentationScope, "name", [otlp.SCOPE_NAME]),
    (common.InstrumentationScope, "version", [otlp.SCOPE_VERSION]),
    (common.InstrumentationScope, "attributes", [otlp.SCOPE_ATTRIBUTES]),
    (common.KeyValue, "key", [otlp.KEY]),
    (common.KeyValue, "value", [otlp.KEY_VALUE]),
    (common.AnyValue, "string_value", [otlp.ANY_STRING]),
    (common.AnyValue, "bool_value", [otlp.ANY_BOOL]),
    (common.AnyValue, "int_value", [otlp.ANY_INT]),
    (common.AnyValue, "double_value", [otlp.ANY_DOUBLE]),
    (common.AnyValue, "array_value", [otlp.ANY_ARRAY]),
    (common.AnyValue, "kvlist_value", [otlp.ANY_KVLIST]),
    (common.AnyValue, "bytes_value", [otlp.ANY_BYTES]),
    (common.ArrayValue, "values", [otlp.LIST_VALUES]),
    (common.KeyValueList, "values", [otlp.LIST_VALUES]),
    (trace.Span, "trace_id", [otlp.SPAN_TRACE_ID]),
    (trace.Span, "span_id", [otlp.SPAN_ID]),
    (trace.Span, "parent_span_id", [otlp.SPAN_PARENT_ID]),
    (trace.Span, "kind", [otlp.SPAN_KIND]),
    (trace.Span, "attributes", [otlp.SPAN_ATTRIBUTES]),
    (m.Metric, "name", [otlp.METRIC_NAME]),
    (m.Metric, "unit", [otlp.METRIC_UNIT]),
    (m.Metric, "gauge", [otlp.METRIC_GAUGE]),
    (m.Metric, "sum", [otlp.METRIC_SUM]),
    (m.Metric, "histogram", [otlp.METRIC_HISTOGRAM]),
    (m.Metric, "exponential_histogram", [otlp.METRIC_EXPONENTIAL_HISTOGRAM]),
    (m.Metric, "summary", [otlp.METRIC_SUMMARY]),
    *((kind, "data_points", [otlp.DATA_POINTS]) for kind in (m.Gauge, m.Sum, m.Histogram, m.Summary)),
    (m.ExponentialHistogram, "data_points", [otlp.DATA_POINTS]),
    *((k, "aggregation_temporality", [otlp.AGGREGATION_TEMPORALITY]) for k in (m.Sum, m.Histogram)),
    (m.ExponentialHistogram, "aggregation_temporality", [otlp.AGGREGATION_TEMPORALITY]),
    (m.Sum, "is_monotonic", [otlp.IS_MONOTONIC]),
    *((k, "time_unix_nano", [otlp.TIME]) for k in (m.NumberDataPoint, m.HistogramDataPoint, E, m.SummaryDataPoint)),
    *((k, "start_time_unix_nano", [otlp.START_TIME]) for k in (m.NumberDataPoint, m.HistogramDataPoint, E)),
    *((k, "count", [otlp.POINT_COUNT]) for k in (m.HistogramDataPoint, E, m.SummaryDataPoint)),
    *((k, "sum", [otlp.POINT_SUM]) for k in (m.HistogramDataPoint, E, m.SummaryDataPoint)),
    (m.NumberDataPoint, "attributes", [otlp.NUMBER_ATTRIBUTES]),
    (m.NumberDataPoint, "as_double", [otlp.NUMBER_DOUBLE]),
    (m.NumberDataPoint, "as_int", [otlp.NUMBER_INT]),
    (m.NumberDataPoint, "exemplars", [otlp.NUMBER_EXEMPLARS]),
    (m.NumberDataPoint, "flags", [otlp.NUMBER_FLAGS]),
    (m.HistogramDataPoint, "attributes", [otlp.HISTOGRAM_ATTRIBUTES]),
    (m.HistogramDataPoint, "bucket_counts", [otlp.HISTOGRAM_BUCKETS_ONE, otlp.HISTOGRAM_BUCKETS_PACKED]),
    (m.HistogramDataPoint, "explicit_bounds", [otlp.HISTOGRAM_BOUNDS_ONE, otlp.HISTOGRAM_BOUNDS_PACKED]),
    (m.HistogramDataPoint, "exemplars", [otlp.HISTOGRAM_EXEMPLARS]),
    (m.HistogramDataPoint, "flags", [otlp.HISTOGRAM_FLAGS]),
    (E, "attributes", [otlp.EXPONENTIAL_ATTRIBUTES]),
    (E, "scale", [otlp.EXPONENTIAL_SCALE]),
    (E, "zero_count", [otlp.EXPONENTIAL_ZERO_COUNT]),
    (E, "positive", [otlp.EXPONENTIAL_POSITIVE]),
    (E, "negative", [otlp.EXPONENTIAL_NEGATIVE]),
    (E, "flags", [otlp.EXPONENTIAL_FLAGS]),
    (E, "exemplars", [otlp.EXPONENTIAL_EXEMPLARS]),
    (E, "zero_threshold", [otlp.EXPONENTIAL_ZERO_THRESHOLD]),
    (E.Buckets, "offset", [otlp.BUCKETS_OFFSET]),
    (E.Buckets, "bucket_counts", [otlp.BUCKETS_ONE, otlp.BUCKETS_PACKED]),
    (m.SummaryDataPoint, "attributes", [otlp.SUMMARY_ATTRIBUTES]),
    (m.SummaryDataPoint, "quantile_values", [otlp.SUMMARY_QUANTILES]),
    (m.SummaryDataPoint, "flags", [otlp.SUMMARY_FLAGS]),
    (m.SummaryDataPoint.ValueAtQuantile, "quantile", [otlp.QUANTILE]),
    (m.SummaryDataPoint.ValueAtQuantile, "value", [otlp.QUANTILE_VALUE]),
    (m.Exemplar, "time_unix_nano", [otlp.EXEMPLAR_TIME]),
    (m.Exemplar, "as_double", [otlp.EXEMPLAR_DOUBLE]),
    (m.Exemplar, "as_int", [otlp.EXEMPLAR_INT]),
    (m.Exemplar, "span_id", [otlp.EXEMPLAR_SPAN_ID]),
    (m.Exemplar, "trace_id", [otlp.EXEMPLAR_TRACE_ID]),
]


@pytest.mark.parametrize(("message", "field", "tags"), TABLE)
def test_tags_are_those_of_the_generated_classes(message: Any, field: str, tags: list[int]) -> None:
    found = message.DESCRIPTOR.fields_by_name[field]
    wire = _WIRE.get(found.type, otlp.VARINT)
    expected = {found.number << 3 | wire}
    if len(tags) > 1:
        expected.add(found.number << 3 | otlp.BYTES)
    assert set(tags) == expected
