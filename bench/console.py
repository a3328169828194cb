"""The console in Chromium on a gateway that is full: how long until a page can be read, how smoothly a plot moves.

A gateway of its own gets `--series` active series, `--anomalies` open anomalies (each an alert), and, with
`--background`, further load while it is looked at. Then Chromium opens every page from nothing (no cache, as somebody
who follows a link) and, staying in the console, one page after another. A page can be read when its heading stands and
nothing on it says "Loading" any more.

For panning, a plot of 50 series with 2,000 points each is dragged along for some seconds, once with samples taken at
common moments and once with every series at its own. Counted are the frames that the browser really draws, and what the
page's own thread does for each (Chromium's TaskDuration and ScriptDuration): without a graphics card all drawing is
done by the cores that everything else runs on, so the first depends on the machine, the second hardly.

`--load 0.5` sends half of the maximum. The maximum is what is acknowledged to four connections that never wait between
two requests, for eight seconds, before the browser is started. Browser, gateway and sender share the cores, so
what the sender reaches is told twice: in the ten seconds before the browser starts, and while it works.

Figures are JSON lines: {"bench": "console", "page", "how": "first" | "from_link" | "inside", "seconds"}, two for
panning, and one of the load. `--check` ends with status 1 where a figure misses its goal (first view 1 s, pages 2 s,
60 frames a second or, where fewer are drawn, at most a quarter of a frame's time on the page's thread).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from bench.console_load import CONNECTIONS, Load, background, bodies_of, maximum, request_body
from gateway.clock import SystemClock
from gateway.log.event_writer import EventWriter
from gateway.log.settings import LogSettings
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from tests.e2e.program import Gateway

PLOT_SERIES: Final = 50
PLOT_POINTS: Final = 2000
FIRST_GOAL: Final = 1.0
PAGE_GOAL: Final = 2.0
FRAMES_GOAL: Final = 60.0
THREAD_GOAL: Final = 0.25 * 1000.0 / FRAMES_GOAL
"""Milliseconds of the page's thread a frame."""
FLAGS: Final = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"]
_PAGES: Final = {
    "overview": "#/",
    "services": "#/services",
    "service": "#/services/service-7",
    "hosts": "#/hosts",
    "explore": "#/explore?m=" + quote('bench_value{job="service-7",item="7"}'),
    "anomalies": "#/anomalies?from=-24h",
    "alerts": "#/alerts",
    "incidents": "#/incidents",
    "suppressed": "#/suppressed",
    "analytics": "#/analytics",
    "status": "#/status",
    "senders": "#/senders",
    "configuration": "#/configuration",
}
_READABLE: Final = (
    """() => document.querySelector('h1') && document.querySelector('.live.on') && !document.querySelector('.spin')"""
)
_WATCH: Final = """() => {
  window.__frames = []; window.__watch = true;
  const tick = (t) => { window.__frames.push(t); if (window.__watch) requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


def main() -> int:
    """Prints the figures; exit status 1 when one misses its goal and --check was given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--services", type=int, default=100, help="services that the series are of")
    parser.add_argument("--anomalies", type=int, default=10_000)
    parser.add_argument("--background", type=int, default=0, help="further points a second while it is looked at")
    parser.add_argument("--load", type=float, default=0.0, help="the same as a share of what can be taken at most")
    parser.add_argument("--rounds", type=int, default=3, help="looks at every page; the median is told")
    parser.add_argument("--pages", default=",".join(_PAGES), help="comma-separated; empty for panning alone")
    parser.add_argument("--pan-seconds", type=float, default=4.0)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("the Debian package chromium is not installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-console-") as directory:
        prepare_anomalies(Path(directory) / "data", options.anomalies, options.services)
        with Gateway(Path(directory), "detection.warm_up=24h") as gateway:
            plotted = fill(gateway, options.series, options.services)
            gateway.until(lambda: _alerts(gateway) >= options.anomalies, 600)
            gateway.until(lambda: gateway.json("/api/v1/status")["active_series"] >= options.series, 120)
            print(
                f"{_alerts(gateway)} alerts, {options.series} series of {options.services} services are there",
                file=sys.stderr,
            )
            load = Load(gateway.otlp_http, options.series, options.services)
            rate = options.background
            if options.load:
                most = maximum(load)
                rate = round(options.load * most)
                _tell({"how": "maximum", "points_per_second": round(most), "connections": CONNECTIONS})
                gateway.until(lambda: gateway.json("/api/v1/status")["unscored_backlog_points"] < rate, 120)
            with background(load, rate) as sent:
                if rate:
                    _tell({"how": "load alone", "wanted": rate, "points_per_second": _accepted_in(gateway, 10.0)})
                before, began = sent(), time.monotonic()
                missed = look(gateway, chromium, options, plotted)
                reached = (sent() - before) / (time.monotonic() - began)
                _tell({"how": "load beside the browser", "wanted": rate, "points_per_second": round(reached)})
    return 1 if options.check and missed else 0


