"""Field numbers of the OTLP messages that are read, as tags: number << 3 | wire type. See SOURCES.md."""

from __future__ import annotations

from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

# ExportMetricsServiceRequest / MetricsData; ExportTraceServiceRequest and ExportLogsServiceRequest alike
REQUEST_RESOURCES: Final = 1 << 3 | BYTES

# ResourceMetrics, ResourceSpans, ResourceLogs
RESOURCE: Final = 1 << 3 | BYTES
SCOPES: Final = 2 << 3 | BYTES
RESOURCE_ATTRIBUTES: Final = 1 << 3 | BYTES

# ScopeMetrics, ScopeSpans, ScopeLogs
SCOPE: Final = 1 << 3 | BYTES
SCOPE_ITEMS: Final = 2 << 3 | BYTES
SCOPE_SCHEMA_URL: Final = 3 << 3 | BYTES

# InstrumentationScope
SCOPE_NAME: Final = 1 << 3 | BYTES
SCOPE_VERSION: Final = 2 << 3 | BYTES
SCOPE_ATTRIBUTES: Final = 3 << 3 | BYTES

# KeyValue, AnyValue, ArrayValue, KeyValueList
KEY: Final = 1 << 3 | BYTES
KEY_VALUE: Final = 2 << 3 | BYTES
ANY_STRING: Final = 1 << 3 | BYTES
ANY_BOOL: Final = 2 << 3 | VARINT
ANY_INT: Final = 3 << 3 | VARINT
ANY_DOUBLE: Final = 4 << 3 | FIXED64
ANY_ARRAY: Final = 5 << 3 | BYTES
ANY_KVLIST: Final = 6 << 3 | BYTES
ANY_BYTES: Final = 7 << 3 | BYTES
LIST_VALUES: Final = 1 << 3 | BYTES

# Span
SPAN_TRACE_ID: Final = 1 << 3 | BYTES
SPAN_ID: Final = 2 << 3 | BYTES
SPAN_PARENT_ID: Final = 4 << 3 | BYTES
SPAN_KIND: Final = 6 << 3 | VARINT
SPAN_ATTRIBUTES: Final = 9 << 3 | BYTES

# Metric
METRIC_NAME: Final = 1 << 3 | BYTES
METRIC_UNIT: Final = 3 << 3 | BYTES
METRIC_GAUGE: Final = 5 << 3 | BYTES
METRIC_SUM: Final = 7 << 3 | BYTES
METRIC_HISTOGRAM: Final = 9 << 3 | BYTES
METRIC_EXPONENTIAL_HISTOGRAM: Final = 10 << 3 | BYTES
METRIC_SUMMARY: Final = 11 << 3 | BYTES

# Gauge, Sum, Histogram, ExponentialHistogram, Summary
DATA_POINTS: Final = 1 << 3 | BYTES
AGGREGATION_TEMPORALITY: Final = 2 << 3 | VARINT
IS_MONOTONIC: Final = 3 << 3 | VARINT
TEMPORALITY_DELTA: Final = 1
TEMPORALITY_CUMULATIVE: Final = 2

# All data points
START_TIME: Final = 2 << 3 | FIXED64
TIME: Final = 3 << 3 | FIXED64
FLAG_NO_RECORDED_VALUE: Final = 1

# NumberDataPoint
NUMBER_ATTRIBUTES: Final = 7 << 3 | BYTES
NUMBER_DOUBLE: Final = 4 << 3 | FIXED64
NUMBER_INT: Final = 6 << 3 | FIXED64
NUMBER_EXEMPLARS: Final = 5 << 3 | BYTES
NUMBER_FLAGS: Final = 8 << 3 | VARINT

# HistogramDataPoint, and count and sum of the other two kinds of histogram
POINT_COUNT: Final = 4 << 3 | FIXED64
POINT_SUM: Final = 5 << 3 | FIXED64
HISTOGRAM_ATTRIBUTES: Final = 9 << 3 | BYTES
HISTOGRAM_BUCKETS_PACKED: Final = 6 << 3 | BYTES
HISTOGRAM_BUCKETS_ONE: Final = 6 << 3 | FIXED64
HISTOGRAM_BOUNDS_PACKED: Final = 7 << 3 | BYTES
HISTOGRAM_BOUNDS_ONE: Final = 7 << 3 | FIXED64
HISTOGRAM_EXEMPLARS: Final = 8 << 3 | BYTES
HISTOGRAM_FLAGS: Final = 10 << 3 | VARINT

# ExponentialHistogramDataPoint and its Buckets
EXPONENTIAL_ATTRIBUTES: Final = 1 << 3 | BYTES
EXPONENTIAL_SCALE: Final = 6 << 3 | VARINT
EXPONENTIAL_ZERO_COUNT: Final = 7 << 3 | FIXED64
EXPONENTIAL_POSITIVE: Final = 8 << 3 | BYTES
EXPONENTIAL_NEGATIVE: Final = 9 << 3 | BYTES
EXPONENTIAL_FLAGS: Final = 10 << 3 | VARINT
EXPONENTIAL_EXEMPLARS: Final = 11 << 3 | BYTES
EXPONENTIAL_ZERO_THRESHOLD: Final = 14 << 3 | FIXED64
BUCKETS_OFFSET: Final = 1 << 3 | VARINT
BUCKETS_PACKED: Final = 2 << 3 | BYTES
BUCKETS_ONE: Final = 2 << 3 | VARINT

# SummaryDataPoint and its ValueAtQuantile
SUMMARY_ATTRIBUTES: Final = 7 << 3 | BYTES
SUMMARY_QUANTILES: Final = 6 << 3 | BYTES
SUMMARY_FLAGS: Final = 8 << 3 | VARINT
QUANTILE: Final = 1 << 3 | FIXED64
QUANTILE_VALUE: Final = 2 << 3 | FIXED64

# Exemplar
EXEMPLAR_TIME: Final = 2 << 3 | FIXED64
EXEMPLAR_DOUBLE: Final = 3 << 3 | FIXED64
EXEMPLAR_INT: Final = 6 << 3 | FIXED64
EXEMPLAR_SPAN_ID: Final = 4 << 3 | BYTES
EXEMPLAR_TRACE_ID: Final = 5 << 3 | BYTES

# LogRecord
LOG_TIME: Final = 1 << 3 | FIXED64
LOG_OBSERVED_TIME: Final = 11 << 3 | FIXED64
LOG_BODY: Final = 5 << 3 | BYTES
LOG_ATTRIBUTES: Final = 6 << 3 | BYTES
LOG_EVENT_NAME: Final = 12 << 3 | BYTES
