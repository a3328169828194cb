"""The OTLP kernel against its twin, and against bytes that are not what they claim to be."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import DecodeError
from gateway.telemetry import kind
from gateway.telemetry.labels import decode_label_blob
from kernels import otlp_rows
from tests.fuzz.otlp_mutations import run
from tests.reference import otlp_twin as twin

NOW = 1_700_000_000_000
SETTINGS = DecodeSettings(naming="otlp")
DECODER = OtlpMetricsDecoder((7, 9), SETTINGS)
PROMETHEUS = OtlpMetricsDecoder((7, 9), DecodeSettings())

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
keys = st.sampled_from(
    [
        "a", "b", "http.method", "http.route", "a-key-of-more-than-eight-bytes", "ключ", "", "_", "__", "..", ".a",
        "_a", "__a", "1a", "a b", "a.b", "a_b", "job", "instance", "__name__", "le", "vmrange", "quantile",
        "otel_scope_name", "scope.name", "service.name", "service.namespace", "service.instance.id", "é", "éa",
        "k" * 300,
    ]
)  # fmt: skip
plain = st.one_of(
    texts.map(lambda s: AnyValue(string_value=s)),
    st.booleans().map(lambda b: AnyValue(bool_value=b)),
    st.integers(-(2**63), 2**63 - 1).map(lambda i: AnyValue(int_value=i)),
)
values = st.one_of(
    plain,
    st.floats(allow_nan=False, min_value=-1e9, max_value=1e9).map(lambda f: AnyValue(double_value=f)),
    st.lists(plain, max_size=3).map(lambda v: AnyValue(array_value=ArrayValue(values=v))),
    st.dictionaries(keys, plain, max_size=2).map(
        lambda d: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=k, value=v) for k, v in d.items()]))
    ),
    st.just(AnyValue()),
)
attributes = st.lists(st.builds(KeyValue, key=keys, value=values), max_size=7)
unique_attributes = st.dictionaries(keys, values, max_size=4).map(
    lambda d: [KeyValue(key=k, value=v) for k, v in d.items()]
)
times = st.one_of(
    st.integers(NOW - 1000, NOW + 1000).map(lambda t: t * 10**6 + 123_456),
    st.sampled_from([0, 1, (NOW - 49 * 3600_000) * 10**6, (NOW + 3_600_000) * 10**6, 2**64 - 1]),
)
common = {
    "attributes": attributes,
    "time_unix_nano": times,
    "start_time_unix_nano": st.sampled_from([0, (NOW - 60_000) * 10**6]),
    "flags": st.sampled_from([0, 0, 0, 1, 2, 3]),
}
floats = st.floats()
counts = st.integers(0, 2**40)
number_points = st.one_of(
    st.builds(m.NumberDataPoint, as_double=floats, **common),
    st.builds(m.NumberDataPoint, as_int=st.integers(-(2**63), 2**63 - 1), **common),
    st.builds(m.NumberDataPoint, **common),
)
bounds = st.one_of(
    st.sets(st.floats(-1e6, 1e6), max_size=5).map(sorted),
    st.lists(st.floats(), max_size=3),
)
histogram_points = bounds.flatmap(
    lambda b: st.builds(
        m.HistogramDataPoint,
        count=counts,
        sum=st.one_of(st.none(), floats),
        explicit_bounds=st.just(b),
        bucket_counts=st.one_of(
            st.lists(counts, min_size=len(b) + 1, max_size=len(b) + 1), st.lists(counts, max_size=3)
        ),
        **common,
    )
)
sides = st.builds(
    m.ExponentialHistogramDataPoint.Buckets,
    offset=st.integers(-500, 500),
    bucket_counts=st.lists(st.sampled_from([0, 1, 2, 300, 2**33]), max_size=20),
)
exponential_points = st.builds(
    m.ExponentialHistogramDataPoint,
    count=counts,
    sum=st.one_of(st.none(), floats),
    scale=st.integers(1, 20) | st.sampled_from([-11, -5, -5]),
    zero_count=st.sampled_from([0, 3]),
    zero_threshold=st.sampled_from([0.0, 1e-9]),
    positive=sides,
    negative=sides,
    **common,
)
summary_points = st.builds(
    m.SummaryDataPoint,
    count=counts,
    sum=floats,
    quantile_values=st.lists(
        st.builds(m.SummaryDataPoint.ValueAtQuantile, quantile=st.floats(0, 1), value=floats), max_size=3
    ),
    **common,
)
temporalities = st.sampled_from([0, 1, 2, 2, 2])
datas = st.one_of(
    st.builds(lambda p: {"gauge": m.Gauge(data_points=p)}, st.lists(number_points, max_size=4)),
    st.builds(
        lambda p, t, x: {"sum": m.Sum(data_points=p, aggregation_temporality=t, is_monotonic=x)},
        st.lists(number_points, max_size=4),
        temporalities,
        st.booleans(),
    ),
    st.builds(
        lambda p, t: {"histogram": m.Histogram(data_points=p, aggregation_temporality=t)},
        st.lists(histogram_points, max_size=3),
        temporalities,
    ),
    st.builds(
        lambda p, t: {"exponential_histogram": m.ExponentialHistogram(data_points=p, aggregation_temporality=t)},
        st.lists(exponential_points, max_size=3),
        temporalities,
    ),
    st.builds(lambda p: {"summary": m.Summary(data_points=p)}, st.lists(summary_points, max_size=3)),
    st.just({}),
)
metrics = st.builds(
    lambda name, unit, data: m.Metric(name=name, unit=unit, description="d", **data),
    st.sampled_from(["", "requests", "http.server.duration", "größe"]),
    st.sampled_from(["", "s", "1"]),
    datas,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    request = ExportMetricsServiceRequest()
    for _ in range(draw(st.integers(1, 2))):
        resource = request.resource_metrics.add()
        resource.resource.attributes.extend(draw(unique_attributes))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_metrics.add()
            scope.scope.name = draw(st.sampled_from(["", "meter"]))
            scope.scope.version = draw(st.sampled_from(["", "1"]))
            scope.schema_url = draw(st.sampled_from(["", "u"]))
            scope.scope.attributes.extend(draw(unique_attributes))
            scope.metrics.extend(draw(st.lists(metrics, max_size=3)))
    return request.SerializeToString()


@settings(max_examples=80, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(requests())
def test_rows_are_those_of_the_twin(body: bytes) -> None:
    expected, accepted, refused = twin.decode(body, NOW, SETTINGS.max_age, SETTINGS.max_future)
    columns = DECODER.decode_protobuf(body, NOW)
    assert columns.rejected == dict(refused)
    assert columns.points == accepted
    assert len(columns) == len(expected)
    assert columns.kinds.tolist() == [row.kind for row in expected]
    assert columns.times_ms.tolist() == [row.time for row in expected]
    assert columns.values.view(np.uint64).tolist() == [row.bits for row in expected]
    starts = [0] * len(expected) if columns.starts_ms is None else columns.starts_ms.tolist()
    assert starts == [row.start for row in expected]
    definitions = columns.source.definitions(np.arange(len(columns)))
    assert [decode_label_blob(definitions.blob(i)) for i in range(len(columns))] == [
        dict(sorted(row.labels.items(), key=lambda item: item[0].encode())) for row in expected
    ]
    hashes = list(zip(columns.hash_hi.tolist(), columns.hash_lo.tolist(), strict=True))
    assert (0, 0) not in hashes
    assert len(set(hashes)) == len({row.identity for row in expected})
    assert len(set(zip(hashes, (row.identity for row in expected), strict=True))) == len(set(hashes))


@settings(max_examples=120, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(requests())
def test_prometheus_labels_are_those_of_the_twin(body: bytes) -> None:
    expected, _, _ = twin.decode(body, NOW, SETTINGS.max_age, SETTINGS.max_future, prometheus=True)
    columns = PROMETHEUS.decode_protobuf(body, NOW)
    of_points = np.flatnonzero(columns.kinds != kind.TARGET_INFO)
    definitions = columns.source.definitions(of_points)
    assert [decode_label_blob(definitions.blob(i)) for i in range(len(of_points))] == [
        dict(sorted(row.labels.items(), key=lambda item: item[0].encode())) for row in expected
    ]
    # In any order and number, target_info among them: each row has its own blob.
    rows = np.arange(len(columns))[::-2].copy()
    some, whole = columns.source.definitions(rows), columns.source.definitions(np.arange(len(columns)))
    assert [some.blob(i) for i in range(len(rows))] == [whole.blob(int(row)) for row in rows]


def test_every_prefix_gives_a_result_or_the_declared_error() -> None:
    body = sample().SerializeToString()
    errors, within = 0, True
    for length in range(len(body)):
        try:
            DECODER.decode_protobuf(body[:length], NOW)
        except DecodeError as error:
            errors += 1
            within = within and 0 <= error.offset <= length
    assert within
    assert errors > len(body) * 0.9


def test_a_hundred_thousand_mutations_never_do_more_than_refuse() -> None:
    outcome = run(cases=100_000, seed=1)
    assert outcome["decoded"] > 0
    assert outcome["refused"] > 0
    assert outcome["decoded"] + outcome["refused"] == 100_000


def sample() -> ExportMetricsServiceRequest:
    """A request with a point of every kind."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend([text("service.name", "shop"), text("host.name", "h")])
    scope = resource.scope_metrics.add()
    scope.scope.name = "meter"
    at = NOW * 10**6
    point = m.NumberDataPoint(time_unix_nano=at, as_double=1.5, attributes=[text("a", "1"), text("b", "2")])
    exemplar = m.Exemplar(time_unix_nano=at, as_double=2.0, trace_id=bytes(range(16)), span_id=bytes(range(8)))
    point.exemplars.append(exemplar)
    scope.metrics.add(name="g", unit="s", gauge=m.Gauge(data_points=[point]))
    scope.metrics.add(name="c", sum=m.Sum(data_points=[point], aggregation_temporality=1, is_monotonic=True))
    histogram = m.HistogramDataPoint(
        time_unix_nano=at, count=3, sum=1.0, bucket_counts=[1, 2, 0], explicit_bounds=[0.5, 1], exemplars=[exemplar]
    )
    scope.metrics.add(name="h", histogram=m.Histogram(data_points=[histogram], aggregation_temporality=2))
    exponential = m.ExponentialHistogramDataPoint(time_unix_nano=at, count=5, sum=9, scale=9, zero_count=1)
    exponential.positive.offset = -3
    exponential.positive.bucket_counts.extend([1, 0, 2, 1])
    exponential.negative.bucket_counts.extend([4])
    data = m.ExponentialHistogram(data_points=[exponential], aggregation_temporality=2)
    scope.metrics.add(name="e", exponential_histogram=data)
    summary = m.SummaryDataPoint(time_unix_nano=at, count=2, sum=3)
    summary.quantile_values.add(quantile=0.5, value=1)
    scope.metrics.add(name="s", summary=m.Summary(data_points=[summary]))
    return request


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def test_order_of_attributes_does_not_matter_and_the_last_of_a_key_counts() -> None:
    def hashes(*given: KeyValue) -> tuple[int, int]:
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="x")
        metric.gauge.data_points.add(time_unix_nano=NOW * 10**6, as_int=1, attributes=given)
        columns = DECODER.decode_protobuf(request.SerializeToString(), NOW)
        return int(columns.hash_hi[0]), int(columns.hash_lo[0])

    a, b, c = text("a", "1"), text("b", "2"), text("a", "3")
    assert hashes(a, b) == hashes(b, a)
    assert hashes(a, b, c) == hashes(b, c) == hashes(c, b)
    assert len({hashes(a, b), hashes(b, c), hashes(a), hashes(b), hashes()}) == 5


