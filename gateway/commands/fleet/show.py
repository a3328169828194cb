"""What a person sees of the demo: the past going in, then faults, and what was found after how many seconds.

On a terminal it is a table that changes in place; into a pipe or a file it is one line for each event.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gateway.commands.fleet.faults import Fault, schedule
from gateway.commands.fleet.live import LiveService
from gateway.commands.fleet.model import FLEET, ServiceModel
from gateway.commands.fleet.past import past_requests
from gateway.config import ServerSettings
from gateway.telemetry.service_labels import service_of

_AFTERGLOW_SECONDS = 60.0
"""An alert that comes this long after a fault's end still counts as its finding."""
_TURN_SECONDS = 0.5


@dataclass(slots=True)
class Progression:
    """Where the demo stands; made anew from the faults and the gateway's anomalies at every turn."""

    faults: list[Fault]
    http: str
    elapsed: float = 0.0
    others: dict[str, str] = field(default_factory=dict)
    """Alerts that belong to no injected fault: anomaly id → what it is about."""
    status: dict[str, Any] = field(default_factory=dict)
    """The gateway's own counts, as it last told them."""


def run_show(server: ServerSettings, *, minutes: float, hours: float, finish: threading.Event) -> None:
    """Send the past, run the fleet and its faults, until `finish` is set or the minutes are over."""
    console = Console()
    if hours > 0:
        _send_past(console, server.otlp_http, hours, finish)
    models = {profile.name: ServiceModel(profile) for profile in FLEET}
    services = [LiveService(model, server.otlp_grpc, server.otlp_http) for model in models.values()]
    for service in services:
        service.start()
    now = Progression(schedule(), f"http://{server.http}")
    began = time.time()
    try:
        with (_table if console.is_terminal else _lines)(console) as tell:
            while not finish.wait(_TURN_SECONDS):
                now.elapsed = time.time() - began
                _turn(now.faults, models, now.elapsed)
                _match(now, began)
                now.status = fetch_json(f"{now.http}/api/v1/status") or now.status
                tell(now)
                if minutes and now.elapsed > minutes * 60:
                    break
    finally:
        for service in services:
            service.stop()


def _send_past(console: Console, otlp_http: str, hours: float, finish: threading.Event) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    began, sent = time.monotonic(), 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"sending {hours:g} hours of the fleet's past", total=1.0)
        for share, body in past_requests(time.time_ns(), hours):
            while not _post(otlp_http, body):
                if finish.wait(0.5):
                    return
            sent += len(body)
            progress.update(task, completed=share)
            if finish.is_set():
                return
    if not console.is_terminal:
        seconds = time.monotonic() - began
        _say(console, f"sent {hours:g} hours of the fleet's past: {sent / 1e6:.1f} MB in {seconds:.1f} s")


def _post(otlp_http: str, body: bytes) -> bool:
    request = urllib.request.Request(  # our own address
        f"http://{otlp_http}/v1/metrics", data=body, headers={"Content-Type": "application/x-protobuf"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30.0):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        if error.code in (429, 503):
            return False
        raise
    except (urllib.error.URLError, OSError):
        return False


def _turn(faults: list[Fault], models: dict[str, ServiceModel], elapsed: float) -> None:
    for fault in faults:
        model = models[fault.service]
        if fault.over or elapsed < fault.after:
            continue
        if elapsed >= fault.after + fault.lasts:
            fault.clear(model)
            fault.over = True
            continue
        if fault.injected_at is None:
            fault.injected_at = time.time()
        fault.apply(model, elapsed - fault.after)


def _match(now: Progression, began: float) -> None:
    """Give each anomaly to the fault that was under way and that it says, or to the others. What was known stays."""
    for anomaly in fetch_json(f"{now.http}/api/v1/anomalies?limit=200&since={began:.0f}") or []:
        detected = anomaly["detected_ns"] / 1e9
        service = service_of(anomaly["series"])
        owner = next(
            (
                f
                for f in now.faults
                if f.service == service
                and f.injected_at is not None
                and f.shown_by(anomaly["series"].get("__name__", ""), anomaly["kind"])
                and f.injected_at <= detected <= f.injected_at + f.lasts + _AFTERGLOW_SECONDS
            ),
            None,
        )
        if owner is not None and owner.injected_at is not None:
            owner.found.setdefault(anomaly["id"], detected - owner.injected_at)
        else:
            labels = anomaly["series"]
            reason = "; ".join(anomaly["reasons"][:1])
            now.others[anomaly["id"]] = f"{service} {labels.get('__name__', '')} {anomaly['severity']}: {reason}"


@contextmanager
def _table(console: Console) -> Iterator[Callable[[Progression], None]]:
    with Live(console=console, refresh_per_second=2, transient=False) as live:
        yield lambda now: live.update(_picture(now))


def _picture(now: Progression) -> Group:
    table = Table(title=f"injected faults, {now.elapsed:.0f} s into the demo")
    for heading in ("fault", "service", "state", "found after", "alerts"):
        table.add_column(heading)
    for fault in now.faults:
        if fault.injected_at is None:
            state = f"in {fault.after - now.elapsed:.0f} s"
        else:
            state = "over" if fault.over else "under way"
        first = min(fault.found.values(), default=None)
        table.add_row(
            fault.kind,
            fault.service,
            state,
            "" if first is None else f"{first:.0f} s",
            str(len(fault.found)) if fault.found else "",
        )
    unmatched = f"alerts without an injected fault: {len(now.others)}" + "".join(
        f"\n  {what}" for what in now.others.values()
    )
    return Group(table, Text(_counts(now.status)), Text(unmatched), Text(f"console {now.http}/   stop with ^C"))


@contextmanager
def _lines(console: Console) -> Iterator[Callable[[Progression], None]]:
    """One line for each thing that happens, and a summary at the end."""
    said: set[tuple[str, str]] = set()
    last: list[Progression] = []

    def once(what: str, key: str, line: str) -> None:
        if (what, key) not in said:
            said.add((what, key))
            _say(console, line)

    def tell(now: Progression) -> None:
        last[:] = [now]
        at = f"{now.elapsed:4.0f} s  "
        for fault in now.faults:
            name = f"{fault.kind} in {fault.service}"
            if fault.injected_at is not None:
                once("injected", name, f"{at}injected: {name}")
            if fault.found:
                once("found", name, f"{at}found: {name}, {min(fault.found.values()):.0f} s after it was injected")
            if fault.over:
                once("over", name, f"{at}over: {name}")
        for identity, what in now.others.items():
            once("other", identity, f"{at}alert without an injected fault: {what}")

    yield tell
    for now in last:
        injected = [fault for fault in now.faults if fault.injected_at is not None]
        found = sum(bool(fault.found) for fault in injected)
        _say(console, f"found {found} of {len(injected)} injected faults, {len(now.others)} other alerts")
        _say(console, _counts(now.status))


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.file.flush()


def _counts(status: dict[str, Any]) -> str:
    lag = status.get("lag_seconds", {})
    return (
        f"accepted {status.get('accepted_points', 0):,}  forwarded {status.get('forwarded_points', 0):,}  "
        f"series {status.get('active_series', 0):,}  score lag p99 {lag.get('score_p99', 0):.2f} s"
    )


def fetch_json(url: str) -> Any:
    """The JSON at one of our own addresses, None while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=3.0) as response:  # noqa: S310  # our own address
            return json.load(response)
    except (urllib.error.URLError, OSError, ValueError):
        return None
