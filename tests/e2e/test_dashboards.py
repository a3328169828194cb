"""Every panel of deploy/grafana shows data: the gateway, a host and a service watched as deploy/ describes it."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway
from tests.peers import Peer, VictoriaMetrics, free_port, program

pytestmark = pytest.mark.real

DASHBOARDS = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
SCRAPES = """
scrape_configs:
  - job_name: gateway
    scrape_interval: 1s
    static_configs: [{{targets: ["{gateway}"]}}]
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["{exporter}"]}}]
remote_write:
  - url: http://{receiver}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
"""
"""The host comes through the gateway, as in deploy/prometheus/prometheus.yml: only so are its series scored."""
RECEIVER = """
route: {{receiver: hook, group_by: [alertname], group_wait: 1s}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}/health"}}]}}]
"""
"""Something that answers 200."""
PATIENCE = 90.0


def queries() -> Iterator[tuple[str, str]]:
    """(board and panel, expression) of all."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$service", ".*").replace("$instance", ".*")
                yield f"{path.stem}: {panel['title']}", expression


def send_requests(gateway: Gateway, round_: int) -> None:
    """A service that serves, by the semantic conventions: one histogram's three series, processor and memory."""
    now = time.time_ns()
    points: dict[str, dict[str, str]] = {
        "http_server_request_duration_seconds_count": {"http_response_status_code": "200"},
        "http_server_request_duration_seconds_sum": {"http_response_status_code": "200"},
        "process_cpu_utilization_ratio": {},
        "process_memory_usage_bytes": {},
    }
    buckets = [("http_server_request_duration_seconds_bucket", {"le": bound}) for bound in ("0.1", "+Inf")]
    for name, labels in (*points.items(), *buckets):
        body = gauge_request("shop", name, [(now, float(round_), labels)])
        status, _ = gateway.post("/v1/metrics", body, Content_Type="application/x-protobuf")
        assert status == 200


def test_every_panel_shows_data(tmp_path: Path) -> None:
    exporter_port = free_port()
    instance = f"127.0.0.1:{exporter_port}"
    with ExitStack() as stack:
        exporter = Peer(
            [program("prometheus-node-exporter", "prometheus-node-exporter"), f"--web.listen-address={instance}"],
            exporter_port,
            "/metrics",
            tmp_path / "exporter.log",
        )
        exporter.start()
        stack.callback(exporter.stop)
        scrapes = tmp_path / "scrapes.yml"
        store = VictoriaMetrics(tmp_path / "store", f"-promscrape.config={scrapes}")
        probe = f'[{{name = "node", target = "http://{instance}/metrics", interval = "2s", timeout = "1s"}}]'
        (tmp_path / "alertmanager.yml").write_text(RECEIVER.format(url=store.url))
        gateway = Gateway(
            tmp_path / "gateway",
            f"victoriametrics.url={store.url}",
            "victoriametrics.scores=all",
            "detection.warm_up=1s",
            f"alerting.config_file={tmp_path / 'alertmanager.yml'}",
            f"probes.probe={probe}",
        )
        scrapes.write_text(SCRAPES.format(gateway=gateway.http))
        store.start()
        stack.callback(store.stop)
        stack.enter_context(gateway)
        (tmp_path / "prometheus.yml").write_text(PROMETHEUS.format(exporter=instance, receiver=gateway.otlp_http))
        port = free_port()
        prometheus = Peer(
            [
                program("prometheus", "prometheus"),
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            port,
            "/-/ready",
            tmp_path / "prometheus.log",
        )
        prometheus.start()
        stack.callback(prometheus.stop)
        deadline, round_ = time.monotonic() + PATIENCE, 0
        left = {panel for panel, _ in queries()}
        assert len(left) > 30
        while left and time.monotonic() < deadline:
            send_requests(gateway, round_)
            gateway.send("POST", "/api/v2/alerts", [{"labels": {"alertname": f"Round{round_}"}}])
            round_ += 1
            for panel, expression in queries():
                form = urllib.parse.urlencode({"query": expression, "start": "-5m", "step": "5s", "nocache": "1"})
                answer = json.loads(store.get(f"/api/v1/query_range?{form}"))
                assert answer["status"] == "success", expression
                if answer["data"]["result"]:
                    left.discard(panel)
            time.sleep(1.0)
    assert not left