def test_exemplars_belong_to_the_first_row_of_their_point() -> None:
    columns = DECODER.decode_protobuf(sample().SerializeToString(), NOW)
    assert columns.exemplars is not None
    assert columns.exemplars.rows.tolist() == [0, 1, 2]
    assert columns.exemplars.trace_ids[2].tobytes() == bytes(range(16))
    assert columns.exemplars.span_ids[0].tobytes() == bytes(range(8))
    assert columns.exemplars.values.tolist() == [2.0] * 3
    assert columns.row_points is not None
    assert columns.row_points.tolist()[:4] == [0, 1, 2, 2]


def test_fields_in_any_order_give_the_same_rows() -> None:
    """Data before the name, temporality before the points: protobuf allows it."""

    def field(tag: int, value: bytes) -> bytes:
        return bytes([tag, len(value)]) + value

    point = b"\x21" + struct.pack("<d", 4.0) + b"\x19" + struct.pack("<Q", NOW * 10**6)
    usual = field(0x0A, b"n") + field(0x3A, field(0x0A, point) + b"\x10\x02\x18\x01")
    odd = field(0x3A, b"\x18\x01\x10\x02" + field(0x0A, point)) + field(0x0A, b"n")
    bodies = [field(0x0A, field(0x12, field(0x12, metric))) for metric in (usual, odd)]
    first, second = (DECODER.decode_protobuf(body, NOW) for body in bodies)
    assert first.hash_hi.tolist() == second.hash_hi.tolist()
    assert first.kinds.tolist() == second.kinds.tolist() == [kind.COUNTER]


@pytest.mark.parametrize("body", [b"", b"\x0a\x00"])
def test_empty_requests_are_fine(body: bytes) -> None:
    columns = DECODER.decode_protobuf(body, NOW)
    assert len(columns) == 0
    assert columns.rejected_message == ""


def test_malformed_bytes_say_where() -> None:
    with pytest.raises(DecodeError) as caught:
        DECODER.decode_protobuf(b"\x0a\x02\x12\x05", NOW)
    assert caught.value.offset == 3


def test_kinds_are_those_of_telemetry() -> None:
    for name in ("GAUGE", "COUNTER", "HISTOGRAM_COUNT", "HISTOGRAM_SUM", "HISTOGRAM_BUCKET", "SUMMARY_QUANTILE",
                 "TARGET_INFO", "DELTA", "NON_MONOTONIC", "VMRANGE", "STALE_NAN_BITS"):  # fmt: skip
        assert getattr(otlp_rows, name) == getattr(kind, name)
