"""From spans to the likely cause, through the real program: traces in, alerts in, one incident group, over a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.otlp import string_attribute
from tests.e2e.program import Gateway

pytestmark = pytest.mark.real

CLIENT, SERVER = 3, 2


def trace(caller: str, callee: str, number: int) -> bytes:
    """One call: a client span of one service, the server span of another below it."""
    made = ExportTraceServiceRequest()
    for service, own, parent, kind in ((caller, 1, 0, CLIENT), (callee, 2, 1, SERVER)):
        resource = made.resource_spans.add()
        resource.resource.attributes.append(string_attribute("service.name", service))
        span = resource.scope_spans.add().spans.add(
            trace_id=number.to_bytes(16, "big"), span_id=own.to_bytes(8, "big"), name="call", kind=kind
        )
        if parent:
            span.parent_span_id = parent.to_bytes(8, "big")
    return made.SerializeToString()


def test_traces_make_the_topology_that_names_the_cause(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        for number, (caller, callee) in enumerate((("web", "cart"), ("cart", "store")), 1):
            status, _ = gateway.post("/v1/traces", trace(caller, callee, number), Content_Type="application/x-protobuf")
            assert status == 200
        expected = {("web", "cart"), ("cart", "store")}

        def calls() -> set[tuple[str, str]]:
            return {(edge["caller"], edge["callee"]) for edge in gateway.json("/api/v1/topology")}

        gateway.until(lambda: calls() == expected)
        alerts = [
            {"labels": {"alertname": name, "service": service, "severity": "warning"}}
            for name, service in (("SlowQueries", "store"), ("Errors", "cart"), ("SlowPages", "web"))
        ]
        gateway.send("POST", "/api/v2/alerts", alerts)
        (group,) = gateway.json("/api/v1/incident-groups")
        assert (group["active"], group["likelyCause"]["service"]) == (3, "store")
        split = _web(gateway, group)
        gateway.send("POST", f"/api/v1/incident-groups/{group['id']}/split", {"by": "ana", "fingerprints": [split]})
        gateway.kill_all()
        gateway.start()
        groups = {g["id"]: g for g in gateway.json("/api/v1/incident-groups")}
        assert sorted(g["active"] for g in groups.values()) == [1, 2]
        assert calls() == expected, "kept by the control plane"
        shown = gateway.json(f"/api/v1/incident-groups/{group['id']}")
        assert [act["by"] for act in shown["acts"]] == ["ana"]
        context = gateway.json(f"/api/v1/alerts/{split}/context")
        assert context["incidentGroup"]["id"] != group["id"]


def _web(gateway: Gateway, group: dict[str, Any]) -> str:
    shown = gateway.json(f"/api/v1/incident-groups/{group['id']}")
    return str(next(alert["fingerprint"] for alert in shown["alerts"] if alert["service"] == "web"))