def _tell(figure: dict[str, Any]) -> None:
    print(json.dumps({"bench": "console"} | figure), flush=True)


def _accepted_in(gateway: Gateway, seconds: float) -> int:
    """Points a second that the gateway accepts over some time."""
    before, began = gateway.json("/api/v1/status")["accepted_points"], time.monotonic()
    time.sleep(seconds)
    accepted: int = gateway.json("/api/v1/status")["accepted_points"] - before
    return round(accepted / (time.monotonic() - began))


def _alerts(gateway: Gateway) -> int:
    count: int = gateway.json("/api/v1/alerts/groups?limit=1&each=1")["alerts"]
    return count


def prepare_anomalies(data: Path, count: int, services: int) -> None:
    """A log of `count` open anomalies, as the scorer would have written it, before the gateway starts."""
    (data / "anomalies" / "edge-0").mkdir(parents=True)
    writer = EventWriter.open(data / "anomalies", 0, LogSettings(), SystemClock())
    now = time.time()
    for number in range(count):
        began = now - 3600 * (number + 1) / count
        writer.append(
            msgspec.msgpack.encode(
                Anomaly(
                    id=f"bench-{number}",
                    time=began,
                    series={
                        "__name__": "bench_value",
                        "instance": f"host-{number % 500}",
                        "item": str(number),
                        "job": f"service-{number % services}",
                    },
                    value=12.5,
                    expected=3.0,
                    lower=2.0,
                    upper=4.0,
                    score=0.5 + 0.5 * (number % 50) / 50,
                    severity=SEVERITIES[1 + number % 4],
                    reasons=["317 % above the usual level for this time of day"],
                    detected_ns=round(began * 1e9),
                )
            )
        )
        if number % 500 == 499:
            writer.sync()
    writer.sync()
    writer.close()


def _send(gateway: Gateway, body: bytes) -> None:
    status, answer = gateway.post("/v1/metrics", body, Content_Type="application/x-protobuf")
    if status != 200:
        raise SystemExit(f"the gateway answered {status}: {answer[:200]!r}")


