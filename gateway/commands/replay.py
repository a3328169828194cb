"""`gateway replay`: sends recordings as live remote write, and judges the alerts they earned."""

from __future__ import annotations

import http.client
import json
import math
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cramjam
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from gateway.baseline.recording import Recording, read_recording, require_distinct
from gateway.baseline.scorecard import Opening, Rules, Scorecard, judge, scored_span
from gateway.baseline.span_file import Label, read_labels, strangers
from gateway.errors import ConfigError, GatewayError, RequestError, Unavailable
from gateway.telemetry.label_sets import placed
from gateway.telemetry.labels import encode_label_blob
from kernels.remote_write_encode import FILL_SLACK, fill_runs, size_runs

RUN_LABEL = "replay"
_BATCH_ROWS = 2000
_MOST_BYTES = 2**30
_CONTENT_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_WAIT_FOR_SCORES_SECONDS = 120.0
_SETTLE_SECONDS = 1.0
"""Ten times the interval at which the control plane looks into the anomalies log."""


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not factor > 0:  # NaN too
        raise ConfigError(f'"{text}" is no speed', key="--speed", expected='"max" or a factor as "60x"')
    return factor


def _address(url: str, key: str) -> str:
    """The address without a final slash. Raises ConfigError."""
    try:
        parts = urllib.parse.urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f'"{url}" is no address', key=key, expected="http://host:port or https://host:port")
    return url.rstrip("/")


def _read(path: Path) -> Recording:
    recording = read_recording(path)
    if not len(recording.times_s):
        raise ConfigError("has no rows", source=str(path), expected="a recording to send")
    return recording


def _no_http(url: str) -> ConfigError:
    return ConfigError("does not speak HTTP; is it the gRPC port?", source=url)


class Replay:
    """Recordings of one run, each with rows, their times moved so that the latest time of all lies at `end_s`."""

    def __init__(self, recordings: list[Recording], run: str, end_s: float) -> None:
        self.recordings = recordings
        self.run = run
        self.shift_s = end_s - max(float(r.times_s.max()) for r in recordings)
        rows = [
            (r.times_s + self.shift_s, np.full(len(r.values), i, np.uint32), r.values) for i, r in enumerate(recordings)
        ]
        times, owners, values = (np.concatenate(c) for c in zip(*rows, strict=True))
        # Stable: within a recording the order of rows is kept where it does not run backward across recordings.
        order = np.argsort(times, kind="stable") if len(recordings) > 1 else np.arange(len(times))
        present = ~np.isnan(values[order])
        order = order[present]
        self.times_ms: NDArray[np.int64] = np.round(times[order] * 1000).astype(np.int64)
        self.owners: NDArray[np.uint32] = owners[order]
        self.values: NDArray[np.float64] = values[order]
        blobs = [encode_label_blob(self.labels(r)) for r in recordings]
        self._arena, self._sets, self._lengths = placed(blobs)
        self._kinds = np.zeros(len(blobs), np.uint8)

    def labels(self, recording: Recording) -> dict[str, str]:
        """Under which labels a recording is sent."""
        return {"__name__": "replayed_value", "recording": recording.name, RUN_LABEL: self.run, "job": "replay"}

    def body(self, first: int, last: int) -> bytes:
        """A remote write 1.0 request, snappy-compressed, of rows first … last - 1."""
        owners, times, values = self.owners[first:last], self.times_ms[first:last], self.values[first:last]
        ends = np.append(np.flatnonzero(owners[1:] != owners[:-1]) + 1, len(owners)).astype(np.int64)
        series = owners[ends - 1]
        _, rows, size, _ = size_runs(
            series, ends, times, self._lengths, self._kinds, 0, 0, len(owners), _MOST_BYTES,
        )  # fmt: skip
        assert rows == len(owners), "a batch of bounded labels fits one request"
        out = np.empty(size + FILL_SLACK, np.uint8)
        fill_runs(self._arena, series, ends, times, values, self._sets, self._lengths, 0, 0, rows, size, out)
        return bytes(cramjam.snappy.compress_raw(out[:size].tobytes()))


