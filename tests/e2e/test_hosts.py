"""This machine through node_exporter and Prometheus into the gateway, as deploy/prometheus/prometheus.yml does it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.pair import Pair
from tests.peers import Peer, free_port, program

pytestmark = pytest.mark.real


def test_a_host_watched_by_node_exporter_is_found_and_has_its_history(pair: Pair, tmp_path: Path) -> None:
    exporter_port, port = free_port(), free_port()
    instance = f"127.0.0.1:{exporter_port}"
    exporter = Peer(
        [
            program("prometheus-node-exporter", "prometheus-node-exporter"),
            f"--web.listen-address={instance}",
            "--collector.disable-defaults",
            "--collector.cpu",
            "--collector.meminfo",
            "--collector.loadavg",
            "--collector.uname",
        ],
        exporter_port,
        "/metrics",
        tmp_path / "exporter.log",
    )
    (tmp_path / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["{instance}"]}}]
remote_write:
  - url: http://{pair.gateway.otlp_http}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
"""
    )
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
    exporter.start()
    try:
        prometheus.start()
        try:
            pair.gateway.until(lambda: instance in [host["name"] for host in pair.gateway.json("/api/v1/hosts")])
        finally:
            prometheus.stop()
    finally:
        exporter.stop()
    (host,) = [host for host in pair.gateway.json("/api/v1/hosts") if host["name"] == instance]
    assert host["kind"] == "node_exporter"
    assert host["match"] == {"instance": instance}
    for metric in ("node_load1", "node_memory_MemAvailable_bytes", 'node_cpu_seconds_total{mode="idle"}'):
        name, _, rest = metric.rstrip("}").partition("{")
        match = quote(f'{name}{{instance="{instance}"{"," + rest if rest else ""}}}')
        pair.gateway.until(lambda match=match: bool(pair.gateway.json(f"/api/v1/history?match={match}")["series"]))
    (client,) = [c for c in pair.gateway.json("/api/v1/senders")["clients"] if c["agent"].startswith("Prometheus/")][:1]
    assert client["points"] > 0
