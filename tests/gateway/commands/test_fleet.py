"""Each fault of the demo's schedule, on the series that shows it, a day of the service's past before: the detector that
live traffic meets says it within two minutes of the points' own time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gateway.baseline.offline import run_series
from gateway.commands.fleet.faults import Fault, FaultKind, schedule
from gateway.commands.fleet.model import FLEET, STEP_SECONDS, ServiceModel
from kernels.series_state import OPENED

BEGAN = 1_790_000_000.0
DAY = 86_400 // STEP_SECONDS
AFTER = 6
"""Steps after a fault has ended."""


def mean_latency(model: ServiceModel, time_s: float) -> float:
    return float(model.latencies(max(1, model.requests(time_s, STEP_SECONDS))).mean())


def errors_a_second(model: ServiceModel, time_s: float) -> float:
    return model.errors(model.requests(time_s, STEP_SECONDS)) / STEP_SECONDS


def requests_a_second(model: ServiceModel, time_s: float) -> float:
    return model.requests(time_s, STEP_SECONDS) / STEP_SECONDS


SHOWS: dict[FaultKind, Callable[[ServiceModel, float], float]] = {
    "latency step": mean_latency,
    "error burst": errors_a_second,
    "silence": requests_a_second,
    "memory leak": lambda model, _: model.memory(),
}


@pytest.mark.parametrize("fault", schedule(), ids=lambda fault: fault.kind)
def test_a_fault_is_found_within_two_minutes(fault: Fault) -> None:
    model = ServiceModel(next(profile for profile in FLEET if profile.name == fault.service))
    times, values = [], []
    live = BEGAN + DAY * STEP_SECONDS
    for step in range(DAY + int((fault.after + fault.lasts) / STEP_SECONDS) + AFTER):
        time_s = BEGAN + step * STEP_SECONDS
        elapsed = time_s - live - fault.after
        if 0 <= elapsed < fault.lasts:
            fault.apply(model, elapsed)
        elif elapsed >= fault.lasts:
            fault.clear(model)
        value = SHOWS[fault.kind](model, time_s)
        if not model.disturbance.silent:
            times.append(time_s)
            values.append(value)
    found = run_series(np.array(times), np.array(values)).transitions
    opened = found["time_ms"][found["kind"] == OPENED] / 1000.0 - live - fault.after
    assert any(0 <= seconds <= 120 for seconds in opened), opened
    assert not any(-3600 <= seconds < 0 for seconds in opened), opened


def test_only_what_says_the_fault_finds_it() -> None:
    latency, _, silence, leak = schedule()
    assert latency.shown_by("http_server_request_duration_seconds_sum", "spike")
    assert latency.shown_by("http.server.request.duration.sum", "sustained")
    assert latency.shown_by("", "group")
    assert not latency.shown_by("process_cpu_utilization_ratio", "spike")
    assert not leak.shown_by("http_server_request_duration_seconds_sum", "spike")
    assert silence.shown_by("process_cpu_utilization_ratio", "stale")
    assert not silence.shown_by("process_cpu_utilization_ratio", "spike")
