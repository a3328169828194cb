"""Context around anomalies through the whole program: an OTLP deploy event on one side, people on the other."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.e2e.otlp import gauge_request, string_attribute
from tests.e2e.program import Gateway
from tests.e2e.test_main_path import PROTOBUF, SECOND, WebhookReceiver

pytestmark = pytest.mark.real

STEP_S, CALM, SHIFTED = 15, 480, 12


def deploy_event(service: str, version: str, time_ns: int) -> bytes:
    """One log record as an OpenTelemetry SDK or a pipeline of CI sends it."""
    request = ExportLogsServiceRequest()
    one = request.resource_logs.add()
    one.resource.attributes.append(string_attribute("service.name", service))
    one.resource.attributes.append(string_attribute("service.version", version))
    record = one.scope_logs.add().log_records.add(event_name="deployment.finished", time_unix_nano=time_ns)
    record.body.string_value = f"{service} rolled out"
    return request.SerializeToString()


def test_a_shift_after_a_deploy_is_listed_and_muted_while_the_same_shift_elsewhere_is_told(tmp_path: Path) -> None:
    hook = WebhookReceiver()
    routes = tmp_path / "alertmanager.yml"
    routes.write_text(
        "route: {receiver: hook, group_by: [job], group_wait: 100ms, group_interval: 500ms}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook.url}'}}]}}]\n"
    )
    draw = random.Random(7)
    begin_ns = time.time_ns() - (CALM + SHIFTED) * STEP_S * SECOND

    def send(gateway: Gateway, begin: int, end: int, level: float) -> None:
        for first in range(begin, end, 8):
            for service in ("payment", "till"):
                points = [
                    (begin_ns + s * STEP_S * SECOND, level + math.sin(s / 40.0) + draw.gauss(0.0, 2.0), {})
                    for s in range(first, min(first + 8, end))
                ]
                status, answer = gateway.post("/v1/metrics", gauge_request(service, "latency", points), **PROTOBUF)
                assert (status, answer) == (200, b"")

    with Gateway(tmp_path, f"alerting.config_file={routes}") as gateway:
        send(gateway, 0, CALM, 100.0)
        event = deploy_event("payment", "2.7", begin_ns + (CALM - 4) * STEP_S * SECOND)
        assert gateway.post("/v1/logs", event, **PROTOBUF) == (200, b""), "kept, so nothing is said to be left out"
        assert gateway.post("/v1/logs", event, **PROTOBUF)[0] == 200
        gateway.until(lambda: bool(gateway.json("/api/v1/markers")))
        gateway.kill_role("control")
        gateway.until(gateway.is_ready)
        (marker,) = gateway.json("/api/v1/markers")
        assert (marker["service"], marker["version"], marker["source"]) == ("payment", "2.7", "otlp")

        send(gateway, CALM, CALM + SHIFTED, 900.0)

        def of(service: str) -> list[dict[str, Any]]:
            return [a for a in gateway.json("/api/v1/anomalies") if a["series"].get("job") == service]

        gateway.until(lambda: any(n["status"] == "firing" for n in hook.received))
        gateway.until(lambda: any(a["context"].get("muted") for a in of("payment")))
        (found,) = of("payment")
        assert found["context"]["after_deploy"].startswith("payment rolled out (2.7)")
        assert found["context"]["severity_by_score"] == found["severity"]
        told = {alert["labels"]["job"] for message in hook.received for alert in message["alerts"]}
        assert told == {"till"}
        alerts = {a["labels"]["job"] for a in gateway.json("/api/v2/alerts")}
        assert alerts == {"payment", "till"}, "listed all the same"
