"""Maintenance windows that the OpenTelemetry SDK declares and ends, through the whole program and both transports."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests.e2e.program import REQUEST_SECONDS, Gateway
from tests.e2e.test_main_path import PROTOBUF, SECOND, WebhookReceiver
from tests.e2e.test_maintenance import SERIES, Traffic, metric, transitions
from tests.gateway.decode.test_otlp_maintenance import record_of, request_of

pytestmark = pytest.mark.real

WINDOW = "maintenance.window."


class Pipeline:
    """A job of CI that says what it does over the SDK, in the transport it is given."""

    def __init__(self, gateway: Gateway, transport: str, **headers: str) -> None:
        exporter: HttpExporter | GrpcExporter
        if transport == "http":
            exporter = HttpExporter(f"http://{gateway.otlp_http}/v1/logs", headers=headers)
        else:
            exporter = GrpcExporter(gateway.otlp_grpc, insecure=True, headers=headers)
        self._provider = LoggerProvider(Resource({"service.name": "ci"}), shutdown_on_exit=False)
        self._provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        self._logger = self._provider.get_logger("ci")

    def say(self, event: str, at: float, body: str = "", **attributes: Any) -> None:
        """`_` in the name of an attribute is a point, and those of a window need no prefix."""
        named = {
            name.replace("_", ".") if "_" in name else f"{WINDOW}{name}": value for name, value in attributes.items()
        }
        self._logger.emit(timestamp=int(at * SECOND), body=body or None, attributes=named, event_name=WINDOW + event)

    def close(self) -> None:
        self._provider.shutdown()


def outcome(gateway: Gateway, name: str) -> float:
    lines = gateway.get("/metrics").decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines
        if line.startswith("gateway_maintenance_events") and f'="{name}"' in line and "_total" in line
    )  # fmt: skip


def fire(gateway: Gateway, *services: str) -> None:
    gateway.send("POST", "/api/v2/alerts", [{"labels": {"alertname": "Down", "service": one}} for one in services])


def test_a_window_of_an_event_silences_freezes_and_ends_like_any_other(tmp_path: Path) -> None:
    hook = WebhookReceiver()
    routes = tmp_path / "alertmanager.yml"
    routes.write_text(
        "route: {receiver: hook, group_by: [service], group_wait: 100ms, group_interval: 500ms}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook.url}'}}]}}]\n"
    )

    def told() -> set[str]:
        return {
            alert["labels"]["service"] for message in hook.received for alert in message["alerts"]
            if alert["labels"]["alertname"] == "Down"
        }  # fmt: skip

    now = time.time()
    with Gateway(tmp_path, "ingest.max_future=4h", f"alerting.config_file={routes}", "server.workers=2") as gateway:
        traffic = Traffic(gateway)
        traffic.send(now - 5 * 3600, now - 3600)
        over_http, over_grpc = Pipeline(gateway, "http"), Pipeline(gateway, "grpc")
        over_http.say(
            "start", now - 3600, "database move", id="run-77", duration="90m", service_name="payment", user_name="ana"
        )
        gateway.until(lambda: bool(gateway.json("/api/v1/maintenance")))
        (window,) = gateway.json("/api/v1/maintenance")
        assert (window["name"], window["state"], window["by"]) == ("database move", "active", "ana")
        assert window["matchers"] == ['service=~"(.*/)?payment"']
        assert window["declared"] == {"sender": "anonymous", "id": "run-77"}
        assert gateway.json(f"/api/v1/maintenance/{window['id']}") == window

        gateway.until(lambda: metric(gateway, "gateway_baseline_freeze_windows") == 2)
        traffic.send(now - 3600, now - 1800, factor=9.0)
        gateway.until(lambda: traffic.frozen()["series"] == SERIES)
        fire(gateway, "payment", "till")
        gateway.until(lambda: "till" in told())

        gateway.kill_role("control")
        gateway.kill_role("data")
        gateway.until(gateway.is_ready)
        over_grpc.say("start", now, id="run-77", duration=7200)
        gateway.until(lambda: gateway.json("/api/v1/maintenance")[0]["end"] != window["end"])
        (longer,) = gateway.json("/api/v1/maintenance")
        assert {**longer, "end": 0, "updatedAt": 0} == {**window, "end": 0, "updatedAt": 0}
        assert outcome(gateway, "changed") == 1

        listed = gateway.json("/api/v2/alerts?filter=alertname=Down")
        (muted,) = [one["status"] for one in listed if one["labels"]["service"] == "payment"]
        assert muted["mutedBy"] == [f"maintenance {window['id']}"]
        assert told() == {"till"}
        over_grpc.say("end", time.time(), id="run-77")
        gateway.until(lambda: gateway.json("/api/v1/maintenance")[0]["state"] == "expired")
        gateway.until(lambda: "payment" in told())
        over_http.say("start", now, id="run-77", duration=7200)
        gateway.until(lambda: outcome(gateway, "stale") == 1)
        assert gateway.json("/api/v1/maintenance")[0]["state"] == "expired"
        ended = time.time()
        traffic.send(ended + 960, ended + 990)
        gateway.until(lambda: traffic.frozen()["series"] == 0 and transitions(gateway, "restored") == SERIES)
        over_http.close()
        over_grpc.close()
    hook.close()


def test_credentials_that_may_only_send_silence_nothing_and_hostile_events_are_counted(tmp_path: Path) -> None:
    secrets = {name: f"{name}-token-72c1f09ab4e8d653" for name in ("agent", "ci", "read")}
    roles = {"agent": '"ingest"', "ci": '"ingest", "operate"', "read": '"read"'}
    tokens = ", ".join(
        f'{{ name = "{name}", sha256 = "{hashlib.sha256(secret.encode()).hexdigest()}", roles = [{roles[name]}] }}'
        for name, secret in secrets.items()
    )

    class Guarded(Gateway):
        def get(self, path: str) -> bytes:
            request = urllib.request.Request(f"http://{self.http}{path}")
            request.add_header("Authorization", f"Bearer {secrets['read']}")
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
                found: bytes = response.read()
                return found

    start = {WINDOW + "id": "1", WINDOW + "duration": 3600, "service.name": "till"}
    with Guarded(tmp_path, f"access.tokens=[{tokens}]") as gateway:
        for transport in ("http", "grpc"):
            agent = Pipeline(gateway, transport, authorization=f"Bearer {secrets['agent']}")
            agent.say("start", time.time(), id="1", duration=3600, service_name="till")
            agent.close()
        gateway.until(lambda: outcome(gateway, "permission_denied") == 2)

        def post(*records: Any, token: str = "ci", **headers: str) -> tuple[int, str]:
            headers |= {"Authorization": f"Bearer {secrets[token]}", **PROTOBUF}
            status, body = gateway.post("/v1/logs", request_of(*records), **headers)
            partial = ExportLogsServiceResponse.FromString(body).partial_success
            return partial.rejected_log_records if status == 200 else -status, partial.error_message

        def record(event: str, attributes: dict[str, Any]) -> Any:
            return record_of(WINDOW + event, attributes, time=time.time_ns())

        rejected, message = post(record("start", start), token="agent")
        assert rejected == 1
        assert 'maintenance events refused: 1, the first because "agent" does not have the role operate' in message
        assert post(record("start", start), token="read")[0] == -403
        assert post(record("start", start), Origin="https://elsewhere.example")[0] == 1, "a page in a browser"
        hostile = [
            {**start, WINDOW + "duration": "9" * 100_000},
            {WINDOW + "duration": 60, "deployment.environment.name": "prod"},
            {**start, WINDOW + "id": "x" * 300},
        ]
        assert post(*(record("start", one) for one in hostile))[0] == 3
        for reason in ("time", "scope", "too_long"):
            assert outcome(gateway, reason) == 1
        assert post(record("end", {WINDOW + "id": "nobody's"}))[0] == 0
        gateway.until(lambda: outcome(gateway, "unknown") == 1)
        assert json.loads(gateway.get("/api/v1/maintenance")) == [], "nobody has silenced anything"

        assert post(record("start", start)) == (0, "")
        gateway.until(lambda: outcome(gateway, "made") == 1)
        (window,) = gateway.json("/api/v1/maintenance")
        assert (window["by"], window["declared"]) == ("ci", {"sender": "ci", "id": "1"})
        refused = [one for one in gateway.json("/api/v1/refusals") if one["what"] == "events"]
        assert {(one["by"], one["reason"], one["count"]) for one in refused} >= {("agent", "permission_denied", 3)}