def _post(url: str, body: bytes) -> None:
    """Send one request, waiting where the gateway says so. Raises RequestError, ConfigError, Unavailable."""
    for _ in range(600):
        request = urllib.request.Request(f"{url}/api/v1/write", data=body, headers=_CONTENT_HEADERS)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60.0):  # noqa: S310  # the target is the user's choice
                return
        except urllib.error.HTTPError as error:
            if error.code not in (429, 502, 503, 504):
                said = error.read().decode(errors="replace").strip()[:400]
                problem = f"{url} answered {error.code}: {said}"
                if "too old" in said:
                    problem += "; start that gateway with a longer ingest.max_age (--set ingest.max_age=100d)"
                raise (RequestError(problem) if error.code < 500 else Unavailable(problem)) from None
            time.sleep(_wait_of(error.headers.get("Retry-After")))
        except (urllib.error.URLError, OSError) as error:
            raise Unavailable(f"{url} does not answer: {error}") from error
        except http.client.HTTPException:
            raise _no_http(url) from None
    raise Unavailable(f"{url} refused for too long")


def _wait_of(text: str | None) -> float:
    """Seconds to wait before the next try, as Retry-After says; it may be a date."""
    try:
        return min(5.0, max(0.0, float(text or 1.0)))
    except ValueError:
        return 1.0


def _accepted_points(status: Any, api: str) -> int:
    if isinstance(status, dict) and isinstance(count := status.get("accepted_points"), int):
        return count
    raise ConfigError("is not the gateway's API", source=api, key="--api", expected="its address of server.http")


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10.0) as response:  # noqa: S310  # the API is the user's choice
            return json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Unavailable(f"{url} does not answer: {error}") from error
    except http.client.HTTPException:
        raise _no_http(url) from None


def send(replay: Replay, target: str, speed: float) -> None:
    """Send all rows at `speed` times the recorded pace; a progress bar when the terminal is one."""
    console = Console(stderr=True)
    total = len(replay.times_ms)
    began, first_ms = time.monotonic(), int(replay.times_ms[0]) if total else 0
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("replay", total=total)
        at = 0
        while at < total:
            last = min(at + _BATCH_ROWS, total)
            if math.isfinite(speed):
                due_ms = first_ms + (time.monotonic() - began) * speed * 1000.0
                last = min(last, int(np.searchsorted(replay.times_ms, due_ms, side="right")))
                if last <= at:
                    time.sleep(min(1.0, (int(replay.times_ms[at]) - due_ms) / 1000.0 / speed))
                    continue
            _post(target, replay.body(at, last))
            progress.update(bar, completed=last)
            at = last


def collect(replay: Replay, api: str, accepted_before: int) -> dict[str, list[Opening]]:
    """Wait until everything sent is scored, then the alerts of each recording, in the recording's own time."""
    wanted = accepted_before + len(replay.times_ms)
    for _ in range(int(_WAIT_FOR_SCORES_SECONDS / 0.5)):
        status = _get(f"{api}/api/v1/status")
        if _accepted_points(status, api) >= wanted and status.get("unscored_backlog_points", 0) == 0:
            break
        time.sleep(0.5)
    else:
        raise Unavailable("the gateway did not score everything in time")
    openings: dict[str, list[Opening]] = {r.name: [] for r in replay.recordings}
    for anomaly in _settled_anomalies(api):
        labels = anomaly["series"]
        if labels.get(RUN_LABEL) == replay.run:
            end = anomaly["ended"] if anomaly["ended"] is not None else math.inf
            opening = Opening(anomaly["time"] - replay.shift_s, end - replay.shift_s)
            openings.setdefault(labels["recording"], []).append(opening)
    return openings


def _settled_anomalies(api: str) -> Any:
    """The anomalies once no more arrive: they reach the API through a log of their own, a moment after the scores."""
    before = None
    while (found := _get(f"{api}/api/v1/anomalies?limit=10000")) != before:
        before = found
        time.sleep(_SETTLE_SECONDS)
    return found


