"""Both versions of remote write against requests written by hand and by hypothesis."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode import remote_write
from gateway.decode.left_out import EXEMPLARS_REJECTED, NAN_SUMS
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.remote_write_v2 import RemoteWriteV2Decoder
from gateway.errors import BodyTooLarge, DecodeError
from gateway.telemetry import kind
from gateway.telemetry.columns import PointColumns
from gateway.telemetry.labels import decode_label_blob, encode_label_blob
from kernels import remote_write_wire
from tests.reference.remote_write_twin import (
    STALE,
    Histogram,
    Series,
    double_field,
    encode_v1,
    encode_v2,
    message,
    number_field,
    varint,
)

NOW = 1_790_000_000_000
KEY = (0x1234, 0x5678)
V1 = RemoteWriteV1Decoder(KEY, RemoteWriteSettings())
V2 = RemoteWriteV2Decoder(KEY, RemoteWriteSettings())
VERSIONS = {
    "v1": lambda series: V1.decode(encode_v1(series), NOW),
    "v2": lambda series: V2.decode(encode_v2(series), NOW),
    "v2-unpacked": lambda series: V2.decode(encode_v2(series, packed=False), NOW),
}
every_version = pytest.mark.parametrize("decode", VERSIONS.values(), ids=VERSIONS.keys())


def labels_of(columns: PointColumns) -> list[dict[str, str]]:
    definitions = columns.source.definitions(np.arange(len(columns)))
    for i in range(len(definitions)):
        blob = definitions.blob(i)
        assert blob == encode_label_blob(decode_label_blob(blob)), "a blob is sorted, unique and canonical"
    return [decode_label_blob(definitions.blob(i)) for i in range(len(definitions))]


def named(name: str, **labels: str) -> list[tuple[str, str]]:
    return sorted([("__name__", name), *labels.items()])


def test_kinds_are_those_of_telemetry() -> None:
    assert (
        remote_write_wire.KIND_UNKNOWN,
        remote_write_wire.KIND_GAUGE,
        remote_write_wire.KIND_COUNTER,
        remote_write_wire.KIND_COUNT,
        remote_write_wire.KIND_SUM,
        remote_write_wire.KIND_BUCKET,
        remote_write_wire.KIND_QUANTILE,
        remote_write_wire.KIND_TARGET_INFO,
        remote_write_wire.KIND_VMRANGE,
        remote_write_wire.STALE_BITS,
    ) == (
        kind.UNKNOWN,
        kind.GAUGE,
        kind.COUNTER,
        kind.HISTOGRAM_COUNT,
        kind.HISTOGRAM_SUM,
        kind.HISTOGRAM_BUCKET,
        kind.SUMMARY_QUANTILE,
        kind.TARGET_INFO,
        kind.VMRANGE,
        kind.STALE_NAN_BITS,
    )


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
_label_sets = st.dictionaries(_texts.filter(bool), _texts, max_size=6)


@every_version
@settings(max_examples=40, deadline=None)
@given(
    sets=st.lists(st.tuples(_label_sets, _texts.filter(bool), st.integers(0, 3)), max_size=8),
    shuffle=st.randoms(use_true_random=False),
)
def test_labels_and_samples_round_trip(decode, sets, shuffle) -> None:
    series, expected = [], []
    for labels, name, samples in sets:
        whole = {**labels, "__name__": name}
        pairs = sorted(whole.items(), key=lambda label: label[0].encode())
        if samples == 3:
            shuffle.shuffle(pairs)
        points = [(NOW - 1000 * i, shuffle.choice([0.0, -1.5, math.inf, 1e300])) for i in range(samples)]
        series.append(Series(pairs, points))
        expected += [({n: v for n, v in whole.items() if v}, time, value) for time, value in points]
    columns = decode(series)
    assert columns.rejected == {}
    assert columns.rejected_message == ""
    found = list(zip(labels_of(columns), columns.times_ms.tolist(), columns.values.tolist(), strict=True))
    assert found == expected
    # One label set, one hash; two label sets, two hashes.
    hashes = list(zip(columns.hash_hi.tolist(), columns.hash_lo.tolist(), strict=True))
    texts = [encode_label_blob(labels) for labels, _, _ in expected]
    assert len(set(zip(hashes, texts, strict=True))) == len(set(texts))
    assert len(set(texts)) == len(set(hashes)) or any(not v for labels, _, _ in sets for v in labels.values())
    assert columns.points == len(expected)
    assert columns.row_points is None
    assert columns.starts_ms is None


@every_version
def test_order_of_labels_does_not_change_the_hash(decode) -> None:
    pairs = [("__name__", "up"), ("instance", "a:1"), ("job", "node"), ("zone", "höhe 1")]
    orders = [random.Random(i).sample(pairs, len(pairs)) for i in range(8)]
    columns = decode([Series(order, [(NOW, 1.0)]) for order in orders])
    assert len(set(columns.hash_hi.tolist())) == 1
    assert len(set(columns.hash_lo.tolist())) == 1
    assert labels_of(columns) == [dict(pairs)] * 8


@every_version
def test_a_bad_series_is_rejected_and_its_neighbours_are_taken(decode) -> None:
    good = named("up", job="node")
    bad = {
        "missing_name": [("job", "node")],
        "empty_label_name": [("", "x"), ("__name__", "up")],
        "repeated_label": [("__name__", "up"), ("job", "a"), ("job", "b")],
        "label_too_long": [("__name__", "up"), ("long", "x" * 20_000)],
        "too_many_labels": [("__name__", "up"), *((f"l{i:05d}", "x") for i in range(10_000))],
    }
    for reason, labels in bad.items():
        columns = decode(
            [Series(good, [(NOW, 1.0)]), Series(labels, [(NOW, 2.0), (NOW, 3.0)]), Series(good, [(NOW, 4.0)])]
        )
        assert columns.rejected == {reason: 2}, reason
        assert columns.values.tolist() == [1.0, 4.0]
        assert labels_of(columns) == [dict(good)] * 2
        assert "series 1 {" in columns.rejected_message
    repeated = decode([Series([("job", "a"), ("__name__", "up"), ("job", "b")], [(NOW, 1.0)])])
    assert repeated.rejected == {"repeated_label": 1}
    assert 'job="a"' in repeated.rejected_message
    assert decode([Series([("__name__", ""), ("job", "x")])]).rejected == {"missing_name": 0}


def test_labels_that_are_not_utf8_are_rejected() -> None:
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"ab\xf0\x9f\x98"):
        name = message(1, message(1, b"__name__") + message(2, b"up"))
        sample = message(2, number_field(2, NOW))
        body = message(1, name + message(1, message(1, b"a") + message(2, bad)) + sample) + message(1, name + sample)
        columns = V1.decode(body, NOW)
        assert columns.rejected == {"not_utf8": 1}
        assert len(columns) == 1
        symbols = b"".join(message(4, s) for s in (b"", b"__name__", b"up", b"a", bad))
        series = message(5, message(1, bytes([1, 2, 3, 4])) + sample) + message(5, message(1, bytes([1, 2])) + sample)
        columns = V2.decode(symbols + series, NOW)
        assert columns.rejected == {"not_utf8": 1}
        assert len(columns) == 1


@every_version
def test_samples_are_rejected_by_reason(decode) -> None:
    quiet = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    samples = [(NOW, math.nan), (NOW, quiet), (NOW, STALE), (0, 1.0), (4102444800000, 1.0), (NOW - 1, 5.0)]
    columns = decode([Series(named("up"), samples)])
    assert columns.rejected == {"nan": 2, "too_old": 1, "too_new": 1}
    assert columns.values.view(np.uint64).tolist() == [
        0x7FF0000000000002,
        struct.unpack("<Q", struct.pack("<d", 5.0))[0],
    ]
    assert columns.points == 2
    assert 'series 0 {__name__="up"}' in columns.rejected_message


@every_version
def test_kind_by_name(decode) -> None:
    names = [
        (named("requests_total"), kind.COUNTER),
        (named("d_count"), kind.HISTOGRAM_COUNT),
        (named("d_sum"), kind.HISTOGRAM_SUM),
        (named("d_bucket", le="1"), kind.HISTOGRAM_BUCKET),
        (named("d_bucket", vmrange="1.000e+00...2.000e+00"), kind.HISTOGRAM_BUCKET | kind.VMRANGE),
        (named("d_bucket"), kind.UNKNOWN),
        (named("d", quantile="0.9"), kind.SUMMARY_QUANTILE),
        (named("target_info"), kind.TARGET_INFO),
        (named("_total"), kind.UNKNOWN),
        (named("up"), kind.UNKNOWN),
    ]
    columns = decode([Series(labels, [(NOW, 1.0)]) for labels, _ in names])
    assert columns.kinds.tolist() == [expected for _, expected in names]
    assert columns.source.definitions(np.array([3, 0])).kinds.tolist() == [kind.HISTOGRAM_BUCKET, kind.COUNTER]


def test_metadata_of_1_0_is_taken_and_the_name_decides_the_kind() -> None:
    """It comes in requests of its own, by family, without the series; Prometheus sends it once a minute."""
    metadata = message(3, number_field(1, 2) + message(2, b"x_total") + message(4, b"help") + message(5, b"seconds"))
    alone = V1.decode(metadata * 3, NOW)
    assert (len(alone), alone.points, alone.rejected, alone.rejected_message) == (0, 0, {}, "")
    beside = V1.decode(metadata + encode_v1([Series(named("x_total"), [(NOW, 1.0)])]), NOW)
    assert beside.kinds.tolist() == [kind.COUNTER]


def test_metadata_of_2_0_decides_the_kind_and_starts_are_read() -> None:
    types = [
        (1, "up", kind.COUNTER),
        (2, "x_total", kind.GAUGE),
        (3, "d_count", kind.HISTOGRAM_COUNT),
        (4, "g_count", kind.GAUGE),
        (5, "s_sum", kind.HISTOGRAM_SUM),
        (6, "i", kind.GAUGE),
        (7, "s", kind.GAUGE),
    ]
    columns = V2.decode(
        encode_v2(
            [Series(named(name), [(NOW, 1.0)], kind=metadata, start=NOW - 5 * metadata) for metadata, name, _ in types]
        ),
        NOW,
    )
    assert columns.kinds.tolist() == [expected for _, _, expected in types]
    assert columns.starts_ms is not None
    assert columns.starts_ms.tolist() == [NOW - 5 * metadata for metadata, _, _ in types]
    created = b"".join(message(4, s) for s in (b"", b"__name__", b"up"))
    created += message(5, message(1, b"\x01\x02") + message(2, number_field(2, NOW)) + number_field(6, NOW - 7))
    assert V2.decode(created, NOW).starts_ms.tolist() == [NOW - 7]


HISTOGRAMS = [
    Histogram(NOW, 12, 30.5, 0, 0.001, 2, positive=[(-1, [1, 2]), (2, [3, 0, 4])]),
    Histogram(NOW, 9, -3.0, 3, 2.0**-128, 0, positive=[(0, [1])], negative=[(2, [5, 3])]),
    Histogram(NOW, 6, 6.0, -2, 0.0, 1, positive=[(1, [5])]),
    Histogram(NOW, 7, 4.5, 8, 0.25, 0, positive=[(300, [7])], floating=True),
    Histogram(NOW, 10, 8.0, -53, positive=[(0, [1]), (1, [4, 5])], bounds=[0.005, 1.0, 2.5]),
    Histogram(NOW, 0, 0.0, -53, bounds=[1.0]),
]


@every_version
def test_native_histograms_become_rows(decode) -> None:
    base = named("latency_seconds", job="shop", zone="a")
    series = [Series(named("up"), [(NOW, 1.0)])]
    series += [Series([*base, ("~", str(i))], histograms=[h]) for i, h in enumerate(HISTOGRAMS)]
    columns = decode(series)
    assert columns.rejected == {}
    expected = [({"__name__": "up"}, 1.0)]
    for i, histogram in enumerate(HISTOGRAMS):
        for suffix, label, text, value in histogram.rows():
            labels = {**dict(base), "__name__": "latency_seconds" + suffix, "~": str(i)}
            expected.append(({**labels, label: text} if label else labels, value))
    assert list(zip(labels_of(columns), columns.values.tolist(), strict=True)) == expected
    assert columns.points == 1 + len(HISTOGRAMS)
    assert columns.histograms_written == len(HISTOGRAMS)
    assert columns.row_points is not None
    assert np.bincount(columns.row_points).tolist() == [1] + [len(h.rows()) for h in HISTOGRAMS]
    assert len(set(zip(columns.hash_hi.tolist(), columns.hash_lo.tolist(), strict=True))) == len(columns)
    again = decode(series)
    assert (again.hash_hi == columns.hash_hi).all()
    bucket = [i for i, (labels, _) in enumerate(expected) if "vmrange" in labels]
    assert set(columns.kinds[bucket].tolist()) == {kind.HISTOGRAM_BUCKET | kind.VMRANGE}
    assert columns.kinds[1:3].tolist() == [kind.HISTOGRAM_COUNT, kind.HISTOGRAM_SUM]
    some = columns.source.definitions(np.array([4, 0]))
    assert decode_label_blob(some.blob(0)) == expected[4][0]


@every_version
def test_more_plain_rows_than_histogram_rows_in_one_request(decode) -> None:
    series = [Series([("__name__", f"plain_{i}")], [(NOW, float(i))]) for i in range(5)]
    series.append(Series([("__name__", "stale")], histograms=[Histogram(NOW, 1, STALE, floating=True)]))
    columns = decode(series)
    definitions = columns.source.definitions(np.arange(len(columns)))
    names = {decode_label_blob(definitions.blob(i))["__name__"] for i in range(len(columns))}
    assert {f"plain_{i}" for i in range(5)} <= names


@every_version
def test_stale_gauge_and_impossible_histograms(decode) -> None:
    stale = decode([Series(named("h"), histograms=[Histogram(NOW, total=STALE)])])
    assert stale.values.view(np.uint64).tolist() == [0x7FF0000000000002] * 2
    gauge = decode([Series(named("h"), histograms=[Histogram(NOW, 1, 1.0, hint=3, positive=[(0, [1])])])])
    assert gauge.kinds.tolist()[:2] == [kind.GAUGE, kind.GAUGE]
    bad = [
        (Histogram(NOW, 1, 1.0, 9), "histogram"),
        (Histogram(NOW, 1, 1.0, -5), "histogram"),
        (Histogram(NOW, 1, 1.0, 0, positive=[(0, [-1])]), "histogram"),
        (Histogram(NOW, 1, 1.0, 0, positive=[(2_000_000_000, [1])]), "histogram"),
        (Histogram(NOW, 1, 1.0, -53, positive=[(3, [1])], bounds=[1.0]), "histogram"),
        (Histogram(NOW, 1, 1.0, -53, positive=[(0, [1])], bounds=[2.0, 1.0]), "histogram"),
        (Histogram(NOW, math.nan, 1.0, floating=True), "histogram"),
        (Histogram(NOW, 1, 1.0, 0, positive=[(0, [1] * 20_000)]), "buckets"),
        (Histogram(1, 1, 1.0, 0), "too_old"),
        (Histogram(NOW * 2, 1, 1.0, 0), "too_new"),
    ]
    for histogram, reason in bad:
        columns = decode([Series(named("h"), histograms=[histogram, Histogram(NOW, 1, 1.0)])])
        assert columns.rejected == {reason: 1}
        assert len(columns) == 2
    claims = Histogram(NOW, 1, 1.0).encode() + message(11, number_field(2, 0xFFFFFFFF))
    body = message(1, message(1, message(1, b"__name__") + message(2, b"h")) + message(4, claims))
    assert V1.decode(body, NOW).rejected == {"histogram": 1}


def test_histogram_start_and_row_limit() -> None:
    columns = V2.decode(encode_v2([Series(named("h"), histograms=[Histogram(NOW, 1, 1.0, start=NOW - 9)])]), NOW)
    assert columns.starts_ms is not None
    assert columns.starts_ms.tolist() == [NOW - 9] * 2
    small = RemoteWriteV1Decoder(KEY, RemoteWriteSettings(max_histogram_rows=5))
    body = encode_v1([Series(named(f"h{i}"), histograms=[Histogram(NOW, 1, 1.0)]) for i in range(3)])
    assert small.decode(body, NOW).rejected == {"buckets": 1}


@every_version
def test_exemplars_find_their_row(decode) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    labels = named("d_bucket", le="1")
    columns = decode(
        [
            Series(named("up"), [(NOW, 1.0)]),
            Series(labels, exemplars=[(NOW - 5, 0.25, trace, span)]),
            Series(labels, [(NOW, 7.0)], exemplars=[(0, 0.5, "no hex", "")]),
            Series(named("other"), exemplars=[(NOW, 1.0, trace, span)]),
            Series(named("n"), histograms=[Histogram(NOW, 1, 1.0)], exemplars=[(NOW, 2.0, trace, "")]),
        ]
    )
    exemplars = columns.exemplars
    assert exemplars is not None
    assert columns.exemplars_written == 3
    assert exemplars.rows.tolist() == [1, 1, 2]
    assert exemplars.times_ms.tolist() == [NOW - 5, NOW, NOW]
    assert exemplars.values.tolist() == [0.25, 0.5, 2.0]
    assert exemplars.trace_ids[0].tobytes().hex() == trace
    assert exemplars.span_ids[0].tobytes().hex() == span
    assert not exemplars.trace_ids[1].any()


SYMBOLS = b"".join(message(4, text) for text in (b"", b"__name__", b"up", b"down", b"trace_id", b"ab"))
UP = message(5, message(1, b"\x01\x02") + message(2, double_field(1, 1.0) + number_field(2, NOW)))


@pytest.mark.parametrize(
    "references",
    [b"\x01\x06", b"\x06\x02", b"\x01", b"\x01\x02\x03", b"\x01\x02" + varint(2**64 - 1) * 2],
    ids=["value", "name", "one", "three", "huge"],
)
def test_a_series_with_wrong_references_is_refused_alone(references) -> None:
    sample = message(2, double_field(1, 2.0) + number_field(2, NOW))
    bad = message(5, message(1, references) + sample * 2 + message(4, double_field(2, 1.0)))
    down = message(5, message(1, b"\x01\x03") + sample)
    columns = V2.decode(SYMBOLS + UP + bad + down, NOW)
    assert columns.values.tolist() == [1.0, 2.0]
    assert columns.rejected == {"label_reference": 2}
    assert "series 1 {" in columns.rejected_message
    assert "names no symbol, or an odd number" in columns.rejected_message
    assert labels_of(columns) == [{"__name__": "up"}, {"__name__": "down"}]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 8), max_size=6), max_size=6), st.booleans())
def test_references_are_judged_as_by_the_twin(references_of, packed) -> None:
    texts = ["", "__name__", "a", "b", "c", "d"]
    body, expected, refused = SYMBOLS[:0], [], 0
    for references in references_of:
        packs = message(1, bytes(references)) if packed else b"".join(number_field(1, r) for r in references)
        body += message(5, packs + message(2, double_field(1, 1.0) + number_field(2, NOW)))
        good = len(references) % 2 == 0 and all(r < len(texts) for r in references)
        pairs = list(zip(references[::2], references[1::2], strict=False)) if good else []
        names = [texts[n] for n, _ in pairs]
        labels = {texts[n]: texts[v] for n, v in pairs if texts[v]}
        if good and "" not in names and len(set(names)) == len(names) and "__name__" in labels:
            expected.append(labels)
        else:
            refused += 1
    columns = V2.decode(b"".join(message(4, text.encode()) for text in texts) + body, NOW)
    assert labels_of(columns) == expected
    assert sum(columns.rejected.values()) == refused


def test_the_first_symbol_must_be_empty() -> None:
    with pytest.raises(DecodeError, match="first symbol") as error:
        V2.decode(message(4, b"x"), NOW)
    assert error.value.offset == 2


@pytest.mark.parametrize("references", [b"\x63\x63", b"\x04\x63", b"\x04"])
def test_an_exemplar_with_wrong_references_is_left_out_alone(references) -> None:
    before = EXEMPLARS_REJECTED.labels("malformed")._value.get()
    sample = message(2, double_field(1, 1.0) + number_field(2, NOW))
    exemplars = [message(4, message(1, r) + double_field(2, 0.5)) for r in (references, b"\x04\x05")]
    columns = V2.decode(SYMBOLS + message(5, message(1, b"\x01\x02") + sample + b"".join(exemplars)), NOW)
    assert columns.values.tolist() == [1.0]
    assert columns.exemplars is not None
    assert columns.exemplars_written == 1
    assert columns.exemplars.trace_ids[0].tobytes().hex() == "ab".rjust(32, "0")
    assert EXEMPLARS_REJECTED.labels("malformed")._value.get() == before + 1


@every_version
def test_a_sum_that_is_no_number_is_left_out_and_counted(decode) -> None:
    before = NAN_SUMS._value.get()
    columns = decode([Series(named("h"), histograms=[Histogram(NOW, 1, math.nan), Histogram(NOW, 1, 2.0)])])
    assert NAN_SUMS._value.get() == before + 1
    assert [k & 15 == kind.HISTOGRAM_SUM & 15 for k in columns.kinds].count(True) == 1


def test_malformed_bytes_name_their_offset() -> None:
    for decoder in (V1, V2):
        assert len(decoder.decode(b"", NOW)) == 0
        assert len(decoder.decode(message(9, b"unknown") + number_field(11, 3), NOW)) == 0
        for bad, offset in (
            (b"\x1a\x05ab", 1),
            (b"\x0b", 1),
            (b"\x00", 0),
            (b"\x08" + b"\xff" * 11, 1),
            (b"\x09abc", 1),
        ):
            with pytest.raises(DecodeError) as error:
                decoder.decode(bad, NOW)
            assert error.value.offset == offset
    with pytest.raises(DecodeError, match=r"looks like remote write 2\.0"):
        V1.decode(encode_v2([Series(named("up"), [(NOW, 1.0)])]), NOW)
    with pytest.raises(DecodeError, match=r"looks like remote write 1\.0"):
        V2.decode(encode_v1([Series(named("up"), [(NOW, 1.0)])]), NOW)
    whole = encode_v1([Series(named("up", job="x"), [(NOW, 1.0)])])
    for cut in range(1, len(whole)):
        with pytest.raises(DecodeError):
            V1.decode(whole[:cut], NOW)


def test_encodings_a_blob_cannot_copy_are_rewritten() -> None:
    name = message(1, message(1, b"__name__") + message(2, b"up"))
    value_first = message(1, message(2, b"node") + message(1, b"job"))
    long_length = message(1, b"\x0a\x83\x00" + b"job" + message(2, b"node"))
    empty = message(1, message(1, b"empty"))
    sample = message(2, number_field(2, NOW))
    job = message(1, message(1, b"job") + message(2, b"node"))
    ways = (name + value_first + sample, name + long_length + sample, name + sample + job, job + name + empty + sample)
    for inner in ways:
        for body in (message(1, inner), b"\x8a\x00" + varint(len(inner)) + inner):
            columns = V1.decode(body, NOW)
            assert labels_of(columns) == [{"__name__": "up", "job": "node"}]
    long_value = "x" * 300
    columns = V1.decode(memoryview(encode_v1([Series(named("up", path=long_value), [(NOW, 1.0)])])), NOW)
    assert labels_of(columns) == [{"__name__": "up", "path": long_value}]


@pytest.mark.parametrize(
    ("decoder", "body"),
    [
        (RemoteWriteV1Decoder, b"\x0a\x00" * 9),
        (RemoteWriteV1Decoder, b"\x0a\x12" + b"\x12\x00" * 9),
        (RemoteWriteV2Decoder, b"\x22\x00" * 9),
        (RemoteWriteV2Decoder, b"\x22\x00" + b"\x2a\x00" * 9),
    ],
)
def test_a_request_of_too_many_empty_parts_is_refused_before_room_is_made(decoder, body, monkeypatch) -> None:
    monkeypatch.setattr(remote_write, "MOST_PARTS", 8)
    with pytest.raises(BodyTooLarge, match="the request has 9"):
        decoder((1, 2), RemoteWriteSettings()).decode(body, 0)
