"""The API against its own document: every route is described, and no generated request brings a 500."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.program import Gateway

pytestmark = pytest.mark.real

COMMAND = (
    "--checks status_code_conformance,content_type_conformance --phases coverage,fuzzing --warnings off "
    "--exclude-path /api/v1/events --exclude-path /-/reload --continue-on-failure"
)
"""A 503 is documented and a 500 is not. The event stream never ends; a reload a request would only measure reloads."""


def test_requests_made_from_the_document_bring_no_server_error(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        document = gateway.json("/api/v1/openapi.json")
        assert document["openapi"].startswith("3.")
        described = {f"{m.upper()} {p}" for p, operations in document["paths"].items() for m in operations}
        assert {
            "GET /api/v1/status",
            "GET /api/v1/anomalies",
            "GET /api/v1/anomalies/{id}",
            "GET /api/v1/series",
            "GET /api/v1/history",
            "POST /api/v2/alerts",
            "DELETE /api/v2/silence/{id}",
            "POST /-/reload",
        } <= described
        assert not [p for p in document["paths"] if p == "/" or p.startswith("/assets")]
        limit = document["paths"]["/api/v1/anomalies"]["get"]["parameters"]
        assert {p["name"] for p in limit} == {"since", "limit", "severity", "state"}
        said = subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"),
                "run",
                f"http://{gateway.http}/api/v1/openapi.json",
                *COMMAND.split(),
                *["--max-time", "15", "-n", "10", "--seed", "7", "--no-color"],
            ],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )
        assert said.returncode == 0, said.stdout[-6000:]
        status = json.loads(gateway.get("/api/v1/status"))
        assert status["problem"] == ""
        failures = [
            line
            for line in gateway.get("/metrics").decode().splitlines()
            if line.startswith("gateway_task_failures_total") and not line.endswith(" 0.0")
        ]
        assert failures == []
