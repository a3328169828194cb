"""Bodies of the load generator, read back with the generated classes and the gateway's own decoders."""

from __future__ import annotations

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.remote_write_v2 import RemoteWriteV2Decoder
from gateway.telemetry.labels import decode_label_blob
from loadtest.generator.patch import LEVEL, NUMBER_BITS
from loadtest.generator.template import Template, build
from loadtest.generator.work import Work

NOW = 1_763_900_000_000
BATCH = 250

NUMBER = 2**NUMBER_BITS - 1


def otlp_points(template: Template) -> list[tuple[str, str, int, float]]:
    """(metric, pod, ms, value) of every point, in order."""
    message = ExportMetricsServiceRequest.FromString(template.body.tobytes())
    found = []
    for metric in message.resource_metrics[0].scope_metrics[0].metrics:
        for point in [*metric.gauge.data_points, *metric.sum.data_points]:
            pod = next(a.value.string_value for a in point.attributes if a.key == "pod")
            value = point.as_int if point.HasField("as_int") else point.as_double
            found.append((metric.name, pod, point.time_unix_nano // 10**6, float(value)))
    return found


def starts_of(template: Template) -> set[int]:
    """Start times of the counters, ns."""
    message = ExportMetricsServiceRequest.FromString(template.body.tobytes())
    metrics = message.resource_metrics[0].scope_metrics[0].metrics
    return {point.start_time_unix_nano for metric in metrics for point in metric.sum.data_points}


def test_counters_never_begin_anew_not_at_midnight_either() -> None:
    template = build("otlp-http", 0, BATCH)
    midnight = NOW - NOW % 86_400_000
    template.stamp(midnight - 1, -1, 0.0)
    before, starts = otlp_points(template), starts_of(template)
    template.stamp(midnight + 1, -1, 0.0)
    assert starts_of(template) == starts
    assert len(starts) == 1
    grown = [b[3] - a[3] for a, b in zip(before, otlp_points(template), strict=True) if a[0].endswith("_total")]
    assert min(grown) > 0


def test_an_otlp_body_carries_the_numbers_it_was_stamped_with() -> None:
    template = build("otlp-http", 3, BATCH)
    assert template.stamp(NOW, 7 * BATCH, 0.0) == NOW
    points = otlp_points(template)
    assert [int(value) & NUMBER for *_, value in points] == [7 * BATCH + i for i in range(BATCH)]
    assert all(value <= NUMBER for name, *_, value in points if name.endswith("_total"))
    assert {time for _, _, time, _ in points} == {NOW}
    assert [int(pod[1:9]) for _, pod, _, _ in points] == list(range(3 * BATCH, 4 * BATCH))
    assert len({(name, pod) for name, pod, _, _ in points}) == BATCH


def test_numbered_gauges_keep_to_a_level_however_long_the_run_is() -> None:
    template = build("otlp-http", 0, BATCH)
    levels = []
    for turn in range(50):
        template.stamp(NOW + turn, turn * 10**9, 0.0)
        levels += [value / 2**NUMBER_BITS / LEVEL for name, *_, value in otlp_points(template) if "_total" not in name]
    assert 0.99 < np.median(levels) < 1.01
    assert 0.04 < np.std(levels) < 0.06
    assert 0.7 < min(levels) < max(levels) < 1.3


def test_times_of_a_template_never_repeat_and_churn_replaces_the_share_asked_for() -> None:
    template = build("otlp-http", 0, BATCH)
    assert template.stamp(NOW, -1, 0.2) == NOW
    assert template.stamp(NOW, -1, 0.2) == NOW + 1
    template.stamp(NOW + 60_001, -1, 0.2)
    replaced = [pod for _, pod, _, _ in otlp_points(template) if not pod.endswith("g00000")]
    assert len(replaced) == 0.2 * BATCH


@pytest.mark.parametrize("version", ["remote-write", "remote-write-2"])
def test_a_remote_write_body_is_what_the_gateway_decodes(version: str) -> None:
    decoder = RemoteWriteV1Decoder if version == "remote-write" else RemoteWriteV2Decoder
    template = build(version, 2, BATCH)  # type: ignore[arg-type]
    template.stamp(NOW, 0, 0.5)
    template.stamp(NOW + 60_000, 5 * BATCH, 0.5)
    columns = decoder((1, 2), RemoteWriteSettings()).decode(template.body.tobytes(), NOW)
    np.testing.assert_array_equal(columns.values.astype(np.int64) & NUMBER, np.arange(5 * BATCH, 6 * BATCH))
    assert set(columns.times_ms) == {NOW + 60_000}
    definitions = columns.source.definitions(np.arange(BATCH))
    pods = []
    for i in range(BATCH):
        blob = definitions.blobs[definitions.offsets[i] : definitions.offsets[i + 1]].tobytes()
        pods.append(decode_label_blob(blob)["pod"])
    assert [int(pod[1:9]) for pod in pods] == list(range(2 * BATCH, 3 * BATCH))
    assert sum(pod.endswith("g00001") for pod in pods) == BATCH // 2


def test_impossible_work_is_refused() -> None:
    with pytest.raises(ValueError, match="does not take gzip"):
        Work("remote-write", "http://127.0.0.1:1/", encoding="gzip", requests=1)
    with pytest.raises(ValueError, match="multiple"):
        Work("otlp-http", "http://127.0.0.1:1/", series=1000, batch=300, requests=1)
