"""The console in a real browser over the real sample fleet with a fault: every page, and the ways people go.

Screenshots (light, dark, phone width) go to .artefacts/console/.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.e2e.console_stage import AXE, MODES, SCREENSHOTS, Visitor, expect, fleet_with_a_fault, launched, must_have
from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway
from tests.e2e.test_incident_groups import trace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]

pytestmark = pytest.mark.real
MOST_SHIFT = 0.1
"""What Web Vitals call good."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without anything that asks the outside."""
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The fleet with its fault. After the browser, so that nothing is started where there is none."""
    del browser
    must_have(
        importlib.util.find_spec("opentelemetry.instrumentation") is not None, "the extra `host` is not installed"
    )
    with fleet_with_a_fault(tmp_path_factory.mktemp("console")) as program:
        yield program


@pytest.fixture
def visitor(browser: Browser, gateway: Gateway) -> Iterator[Visitor]:
    """A visitor on a wide, light screen."""
    found = Visitor(browser, gateway, **MODES["light"])
    yield found
    found.close()


def addresses(gateway: Gateway) -> dict[str, tuple[str, str | re.Pattern[str]]]:
    """Each page: its address, and something that only real data puts on it."""
    anomaly = next(a for a in gateway.json("/api/v1/anomalies") if a["series"].get("job") == "checkout")
    alert = next(a for a in gateway.json("/api/v2/alerts") if a["labels"]["alertname"] == "AnomalyDetected")
    host = gateway.json("/api/v1/hosts")[0]
    incident = next(i for i in gateway.json("/api/v1/incident-groups?state=all") if "checkout" in i["places"])
    match = quote('http_server_request_duration_seconds_count{job="checkout"}')
    return {
        "overview": ("#/", "away from normal"),
        "services": ("#/services", re.compile(r"^Latency \d")),
        "service": ("#/services/checkout", "http_server_request_duration_seconds"),
        "hosts": ("#/hosts", "Connection refused"),
        "host": (f"#/hosts/{host['kind']}/{quote(host['name'])}", "Memory"),
        "explore": (f"#/explore?m={match}", "job=checkout"),
        "anomalies": ("#/anomalies?from=-3h", anomaly["series"]["__name__"]),
        "anomaly": (f"#/anomalies/{anomaly['id']}", anomaly["reasons"][0].split(" ")[-1]),
        "alerts": ("#/alerts", "checkout"),
        "alert": (f"#/alerts/{alert['fingerprint']}", "What happened"),
        "incidents": ("#/incidents", "Likely cause"),
        "incident": (f"#/incidents/{incident['id']}", "Its alerts, in order of onset"),
        "suppressed": ("#/suppressed", "told"),
        "maintenance": ("#/maintenance", "upgrade of the database"),
        "oncall": ("#/oncall", "rotates by the clock of Europe/Rome"),
        "analytics": ("#/analytics", "Busiest hours"),
        "status": ("#/status", "Data plane up for"),
        "senders": ("#/senders", "opentelemetry"),
        "configuration": ("#/configuration", "server.data_dir"),
    }


def prepare(gateway: Gateway) -> None:
    """A maintenance window, a deploy, and a notification, so that no page is empty."""
    if not gateway.json("/api/v1/maintenance"):
        body = {"name": "upgrade of the database", "by": "ada", "matchers": ['service="inventory"']}
        body["end"] = "2100-01-01T00:00:00Z"
        gateway.send("POST", "/api/v1/maintenance", body)
        gateway.send("POST", "/api/v1/markers", {"title": "inventory 2.1 rolled out", "service": "inventory"})
    for number, (caller, callee) in enumerate((("cart", "checkout"), ("checkout", "ledger")), 1):
        status, _ = gateway.post("/v1/traces", trace(caller, callee, number), Content_Type="application/x-protobuf")
        assert status == 200
    gateway.until(lambda: len(gateway.json("/api/v1/topology")) >= 2)
    gateway.until(lambda: bool(gateway.json("/api/v1/notifications")["recent"]))
    gateway.until(lambda: any(s["sdk"] for s in gateway.json("/api/v1/senders")["senders"]))
    gateway.until(lambda: gateway.json("/api/v1/probes")[0]["state"] == "failing")


@pytest.mark.parametrize("mode", MODES)
def test_every_page_shows_real_data_accessibly(browser: Browser, gateway: Gateway, mode: str) -> None:
    assert AXE.is_file(), "axe-core comes with the console's build: make console"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    visitor = Visitor(browser, gateway, **MODES[mode])
    found: dict[str, list[str]] = {}
    prepare(gateway)
    for name, (address, text) in addresses(gateway).items():
        page = visitor.go(address)
        expect(page.get_by_text(text).first).to_be_visible()
        # Cumulative layout shift, the sum of what moved under a reader's eyes (Layout Instability API).
        shifts = page.evaluate("window.shifts")
        if sum(shift[0] for shift in shifts) > MOST_SHIFT:
            found.setdefault(name, []).append(f"jumps: {shifts}")
        # Plots are drawn when they come near the screen.
        for _ in range(page.locator(".later").count()):
            page.evaluate("document.querySelector('.later')?.scrollIntoView()")
            page.wait_for_function("() => !document.querySelector('.spin')")
        page.wait_for_function("() => scrollTo(0, 0) || !document.querySelector('.spin')")
        page.screenshot(path=str(SCREENSHOTS / f"{name}-{mode}.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), f"{name} scrolls sideways"
        if violations := inaccessible(page):
            found.setdefault(name, []).extend(violations)
    assert not found, found
    visitor.close()


def inaccessible(page: Page) -> list[str]:
    """What axe-core finds on the page as it is."""
    page.evaluate(AXE.read_text())
    result = page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
    return [f"{v['id']}: {[node['html'][:120] for node in v['nodes'][:3]]}" for v in result["violations"]]


@pytest.mark.parametrize("mode", ["dark", "phone"])
def test_what_opens_on_a_page_is_accessible(browser: Browser, gateway: Gateway, mode: str) -> None:
    anomaly = next(a for a in gateway.json("/api/v1/anomalies") if a["series"].get("job") == "checkout")
    visitor = Visitor(browser, gateway, **MODES[mode])

    def opened(address: str, act: Callable[[Page], object], text: str | re.Pattern[str]) -> None:
        page = visitor.go(address)
        act(page)
        expect(page.get_by_text(text).first).to_be_visible()
        assert not inaccessible(page), (address, inaccessible(page))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), f"{address} scrolls sideways"

    opened("#/", lambda page: page.keyboard.press("?"), "earlier and later")
    opened("#/", lambda page: page.get_by_label("Time range").select_option(label="From … to …"), "Show")
    opened("#/explore", lambda page: page.get_by_label("Find series").fill("chkout"), "job=checkout")
    opened("#/alerts", lambda page: page.get_by_role("button", name="New silence").click(), "Give at least one")
    opened("#/maintenance", lambda page: page.get_by_role("button", name="New window").click(), "Only at these times")
    opened("#/oncall", lambda page: page.get_by_text("Shifts as a list").click(), "Person")
    opened("#/configuration", lambda page: page.get_by_role("button", name="Check", exact=True).click(), "can be used")
    opened(f"#/anomalies/{anomaly['id']}", lambda page: page.get_by_text("Labels").click(), "otel_scope_name")
    visitor.close()


def test_from_the_overview_to_the_fault_to_a_silence_to_its_explanation(visitor: Visitor, gateway: Gateway) -> None:
    page = visitor.go("#/")
    page.locator(".rows a", has_text="checkout").first.click()
    expect(page.get_by_text("What moved with it")).to_be_visible()
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.get_by_role("link", name="Its alert: act, and who was told why").click()
    expect(page.get_by_text("Who is told, and why")).to_be_visible()
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


def test_what_a_person_thinks_of_an_anomaly_reaches_the_gateway_and_can_be_changed(
    visitor: Visitor, gateway: Gateway
) -> None:
    anomaly = next(a for a in gateway.json("/api/v1/anomalies") if a["series"].get("job") == "checkout")
    page = visitor.go(f"#/anomalies/{anomaly['id']}")
    judging = page.get_by_role("region", name="Was this worth telling?")
    judging.get_by_label("Your name").fill("")
    judging.get_by_role("button", name="Useful").click()
    expect(judging.get_by_text("Say who you are first.")).to_be_visible()
    judging.get_by_label("Your name").fill("Ada")
    for button, verdict, comment in (("Useful", "useful", "it was the deploy"), ("Noise", "noise", "")):
        judging.get_by_label("Comment").fill(comment)
        judging.get_by_role("button", name=button).click()
        expect(judging.get_by_text(f"Thank you: {verdict}.")).to_be_visible()
        given = gateway.json(f"/api/v1/anomalies/{anomaly['id']}")["feedback"]
        assert (given["verdict"], given["by"], given["comment"]) == (verdict, "Ada", comment)
    page.reload()
    expect(judging.get_by_text("Ada called it noise")).to_be_visible()


def test_from_a_service_to_its_neighbour(visitor: Visitor, gateway: Gateway) -> None:
    prepare(gateway)
    page = visitor.go("#/services/checkout")
    neighbours = page.get_by_role("region", name="Neighbours")
    expect(neighbours.get_by_text("calls it")).to_be_visible()
    expect(neighbours.get_by_text("ledger")).to_be_visible()
    expect(neighbours.get_by_role("link", name="ledger")).to_have_count(0)
    neighbours.get_by_role("link", name=re.compile("cart")).click()
    expect(page.get_by_role("heading", name="cart", exact=True)).to_be_visible()
    link = page.get_by_role("region", name="Neighbours").get_by_role("link", name=re.compile("checkout"))
    expect(link).to_have_text(re.compile(r"is called, \d+ open"))


def test_an_alert_is_acknowledged_and_remembers_by_whom(visitor: Visitor, gateway: Gateway) -> None:
    # An alert of its own: one of the fleet's may be over before the click.
    gateway.send("POST", "/api/v2/alerts", [{"labels": {"alertname": "QueueStuck", "service": "ledger"}}])

    def raised() -> list[str]:
        alerts = gateway.json("/api/v2/alerts")
        return [a["fingerprint"] for a in alerts if a["labels"]["alertname"] == "QueueStuck"]

    gateway.until(lambda: bool(raised()))
    fingerprint = raised()[0]
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


def test_a_configuration_is_checked_before_it_is_taken_up(visitor: Visitor) -> None:
    page = visitor.go("#/configuration")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("Nothing differs from what is in use.")).to_be_visible()
    page.get_by_label("A configuration to check").fill('[log]\nretention = "soon"')
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_role("alert").get_by_text("log.retention")).to_be_visible()


def test_a_maintenance_window_is_made_and_ended(visitor: Visitor, gateway: Gateway) -> None:
    page = visitor.go("#/maintenance")
    page.get_by_role("button", name="New window").click()
    page.get_by_label("Name", exact=True).fill("disk swap")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Value").fill("payment")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("disk swap")).to_be_visible()
    page.get_by_role("button", name="End disk swap now").click()
    gateway.until(
        lambda: any(w["name"] == "disk swap" and w["state"] == "expired" for w in gateway.json("/api/v1/maintenance"))
    )


@pytest.mark.parametrize(
    ("zone", "begins", "location"),
    [("", "2090-01-01T15:30:00.000Z", "Asia/Tokyo"), ("?tz=utc", "2090-01-02T00:30:00.000Z", "UTC")],
)
def test_a_maintenance_window_begins_by_the_clock_that_is_shown(
    browser: Browser, gateway: Gateway, zone: str, begins: str, location: str
) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"], timezone_id="Asia/Tokyo")
    page = visitor.go(f"#/maintenance{zone}")
    page.get_by_role("button", name="New window").click()
    name = f"move by the clock of {location}"
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Value").fill("payment")
    page.get_by_label("From (empty: now)").fill("2090-01-02T00:30")
    page.get_by_text("Only at these times").locator("..").get_by_label("mon").check()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text(name)).to_be_visible()
    visitor.close()
    (made,) = [window for window in gateway.json("/api/v1/maintenance") if window["name"] == name]
    assert (made["start"], made["recurring"][0]["location"]) == (begins, location)
    gateway.send("DELETE", f"/api/v1/maintenance/{made['id']}")


def test_the_status_page_shows_what_maintenance_freezes(visitor: Visitor, gateway: Gateway) -> None:
    made = gateway.send(
        "POST", "/api/v1/maintenance",
        {"name": "move", "by": "Ada", "matchers": ['service="cart"'],
         "end": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
    )  # fmt: skip

    def frozen() -> int:
        known = gateway.json("/api/v1/status")["frozen_learning"]
        return int(known["series"] + known["new_series"])

    gateway.until(lambda: frozen() > 0)
    card = visitor.go("#/status").get_by_role("region", name="Learning in maintenance")
    expect(card.locator("div").filter(has_text=re.compile("^Windows that hold")).last).to_have_text(
        re.compile("[1-9]$")
    )
    expect(card.get_by_text("Series that go on learning, too many")).to_be_visible()
    expect(card.get_by_role("alert")).to_have_count(0)
    gateway.send("DELETE", f"/api/v1/maintenance/{made['id']}")


def test_the_keyboard_reaches_pages_ranges_and_plots(visitor: Visitor) -> None:
    page = visitor.go("#/")
    page.keyboard.press("?")
    expect(page.get_by_role("region", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    expect(page.get_by_role("heading", name="Hosts and probes")).to_be_visible()
    visitor.go("#/explore?m=" + quote('process_memory_usage_bytes{job="cart"}'))
    page.keyboard.press("[")
    expect(page.get_by_role("button", name="Back to now")).to_be_visible()
    page.locator(".chart").focus()
    before = page.evaluate("location.hash")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("before => location.hash !== before", arg=before)


def test_dragging_with_shift_moves_the_plot_along(visitor: Visitor) -> None:
    page = visitor.go("#/explore?m=" + quote('process_memory_usage_bytes{job="cart"}'))
    plot = page.locator(".chart .u-over")
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 40, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.get_by_role("button", name="Back to now")).to_be_visible()
    search = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.split('?')[1]))")
    assert 0.9 * 3600 < float(search["to"]) - float(search["from"]) < 1.1 * 3600, "moved, not zoomed"


def send_compared(gateway: Gateway) -> None:
    """Gauge `compared` of a service `twice`, now and a day ago, and a histogram `traced_seconds` with an exemplar."""
    now = time.time_ns()
    for ago in (86400, 0):
        points = [(now - (ago + 60 * n) * 10**9, float(n + ago % 7), {}) for n in range(20, 0, -1)]
        status, _ = gateway.post(
            "/v1/metrics", gauge_request("twice", "compared", points), Content_Type="application/x-protobuf"
        )
        assert status == 200
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "twice"
    metric = resource.scope_metrics.add().metrics.add(name="traced", unit="s")
    metric.histogram.aggregation_temporality = 2
    point = metric.histogram.data_points.add(start_time_unix_nano=now - 10**9, time_unix_nano=now, count=1, sum=0.2)
    point.explicit_bounds.append(1.0)
    point.bucket_counts.extend([1, 0])
    point.exemplars.add(time_unix_nano=now, as_double=0.2, trace_id=bytes(range(16)), span_id=bytes(range(8)))
    status, _ = gateway.post("/v1/metrics", request.SerializeToString(), Content_Type="application/x-protobuf")
    assert status == 200


def test_explore_compares_with_yesterday_shows_traces_and_copies_promql(browser: Browser, gateway: Gateway) -> None:
    send_compared(gateway)
    visitor = Visitor(browser, gateway, **MODES["light"], permissions=["clipboard-read", "clipboard-write"])
    page = visitor.go("#/explore?m=" + quote('compared{job="twice"}'))
    page.get_by_label("Compare with").select_option(label="Yesterday")
    expect(page.locator(".legend.full").get_by_text("(yesterday)")).to_be_visible()
    assert "vs=day" in page.evaluate("location.hash")
    page.get_by_role("button", name="Copy as PromQL").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == 'compared{job="twice"}'
    # Where a page is neither https nor loopback there is no clipboard to ask for.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    expect(page.get_by_text("Copied")).to_have_count(0)
    page.get_by_role("button", name="Copy as PromQL").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    page.evaluate("delete navigator.clipboard")
    assert page.evaluate("navigator.clipboard.readText()") == 'compared{job="twice"}'
    bucket = 'traced_seconds_bucket{job="twice",le="1"}'
    gateway.until(lambda: bool(gateway.json("/api/v1/exemplars?match=" + quote('{job="twice"}'))))
    visitor.go("#/explore?m=" + quote(bucket))
    page.get_by_text("1 trace (").click()
    expect(page.get_by_text(f"trace {bytes(range(16)).hex()}")).to_be_visible()
    visitor.close()


def test_times_are_shown_in_utc_or_local_and_links_keep_it(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"], timezone_id="Asia/Tokyo")
    page = visitor.go("#/alerts/" + gateway.json("/api/v2/alerts")[0]["fingerprint"])
    since = page.locator(".facts", has_text="Since").locator("dd").nth(1)
    local = since.text_content()
    page.keyboard.press("z")
    expect(since).not_to_have_text(local)
    page.get_by_role("link", name="Services").click()
    expect(page.get_by_role("button", name="UTC")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="UTC")).to_be_visible()
    page.get_by_role("button", name="UTC").click()
    expect(page.get_by_role("button", name="Local time")).to_be_visible()
    visitor.close()


def test_ranges_are_chosen_typed_and_stepped_through(visitor: Visitor) -> None:
    page = visitor.go("#/services/checkout")

    def span() -> float:
        found = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.split('?')[1]))")
        return float(found["to"]) - float(found["from"])

    page.get_by_label("Time range").select_option(label="Last 3 hours")
    assert "from=-3h" in page.evaluate("location.hash")
    page.get_by_label("Time range").select_option(label="From … to …")
    page.get_by_label("From", exact=True).fill("2026-01-02T03:00")
    page.get_by_label("To", exact=True).fill("2026-01-02T02:00")
    expect(page.get_by_text("The beginning must be before the end.")).to_be_visible()
    page.get_by_label("To", exact=True).fill("2026-01-02T05:00")
    page.get_by_role("button", name="Show", exact=True).click()
    assert span() == 2 * 3600
    page.get_by_role("button", name="Earlier").click()
    assert span() == 2 * 3600
    page.keyboard.press("-")
    page.wait_for_function("() => location.hash.includes('from=')")
    assert span() == 4 * 3600
    page.keyboard.press("n")
    expect(page.get_by_role("button", name="Back to now")).to_have_count(0)


def test_what_cannot_be_loaded_says_so_and_can_be_tried_again(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    page = visitor.go("#/")
    page.route("**/api/v1/services?**", lambda route: route.abort())
    page.get_by_role("link", name="Services").click()
    expect(page.get_by_role("alert").get_by_text("The gateway does not answer.")).to_be_visible()
    page.unroute("**/api/v1/services?**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name=re.compile("checkout"))).to_be_visible()
    assert all("ERR_FAILED" in problem for problem in visitor.problems), visitor.problems
    visitor.problems.clear()
    visitor.go("#/services?q=nobody")
    expect(page.get_by_text("No service has this in its name.")).to_be_visible()
    visitor.go("#/services/nobody")
    expect(page.get_by_role("alert").get_by_text("no service 'nobody' sends series now")).to_be_visible()
    assert all("404" in problem for problem in visitor.problems), visitor.problems
    visitor.problems.clear()
    visitor.go("#/explore?m=" + quote('compared{job="no such"}'))
    expect(page.get_by_text("No samples in this time range.")).to_be_visible()
    visitor.close()


def test_tables_sort_and_filter_and_the_address_keeps_it(visitor: Visitor) -> None:
    page = visitor.go("#/configuration")
    table = page.get_by_role("region", name="Settings, table")
    page.get_by_label("Containing").fill("max_series")
    expect(table.get_by_role("row", name=re.compile("ingest.max_series"))).to_be_visible()
    table.get_by_role("button", name="Key").click()
    expect(table.get_by_role("columnheader", name="Key")).to_have_attribute("aria-sort", "ascending")
    page.reload()
    expect(table.get_by_role("columnheader", name="Key")).to_have_attribute("aria-sort", "ascending")
    assert 1 < table.get_by_role("row").count() < 10


def test_what_is_refused_is_told_with_its_reason(visitor: Visitor, gateway: Gateway) -> None:
    old = gauge_request("twice", "ancient", [(10**18, 1.0, {})])
    gateway.post("/v1/metrics", old, Content_Type="application/x-protobuf")
    page = visitor.go("#/status")
    limits = page.get_by_role("region", name="Limits")
    expect(limits.get_by_role("row", name=re.compile("Active series.*2,000,000"))).to_be_visible()
    expect(limits.get_by_role("row", name=re.compile("points refused.*old"))).to_be_visible()
