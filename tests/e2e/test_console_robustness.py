"""The console against what nobody means well: labels that try to be markup, endless or reversed, addresses that were
mangled, answers that fail, a stream that ends, a place that signs people out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest

from gateway.clock import SystemClock
from gateway.log.event_writer import EventWriter
from gateway.log.settings import LogSettings
from gateway.telemetry.anomaly import Anomaly, Member
from tests.e2e.console_stage import MODES, Visitor, expect, launched
from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.real

MARKUP = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>{{window.broken=1}}\'"`'
HOSTILE = {
    "markup": MARKUP,
    "reversed": "user‮gnp.exe‏ שלום",
    "lines": "first\nsecond\r\n\tthird",
    "signs": "🚀👩‍👩‍👧 ¼ ́́́",
    "endless": "x" * 3000,
    "braces": '{job="x"} or {a!~"b|c"} \\ \\"',
    "javascript": "javascript:window.broken=1",
}
SERVICE = "shop <b>&amp; 🚀"  # no "/", which would end a namespace
PAGES = [
    "#/", "#/services", f"#/services/{quote(SERVICE)}", "#/hosts", "#/explore", "#/anomalies?from=-3h", "#/alerts",
    "#/incidents", "#/suppressed", "#/maintenance", "#/oncall", "#/analytics", "#/status", "#/senders",
    "#/configuration",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that nobody sent anything good: series, anomalies, alerts, silences and windows with hostile labels."""
    del browser
    directory = tmp_path_factory.mktemp("hostile")
    _write_anomalies(directory / "data" / "anomalies")
    with Gateway(directory) as program:
        now = time.time_ns()
        for name in (*HOSTILE, "name {of} a <series>"):
            points = [(now - n * 10**10, float(n), HOSTILE) for n in range(5, 0, -1)]
            status, _ = program.post(
                "/v1/metrics", gauge_request(SERVICE, name, points), Content_Type="application/x-protobuf"
            )
            assert status == 200
        labels = {"alertname": MARKUP, "service": SERVICE, "severity": "critical"} | HOSTILE
        alert = {"labels": labels, "annotations": HOSTILE | {"summary": MARKUP, "description": HOSTILE["reversed"]}}
        program.send("POST", "/api/v2/alerts", [alert | {"generatorURL": "http://example.invalid/<b>"}])
        window = {"name": MARKUP, "by": MARKUP, "comment": MARKUP, "matchers": ['a="b"'], "end": "2100-01-01T00:00:00Z"}
        program.send("POST", "/api/v1/maintenance", window)
        silence = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": MARKUP}
        matchers = [{"name": "a", "value": value, "isRegex": False, "isEqual": True} for value in HOSTILE.values()]
        program.send("POST", "/api/v2/silences", silence | {"comment": MARKUP, "matchers": matchers})
        program.send("POST", "/api/v1/markers", {"title": MARKUP, "service": SERVICE, "version": MARKUP})
        program.until(lambda: len(program.json("/api/v2/alerts")) >= 3)
        program.until(lambda: any(s["name"] == SERVICE for s in program.json("/api/v1/services")), 90)
        yield program


def _write_anomalies(log: Path) -> None:
    (log / "edge-0").mkdir(parents=True)
    writer = EventWriter.open(log, 0, LogSettings(), SystemClock())
    series = {"__name__": "name {of} a <series>", "job": SERVICE, **HOSTILE}
    shape: dict[str, Any] = {"value": 1e300, "expected": 1.0, "lower": 0.5, "upper": None, "score": 0.95}
    common = shape | {"time": time.time() - 60, "severity": "critical", "reasons": [MARKUP, *HOSTILE.values()]}
    members = [Member(series | {"n": str(n)}, time.time() - 60 + n, 0.9) for n in range(3)]
    for anomaly in (
        Anomaly(id="one", series=series, kind="spike", **common),
        Anomaly(id="many", series={"service": SERVICE}, kind="group", members=members, **common),
    ):
        writer.append(msgspec.msgpack.encode(anomaly))
    writer.sync()
    writer.close()