def fill(gateway: Gateway, series: int, services: int) -> tuple[int, int]:
    """Every series with one sample of now, and twice 50 that are plotted with 2,000 samples over the last half hour:
    one half at common moments, the other each at its own. Gives that half hour in Unix seconds."""
    now = time.time_ns()
    for body in bodies_of(series, services, now):
        _send(gateway, body)
    span = 1_800_000_000_000
    step = span // PLOT_POINTS
    for name, apart in enumerate((0, step // PLOT_SERIES), services):
        for first in range(0, PLOT_POINTS, 100):
            points = (
                (s, 0, now - span + n * step + s * apart, math.sin(n / 40 + s) + s)
                for n in range(first, first + 100)
                for s in range(PLOT_SERIES)
            )
            _send(gateway, request_body([(name, points)]))
    return (now - span) // 10**9, now // 10**9


def look(gateway: Gateway, chromium: str, options: argparse.Namespace, plotted: tuple[int, int]) -> int:
    """Every page, then panning; gives the number of figures that miss their goal."""
    from playwright.sync_api import sync_playwright

    missed = 0
    pages = {name: address for name, address in _PAGES.items() if name in options.pages.split(",")}
    base = f"http://{gateway.http}/"

    def tell(page: str, how: str, seconds: list[float], goal: float) -> None:
        nonlocal missed
        middle = statistics.median(seconds)
        missed += middle > goal
        figure = {"bench": "console", "page": page, "how": how, "seconds": round(middle, 3), "goal": goal}
        print(json.dumps(figure | {"worst": round(max(seconds), 3), "rounds": len(seconds)}), flush=True)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, address in pages.items():
            cold = []
            for _ in range(options.rounds):
                context = browser.new_context(viewport={"width": 1360, "height": 900})
                page = context.new_page()
                began = time.perf_counter()
                page.goto(base + address, wait_until="commit")
                page.wait_for_function(_READABLE, polling="raf", timeout=60_000)
                cold.append(time.perf_counter() - began)
                context.close()
            first = name == "overview"
            tell(name, "first" if first else "from_link", cold, FIRST_GOAL if first else PAGE_GOAL)
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        page.goto(base)
        page.wait_for_function(_READABLE, timeout=60_000)
        for name, address in pages.items():
            warm = []
            for _ in range(options.rounds):
                page.evaluate("location.hash = '#/nowhere'")
                page.wait_for_selector("text=No such page")
                began = time.perf_counter()
                page.evaluate(f"location.hash = {json.dumps(address)}")
                page.wait_for_function("() => !document.body.textContent.includes('No such page')", polling="raf")
                page.wait_for_function(_READABLE, polling="raf", timeout=60_000)
                warm.append(time.perf_counter() - began)
            tell(name, "inside", warm, PAGE_GOAL)
        for service, moments in enumerate(("common", "own"), options.services):
            missed += pan(page, base, options.pan_seconds, service, moments, plotted)
        browser.close()
    return missed


def pan(page: Any, base: str, seconds: float, service: int, moments: str, plotted: tuple[int, int]) -> int:
    """Frames drawn while a plot of 50 series is dragged along."""
    matches = "&".join(
        "m=" + quote(f'bench_value{{job="service-{service}",item=~"{low}"}}')
        for low in ("[0-9]", "1[0-9]", "2[0-9]", "3[0-9]", "4[0-9]")
    )
    page.goto("about:blank")
    page.goto(f"{base}#/explore?band=off&ex=off&from={plotted[0]}&to={plotted[1]}&{matches}")
    page.wait_for_function(_READABLE, timeout=60_000)
    page.wait_for_selector(".chart canvas")
    drawn = page.evaluate("document.querySelectorAll('.legend.full li').length")
    box = page.locator(".chart .u-over").first.bounding_box()
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable")

    def spent() -> dict[str, float]:
        return {m["name"]: m["value"] for m in tools.send("Performance.getMetrics")["metrics"]}

    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 80)
    page.mouse.down()
    page.evaluate(_WATCH)
    before = spent()
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        n += 1
        page.mouse.move(box["x"] + box["width"] / 2 + 250 * math.sin(n / 25), box["y"] + 80)
    frames: list[float] = page.evaluate("() => { window.__watch = false; return window.__frames; }")
    after = spent()
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_function(f"() => !location.hash.includes('to={plotted[1]}&')")
    gaps = sorted(b - a for a, b in itertools.pairwise(frames))
    rate = 1000.0 * len(gaps) / (frames[-1] - frames[0])
    thread, script = (
        (after[name] - before[name]) * 1000.0 / len(frames) for name in ("TaskDuration", "ScriptDuration")
    )
    figure = {
        "bench": "console",
        "page": "explore",
        "how": "pan",
        "moments": moments,
        "series": drawn,
        "points": PLOT_POINTS,
        "frames_per_second": round(rate, 1),
        "frame_ms_p50": round(statistics.median(gaps), 1),
        "frame_ms_p95": round(gaps[int(0.95 * (len(gaps) - 1))], 1),
        "frame_ms_most": round(gaps[-1], 1),
        "thread_ms_a_frame": round(thread, 2),
        "script_ms_a_frame": round(script, 2),
        "moves": n,
        "goal": FRAMES_GOAL,
        "thread_goal": round(THREAD_GOAL, 2),
    }
    print(json.dumps(figure), flush=True)
    return int(rate < FRAMES_GOAL * 0.97 and thread > THREAD_GOAL)


if __name__ == "__main__":
    sys.exit(main())
