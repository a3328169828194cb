"""What stands in deploy/ is read by the program it is for where that is installed, else by a parser; ports, keys and
metric names are those of this gateway."""

from __future__ import annotations

import configparser
import importlib
import json
import re
import shutil
import subprocess
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import selfmetrics
from gateway.access.tokens import require_safe_address
from gateway.addresses import parse_address
from gateway.config import load_config
from tests.peers import VictoriaMetrics

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PORTS = {4317, 4318, 4319}
METRIC = re.compile(r"\bgateway_[a-z_]+")


def known_metrics() -> set[str]:
    """Every sample name that either plane can expose."""
    for module in ("gateway.supervisor", "gateway.control_role", "gateway.data_role"):
        importlib.import_module(module)
    names = {"gateway_data_plane_up"}
    for family in selfmetrics.REGISTRY.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + ending for ending in endings}
    return names


def documents(path: Path) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("name", ["gateway.toml", "gateway-container.toml"])
def test_a_configuration_is_accepted(name: str) -> None:
    config = load_config(DEPLOY / name, environment={}).config
    host, port = parse_address(config.server.http)
    require_safe_address(host, config.access, key="server.http")
    assert port == 4319


def test_prometheus_takes_rules_and_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("Debian package prometheus is not installed")
    done = subprocess.run(
        [promtool, "check", "config", "prometheus.yml"], cwd=DEPLOY / "prometheus", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_uses_metrics_that_exist_and_has_its_runbook_section() -> None:
    (rules,) = documents(DEPLOY / "prometheus" / "gateway.rules.yml")
    runbook = (DEPLOY / "prometheus" / "runbook.md").read_text()
    sections = {heading.lower() for heading in re.findall(r"^## (\w+)$", runbook, re.MULTILINE)}
    known = known_metrics()
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    for rule in alerts:
        used = set(METRIC.findall(rule["expr"]))
        assert used <= known, f"{rule['alert']} uses {used - known}"
        page, _, section = rule["annotations"]["runbook_url"].partition("#")
        assert page == "runbook.md"
        assert section == rule["alert"].lower()
        assert section in sections
    assert len(alerts) == len(sections), "no section without its alert"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_uses_metrics_that_exist_and_its_panels_do_not_overlap(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    known, taken = known_metrics(), set()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        for target in panel["targets"]:
            used = set(METRIC.findall(target["expr"]))
            assert used <= known, f"{panel['title']} uses {used - known}"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.real
def test_every_panel_s_query_runs_in_victoria_metrics(tmp_path: Path) -> None:
    target = VictoriaMetrics(tmp_path / "vm")
    target.start()
    try:
        assert DASHBOARDS
        for path in DASHBOARDS:
            for panel in json.loads(path.read_text())["panels"]:
                for query in panel["targets"]:
                    expression = query["expr"].replace("$service", ".*").replace("$instance", ".*")
                    form = urllib.parse.urlencode({"query": expression, "start": "-10m", "step": "30s"}).encode()
                    with urllib.request.urlopen(f"{target.url}/api/v1/query_range", data=form, timeout=10) as answer:
                        assert json.load(answer)["status"] == "success", expression
    finally:
        target.stop()


def test_grafana_finds_its_data_sources_and_dashboards() -> None:
    (sources,) = documents(DEPLOY / "grafana" / "provisioning" / "datasources" / "gateway.yaml")
    kinds = {source["type"]: source for source in sources["datasources"]}
    assert urllib.parse.urlsplit(kinds["alertmanager"]["url"]).port == 4319
    (providers,) = documents(DEPLOY / "grafana" / "provisioning" / "dashboards" / "gateway.yaml")
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert providers["providers"][0]["options"]["path"] in mounts.values()
    for source in mounts:
        assert (DEPLOY / "compose" / source).resolve().is_dir(), source


def test_compose_builds_from_files_that_exist_and_publishes_on_loopback_alone() -> None:
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    service = compose["services"]["gateway"]
    assert (DEPLOY / "compose" / service["build"]["context"]).resolve() == ROOT
    assert {int(port.rsplit(":", 1)[1]) for port in service["ports"]} == PORTS
    for name, other in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in other.get("ports", [])), name
    named = {v.split(":")[0] for s in compose["services"].values() for v in s["volumes"] if not v.startswith(".")}
    assert named == set(compose["volumes"])
    dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), f"Dockerfile copies {source}"
    documents(DEPLOY / "compose" / "scrape.yml")


def test_the_systemd_unit_is_sound() -> None:
    path = DEPLOY / "systemd" / "gateway.service"
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    words = unit["Service"]["ExecStart"].split()
    assert words[1] == "serve"
    assignments = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    load_config(None, environment={}, assignments=assignments)
    verify = shutil.which("systemd-analyze")
    if verify is not None:
        done = subprocess.run([verify, "verify", "--man=no", str(path)], capture_output=True, text=True)
        faults = [line for line in done.stderr.splitlines() if "gateway.service" in line]
        # The program is not installed under /opt where tests run.
        assert [line for line in faults if "not executable" not in line and "Failed to create" not in line] == []


def test_the_kubernetes_manifest_mounts_a_configuration_that_is_accepted(tmp_path: Path) -> None:
    found = {document["kind"]: document for document in documents(DEPLOY / "kubernetes" / "gateway.yaml")}
    assert set(found) == {"ConfigMap", "Service", "StatefulSet", "NetworkPolicy"}
    file = tmp_path / "gateway.toml"
    file.write_text(found["ConfigMap"]["data"]["gateway.toml"])
    config = load_config(file, environment={}).config
    template = found["StatefulSet"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert set(named.values()) == PORTS
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == set(named)
    assert template["metadata"]["labels"].items() >= found["StatefulSet"]["spec"]["selector"]["matchLabels"].items()
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["data"] == config.server.data_dir
    assert container["args"][-1].startswith(mounts["configuration"])
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    claims = {claim["metadata"]["name"] for claim in found["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert set(mounts) == volumes | claims


def test_the_collector_s_pipelines_use_what_is_declared_and_reach_the_gateway() -> None:
    (collector,) = documents(DEPLOY / "collector" / "collector.yaml")
    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(collector[part])
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])
    exporter = collector["exporters"]["otlp"]
    assert parse_address(exporter["endpoint"])[1] == 4317
    assert exporter["sending_queue"]["storage"] in collector["extensions"]
    own = {parse_address(p["endpoint"])[1] for p in collector["receivers"]["otlp"]["protocols"].values()}
    assert not own & PORTS, "the Collector listens beside the gateway, not on its ports"


def test_no_configuration_has_a_secret_in_it() -> None:
    for path in DEPLOY.rglob("*.toml"):
        assert not re.search(r"(password|token|secret)\s*=", path.read_text()), path
        tomllib.loads(path.read_text())
