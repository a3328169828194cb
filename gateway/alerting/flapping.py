"""Flapping: an alert that began often within the last hour is named in its notifications, with how often."""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.moments import SECOND

FLAPPING_SPAN: Final = 3600 * SECOND
_MOST_TIMES: Final = 1000
"""Beginnings remembered of one alert."""


class Flapping:
    """Counts how often alerts begin; wired into an engine as its noter."""

    def __init__(self, engine: Engine, threshold: int) -> None:
        self._threshold = threshold
        self._begun: dict[str, deque[int]] = {}
        """By fingerprint, the one that began last at the end."""
        if threshold:
            engine.hooks.watchers.append(self._on_change)
            engine.hooks.noters.append(self.note)

    def _on_change(self, kind: str, alert: Alert, now: int) -> None:
        if kind != "firing":
            return
        times = self._begun.pop(alert.fingerprint, None)
        if times is None:
            times = deque(maxlen=_MOST_TIMES)
        times.append(now)
        self._begun[alert.fingerprint] = times
        while self._begun[oldest := next(iter(self._begun))][-1] <= now - FLAPPING_SPAN:
            del self._begun[oldest]

    def times(self, name: str, now: int) -> int:
        """How often an alert began within the last hour."""
        begun = self._begun.get(name, deque())
        while begun and begun[0] <= now - FLAPPING_SPAN:
            begun.popleft()
        if not begun:
            self._begun.pop(name, None)
        return len(begun)

    def note(self, _group: Group, firing: list[Alert], now: int) -> str:
        """A line about the most restless alert of a notification, or ""."""
        most, name = max(((self.times(a.fingerprint, now), a.name) for a in firing), default=(0, ""))
        return f"flapping: {name} began {most} times in the last hour" if most >= self._threshold else ""
