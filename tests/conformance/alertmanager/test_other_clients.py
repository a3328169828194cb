"""vmalert as it is; and the requests that Karma and Grafana's Alertmanager data source make, with the fields they need.

Karma's and Grafana's requests follow their sources (karma `internal/alertmanager`, grafana `datasource/alertmanager`):
the paths in their order, their headers, and what their decoders (swagger models of API v2) require.
"""

from __future__ import annotations

import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import selfmetrics
from tests.conformance.alertmanager.peers import Receiver, eventually, free_port, our_router, process

VMALERT = shutil.which("vmalert")
VICTORIA_METRICS = shutil.which("victoria-metrics")
needs_vmalert = pytest.mark.skipif(
    VMALERT is None or VICTORIA_METRICS is None, reason="Debian package victoria-metrics (vmalert) is missing"
)
HOOK = """
route: {receiver: hook, group_by: [alertname], group_wait: 100ms, group_interval: 1s}
receivers: [{name: hook, webhook_configs: [{url: 'BASE/hook'}]}]
"""


@pytest.mark.real
@needs_vmalert
async def test_vmalert_sends_its_alerts_here_and_ends_them(tmp_path: Path) -> None:
    async with (
        Receiver().running() as receiver,
        our_router(tmp_path, HOOK.replace("BASE", receiver.url), "/am") as (url, _),
    ):
        rules = tmp_path / "rules.yml"
        rule = "{alert: Always, expr: 'vector(1) LIMIT', labels: {severity: page}}"
        text = f"groups: [{{name: g, interval: 1s, rules: [{rule}]}}]"
        rules.write_text(text.replace("LIMIT", "> 0"))
        storage, own = free_port(), free_port()
        async with (
            process(
                str(VICTORIA_METRICS),
                f"-storageDataPath={tmp_path / 'vm'}",
                f"-httpListenAddr=127.0.0.1:{storage}",
                "-memory.allowedBytes=64MB",
                ready=f"http://127.0.0.1:{storage}/health",
            ),
            process(
                str(VMALERT),
                f"-rule={rules}",
                f"-datasource.url=http://127.0.0.1:{storage}",
                f"-notifier.url={url}",
                f"-httpListenAddr=127.0.0.1:{own}",
                "-evaluationInterval=1s",
                "-external.url=http://vmalert.example",
                ready=f"http://127.0.0.1:{own}/health",
            ),
            aiohttp.ClientSession() as session,
        ):
            await eventually(lambda: receiver.told.get("hook"))
            (alert,) = receiver.told["hook"][0]["alerts"]
            assert alert["labels"] == {"alertgroup": "g", "alertname": "Always", "severity": "page"}
            assert alert["generatorURL"].startswith("http://vmalert.example/")
            rules.write_text(text.replace("LIMIT", "> 1"))
            async with session.get(f"http://127.0.0.1:{own}/-/reload") as answer:
                assert answer.status == 200
            await eventually(lambda: receiver.told["hook"][-1]["status"] == "resolved")


