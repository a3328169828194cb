"""The faults a demo injects, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.commands.fleet.model import ServiceModel

FaultKind = Literal["latency step", "error burst", "silence", "memory leak"]


_SHOWN_BY: dict[FaultKind, str] = {
    "latency step": "http_server_request_duration",
    "error burst": "app_requests",
    "memory leak": "process_memory_usage",
}
"""How the names of the metrics begin that a fault disturbs."""


@dataclass(slots=True)
class Fault:
    """One fault: what, where, seconds after the start of the demo, how long."""

    kind: FaultKind
    service: str
    after: float
    lasts: float
    injected_at: float | None = None
    """Unix seconds of the moment it began."""
    over: bool = False
    found: dict[str, float] = field(default_factory=dict)
    """Anomaly id → seconds from injection to the alert."""

    def apply(self, model: ServiceModel, elapsed: float) -> None:
        """Set the disturbance of the service for a moment `elapsed` seconds into the fault."""
        disturbance = model.disturbance
        if self.kind == "latency step":
            disturbance.latency_factor = 5.0
        elif self.kind == "error burst":
            disturbance.extra_error_share = 0.35
        elif self.kind == "silence":
            disturbance.silent = True
        else:
            disturbance.extra_memory_bytes = model.profile.memory_bytes * 0.005 * elapsed

    def shown_by(self, name: str, kind: str) -> bool:
        """Whether an anomaly of the service says this fault, by its metric's name and its kind: another metric of the
        same service that happens to be unusual meanwhile finds nothing."""
        if kind == "group":
            return True
        if self.kind == "silence":
            return kind == "stale"
        return name.replace(".", "_").startswith(_SHOWN_BY[self.kind])

    def clear(self, model: ServiceModel) -> None:
        """End it."""
        disturbance = model.disturbance
        disturbance.latency_factor, disturbance.extra_error_share = 1.0, 0.0
        disturbance.extra_memory_bytes, disturbance.silent = 0.0, False


def schedule() -> list[Fault]:
    """The default demo: each kind once within three minutes, the first as soon as there is something to see."""
    return [
        Fault("latency step", "checkout", after=20, lasts=120),
        Fault("error burst", "payment", after=60, lasts=120),
        Fault("silence", "inventory", after=100, lasts=120),
        Fault("memory leak", "cart", after=130, lasts=240),
    ]
