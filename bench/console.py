"""The console in Chromium on a gateway that is full: how long until a page can be read, how smoothly a plot moves.

A gateway of its own gets `--series` active series, `--anomalies` open anomalies (each an alert), and, with
`--background`, further load while it is looked at. Then Chromium opens every page from nothing (no cache, as somebody
who follows a link) and, staying in the console, one page after another. A page can be read when its heading stands and
nothing on it says "Loading" any more.

For panning, a plot of 50 series with 2,000 points each is dragged along for some seconds; counted are the frames that
the browser really draws. Without a graphics card all drawing is done by the same cores.

Figures are JSON lines: {"bench": "console", "page", "how": "first" | "from_link" | "inside", "seconds"} and one for
panning. `--check` ends with status 1 where a figure misses its goal (first view 1 s, pages 2 s, 60 frames a second).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from gateway.clock import SystemClock
from gateway.log.settings import LogSettings
from gateway.log.writer import EventWriter
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from tests.e2e.program import Gateway

SERVICES: Final = 100
PLOT_SERIES: Final = 50
PLOT_POINTS: Final = 2000
FIRST_GOAL: Final = 1.0
PAGE_GOAL: Final = 2.0
FRAMES_GOAL: Final = 60.0
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
    parser.add_argument("--anomalies", type=int, default=10_000)
    parser.add_argument("--background", type=int, default=0, help="further points a second while it is looked at")
    parser.add_argument("--rounds", type=int, default=3, help="looks at every page; the median is told")
    parser.add_argument("--pan-seconds", type=float, default=4.0)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("the Debian package chromium is not installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-console-") as directory:
        prepare_anomalies(Path(directory) / "data", options.anomalies)
        with Gateway(Path(directory), "detection.warm_up=24h") as gateway:
            fill(gateway, options.series)
            gateway.until(lambda: _alerts(gateway) >= options.anomalies, 600)
            gateway.until(lambda: gateway.json("/api/v1/status")["active_series"] >= options.series, 120)
            print(f"{_alerts(gateway)} alerts, {options.series} series are there", file=sys.stderr)
            with background(gateway, options.background):
                missed = look(gateway, chromium, options)
    return 1 if options.check and missed else 0


def _alerts(gateway: Gateway) -> int:
    count: int = gateway.json("/api/v1/alerts/groups?limit=1&each=1")["alerts"]
    return count


def prepare_anomalies(data: Path, count: int) -> None:
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
                        "job": f"service-{number % SERVICES}",
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


def request_body(points: Iterator[tuple[int, int, int, float]], service: int) -> bytes:
    """OTLP of one service: (item, host, Unix nanoseconds, value) of gauge `bench.value`."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = f"service-{service}"
    metric = resource.scope_metrics.add().metrics.add(name="bench.value")
    for item, host, at, value in points:
        point = metric.gauge.data_points.add(time_unix_nano=at, as_double=value)
        point.attributes.add(key="item").value.string_value = str(item)
        point.attributes.add(key="host").value.string_value = f"host-{host}"
    return request.SerializeToString()


def _send(gateway: Gateway, body: bytes) -> None:
    status, answer = gateway.post("/v1/metrics", body, Content_Type="application/x-protobuf")
    if status != 200:
        raise SystemExit(f"the gateway answered {status}: {answer[:200]!r}")


def fill(gateway: Gateway, series: int) -> None:
    """Every series with one sample of now, and the 50 that are plotted with 2,000 samples over the last half hour."""
    now = time.time_ns()
    each = math.ceil(series / SERVICES)
    for service in range(SERVICES):
        _send(gateway, request_body(((i, i % 500, now, float(i % 17)) for i in range(each)), service))
    step = 1_800_000_000_000 // PLOT_POINTS
    for first in range(0, PLOT_POINTS, 100):
        points = (
            (s, 0, now - (PLOT_POINTS - n) * step, math.sin(n / 40 + s) + s)
            for n in range(first, first + 100)
            for s in range(PLOT_SERIES)
        )
        _send(gateway, request_body(points, SERVICES))


@contextlib.contextmanager
def background(gateway: Gateway, rate: int) -> Iterator[None]:
    """Load from a process of its own while the body runs."""
    if not rate:
        yield
        return
    code = (
        "import sys,time,urllib.request;from bench.console import request_body\n"
        "url,rate=sys.argv[1],int(sys.argv[2]);n=2000;due=time.monotonic()\n"
        "while True:\n"
        "  now=time.time_ns();body=request_body(((i,i%500,now,float(i%17)) for i in range(n)),1)\n"
        "  r=urllib.request.Request(url,body,{'Content-Type':'application/x-protobuf'})\n"
        "  urllib.request.urlopen(r).read()\n"
        "  due+=n/rate;time.sleep(max(0,due-time.monotonic()))\n"
    )
    url = f"http://{gateway.otlp_http}/v1/metrics"
    sender = subprocess.Popen([sys.executable, "-c", code, url, str(rate)], env=os.environ)
    try:
        yield
    finally:
        sender.terminate()
        sender.wait()


def look(gateway: Gateway, chromium: str, options: argparse.Namespace) -> int:
    """Every page, then panning; gives the number of figures that miss their goal."""
    from playwright.sync_api import sync_playwright

    missed = 0
    base = f"http://{gateway.http}/"

    def tell(page: str, how: str, seconds: list[float], goal: float) -> None:
        nonlocal missed
        middle = statistics.median(seconds)
        missed += middle > goal
        figure = {"bench": "console", "page": page, "how": how, "seconds": round(middle, 3), "goal": goal}
        print(json.dumps(figure | {"worst": round(max(seconds), 3), "rounds": len(seconds)}), flush=True)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, address in _PAGES.items():
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
        for name, address in _PAGES.items():
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
        missed += pan(page, base, options.pan_seconds)
        browser.close()
    return missed


def pan(page: Any, base: str, seconds: float) -> int:
    """Frames drawn while a plot of 50 series is dragged along."""
    matches = "&".join(
        "m=" + quote(f'bench_value{{job="service-{SERVICES}",item=~"{low}"}}')
        for low in ("[0-9]", "1[0-9]", "2[0-9]", "3[0-9]", "4[0-9]")
    )
    page.goto("about:blank")
    page.goto(f"{base}#/explore?band=off&ex=off&from=-15m&{matches}")
    page.wait_for_function(_READABLE, timeout=60_000)
    page.wait_for_selector(".chart canvas")
    drawn = page.evaluate("document.querySelectorAll('.legend.full li').length")
    box = page.locator(".chart .u-over").first.bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 80)
    page.mouse.down()
    page.evaluate(_WATCH)
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        n += 1
        page.mouse.move(box["x"] + box["width"] / 2 + 250 * math.sin(n / 25), box["y"] + 80)
    frames: list[float] = page.evaluate("() => { window.__watch = false; return window.__frames; }")
    page.mouse.up()
    page.keyboard.up("Shift")
    gaps = sorted(b - a for a, b in itertools.pairwise(frames))
    rate = 1000.0 * len(gaps) / (frames[-1] - frames[0])
    figure = {
        "bench": "console",
        "page": "explore",
        "how": "pan",
        "series": drawn,
        "points": PLOT_POINTS // 2,
        "frames_per_second": round(rate, 1),
        "frame_ms_p50": round(statistics.median(gaps), 1),
        "frame_ms_p95": round(gaps[int(0.95 * (len(gaps) - 1))], 1),
        "moves": n,
        "goal": FRAMES_GOAL,
    }
    print(json.dumps(figure), flush=True)
    return int(rate < FRAMES_GOAL * 0.97)


if __name__ == "__main__":
    sys.exit(main())