def _scored(recording: Recording) -> tuple[float, float]:
    return scored_span(float(recording.times_s.min()), float(recording.times_s.max()))


def without_effect(labels: list[Label], recordings: list[Recording], source: Path) -> Iterator[str]:
    """What to say of labels that no alert will be judged by."""
    yield from strangers(labels, (r.name for r in recordings), source, "event")
    spans = {r.name: _scored(r) for r in recordings}
    for label in labels:
        own = [span for name, span in spans.items() if label.recording in ("", name)]
        if own and not any(begin <= label.event.start <= end for begin, end in own):
            problem = "it begins outside the recording, or in its first tenth (at most a day), which is not judged"
            yield f"{source}: line {label.line} is left out: {problem}"


def shown(card: Scorecard) -> str:
    """The scorecard for people; what cannot be said of so few events or alerts is "-"."""

    def number(value: float, places: int, unit: str = "") -> str:
        return "-" if math.isnan(value) else f"{value:.{places}f}{unit}"

    return (
        f"events {len(card.events)}  found {card.found}  recall {number(card.recall, 3)}\n"
        f"alerts {card.alerts}  false {card.false_alerts}  false share {number(card.false_share, 3)}  "
        f"false per series-day {number(card.false_per_series_day, 3)}\n"
        f"delay mean {number(card.mean_delay_min, 1, ' min')}  median {number(card.median_delay_min, 1, ' min')}"
    )


def scorecard(recordings: list[Recording], openings: dict[str, list[Opening]], labels: list[Label]) -> Scorecard:
    """All recordings judged together."""
    rules = Rules()
    total = Scorecard()
    for recording in recordings:
        times = np.sort(recording.times_s)
        step = float(np.median(np.diff(times))) if len(times) > 1 else 60.0
        begin, end = _scored(recording)
        own = [Opening(o.start, min(o.end, end)) for o in sorted(openings[recording.name], key=lambda o: o.start)]
        events = [label.event for label in labels if label.recording in ("", recording.name)]
        total.add(judge(events, own, interval_s=step, scored_from=begin, scored_to=end, rules=rules))
    return total


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("replay")
    def replay(
        inputs: Annotated[list[Path], typer.Option("--input", help="A recording, CSV or Parquet; may be repeated.")],
        target: Annotated[str, typer.Option(help="Where to send.")] = "http://127.0.0.1:4318",
        speed: Annotated[str, typer.Option(help='"max", or a factor as "60x".')] = "60x",
        labels: Annotated[
            Path | None, typer.Option(help="CSV with start,end[,recording]: print the scorecard.")
        ] = None,
        api: Annotated[str, typer.Option(help="The gateway's API, asked for the alerts.")] = "http://127.0.0.1:4319",
    ) -> None:
        """Send recordings as live remote write, their last point moved to now; with labels, judge the alerts.

        A recording longer than ingest.max_age (48 h) is refused: start the gateway with --set ingest.max_age=100d
        to take it. With --labels, --api names the gateway's API when it does not
        listen on port 4319.

        Examples:

          gateway replay --input cpu.csv --speed max

          gateway replay --input a.parquet --input b.parquet --speed 600x --labels faults.csv
        """
        try:
            target, api, factor = _address(target, "--target"), _address(api, "--api"), _speed(speed)
            require_distinct(inputs)
            known = read_labels(labels) if labels is not None else []
            run = Replay([_read(path) for path in inputs], secrets.token_hex(4), time.time())
            if labels is not None:
                for text in without_effect(known, run.recordings, labels):
                    sys.stderr.write(f"warning: {text}\n")
            before = _accepted_points(_get(f"{api}/api/v1/status"), api) if labels is not None else 0
            send(run, target, factor)
            typer.echo(f"sent {len(run.times_ms)} points of {len(run.recordings)} recordings, {RUN_LABEL}={run.run}")
            if labels is not None:
                card = scorecard(run.recordings, collect(run, api, before), known)
                typer.echo(shown(card))
        except GatewayError as error:
            sys.stderr.write(f"replay: {error}\n")
            raise typer.Exit(2) from None
