"""Prometheus remote write 1.0 and 2.0: field numbers and wire types, integers only. Origins: proto/SOURCES.md.

Each constant is a whole tag (field number << 3 | wire type), which is what a decoder compares with.
"""

from __future__ import annotations

from typing import Final

# Wire types of the protobuf encoding.
VARINT: Final = 0
FIXED64: Final = 1
LEN: Final = 2
FIXED32: Final = 5

# 1.0: prometheus.WriteRequest
V1_REQUEST_TIMESERIES: Final = 0x0A
V1_REQUEST_METADATA: Final = 0x1A

# 1.0: prometheus.TimeSeries
V1_SERIES_LABELS: Final = 0x0A
V1_SERIES_SAMPLES: Final = 0x12
V1_SERIES_EXEMPLARS: Final = 0x1A
V1_SERIES_HISTOGRAMS: Final = 0x22

# 1.0: prometheus.Label
LABEL_NAME: Final = 0x0A
LABEL_VALUE: Final = 0x12

# 2.0: io.prometheus.write.v2.Request
V2_REQUEST_SYMBOLS: Final = 0x22
V2_REQUEST_TIMESERIES: Final = 0x2A

# 2.0: TimeSeries
V2_SERIES_LABEL_REFS: Final = 0x0A
V2_SERIES_LABEL_REF: Final = 0x08
"""The same field, not packed."""
V2_SERIES_SAMPLES: Final = 0x12
V2_SERIES_HISTOGRAMS: Final = 0x1A
V2_SERIES_EXEMPLARS: Final = 0x22
V2_SERIES_METADATA: Final = 0x2A
V2_SERIES_CREATED: Final = 0x30
"""created_timestamp of the experimental period, reserved since."""

# 2.0: Metadata
METADATA_TYPE: Final = 0x08
TYPE_UNSPECIFIED: Final = 0
TYPE_COUNTER: Final = 1
TYPE_GAUGE: Final = 2
TYPE_HISTOGRAM: Final = 3
TYPE_GAUGE_HISTOGRAM: Final = 4
TYPE_SUMMARY: Final = 5
TYPE_INFO: Final = 6
TYPE_STATE_SET: Final = 7

# Sample, both versions; field 3 is of 2.0 alone
SAMPLE_VALUE: Final = 0x09
SAMPLE_TIMESTAMP: Final = 0x10
SAMPLE_START: Final = 0x18

# Exemplar, both versions; labels are Label messages in 1.0 and references in 2.0
EXEMPLAR_LABELS: Final = 0x0A
EXEMPLAR_LABEL_REF: Final = 0x08
EXEMPLAR_VALUE: Final = 0x11
EXEMPLAR_TIMESTAMP: Final = 0x18

# Histogram, both versions; field 17 is of 2.0 alone
HISTOGRAM_COUNT_INT: Final = 0x08
HISTOGRAM_COUNT_FLOAT: Final = 0x11
HISTOGRAM_SUM: Final = 0x19
HISTOGRAM_SCHEMA: Final = 0x20
HISTOGRAM_ZERO_THRESHOLD: Final = 0x29
HISTOGRAM_ZERO_COUNT_INT: Final = 0x30
HISTOGRAM_ZERO_COUNT_FLOAT: Final = 0x39
HISTOGRAM_NEGATIVE_SPANS: Final = 0x42
HISTOGRAM_NEGATIVE_DELTAS: Final = 0x4A
HISTOGRAM_NEGATIVE_DELTA: Final = 0x48
HISTOGRAM_NEGATIVE_COUNTS: Final = 0x52
HISTOGRAM_NEGATIVE_COUNT: Final = 0x51
HISTOGRAM_POSITIVE_SPANS: Final = 0x5A
HISTOGRAM_POSITIVE_DELTAS: Final = 0x62
HISTOGRAM_POSITIVE_DELTA: Final = 0x60
HISTOGRAM_POSITIVE_COUNTS: Final = 0x6A
HISTOGRAM_POSITIVE_COUNT: Final = 0x69
HISTOGRAM_RESET_HINT: Final = 0x70
HISTOGRAM_TIMESTAMP: Final = 0x78
HISTOGRAM_CUSTOM_VALUES: Final = 0x82
HISTOGRAM_CUSTOM_VALUE: Final = 0x81
HISTOGRAM_START: Final = 0x88
RESET_HINT_GAUGE: Final = 3
SCHEMA_CUSTOM: Final = -53
SCHEMA_LEAST: Final = -4
SCHEMA_MOST: Final = 8

# BucketSpan
SPAN_OFFSET: Final = 0x08
SPAN_LENGTH: Final = 0x10
