"""Real clients against the router: amtool and Prometheus, and the answers of the real Alertmanager beside ours."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.alertmanager.peers import (
    AMTOOL,
    PROMETHEUS,
    Receiver,
    eventually,
    free_port,
    needs_alertmanager,
    needs_amtool,
    needs_prometheus,
    our_router,
    process,
    real_alertmanager,
)

CONFIGURATION = """
global: {slack_api_url: 'https://hooks.example/very-secret'}
route:
  receiver: team
  group_by: [alertname]
  routes:
    - {receiver: pager, matchers: [severity=~"critical|page"]}
receivers:
  - name: team
    webhook_configs:
      - url: 'http://127.0.0.1:9/'
        http_config: {authorization: {credentials: token-of-the-team}}
  - name: pager
"""


async def amtool(url: str, *arguments: str) -> tuple[int, str]:
    running = await asyncio.create_subprocess_exec(
        str(AMTOOL),
        "--alertmanager.url",
        url,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await running.communicate()
    return running.returncode or 0, output.decode()


@pytest.mark.real
@needs_amtool
@pytest.mark.parametrize("prefix", ["", "/alerts"])
async def test_amtool(tmp_path: Path, prefix: str) -> None:
    async with our_router(tmp_path, CONFIGURATION, prefix) as (url, _):
        code, output = await amtool(
            url, "alert", "add", "DiskFull", "severity=critical", "host=a", "--annotation=summary=full"
        )
        assert code == 0, output
        code, output = await amtool(url, "alert", "query", "-o", "json", "host=a")
        assert code == 0, output
        (alert,) = json.loads(output)
        assert alert["labels"] == {"alertname": "DiskFull", "host": "a", "severity": "critical"}
        assert alert["receivers"] == [{"name": "pager"}]
        code, output = await amtool(url, "config", "routes", "test", "severity=page")
        assert (code, output.strip()) == (0, "pager")
        code, output = await amtool(url, "config", "show")
        assert code == 0, output
        assert "very-secret" not in output
        assert "token-of-the-team" not in output
        code, silence = await amtool(
            url, "silence", "add", "host=~a|b", "--author=me", "--comment=work", "--duration=1h"
        )
        assert code == 0, silence
        code, output = await amtool(url, "alert", "query", "-o", "json", "--silenced")
        assert [a["status"]["silencedBy"] for a in json.loads(output)] == [[silence.strip()]]
        code, output = await amtool(url, "silence", "update", "--comment=more work", silence.strip())
        assert code == 0, output
        code, output = await amtool(url, "silence", "query", "-o", "json")
        assert [s["comment"] for s in json.loads(output)] == ["more work"]
        code, output = await amtool(url, "silence", "expire", silence.strip())
        assert code == 0, output
        code, output = await amtool(url, "silence", "query", "-q")
        assert (code, output.strip()) == (0, "")
        code, output = await amtool(url, "cluster", "show")
        assert code == 0, output


@pytest.mark.real
@needs_prometheus
async def test_prometheus_sends_its_alerts_here(tmp_path: Path) -> None:
    configuration = """