def pages(gateway: Gateway) -> list[str]:
    """Every page's address, with something hostile behind it."""
    alert = next(a for a in gateway.json("/api/v2/alerts") if a["labels"]["alertname"] == MARKUP)
    match = quote('{"name {of} a <series>"}')
    return [*PAGES, f"#/explore?m={match}", "#/anomalies/one", "#/anomalies/many", f"#/alerts/{alert['fingerprint']}"]


def test_hostile_labels_are_shown_and_do_nothing(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["phone"])
    for address in pages(gateway):
        page = visitor.go(address)
        assert page.evaluate("window.broken") is None, address
        assert page.locator("main img, main script, bdi *:not(wbr)").count() == 0, address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), f"{address} scrolls sideways"
        assert not re.search(r"\b(undefined|NaN)\b|\[object ", page.inner_text("body")), address
        assert page.evaluate("document.body.scrollHeight") < 40_000, f"{address} is endless"
    visitor.go("#/anomalies/one")
    expect(visitor.page.get_by_text("window.broken=1").first).to_be_visible()
    visitor.close()


def test_an_anomaly_of_many_series_names_them_in_the_order_of_their_onset(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    page = visitor.go("#/anomalies/many")
    expect(page.get_by_role("heading", name=re.compile("many series at once"))).to_be_visible()
    assert page.locator(".onsets").first.get_by_role("listitem").all_inner_texts()[0].startswith("same time")
    page.get_by_role("link", name="Silence alerts like this").click()
    expect(page.get_by_label("Value").first).to_have_value("ServiceAnomalyDetected")
    visitor.close()


MANGLED = [
    "#/services/%E0%A4%A", "#/%", "#/explore?m=%7B", "#/explore?m=a%7Bb", "#/explore?m=up&from=x&to=y&vs=z",
    "#/?from=1e400&to=-1e400", "#/services?from=-99999999999999d", "#/anomalies?from=-1x&to=Infinity&severity=%00",
    "#/anomalies?from=2000000000&to=1", "#/oncall?week=1e300", "#/hosts/a", "#/hosts/a/b", "#/anomalies/%2e%2e%2f",
    "#/alerts/..%2f..%2fv2%2falerts", "#/alerts?silence=%7B%22a%22%3A%5B%5D%7D", "#/alerts?silence=null",
    "#/alerts?state=x", "#/incidents/x", "#/incidents?state=x", "#/analytics?span=x", "#/configuration?set.sort=-x",
    "#/services?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
]  # fmt: skip


def test_a_mangled_address_shows_the_page_or_says_what_to_do(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    for address in MANGLED:
        page = visitor.go(address)
        expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
        assert page.locator("main").inner_text().strip(), address
        assert page.get_by_text("This page cannot be shown").count() == 0, address
        assert not re.search(r"\b(undefined|NaN)\b|Invalid Date|\[object ", page.inner_text("main")), address
        # What the gateway refuses is in the browser's console too, and on the page.
        wrong = [text for text in visitor.problems if not re.search(r"status of (400|404)", text)]
        assert not wrong, (address, wrong)
    visitor.problems.clear()
    visitor.close()


def test_a_filter_that_nobody_knows_counts_as_if_it_were_not_there(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    for address in ("#/anomalies?severity=bogus&state=constructor", "#/alerts?state=toString", "#/incidents?state=x"):
        page = visitor.go(address)
        expect(page.get_by_role("button", name="Try again")).to_have_count(0)
        assert not visitor.problems, (address, visitor.problems)
    visitor.close()


def test_each_page_says_that_an_answer_failed_and_tries_again(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    page = visitor.page
    said = json.dumps({"error": "the data plane does not answer", "reason": "unavailable"})
    live = re.compile("/api/v1/events")

    def fail(route: Any) -> None:
        if live.search(route.request.url):
            route.fallback()
        else:
            route.fulfill(status=503, content_type="application/json", body=said)

    for address in pages(gateway):
        if address in ("#/explore", "#/status"):
            continue  # these ask for nothing before somebody does, and show what the stream tells
        page.route("**/api/**", fail)
        page.goto("about:blank")
        page.goto(f"{visitor.base}/{address}")
        shown = page.get_by_role("alert").filter(has_text="the data plane does not answer")
        expect(shown.first).to_be_visible()
        page.unroute("**/api/**")
        # Not one by one: a page that asks again by itself takes its buttons away meanwhile.
        page.get_by_role("button", name="Try again").evaluate_all("list => list.forEach(button => button.click())")
        expect(page.locator(".spin")).to_have_count(0)
    assert all("503" in problem for problem in visitor.problems), visitor.problems
    visitor.problems.clear()
    visitor.close()


def test_who_was_signed_out_is_told_so_and_what_was_loaded_stays(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    page = visitor.go("#/alerts")
    expect(page.get_by_text("alerts in").first).to_be_visible()
    page.route(
        "**/api/v1/alerts/groups**",
        lambda route: route.fulfill(status=200, content_type="text/html", body="<title>Sign in</title>"),
    )
    page.get_by_label("State").select_option("active")
    expect(page.get_by_role("alert").get_by_text("perhaps a page to sign in")).to_be_visible()
    page.unroute("**/api/v1/alerts/groups**")
    page.route("**/api/v1/alerts/groups**", lambda route: route.fulfill(status=401, body='{"error": "who?"}'))
    page.get_by_label("State").select_option("")
    expect(page.get_by_role("alert").get_by_text("Reload this page to sign in.")).to_be_visible()
    assert all("401" in problem for problem in visitor.problems), visitor.problems
    visitor.problems.clear()
    visitor.close()


def test_the_console_may_not_be_framed_and_other_sites_may_not_act(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    answer = visitor.page.goto(f"{visitor.base}/")
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    # A page of another origin: the same program under its other loopback name.
    other = visitor.base.replace("127.0.0.1", "localhost")
    visitor.page.goto(f"{other}/")
    with visitor.page.expect_console_message(lambda message: "CSP" in message.text):
        refused = visitor.page.evaluate(
            "base => fetch(base + '/-/reload', {method: 'POST', mode: 'no-cors'}).then(() => 'sent', () => 'stopped')",
            visitor.base,
        )
    assert refused == "stopped", "the page's own policy lets it ask nobody else"
    status = visitor.page.request.post(f"{visitor.base}/-/reload", headers={"Origin": other}).status
    assert status == 403
    visitor.problems.clear()
    visitor.close()


def test_a_page_out_of_sight_gives_its_stream_back_and_takes_it_again(browser: Browser, gateway: Gateway) -> None:
    """Browsers open six connections to one place: a seventh tab would wait for ever."""
    visitors = [Visitor(browser, gateway, **MODES["light"]) for _ in range(3)]

    def listeners() -> int:
        (line,) = re.findall(rb"^gateway_console_event_listeners (\d+)", gateway.get("/metrics"), re.MULTILINE)
        return int(line)

    for visitor in visitors:
        visitor.page.clock.install()
        visitor.go("#/")
    gateway.until(lambda: listeners() == 3)
    hide = "to => {Object.defineProperty(document, 'hidden', {value: to, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))}"
    for visitor in visitors[1:]:
        visitor.page.evaluate(hide, True)
        visitor.page.clock.fast_forward(15_000)
    gateway.until(lambda: listeners() == 1)
    visitors[1].page.evaluate(hide, False)
    gateway.until(lambda: listeners() == 2)
    expect(visitors[1].page.get_by_text("live", exact=True)).to_be_visible()
    for visitor in visitors:
        visitor.close()


def test_the_console_comes_back_with_the_control_plane(browser: Browser, gateway: Gateway) -> None:
    visitor = Visitor(browser, gateway, **MODES["light"])
    page = visitor.go("#/")
    gateway.kill_role("control")
    expect(page.get_by_text("connecting…")).to_be_visible()
    gateway.until(gateway.is_ready)
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    expect(page.locator(".parts").get_by_text("Detection")).to_be_visible()
    visitor.problems = [text for text in visitor.problems if not re.search(r"ERR_|status of 50", text)]
    visitor.close()
