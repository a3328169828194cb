"""How the sample services behave: load, latency, errors, memory and processor use as functions of time.

Random draws come from a generator seeded by the service's name, so that two demos show the same fleet.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STEP_SECONDS = 10
"""How often a service exports; its past has the same step."""
LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the bounds of the OpenTelemetry semantic conventions for `http.server.request.duration`."""


@dataclass(frozen=True, slots=True)
class ServiceProfile:
    """A service in health. requests_per_second is the daily mean; median_latency in seconds; memory in bytes."""

    name: str
    protocol: str
    temporality: str
    routes: tuple[str, ...]
    requests_per_second: float
    median_latency: float
    error_share: float
    memory_bytes: float
    peak_hour: float


FLEET = (
    ServiceProfile("frontend", "http", "cumulative", ("/", "/product"), 24.0, 0.045, 0.004, 380e6, 19.0),
    ServiceProfile("checkout", "grpc", "delta", ("/checkout",), 8.0, 0.090, 0.006, 260e6, 20.0),
    ServiceProfile("cart", "http", "delta", ("/cart", "/cart/add"), 14.0, 0.020, 0.003, 190e6, 19.5),
    ServiceProfile("payment", "grpc", "cumulative", ("/charge",), 7.0, 0.140, 0.010, 310e6, 20.0),
    ServiceProfile("inventory", "http", "cumulative", ("/stock",), 11.0, 0.030, 0.002, 240e6, 12.0),
)


@dataclass(slots=True)
class Disturbance:
    """What faults do to a service at this moment; all ones and zeros in health."""

    latency_factor: float = 1.0
    extra_error_share: float = 0.0
    extra_memory_bytes: float = 0.0
    silent: bool = False


@dataclass(slots=True)
class ServiceModel:
    """Draws what one service did in a span of time."""

    profile: ServiceProfile
    disturbance: Disturbance = field(default_factory=Disturbance)
    _random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(zlib.crc32(self.profile.name.encode()))

    def load(self, time_s: float) -> float:
        """Requests per second expected at a time: a daily wave around the mean."""
        hours = (time_s / 3600.0 - self.profile.peak_hour) % 24.0
        return self.profile.requests_per_second * (1.0 + 0.35 * math.cos(hours / 24.0 * 2.0 * math.pi))

    def requests(self, time_s: float, seconds: float) -> int:
        """Requests of one route within a span."""
        share = 1.0 / len(self.profile.routes)
        return int(self._random.poisson(self.load(time_s) * share * seconds))

    def latencies(self, count: int) -> NDArray[np.float64]:
        """Seconds, float64[count]; log-normal, as request latencies mostly are."""
        median = self.profile.median_latency * self.disturbance.latency_factor
        return median * np.exp(0.45 * self._random.standard_normal(count))

    def errors(self, count: int) -> int:
        """How many of `count` requests failed."""
        share = min(1.0, self.profile.error_share + self.disturbance.extra_error_share)
        return int(self._random.binomial(count, share))

    def memory(self) -> float:
        """Bytes in use now."""
        wobble = 1.0 + 0.01 * self._random.standard_normal()
        return self.profile.memory_bytes * wobble + self.disturbance.extra_memory_bytes

    def cpu_utilization(self, time_s: float) -> float:
        """Share of one processor, 0…1."""
        busy = 0.15 + 0.35 * self.load(time_s) / (self.profile.requests_per_second * 1.35)
        return float(np.clip(busy + 0.02 * self._random.standard_normal(), 0.01, 1.0))