def moment(text: str) -> datetime:
    """As go-openapi's strfmt.DateTime writes it: with milliseconds and a zone."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
    return datetime.fromisoformat(text)


def check_alert(alert: dict[str, Any]) -> None:
    """The model gettableAlert."""
    assert alert.keys() >= {"labels", "annotations", "receivers", "fingerprint", "status"}
    for name in ("startsAt", "updatedAt", "endsAt"):
        moment(alert[name])
    assert alert["status"].keys() >= {"state", "silencedBy", "inhibitedBy", "mutedBy"}
    assert alert["status"]["state"] in {"unprocessed", "active", "suppressed"}
    assert all(isinstance(alert["status"][name], list) for name in ("silencedBy", "inhibitedBy", "mutedBy"))
    assert all(set(receiver) == {"name"} for receiver in alert["receivers"])


def check_silence(silence: dict[str, Any]) -> None:
    """The model gettableSilence."""
    assert silence.keys() >= {"id", "status", "updatedAt", "createdBy", "comment", "matchers", "startsAt", "endsAt"}
    assert silence["status"]["state"] in {"expired", "active", "pending"}
    for matcher in silence["matchers"]:
        assert set(matcher) == {"name", "value", "isRegex", "isEqual"}


def check_status(status: dict[str, Any]) -> None:
    """The model alertmanagerStatus."""
    assert status["cluster"]["status"] in {"ready", "settling", "disabled"}
    info = status["versionInfo"]
    assert set(info) == {"version", "revision", "branch", "buildUser", "buildDate", "goVersion"}
    assert isinstance(status["config"]["original"], str)
    moment(status["uptime"])


SILENCE = {
    "matchers": [{"name": "alertname", "value": "Disk", "isRegex": False, "isEqual": True}],
    "startsAt": "2020-01-01T00:00:00.000Z",
    "endsAt": "2090-01-01T00:00:00.000Z",
    "createdBy": "ana",
    "comment": "work",
}


async def test_karma(tmp_path: Path) -> None:
    headers = {"Accept": "application/json", "User-Agent": "karma/0.120"}
    async with our_router(tmp_path, HOOK.replace("BASE", "http://127.0.0.1:9"), "/am") as (url, _):
        families = text_string_to_metric_families(selfmetrics.exposition().decode())
        (build,) = [sample for family in families for sample in family.samples if "alertmanager_build" in sample.name]
        assert (build.name, build.value) == ("alertmanager_build_info", 1)
        assert tuple(int(part) for part in build.labels["version"].split(".")) >= (0, 22, 0)
        async with aiohttp.ClientSession(headers=headers) as session:

            async def get(path: str) -> Any:
                async with session.get(f"{url}/api/v2/{path}") as answer:
                    assert answer.status == 200
                    assert answer.content_type == "application/json"
                    return json.loads(await answer.read())

            check_status(await get("status"))
            assert await get("silences") == []
            assert await get("alerts/groups") == []
            alerts = [{"labels": {"alertname": name, "job": "j"}} for name in ("Disk", "Net")]
            async with session.post(f"{url}/api/v2/alerts", json=alerts) as answer:
                assert answer.status == 200
            async with session.post(f"{url}/api/v2/silences", json=SILENCE) as answer:
                made = (await answer.json())["silenceID"]
            (silence,) = await get("silences")
            check_silence(silence)
            groups = await get("alerts/groups")
            assert [group["labels"] for group in groups] == [{"alertname": "Disk"}, {"alertname": "Net"}]
            for group in groups:
                assert group["receiver"] == {"name": "hook"}
                for alert in group["alerts"]:
                    check_alert(alert)
            assert groups[0]["alerts"][0]["status"]["silencedBy"] == [made]
            # An edit sends back what was given, with the id; the same matchers and start keep it.
            edit = {k: silence[k] for k in ("id", "matchers", "startsAt", "endsAt", "createdBy")} | {"comment": "more"}
            async with session.post(f"{url}/api/v2/silences", json=edit) as answer:
                assert await answer.json() == {"silenceID": made}
            async with session.delete(f"{url}/api/v2/silence/{made}") as answer:
                assert answer.status == 200
            assert [one["status"]["state"] for one in await get("silences")] == ["expired"]


async def test_grafana_data_source(tmp_path: Path) -> None:
    async with (
        our_router(tmp_path, HOOK.replace("BASE", "http://127.0.0.1:9")) as (url, _),
        aiohttp.ClientSession(headers={"Accept": "application/json, text/plain, */*"}) as session,
    ):

        async def status_of(path: str) -> int:
            async with session.get(f"{url}{path}") as answer:
                return answer.status

        # The health check of the implementation "Prometheus": the first must fail, the second must not.
        assert await status_of("/alertmanager/api/v2/status") != 200
        assert await status_of("/api/v2/status") == 200
        async with session.post(f"{url}/api/v2/alerts", json=[{"labels": {"alertname": "Disk"}}]) as answer:
            assert answer.status == 200
        # The list of alerts and of groups, as the pages "Silences" and "Alert groups" ask for them.
        filters = "?filter=alertname%3D%22Disk%22&silenced=true&inhibited=true&active=true"
        for path in ("/api/v2/alerts", f"/api/v2/alerts{filters}"):
            async with session.get(f"{url}{path}") as answer:
                (alert,) = await answer.json()
                check_alert(alert)
        async with session.get(f"{url}/api/v2/alerts/groups{filters}") as answer:
            assert [len(group["alerts"]) for group in await answer.json()] == [1]
        async with session.post(f"{url}/api/v2/silences", json=SILENCE) as answer:
            made = (await answer.json())["silenceID"]
        async with session.get(f"{url}/api/v2/silence/{made}") as answer:
            check_silence(await answer.json())
        async with session.get(f"{url}/api/v2/receivers") as answer:
            assert await answer.json() == [{"name": "hook"}]
        async with session.delete(f"{url}/api/v2/silence/{made}") as answer:
            assert answer.status == 200


async def test_a_long_list_comes_in_pieces_and_whole(tmp_path: Path) -> None:
    async with (
        our_router(tmp_path, HOOK.replace("BASE", "http://127.0.0.1:9")) as (url, _),
        aiohttp.ClientSession() as session,
    ):
        alerts = [{"labels": {"alertname": f"a{n}"}, "annotations": {"text": "x" * 400}} for n in range(1500)]
        async with session.post(f"{url}/api/v2/alerts", json=alerts) as answer:
            assert answer.status == 200
        for path, count in (("alerts", 1500), ("alerts/groups", 1500), ("alerts?filter=alertname%3D%22a7%22", 1)):
            async with session.get(f"{url}/api/v2/{path}") as answer:
                assert answer.content_type == "application/json"
                assert len(await answer.json()) == count