route: {receiver: hook, group_by: [alertname], group_wait: 100ms, group_interval: 1s}
receivers: [{name: hook, webhook_configs: [{url: 'BASE/hook'}]}]
"""
    async with (
        Receiver().running() as receiver,
        our_router(tmp_path, configuration.replace("BASE", receiver.url), "/am") as (url, _),
    ):
        address = url.removeprefix("http://").partition("/")[0]
        (tmp_path / "rules.yml").write_text(
            "groups: [{name: g, interval: 1s, rules: "
            "[{alert: Always, expr: 'vector(1) == 1', labels: {severity: page}}]}]"
        )
        (tmp_path / "prometheus.yml").write_text(
            "global: {evaluation_interval: 1s}\n"
            f"rule_files: ['{tmp_path}/rules.yml']\n"
            f"alerting: {{alertmanagers: [{{path_prefix: /am, static_configs: [{{targets: ['{address}']}}]}}]}}\n"
        )
        port = free_port()
        async with process(
            str(PROMETHEUS),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            "--rules.alert.resend-delay=1s",
            f"--web.listen-address=127.0.0.1:{port}",
            ready=f"http://127.0.0.1:{port}/-/ready",
        ):
            await eventually(lambda: receiver.told.get("hook"))
        (alert,) = receiver.told["hook"][0]["alerts"]
        assert alert["labels"] == {"alertname": "Always", "severity": "page"}
        assert alert["generatorURL"].startswith("http://")


async def call(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> tuple[int, Any]:
    async with session.request(method, url, json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


SPAN = {"startsAt": "2080-01-01T00:00:00Z", "endsAt": "2080-01-02T00:00:00Z", "createdBy": "m", "comment": "c"}
REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "alerts", None),
    ("GET", "alerts/groups", None),
    ("GET", "silences", None),
    ("GET", "receivers", None),
    ("POST", "alerts", [{"labels": {"alertname": "a", "x": "1", "none": ""}, "annotations": {"s": "t"}}]),
    ("POST", "alerts", [{"labels": {"alertname": "b", "severity": "page"}, "generatorURL": "http://g.example/"}]),
    ("POST", "alerts", [{"labels": {}}, {"labels": {"alertname": "kept"}}]),
    ("POST", "alerts", [{"labels": {"a": "b"}, "startsAt": "2080-01-01T00:00:00Z", "endsAt": "2079-01-01T00:00:00Z"}]),
    ("GET", "alerts", None),
    ("GET", "alerts?filter=alertname%3D%22a%22", None),
    ("GET", "alerts?filter=x%3D~%221%7C2%22&filter=alertname!%3D%22b%22", None),
    ("GET", "alerts?filter=alertname", None),
    ("GET", "alerts?receiver=pag", None),
    ("GET", "alerts?receiver=pag.*", None),
    ("GET", "alerts?receiver=(", None),
    ("GET", "alerts?active=false", None),
    ("GET", "alerts/groups?receiver=pager", None),
    ("GET", "alerts/groups", None),
    ("GET", "silence/00000000-0000-0000-0000-000000000000", None),
    # Deleting an unknown silence is 500 in Alertmanager 0.25 and 404 in later ones and here.
    ("POST", "silences", {"matchers": [{"name": "x", "value": "", "isRegex": False}], **SPAN}),
    ("POST", "silences", {"matchers": [{"name": "alertname", "value": "a", "isRegex": False}], **SPAN,
                          "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2090-01-02T00:00:00Z"}),
    ("POST", "silences", {"matchers": [{"name": "x", "value": "[", "isRegex": True}], **SPAN}),
    ("POST", "silences", {"id": "00000000-0000-0000-0000-000000000000",
                          "matchers": [{"name": "x", "value": "y", "isRegex": False}], **SPAN}),
    ("POST", "silences", {"matchers": [{"name": "x", "value": "y", "isRegex": False, "isEqual": False}], **SPAN,
                          "endsAt": "2080-02-01T00:00:00Z"}),
    ("POST", "silences", {"matchers": [{"name": "x", "value": "y", "isRegex": False, "isEqual": None}], **SPAN,
                          "startsAt": "2080-01-01T00:00:01Z"}),
    ("POST", "silences", {"matchers": [{"name": "x", "value": "b.*", "isRegex": True}], **SPAN,
                          "startsAt": "0001-01-01T00:00:00.000Z", "endsAt": "2080-01-03T00:00:00Z"}),
    ("POST", "silences", {"matchers": [{"name": "x", "value": "z", "isRegex": False}], **SPAN, "startsAt": ""}),
    ("POST", "silences", {"matchers": [{"name": "x", "value": "z", "isRegex": False}], **SPAN,
                          "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2021-01-01T00:00:00Z"}),
    ("GET", "silences", None),
    ("GET", "silences?filter=alertname%3D%22a%22", None),
    ("GET", "silences?filter=x%3D~%22b.*%22", None),
    ("GET", "silences?filter=x%3D%22b.*%22", None),
    ("GET", "silences?filter=x!%3D%22y%22", None),
    ("POST", "alerts", [{"labels": {"alertname": "commas", "list": "b,c"}}]),
    ("GET", "alerts?filter=list%3Db,c", None),
    ("GET", "alerts?filter=list%3D%22b%2Cc%22", None),
    ("GET", "alerts?filter=%20", None),
    ("GET", "silences?filter=alertname%3D%22other%22", None),
    ("GET", "alerts?silenced=false", None),
    ("GET", "alerts", None),
    ("GET", "status", None),
]  # fmt: skip
MOVING = {"startsAt", "endsAt", "updatedAt", "id", "silenceID", "uptime", "versionInfo", "cluster", "config", "mutedBy"}


def shape(body: Any) -> Any:
    """A body without the values that differ between two programs, but with their keys."""
    if isinstance(body, dict):
        return {k: (type(v).__name__ if k in MOVING else shape(v)) for k, v in body.items() if k != "mutedBy"} | (
            {"silencedBy": len(body["silencedBy"])} if "silencedBy" in body else {}
        )
    return [shape(item) for item in body] if isinstance(body, list) else body


@pytest.mark.real
@needs_alertmanager
async def test_answers_have_the_status_and_shape_of_the_real_ones(tmp_path: Path) -> None:
    async with (
        real_alertmanager(tmp_path, CONFIGURATION) as real,
        our_router(tmp_path, CONFIGURATION) as (ours, _),
        aiohttp.ClientSession() as session,
    ):
        for method, path, body in REQUESTS:
            expected = await call(session, method, f"{real}/api/v2/{path}", body)
            got = await call(session, method, f"{ours}/api/v2/{path}", body)
            what = f"{method} {path}"
            assert got[0] == expected[0], (what, expected, got)
            if got[0] == 200:
                assert shape(got[1]) == shape(expected[1]), what


async def test_a_changed_silence_gets_a_new_id_and_an_edited_one_keeps_it(tmp_path: Path) -> None:
    async with our_router(tmp_path, CONFIGURATION) as (url, _), aiohttp.ClientSession() as session:
        body: dict[str, Any] = {
            "matchers": [{"name": "a", "value": "b", "isRegex": False}],
            "startsAt": "2020-01-01T00:00:00.000Z",
            "endsAt": "2090-01-02T00:00:00.000Z",
            "createdBy": "m",
            "comment": "c",
        }
        _, made = await call(session, "POST", f"{url}/api/v2/silences", body)
        _, stored = await call(session, "GET", f"{url}/api/v2/silence/{made['silenceID']}")
        _, edited = await call(session, "POST", f"{url}/api/v2/silences", {**stored, "comment": "d"})
        assert edited == made
        changed = {**stored, "matchers": [{"name": "a", "value": "c", "isRegex": False}]}
        _, other = await call(session, "POST", f"{url}/api/v2/silences", changed)
        assert other != made
        _, old = await call(session, "GET", f"{url}/api/v2/silence/{made['silenceID']}")
        assert old["status"]["state"] == "expired"
        for _ in range(2):
            status, _ = await call(session, "DELETE", f"{url}/api/v2/silence/{other['silenceID']}")
            assert status == 200


async def test_no_catch_all_under_the_alertmanager_path(tmp_path: Path) -> None:
    async with our_router(tmp_path) as (url, _), aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/v2/status") as answer:
            status = await answer.json()
            assert len(status["versionInfo"]) == 6
        async with session.get(f"{url}/alertmanager/api/v2/status") as answer:
            assert answer.status == 404


async def test_a_store_failure_is_500_and_the_alert_may_be_sent_again(tmp_path: Path) -> None:
    async with our_router(tmp_path) as (url, router), aiohttp.ClientSession() as session:
        await asyncio.to_thread(router.store.close)
        status, text = await call(session, "POST", f"{url}/api/v2/alerts", [{"labels": {"alertname": "a"}}])
        assert status == 500
        assert "store" in text
