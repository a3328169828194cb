"""Incident groups over the real interface and the real store."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from aiohttp import web

from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.telemetry.call_edge import CallEdge
from gateway.web import alerting_api, alertmanager_api, incident_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import served


async def test_groups_are_listed_merged_split_and_undone(tmp_path: Path) -> None:
    clock = SystemClock()
    router = AlertRouter(AlertingSettings(), tmp_path, clock)
    await router.start()
    app = web.Application(middlewares=[declared_errors])
    for api in (alertmanager_api, alerting_api, incident_api):
        api.register_routes(app, router)
    now = clock.time_ns()
    router.incidents.see_topology([CallEdge("web", "db", 3, now), CallEdge("mail", "smtp", 1, now)], (), now)
    alerts = [
        {"labels": {"alertname": name, "service": service, "severity": "warning"}}
        for name, service in (("Slow", "db"), ("Errors", "web"), ("Queue", "mail"))
    ]
    async with served(app) as url, aiohttp.ClientSession(url) as session:
        async with session.post("/api/v2/alerts", json=alerts) as answer:
            assert answer.status == 200
        async with session.get("/api/v1/incident-groups") as answer:
            groups = {tuple(group["places"]): group for group in await answer.json()}
        assert set(groups) == {("db", "web"), ("mail",)}
        both, mail = groups["db", "web"], groups["mail",]
        assert both["likelyCause"]["service"] == "db"
        assert both["active"] == 2
        one = f"/api/v1/incident-groups/{both['id']}"
        body = {"by": "ana", "groups": [mail["id"]], "note": "shared disk"}
        async with session.post(f"{one}/merge", json=body) as answer:
            assert answer.status == 200, await answer.text()
            (merged,) = (await answer.json())["groups"]
        assert merged["total"] == 3
        assert merged["acts"][0]["note"] == "shared disk"
        async with session.get(f"/api/v1/incident-groups/{mail['id']}") as answer:
            assert (await answer.json())["id"] == both["id"]
        name = next(a["fingerprint"] for a in merged["alerts"] if a["service"] == "mail")
        async with session.get(f"/api/v1/alerts/{name}/explain") as answer:
            assert (await answer.json())["now"]["incidentGroup"]["id"] == both["id"]
        async with session.post(f"{one}/undo", json={"by": "bob"}) as answer:
            assert {group["total"] for group in (await answer.json())["groups"]} == {1, 2}
        name = next(a["fingerprint"] for a in merged["alerts"] if a["service"] == "web")
        async with session.post(f"{one}/split", json={"by": "bob", "fingerprints": [name]}) as answer:
            assert len((await answer.json())["groups"]) == 2
        for path, sent, status in (
            (f"{one}/split", {"by": "bob", "fingerprints": ["0" * 16]}, 404),
            (f"{one}/merge", {"by": "", "groups": [mail["id"]]}, 400),
            (f"{one}/merge", {"groups": [mail["id"]]}, 400),
            ("/api/v1/incident-groups/ig-none/undo", {"by": "x"}, 404),
        ):
            async with session.post(path, json=sent) as answer:
                assert answer.status == status, path
        async with session.get("/api/v1/incident-groups?state=wrong") as answer:
            assert answer.status == 400
        async with session.get("/api/v1/topology") as answer:
            assert [edge["caller"] for edge in await answer.json()] == ["mail", "web"]
    await router.stop()
