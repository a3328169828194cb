"""A team's alert through the real program: its people are told by the policy, over a kill, until one acknowledges."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.program import Gateway

pytestmark = pytest.mark.real

ROUTES = """
route: {{receiver: desk, group_by: [alertname], group_wait: 0s, group_interval: 1s}}
receivers:
  - {{name: desk, webhook_configs: [{{url: '{url}/desk'}}]}}
  - {{name: ana, webhook_configs: [{{url: '{url}/ana'}}]}}
  - {{name: bob, webhook_configs: [{{url: '{url}/bob'}}]}}
  - {{name: managers, webhook_configs: [{{url: '{url}/managers'}}]}}
"""
ONCALL = """
people: [{name: ana, receiver: ana}, {name: bob, receiver: bob}]
schedules:
  - {name: primary, location: Europe/Rome, rotations: [{people: [ana], start: '2020-01-06T09:00', shift: 1w}]}
teams:
  - {name: shop, members: [ana, bob], schedules: [primary], matchers: ['service=~"cart|checkout"']}
  - {name: store, members: [bob], matchers: [service="db"]}
escalation_policies:
  - name: shop-pages
    team: shop
    steps: [{wait: 1s, notify: ['team:shop']}, {wait: 1h, notify: ['receiver:managers']}]
  - name: store-pages
    team: store
    steps: [{wait: 1s, notify: ['team:store']}, {wait: 3s, notify: ['receiver:managers']}]
"""


class Phones:
    """A server that notes which path heard of which alert and in which state."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    heard.append((self.path.strip("/"), alert["labels"]["alertname"], alert["status"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Phones:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_team_is_told_over_a_kill_until_somebody_acknowledges(tmp_path: Path) -> None:
    with Phones() as phones:
        routes, oncall = tmp_path / "alertmanager.yml", tmp_path / "oncall.yml"
        routes.write_text(ROUTES.format(url=phones.url))
        oncall.write_text(ONCALL)
        files = f"alerting.config_file={routes}", f"alerting.oncall_file={oncall}"
        with Gateway(tmp_path, *files) as gateway:
            teams = {team["name"]: team for team in gateway.json("/api/v1/oncall")["teams"]}
            assert (teams["shop"]["onCall"], teams["store"]["onCall"]) == (["ana"], [])
            alerts = [
                {"labels": {"alertname": name, "service": service, **more}}
                for name, service, more in (
                    ("Slow", "cart", {}),
                    ("Full", "db", {}),
                    ("Named", "elsewhere", {"team": "shop"}),
                    ("Nobody", "elsewhere", {}),
                )
            ]
            gateway.send("POST", "/api/v2/alerts", alerts)
            told = {("ana", "Slow", "firing"), ("ana", "Named", "firing"), ("bob", "Full", "firing")}
            gateway.until(lambda: told <= set(phones.heard))
            names = {alert["labels"]["alertname"]: alert["fingerprint"] for alert in gateway.json("/api/v2/alerts")}
            gateway.send("POST", f"/api/v1/alerts/{names['Slow']}/acknowledge", {"by": "ana"})
            gateway.kill_all()
            gateway.start()
            # The step that was due while nobody was there runs once; what was acknowledged does not escalate.
            gateway.until(lambda: ("managers", "Full", "firing") in phones.heard)
            (slow,) = gateway.json(f"/api/v1/alerts/{names['Slow']}/escalation")
            assert [step["state"] for step in slow["steps"]] in (["told", "next"], ["told", "dropped"])
            now = gateway.json(f"/api/v1/alerts/{names['Slow']}/explain")["now"]
            assert now["acknowledgedBy"] == "ana", now
            ends = [{**alert, "endsAt": "2021-01-01T00:00:00Z", "startsAt": "2020-01-01T00:00:00Z"} for alert in alerts]
            gateway.send("POST", "/api/v2/alerts", ends)
            ended = {(who, name, "resolved") for who, name, _ in {*told, ("managers", "Full", "firing")}}
            gateway.until(lambda: ended <= set(phones.heard))
        people = {(who, name) for who, name, _ in phones.heard if who != "desk"}
        assert people == {("ana", "Slow"), ("ana", "Named"), ("bob", "Full"), ("managers", "Full")}
        assert {name for who, name, _ in phones.heard if who == "desk"} == {"Slow", "Full", "Named", "Nobody"}
