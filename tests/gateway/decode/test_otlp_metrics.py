"""What the OTLP decoder answers to good and bad requests, in both naming modes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from gateway.decode.left_out import NAN_SUMS
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import BodyTooLarge, DecodeError
from gateway.telemetry import kind
from gateway.telemetry.columns import PointColumns
from gateway.telemetry.labels import decode_label_blob
from tests.kernels.test_otlp_points import sample

NOW = 1_700_000_000_000
AT = NOW * 10**6
KEY = (3, 4)
PROMETHEUS = OtlpMetricsDecoder(KEY, DecodeSettings())
OTLP = OtlpMetricsDecoder(KEY, DecodeSettings(naming="otlp"))


def labels(columns: PointColumns) -> list[dict[str, str]]:
    definitions = columns.source.definitions(np.arange(len(columns)))
    return [decode_label_blob(definitions.blob(index)) for index in range(len(definitions))]


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def gauge(*points: m.NumberDataPoint, name: str = "x", resource: tuple[KeyValue, ...] = ()) -> bytes:
    request = ExportMetricsServiceRequest()
    one = request.resource_metrics.add()
    one.resource.attributes.extend(resource)
    one.scope_metrics.add().metrics.add(name=name).gauge.data_points.extend(points)
    return request.SerializeToString()


def point(value: float = 1.0, time: int = AT, *attributes: KeyValue) -> m.NumberDataPoint:
    return m.NumberDataPoint(time_unix_nano=time, as_double=value, attributes=attributes)


def test_prometheus_labels_of_every_kind() -> None:
    columns = PROMETHEUS.decode_protobuf(sample().SerializeToString(), NOW)
    found = labels(columns)
    shared = {"job": "shop", "otel_scope_name": "meter"}
    assert found[0] == {"__name__": "g_seconds", "a": "1", "b": "2", **shared}
    assert found[1] == {"__name__": "c_total", "a": "1", "b": "2", **shared}
    assert [f["__name__"] for f in found[2:7]] == ["h_count", "h_sum", "h_bucket", "h_bucket", "h_bucket"]
    assert [f.get("le") for f in found[4:7]] == ["0.5", "1", "+Inf"]
    assert [f.get("vmrange") for f in found if "vmrange" in f] == [
        "0.000e+00...0.000e+00",
        "9.946e-01...9.973e-01",
        "9.973e-01...1.000e+00",
        "1.000e+00...1.003e+00",
        "-1.003e+00...-1.000e+00",
    ]
    assert {"__name__": "s", "quantile": "0.5", **shared} in found
    assert found[-1] == {"__name__": "target_info", "host_name": "h", "job": "shop"}
    assert columns.kinds[1] == kind.COUNTER | kind.DELTA
    assert columns.kinds[-1] == kind.TARGET_INFO
    assert columns.values[4:7].tolist() == [1, 3, 3]
    assert columns.points == 5
    assert columns.row_points is not None
    assert columns.row_points.tolist() == [0, 1, *[2] * 5, *[3] * 7, *[4] * 3, 5]


def test_otlp_naming_promotes_the_resource_and_makes_no_target_info() -> None:
    found = labels(OTLP.decode_protobuf(sample().SerializeToString(), NOW))
    assert found[0] == {
        "__name__": "g", "a": "1", "b": "2", "service.name": "shop", "host.name": "h", "scope.name": "meter",
    }  # fmt: skip
    assert all(f["__name__"] != "target_info" for f in found)


def test_job_instance_and_colliding_keys() -> None:
    resource = (
        attribute("service.name", "cart"),
        attribute("service.namespace", "shop"),
        attribute("service.instance.id", "i1"),
    )
    body = gauge(point(1, AT, attribute("a_b", "2"), attribute("a.b", "1")), resource=resource)
    assert labels(PROMETHEUS.decode_protobuf(body, NOW)) == [
        {"__name__": "x", "a_b": "1;2", "instance": "i1", "job": "shop/cart"}
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (gauge(point(1, 0), point()), "too_old"),
        (gauge(point(1, AT - 49 * 3600 * 10**9), point()), "too_old"),
        (gauge(point(1, 4_102_444_800 * 10**9), point()), "too_new"),
        (gauge(point(math.nan), point()), "nan"),
        (gauge(m.NumberDataPoint(time_unix_nano=AT), point()), "no_value"),
        (gauge(point(1, AT, attribute("a", "v" * 1_000_000)), point()), "label_too_long"),
        (gauge(point(1, AT, *(attribute(f"k{i}", "v") for i in range(10_000))), point()), "too_many_attributes"),
        (gauge(point(1, AT, attribute("a", "\x01bc")), point()).replace(b"\x01bc", b"\xffbc"), "not_utf8"),
        (gauge(point(1, AT, attribute("\x01bc", "a")), point()).replace(b"\x01bc", b"\xed\xa0\x80"), "not_utf8"),
    ],
)
def test_a_bad_point_is_refused_by_reason_and_its_neighbour_is_not(bad: bytes, reason: str) -> None:
    columns = PROMETHEUS.decode_protobuf(bad, NOW)
    assert columns.rejected == {reason: 1}
    assert f"({reason})" in columns.rejected_message
    assert columns.points == 1
    assert labels(columns) == [{"__name__": "x"}]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.0, 5e-324])
def test_infinities_are_kept(value: float) -> None:
    assert PROMETHEUS.decode_protobuf(gauge(point(value)), NOW).values.tolist() == [value]


def test_no_recorded_value_is_the_stale_marker() -> None:
    body = gauge(m.NumberDataPoint(time_unix_nano=AT, flags=1))
    assert PROMETHEUS.decode_protobuf(body, NOW).values.view(np.uint64).tolist() == [kind.STALE_NAN_BITS]


@pytest.mark.parametrize("name", ["", "...", "_"])
def test_metrics_without_a_usable_name_are_refused(name: str) -> None:
    assert PROMETHEUS.decode_protobuf(gauge(point(), name=name), NOW).rejected == {"invalid_name": 1}


def test_unspecified_temporality_is_refused() -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="s").sum.data_points.extend([point(), point()])
    metrics.add(name="g").gauge.data_points.extend([point()])
    columns = PROMETHEUS.decode_protobuf(request.SerializeToString(), NOW)
    assert columns.rejected == {"temporality": 2}
    assert columns.points == 1


def test_a_bad_resource_refuses_its_own_points_only() -> None:
    bad = gauge(point(), point(), resource=(attribute("a", "\x01bc"),)).replace(b"\x01bc", b"\xff\xff\xff")
    columns = PROMETHEUS.decode_protobuf(bad + gauge(point()), NOW)
    assert columns.rejected == {"not_utf8": 2}
    assert columns.points == 1


def test_a_request_that_expands_too_far_is_too_large() -> None:
    small = OtlpMetricsDecoder(KEY, DecodeSettings(max_rows=10))
    with pytest.raises(BodyTooLarge):
        small.decode_protobuf(gauge(*(point() for _ in range(20))), NOW)


def test_unknown_fields_are_stepped_over() -> None:
    unknown = b"\xf8\x07\x01\xf9\x07" + bytes(8) + b"\xfa\x07\x02ab\xfd\x07" + bytes(4)
    assert PROMETHEUS.decode_protobuf(unknown + gauge(point()) + unknown, NOW).points == 1


@pytest.mark.parametrize(
    "body", [b"\xff", b"\x0b", b"\x0a\x7f", b"\x00\x00", b"hello world", b"\x0a\xff" + b"\xff" * 9]
)
def test_malformed_requests_are_refused_whole(body: bytes) -> None:
    with pytest.raises(DecodeError):
        PROMETHEUS.decode_protobuf(body, NOW)


def test_nested_attributes_are_json() -> None:
    nested = KeyValue(key="n")
    nested.value.kvlist_value.values.add(key="b", value=AnyValue(int_value=2))
    nested.value.kvlist_value.values.add(key="a").value.array_value.values.add(bool_value=True)
    found = labels(PROMETHEUS.decode_protobuf(gauge(point(1, AT, nested)), NOW))
    assert found[0]["n"] == '{"a":[true],"b":2}'


def test_deep_nesting_is_refused() -> None:
    value = AnyValue(string_value="x")
    for _ in range(30):
        outer = AnyValue()
        outer.array_value.values.append(value)
        value = outer
    columns = PROMETHEUS.decode_protobuf(gauge(point(1, AT, KeyValue(key="n", value=value)), point()), NOW)
    assert columns.rejected == {"attribute_depth": 1}


def test_a_key_hashes_alike_in_every_decoder_and_another_key_does_not() -> None:
    body = gauge(point())
    same = OtlpMetricsDecoder(KEY, DecodeSettings(naming="otlp")).decode_protobuf(body, NOW)
    other = OtlpMetricsDecoder((3, 5), DecodeSettings()).decode_protobuf(body, NOW)
    mine = PROMETHEUS.decode_protobuf(bytearray(body), NOW)
    assert mine.hash_hi.tolist() == same.hash_hi.tolist() != other.hash_hi.tolist()


def test_sums_that_are_no_number_are_left_out_and_counted() -> None:
    before = NAN_SUMS._value.get()
    histogram = m.HistogramDataPoint(time_unix_nano=AT, count=1, sum=math.nan, bucket_counts=[1])
    stale = m.HistogramDataPoint(time_unix_nano=AT, flags=1, sum=math.nan)
    summary = m.SummaryDataPoint(time_unix_nano=AT, count=1, sum=math.nan)
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="h").histogram.data_points.extend([histogram, stale])
    metrics[0].histogram.aggregation_temporality = m.AGGREGATION_TEMPORALITY_CUMULATIVE
    metrics.add(name="s").summary.data_points.append(summary)
    columns = PROMETHEUS.decode_protobuf(request.SerializeToString(), NOW)
    assert [k & kind.CLASS_MASK for k in columns.kinds.tolist()].count(kind.HISTOGRAM_SUM) == 1
    assert columns.points == 3
    assert NAN_SUMS._value.get() == before + 2


def shop(*points: m.NumberDataPoint, name: str = "x") -> bytes:
    return gauge(*points, name=name, resource=(attribute("service.name", "shop"), attribute("host.name", "a")))


@pytest.mark.parametrize("decoder", [PROMETHEUS, OTLP])
def test_requests_decoded_as_one_are_what_they_are_alone(decoder: OtlpMetricsDecoder) -> None:
    every = sample().SerializeToString()
    bodies = [shop(point(), point(2.0)), b"", every, gauge(), shop(point(3.0), name="y") + shop(point(4.0)), every]
    pieces = [[body[:7], memoryview(body)[7:]] for body in bodies]
    joined = decoder.decode_joined(pieces, NOW)
    assert joined is not None
    alone = [decoder.decode_protobuf(body, NOW) for body in bodies]
    assert joined.row_ends.tolist() == np.cumsum([len(columns) for columns in alone]).tolist()
    assert joined.points.tolist() == [columns.points for columns in alone]
    assert joined.columns.points == sum(columns.points for columns in alone)
    definitions = joined.columns.source.definitions(np.arange(len(joined.columns)))
    first = 0
    for columns, end in zip(alone, joined.row_ends.tolist(), strict=True):
        mine = [decode_label_blob(definitions.blob(row)) for row in range(first, end)]
        assert mine == labels(columns)
        for name in ("hash_hi", "hash_lo", "times_ms", "values", "kinds"):
            np.testing.assert_array_equal(getattr(joined.columns, name)[first:end], getattr(columns, name), name)
        if columns.exemplars is not None:
            assert joined.columns.exemplars is not None
            inside = (joined.columns.exemplars.rows >= first) & (joined.columns.exemplars.rows < end)
            np.testing.assert_array_equal(joined.columns.exemplars.rows[inside] - first, columns.exemplars.rows)
        first = end


GOOD = shop(point())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(GOOD[:-1], id="cut off"),
        pytest.param(b"\x0a\xff", id="a length that swallows the next"),
        pytest.param(shop(point(math.nan)), id="a refused point"),
        pytest.param(shop(point(time=1)), id="a point too old"),
        pytest.param(GOOD + b"\x10\x01", id="an unknown field"),
        pytest.param(b"garbage", id="garbage"),
    ],
)
def test_what_is_not_in_order_is_not_decoded_as_one(bad: bytes) -> None:
    for bodies in ([GOOD, bad], [bad, GOOD], [GOOD, bad, GOOD]):
        assert PROMETHEUS.decode_joined([[body] for body in bodies], NOW) is None


def test_more_rows_than_a_request_may_have_are_not_decoded_as_one() -> None:
    decoder = OtlpMetricsDecoder(KEY, DecodeSettings(max_rows=8))
    three = shop(*[point(float(i), AT, attribute("i", str(i))) for i in range(3)])
    assert decoder.decode_joined([[three]], NOW) is not None
    assert decoder.decode_joined([[three], [three], [three]], NOW) is None
