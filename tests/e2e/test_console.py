"""The console in a real browser over the real sample fleet with a fault: every page, and the ways people go.

Screenshots (light, dark, phone width) go to .artefacts/console/.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("playwright", reason="the Python package playwright is not installed")
pytest.importorskip("opentelemetry.instrumentation.system_metrics", reason="the extra `host` is not installed")

from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from gateway.commands.fleet.live import LiveService
from gateway.commands.fleet.model import FLEET, ServiceModel
from gateway.commands.fleet.past import past_requests
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
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
PATIENCE_MS = 30_000
FAULT = "http_server_request_duration_seconds_sum"

expect.set_options(timeout=PATIENCE_MS)

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian package chromium is not installed"),
    pytest.mark.skipif(not (CONSOLE / "dist" / "index.html").is_file(), reason="not built: make console"),
]

MODES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1360, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Two hours of the fleet's past, the fleet alive, and checkout five times slower than it ever was."""
    models = {profile.name: ServiceModel(profile) for profile in FLEET}
    with Gateway(tmp_path_factory.mktemp("console")) as program:
        for _, body in past_requests(time.time_ns(), 2.0):
            status, answer = program.post("/v1/metrics", body, Content_Type="application/x-protobuf")
            assert status == 200, answer
        models["checkout"].disturbance.latency_factor = 5.0
        services = [LiveService(model, program.otlp_grpc, program.otlp_http) for model in models.values()]
        for service in services:
            service.start()
        try:
            program.until(
                lambda: any(
                    a["series"].get("job") == "checkout" for a in program.json("/api/v1/anomalies?state=firing")
                ),
                90,
            )
            program.until(lambda: bool(program.json("/api/v2/alerts")))
            yield program
        finally:
            for service in services:
                service.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without anything that asks the outside."""
    playwright: Playwright
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


class Visitor:
    """A page that collects everything that goes wrong on it."""

    def __init__(self, browser: Browser, gateway: Gateway, **options: Any) -> None:
        self.base = f"http://{gateway.http}"
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self._context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._inside_only)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )

    def _inside_only(self, request: Any) -> None:
        if not request.url.startswith((self.base, "blob:", "data:")):
            self.problems.append(f"asked the outside: {request.url}")

    def go(self, address: str) -> Page:
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


@pytest.fixture
def visitor(browser: Browser, gateway: Gateway) -> Iterator[Visitor]:
    """A visitor on a wide, light screen."""
    found = Visitor(browser, gateway, **MODES["light"])
    yield found
    found.close()


def addresses(gateway: Gateway) -> dict[str, tuple[str, str]]:
    """Each page: its address, and something that only real data puts on it."""
    anomaly = next(a for a in gateway.json("/api/v1/anomalies") if a["series"].get("job") == "checkout")
    alert = gateway.json("/api/v2/alerts")[0]["fingerprint"]
    match = quote('http_server_request_duration_seconds_count{job="checkout"}')
    return {
        "overview": ("#/", "away from normal"),
        "services": ("#/services", "checkout"),
        "service": ("#/services/checkout", "http_server_request_duration_seconds"),
        "explore": (f"#/explore?m={match}", "job=checkout"),
        "anomalies": ("#/anomalies?from=-3h", anomaly["series"]["__name__"]),
        "anomaly": (f"#/anomalies/{anomaly['id']}", anomaly["reasons"][0].split(" ")[-1]),
        "alerts": ("#/alerts", "checkout"),
        "alert": (f"#/alerts/{alert}", "Who is told, and why"),
        "status": ("#/status", "server.data_dir"),
    }


@pytest.mark.parametrize("mode", MODES)
def test_every_page_shows_real_data_accessibly(browser: Browser, gateway: Gateway, mode: str) -> None:
    assert AXE.is_file(), "axe-core comes with the console's build: make console"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    visitor = Visitor(browser, gateway, **MODES[mode])
    found: dict[str, list[str]] = {}
    for name, (address, text) in addresses(gateway).items():
        page = visitor.go(address)
        expect(page.get_by_text(text).first).to_be_visible()
        page.screenshot(path=str(SCREENSHOTS / f"{name}-{mode}.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), f"{name} scrolls sideways"
        page.evaluate(AXE.read_text())
        result = page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
        for violation in result["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"][:3]]
            found.setdefault(name, []).append(f"{violation['id']}: {nodes}")
    assert not found, found
    visitor.close()


def test_from_the_overview_to_the_fault_to_a_silence_to_its_explanation(visitor: Visitor, gateway: Gateway) -> None:
    page = visitor.go("#/")
    page.locator(".rows a", has_text="checkout").first.click()
    expect(page.get_by_text("What moved with it")).to_be_visible()
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.get_by_role("link", name="Silence alerts like this").click()
    expect(page.get_by_text(re.compile(r"Catches \d+ active"))).to_be_visible()
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Why").fill("known, being repaired")
    page.get_by_role("button", name="Silence", exact=True).click()
    expect(page.get_by_text("by Ada: known, being repaired")).to_be_visible()
    silence = next(s for s in gateway.json("/api/v2/silences") if s["status"]["state"] == "active")
    assert {m["name"] for m in silence["matchers"]} == {"alertname", "metric", "service"}
    silenced = next(a for a in gateway.json("/api/v2/alerts") if a["status"]["silencedBy"])
    visitor.go(f"#/alerts/{silenced['fingerprint']}")
    expect(page.get_by_text(re.compile("silenced")).first).to_be_visible()
    visitor.go("#/alerts")
    page.get_by_role("button", name="End it now").click()
    expect(page.get_by_text("A silence keeps matching alerts")).to_be_visible()


def test_an_alert_is_acknowledged_and_remembers_by_whom(visitor: Visitor, gateway: Gateway) -> None:
    fingerprint = gateway.json("/api/v2/alerts")[0]["fingerprint"]
    page = visitor.go(f"#/alerts/{fingerprint}")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Note").fill("looking into it")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("by Ada", exact=True)).to_be_visible()
    expect(page.get_by_text("note: looking into it")).to_be_visible()
    assert gateway.json(f"/api/v1/alerts/{fingerprint}/explain")["now"]["acknowledgedBy"] == "Ada"


def test_a_series_is_found_by_typing_and_plotted_with_the_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.go("#/explore")
    box = page.get_by_role("combobox", name="Find series")
    box.focus()
    page.keyboard.type("cpu inventory")
    expect(page.locator("#found").get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".chart canvas")).to_be_visible()
    assert "process_cpu_utilization" in page.evaluate("decodeURIComponent(location.hash)")
    page.keyboard.press("Escape")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert lines[0] == "series,timestamp,value,expected,lower,upper,score"
    assert len(lines) > 300, "two hours and more at ten seconds"
    page.reload()
    expect(page.locator(".chart canvas")).to_be_visible()


def test_dragging_across_a_plot_zooms_and_the_address_keeps_it(visitor: Visitor) -> None:
    match = quote('process_memory_usage_bytes{job="cart"}')
    page = visitor.go(f"#/explore?m={match}")
    plot = page.locator(".chart .u-over")
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Back to now")).to_be_visible()
    search = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.split('?')[1]))")
    assert 0.2 * 3600 < float(search["to"]) - float(search["from"]) < 0.4 * 3600


def test_the_overview_is_live(visitor: Visitor, gateway: Gateway) -> None:
    page = visitor.go("#/")
    before = gateway.json("/api/v1/status")["accepted_points"]
    gateway.until(lambda: gateway.json("/api/v1/status")["accepted_points"] > before)
    expect(page.locator(".tile", has_text="Ingest").locator("dd")).to_have_text(re.compile(r"^[1-9]"))


def test_an_unknown_page_says_where_to_go(visitor: Visitor) -> None:
    page = visitor.go("#/nowhere")
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
