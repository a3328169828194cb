"""Prometheus scrapes the gateway's own metrics and writes them back into it; promtool and the OpenMetrics parser agree
with their form."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.pair import Pair
from tests.peers import Peer, free_port, program

pytestmark = pytest.mark.real


def test_own_metrics_are_valid_openmetrics(pair: Pair) -> None:
    text = pair.gateway.get("/metrics").decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["gateway_data_plane_up"].samples[0].value == 1
    assert families["alertmanager_build_info"].samples[0].value == 1
    foreign = [name for name in families if not name.startswith(("gateway_", "alertmanager_"))]
    assert not foreign
    assert text.endswith("# EOF\n")


def test_promtool_has_no_complaint(pair: Pair) -> None:
    promtool = program("promtool", "prometheus")
    text = pair.gateway.get("/metrics").decode().removesuffix("# EOF\n")
    # promtool reads the older text format, in which a counter's header carries the suffix and nothing is `unknown`.
    lines = []
    for line in text.splitlines():
        words = line.split(" ")
        if line.startswith("# TYPE") and words[3] == "counter":
            lines[-1] = lines[-1].replace(words[2], f"{words[2]}_total", 1)
            words[2] = f"{words[2]}_total"
        if not line.startswith("#") and "_created" in words[0].partition("{")[0]:
            continue
        lines.append(" ".join(words))
    result = subprocess.run(
        [promtool, "check", "metrics"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_scrapes_the_gateway_and_writes_into_it(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, external_labels: {{prometheus: real}}}}
scrape_configs:
  - job_name: gateway
    static_configs: [{{targets: ["{pair.gateway.http}"]}}]
remote_write:
  - url: http://{pair.gateway.otlp_http}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
"""
    )
    port = free_port()
    prometheus = Peer(
        [
            program("prometheus", "prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        ],
        port,
        "/-/ready",
        tmp_path / "prometheus.log",
    )
    selector = '{__name__="gateway_log_commits_total",prometheus="real"}'

    def arrived() -> list[float]:
        exported = pair.target.export(selector)
        assert len(exported) <= 1, exported
        return [value for samples in exported.values() for _, value in samples if value == value]

    prometheus.start()
    try:
        # The first scrapes are of a gateway that has taken nothing yet, and may come in one request.
        pair.gateway.until(lambda: max(arrived(), default=0.0) >= 3)
    finally:
        prometheus.stop()
    values = arrived()
    assert values == sorted(values)
    assert values[-1] > 0
    log = (tmp_path / "prometheus.log").read_text()
    assert "non-recoverable" not in log, log[-2000:]
