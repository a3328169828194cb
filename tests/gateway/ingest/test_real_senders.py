"""Programs that people run, sending to the receivers: the OpenTelemetry SDK's exporters and Prometheus.

The bodies are read with the generated classes, so a failure here is the transport's.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from gateway.access.tokens import Identity
from gateway.errors import DecodeError
from gateway.ingest.decoders import Body, Counted, Decoders
from gateway.telemetry.columns import PointColumns
from tests.gateway.ingest.receivers import columns_of, running, toy_points

pytestmark = pytest.mark.real
RESOURCE = Resource.create({"service.name": "shop"})


def _count_points(body: Body, now_ms: int) -> PointColumns:
    request = ExportMetricsServiceRequest.FromString(bytes(body))
    points = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points += len(getattr(metric, metric.WhichOneof("data")).data_points)
    return columns_of(points)


def _count_spans(body: Body, json: bool, sender: Identity) -> Counted:
    request = ExportTraceServiceRequest.FromString(bytes(body))
    counts: dict[str, int] = {}
    for resource in request.resource_spans:
        name = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
        counts[name] = counts.get(name, 0) + sum(len(scope.spans) for scope in resource.scope_spans)
    return Counted(counts)


def _series_of(body: Body, now_ms: int) -> PointColumns:
    """Top-level messages of a WriteRequest: field 1 is a series, field 3 is metadata."""
    at = series = 0
    while at < len(body):
        tag = body[at]
        length = shift = 0
        at += 1
        while True:
            length |= (body[at] & 0x7F) << shift
            shift += 7
            at += 1
            if body[at - 1] < 0x80:
                break
        if tag not in (0x0A, 0x1A):
            raise DecodeError(f"unexpected tag {tag}", offset=at)
        series += tag == 0x0A
        at += length
    return columns_of(series)


DECODERS = Decoders(_count_points, toy_points, _series_of, _series_of, _count_spans, _count_spans)


def _record_and_export(exporter, spans) -> bool:
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=RESOURCE)
    meter = provider.get_meter("checkout")
    meter.create_counter("orders").add(3, {"region": "eu"})
    meter.create_histogram("latency", unit="ms").record(12.5)
    meter.create_up_down_counter("queue").add(-1)
    exported = provider.force_flush(5000)
    tracer = TracerProvider(resource=RESOURCE)
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    with tracer.get_tracer("checkout").start_as_current_span("pay"):
        pass
    tracer.shutdown()
    provider.shutdown()
    return exported


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
async def test_sdk_over_http(compression, caplog):
    async with running(decoders=DECODERS) as r:
        metrics = HttpMetrics(f"{r.url}/v1/metrics", compression=compression)
        spans = HttpSpans(f"{r.url}/v1/traces", compression=compression)
        assert await asyncio.to_thread(_record_and_export, metrics, spans)
        assert r.sink.points >= 3
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_sdk_over_grpc(caplog):
    async with running(decoders=DECODERS) as r:
        metrics, spans = GrpcMetrics(r.target, insecure=True), GrpcSpans(r.target, insecure=True)
        assert await asyncio.to_thread(_record_and_export, metrics, spans)
        assert r.sink.points >= 3
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian package prometheus is not installed")
async def test_prometheus_remote_write(tmp_path: Path, unused_tcp_port: int):
    async with running(decoders=DECODERS) as r:
        (tmp_path / "prometheus.yml").write_text(
            f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: self
    static_configs: [{{targets: ["127.0.0.1:{unused_tcp_port}"]}}]
remote_write:
  - url: {r.url}/api/v1/write
    queue_config: {{batch_send_deadline: 500ms}}
"""
        )
        process = subprocess.Popen(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                f"--web.listen-address=127.0.0.1:{unused_tcp_port}",
                "--storage.tsdb.path=tsdb",
                "--log.level=warn",
            ],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            async with asyncio.timeout(30):
                while r.sink.points < 200:
                    await asyncio.sleep(0.1)
        finally:
            process.terminate()
            _, errors = await asyncio.to_thread(process.communicate)
        assert "non-recoverable" not in errors
        assert r.admission.in_flight == 0
