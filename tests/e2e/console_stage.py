"""What the browser tests stand on: Chromium, a visitor who notices everything that goes wrong, and the sample fleet
with a fault, somebody on call, an escalation and probes."""

from __future__ import annotations

import http.server
import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Gateway

CONSOLE = Path(__file__).resolve().parents[2] / "gateway" / "web" / "console"
AXE = CONSOLE / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".artefacts" / "console"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 120_000
MODES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1360, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}

ALERTMANAGER = """
route:
  receiver: ops
  group_by: [alertname, service]
  group_wait: 1s
  group_interval: 5s
receivers:
  - name: ops
    webhook_configs: [{{url: "{sink}/ops"}}]
  - name: ana-phone
    webhook_configs: [{{url: "{sink}/ana"}}]
  - name: bob-phone
    webhook_configs: [{{url: "{sink}/bob"}}]
"""
ON_CALL = """
people:
  - {name: ana, receiver: ana-phone}
  - {name: bob, receiver: bob-phone}
schedules:
  - name: primary
    location: Europe/Rome
    rotations:
      - {people: [ana, bob], start: '2026-01-05T09:00', shift: 1d}
escalation_policies:
  - name: pages
    matchers: ['alertname="AnomalyDetected"']
    steps:
      - {wait: 3s, notify: ['schedule:primary']}
      - {wait: 1h, notify: ['person:bob', 'receiver:ops']}
"""


def must_have(condition: bool, reason: str) -> None:
    """Skips with the reason; in CI (CI=true) its absence is a failure, so that no page goes unlooked at."""
    if condition:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"in CI the browser tests must run: {reason}", pytrace=False)
    pytest.skip(reason)


class _Sink(http.server.BaseHTTPRequestHandler):
    """Takes every webhook."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fleet_with_a_fault(directory: Path) -> Iterator[Gateway]:
    """Two hours of the fleet's past, the fleet alive, checkout five times slower than ever, this host watched."""
    from gateway.commands.fleet.live import LiveService
    from gateway.commands.fleet.model import FLEET, ServiceModel
    from gateway.commands.fleet.past import past_requests
    from gateway.commands.host_watch import HostWatch

    directory.mkdir(parents=True, exist_ok=True)
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    (directory / "alertmanager.yml").write_text(ALERTMANAGER.format(sink=f"http://127.0.0.1:{sink.server_port}"))
    (directory / "oncall.yml").write_text(ON_CALL)
    models = {profile.name: ServiceModel(profile) for profile in FLEET}
    program = Gateway(
        directory,
        f"alerting.config_file={directory / 'alertmanager.yml'}",
        f"alerting.oncall_file={directory / 'oncall.yml'}",
    )
    probes = (
        f'{{name = "console", target = "http://{program.http}/-/healthy", interval = "2s", timeout = "1s"}}, '
        f'{{name = "gone", target = "127.0.0.1:1", interval = "2s", timeout = "1s", alert_after = 0}}'
    )
    program.assignments.append(f"probes.probe=[{probes}]")
    with program:
        for _, body in past_requests(time.time_ns(), 2.0):
            status, answer = program.post("/v1/metrics", body, Content_Type="application/x-protobuf")
            assert status == 200, answer
        models["checkout"].disturbance.latency_factor = 5.0
        services = [LiveService(model, program.otlp_grpc, program.otlp_http) for model in models.values()]
        # Beside points of now, those of the past would be taken for what fell silent.
        watch = HostWatch(program.otlp_grpc, program.http)
        watch.start()
        began = time.time()
        for service in services:
            service.start()
        try:
            program.until(lambda: bool(_paged(program, began)), 90)
            program.until(lambda: bool(program.json("/api/v1/hosts")))
            yield program
        finally:
            watch.stop()
            for service in services:
                service.stop()
            sink.shutdown()
            sink.server_close()


def _paged(program: Gateway, since: float) -> list[Any]:
    """Active alerts of anomalies of checkout that began since a moment, Unix seconds."""
    new = {
        a["id"]
        for a in program.json("/api/v1/anomalies?state=firing")
        if a["series"].get("job") == "checkout" and a["time"] >= since
    }
    return [a for a in program.json("/api/v2/alerts") if a["annotations"].get("anomaly_id") in new]


@contextmanager
def launched() -> Iterator[Any]:
    """Chromium without anything that asks the outside; skips, or in CI fails, where something for it is missing."""
    must_have(importlib.util.find_spec("playwright") is not None, "the Python package playwright is not installed")
    must_have(CHROMIUM is not None, "the Debian package chromium is not installed")
    must_have((CONSOLE / "dist" / "index.html").is_file(), "the console is not built: make console")
    from playwright.sync_api import expect as expecting
    from playwright.sync_api import sync_playwright

    expecting.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def expect(what: Any) -> Any:
    """Playwright's, imported when a browser runs."""
    from playwright.sync_api import expect as expecting

    return expecting(what)


class Visitor:
    """A page that collects everything that goes wrong on it. browser: Playwright's."""

    def __init__(self, browser: Any, gateway: Gateway, **options: Any) -> None:
        self.base = f"http://{gateway.http}"
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(PATIENCE_MS)
        self.page: Any = self._context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._inside_only)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI));"
            "window.shifts = [];"
            "new PerformanceObserver(list => list.getEntries().forEach(e => e.hadRecentInput || window.shifts.push("
            "[e.value, ...e.sources.map(s => s.node?.outerHTML?.slice(0, 80) ?? '')])))"
            ".observe({type: 'layout-shift', buffered: true});"
        )

    def _inside_only(self, request: Any) -> None:
        if not request.url.startswith((self.base, "blob:", "data:")):
            self.problems.append(f"asked the outside: {request.url}")

    def go(self, address: str) -> Any:
        """Open an address as if it had been shared: from nothing."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.base}/{address}")
        expect(self.page.get_by_text("live", exact=True)).to_be_visible()
        expect(self.page.locator(".spin")).to_have_count(0, timeout=PATIENCE_MS)
        return self.page

    def close(self) -> None:
        """Fails when something went wrong."""
        self._context.close()
        assert not self.problems, self.problems
