"""Flapping: an alert that began often within the last hour is named in its notifications, with how often."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from typing import Final

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.moments import SECOND

FLAPPING_SPAN: Final = 3600 * SECOND
_MOST_TIMES: Final = 200
"""Beginnings remembered of one alert."""


class Flapping:
    """Counts how often alerts begin; wired into an engine as its noter."""

    def __init__(self, engine: Engine, threshold: int) -> None:
        self._threshold = threshold
        self._begun: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        """By fingerprint, the one that began last at the end."""
        self._restless: dict[str, None] = {}
        """Those that were flapping when they last began."""
        if threshold:
            engine.hooks.watchers.append(self._on_change)
            engine.hooks.noters.append(self.note)

    def _on_change(self, kind: str, alert: Alert, now: int) -> None:
        if kind != "firing":
            return
        times = self._begun.pop(alert.fingerprint, ())
        times = self._begun[alert.fingerprint] = (*_recent(times, now), now)[-_MOST_TIMES:]
        if len(times) >= self._threshold:
            self._restless[alert.fingerprint] = None
        while self._begun[oldest := next(iter(self._begun))][-1] <= now - FLAPPING_SPAN:
            del self._begun[oldest]
            self._restless.pop(oldest, None)

    def times(self, name: str, now: int) -> int:
        """How often an alert began within the last hour."""
        return len(_recent(self._begun.get(name, ()), now))

    def note(self, _group: Group, firing: list[Alert], now: int) -> str:
        """A line about the most restless alert of a notification, or ""."""
        if not self._restless:
            return ""
        restless = (alert for alert in firing if alert.fingerprint in self._restless)
        most, name = max(((self.times(alert.fingerprint, now), alert.name) for alert in restless), default=(0, ""))
        return f"flapping: {name} began {most} times in the last hour" if most >= self._threshold else ""


def _recent(times: tuple[int, ...], now: int) -> tuple[int, ...]:
    return times if not times or times[0] > now - FLAPPING_SPAN else times[bisect_right(times, now - FLAPPING_SPAN) :]
