"""Prometheus remote write 1.0 and 2.0 through the whole program, against the specifications' words and what
VictoriaMetrics holds afterwards."""

from __future__ import annotations

import gzip
import json
import math
import struct
import time
import urllib.error
import urllib.request
from email.message import Message

import cramjam
import pytest
import zstandard

from tests.e2e.pair import Pair
from tests.e2e.program import Gateway
from tests.reference.remote_write_twin import Histogram, Series, encode_v1, encode_v2

pytestmark = pytest.mark.real

V1 = "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
WRITTEN = "X-Prometheus-Remote-Write-{}-Written"


def _snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


def _post(
    gateway: Gateway, body: bytes, content_type: str = V1, encoding: str = "snappy", path: str = "/api/v1/write"
) -> tuple[int, Message, str]:
    request = urllib.request.Request(f"http://{gateway.otlp_http}{path}", data=body)
    request.add_header("Content-Type", content_type)
    request.add_header("Content-Encoding", encoding)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def _named(name: str, **labels: str) -> list[tuple[str, str]]:
    return [("__name__", name), *labels.items()]


def _held(pair: Pair, match: str, samples: int) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}

    def complete() -> bool:
        found.update(pair.target.export(match))
        return sum(map(len, found.values())) >= samples

    pair.gateway.until(complete)
    return found


versions = pytest.mark.parametrize("version", [1, 2])


def _encoded(version: int, series: list[Series]) -> tuple[bytes, str]:
    return (_snappy(encode_v1(series)), V1) if version == 1 else (_snappy(encode_v2(series)), V2)


@versions
def test_labels_in_any_order_and_names_of_any_letters_arrive(pair: Pair, version: int) -> None:
    now = time.time_ns() // 10**6
    run = f"order{version}"
    sorted_labels = _named(f"rw_{run}", a="1", b="2")
    series = [
        Series(sorted_labels, [(now, 1.0)]),
        Series(sorted_labels[::-1], [(now + 1, 2.0)]),
        Series(_named(f"rw.{run} with space", **{"k.ey": "wörld"}), [(now, 3.0)]),
    ]
    status, headers, text = _post(pair.gateway, *_encoded(version, series))
    assert (status, text) == (204, "")
    if version == 2:
        assert headers[WRITTEN.format("Samples")] == "3"
        assert headers[WRITTEN.format("Histograms")] == "0"
    held = _held(pair, f'{{__name__=~"rw.{run}.*"}}', 3)
    by_name = {json.loads(key)["__name__"]: (json.loads(key), samples) for key, samples in held.items()}
    assert by_name[f"rw_{run}"][1] == [(now, 1.0), (now + 1, 2.0)], "one series, whatever the order of its labels"
    assert by_name[f"rw.{run} with space"][0]["k.ey"] == "wörld"


@versions
def test_one_bad_series_is_named_and_the_rest_is_kept(pair: Pair, version: int) -> None:
    now = time.time_ns() // 10**6
    name = f"rw_rest{version}"
    series = [
        Series(_named(name, n="0"), [(now, 1.0)]),
        Series([("no_name", "x")], [(now, 1.0)]),
        Series([*_named(name, n="1"), ("n", "2")], [(now, 1.0)]),
        Series([*_named(name, n="3"), ("", "empty")], [(now, 1.0)]),
        Series(_named(name, n="4"), [(now - 72 * 3600 * 1000, 1.0), (now, 5.0)]),
    ]
    status, headers, text = _post(pair.gateway, *_encoded(version, series))
    assert status == 400, "never to be sent again"
    assert text, "which series and why"
    if version == 2:
        assert headers[WRITTEN.format("Samples")] == "2"
    held = _held(pair, f'{{__name__="{name}"}}', 2)
    assert {json.loads(key)["n"]: samples for key, samples in held.items()} == {"0": [(now, 1.0)], "4": [(now, 5.0)]}


@versions
def test_stale_markers_keep_their_bits(pair: Pair, version: int) -> None:
    now = time.time_ns() // 10**6 - 60_000
    name = f"rw_stale{version}"
    stale = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
    series = [Series(_named(name), [(now, 1.0), (now + 1000, stale)])]
    assert _post(pair.gateway, *_encoded(version, series))[0] == 204
    (samples,) = _held(pair, f'{{__name__="{name}"}}', 2).values()
    assert samples[0] == (now, 1.0)
    assert math.isnan(samples[1][1])
    assert pair.target.query(name, (now + 5000) / 1000) == [], "a stale series has no value"


@versions
def test_native_histograms_are_vmrange_buckets(pair: Pair, version: int) -> None:
    now = time.time_ns() // 10**6
    histogram = Histogram(now, 12, 30.5, 0, 0.001, 2, positive=[(-1, [1, 2]), (2, [3, 0, 4])])
    name = f"rw_native{version}"
    series = [Series(_named(name, job="x"), histograms=[histogram])]
    status, headers, _ = _post(pair.gateway, *_encoded(version, series))
    assert status == 204
    if version == 2:
        assert headers[WRITTEN.format("Histograms")] == "1"
        assert headers[WRITTEN.format("Samples")] == "0"
    rows = histogram.rows()
    held = _held(pair, f'{{__name__=~"{name}_.*"}}', len(rows))
    found = {}
    for key, ((_, value),) in held.items():
        labels = json.loads(key)
        found[labels["__name__"].removeprefix(name), labels.get("vmrange", "")] = value
    assert found == {(suffix, text if label else ""): value for suffix, label, text, value in rows}


@pytest.mark.parametrize(
    ("content_type", "encoding", "status"),
    [
        (V1, "snappy", 204),
        (V1 + ";proto=prometheus.WriteRequest", "snappy", 204),
        (V1, "zstd", 204),
        (V1, "gzip", 415),
        (V1, "deflate", 415),
        (V1, "identity", 415),
        ("application/json", "snappy", 415),
        (V1 + ";proto=some.Other", "snappy", 415),
    ],
)
def test_media_types(pair: Pair, content_type: str, encoding: str, status: int) -> None:
    plain = encode_v1([Series(_named("rw_media"), [(time.time_ns() // 10**6, 1.0)])])
    bodies = {"snappy": _snappy, "zstd": zstandard.compress, "gzip": gzip.compress}
    body = bodies.get(encoding, bytes)(plain)
    assert _post(pair.gateway, body, content_type, encoding)[0] == status


def test_a_body_of_the_other_version_is_told_that_nothing_was_written(pair: Pair) -> None:
    body = _snappy(encode_v1([Series(_named("rw_mislabelled"), [(time.time_ns() // 10**6, 1.0)])]))
    status, headers, _ = _post(pair.gateway, body, V2)
    assert status in (204, 400)
    assert headers[WRITTEN.format("Samples")] == "0"


def test_the_second_path_and_vmagents_question(pair: Pair) -> None:
    body = _snappy(encode_v1([Series(_named("rw_push"), [(time.time_ns() // 10**6, 1.0)])]))
    assert _post(pair.gateway, body, path="/api/v1/push")[0] == 204
    url = f"http://{pair.gateway.otlp_http}/api/v1/write?get_vm_proto_version=1"
    with urllib.request.urlopen(url, timeout=10) as response:
        assert response.read() == b"1"
