"""What a person sees of the demo: the past going in, then faults, and what was found after how many seconds."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gateway.commands.demo import fetch_json, service_of
from gateway.commands.fleet.faults import Fault, schedule
from gateway.commands.fleet.live import LiveService
from gateway.commands.fleet.model import FLEET, ServiceModel
from gateway.commands.fleet.past import past_requests
from gateway.config import ServerSettings

_AFTERGLOW_SECONDS = 60.0
"""An alert that comes this long after a fault's end still counts as its finding."""


def run_show(server: ServerSettings, *, minutes: float, hours: float, finish: threading.Event) -> None:
    """Send the past, run the fleet and its faults, until `finish` is set or the minutes are over."""
    console = Console()
    if hours > 0:
        _send_past(console, server.otlp_http, hours, finish)
    models = {profile.name: ServiceModel(profile) for profile in FLEET}
    services = [LiveService(model, server.otlp_grpc, server.otlp_http) for model in models.values()]
    for service in services:
        service.start()
    faults = schedule()
    began = time.time()
    others: dict[str, str] = {}
    try:
        with Live(console=console, refresh_per_second=2, transient=False) as live:
            while not finish.wait(0.5):
                elapsed = time.time() - began
                _turn(faults, models, elapsed)
                others = _match(faults, f"http://{server.http}", began)
                live.update(_picture(faults, others, elapsed, f"http://{server.http}"))
                if minutes and elapsed > minutes * 60:
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
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"sending {hours:g} hours of the fleet's past", total=1.0)
        for share, body in past_requests(time.time_ns(), hours):
            while not _post(otlp_http, body):
                if finish.wait(0.5):
                    return
            progress.update(task, completed=share)
            if finish.is_set():
                return


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


def _match(faults: list[Fault], http: str, began: float) -> dict[str, str]:
    """Give each anomaly to the fault of its service that was under way; returns those that belong to none."""
    others: dict[str, str] = {}
    for anomaly in fetch_json(f"{http}/api/v1/anomalies?limit=200&since={began:.0f}") or []:
        detected = anomaly["detected_ns"] / 1e9
        service = service_of(anomaly["series"])
        owner = next(
            (
                f
                for f in faults
                if f.service == service
                and f.injected_at is not None
                and f.injected_at <= detected <= f.injected_at + f.lasts + _AFTERGLOW_SECONDS
            ),
            None,
        )
        if owner is not None and owner.injected_at is not None:
            owner.found.setdefault(anomaly["id"], detected - owner.injected_at)
        else:
            others[anomaly["id"]] = f"{service} {anomaly['series'].get('__name__', '')}"
    return others


def _picture(faults: list[Fault], others: dict[str, str], elapsed: float, http: str) -> Group:
    table = Table(title=f"injected faults, {elapsed:.0f} s into the demo")
    for heading in ("fault", "service", "state", "found after", "alerts"):
        table.add_column(heading)
    for fault in faults:
        if fault.injected_at is None:
            state = f"in {fault.after - elapsed:.0f} s"
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
    status = fetch_json(f"{http}/api/v1/status") or {}
    lag = status.get("lag_seconds", {})
    line = (
        f"accepted {status.get('accepted_points', 0):,}  forwarded {status.get('forwarded_points', 0):,}  "
        f"series {status.get('active_series', 0):,}  score lag p99 {lag.get('score_p99', 0):.2f} s"
    )
    unmatched = f"alerts without an injected fault: {len(others)}" + ("".join(f"\n  {o}" for o in others.values()))
    return Group(table, Text(line), Text(unmatched), Text(f"console {http}/   stop with ^C"))
