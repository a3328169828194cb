"""Deploy markers: kept in the history, and the recent ones at hand for judging anomalies."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.alerting.inbound import Marker
from gateway.alerting.journal import Journal
from gateway.alerting.moments import SECOND
from gateway.alerting.store import Store
from gateway.errors import RequestError
from gateway.telemetry.change import Change

MARKER: Final = "marker"
"""Kind of a deploy marker in the history; its time there is the time of the change."""
LATEST: Final = 86400 * SECOND
"""How far in the future a marker may lie, for clocks that differ."""
LOOKED_AT: Final = 100_000
RECENT: Final = 2 * 86400 * SECOND
"""Markers younger than this are at hand."""
KEPT: Final = 10_000
"""At most so many of them."""


def same_service(marked: str, service: str) -> bool:
    """Whether a marker's service is a series' service, which may carry a namespace as in "shop/cart"."""
    return bool(marked) and (marked == service or marked == service.rsplit("/", 1)[-1])


def marker_of_change(change: Change) -> Marker:
    """The marker of a deploy that an OTLP event told of."""
    return Marker(
        id=change.id,
        time=change.time,
        title=change.title,
        service=change.service,
        version=change.version,
        environment=change.environment,
        url=change.url,
        source="otlp",
        tags=change.tags,
    )


class Markers:
    """Over a journal and its store. `retention` is nanoseconds."""

    def __init__(self, journal: Journal, retention: int) -> None:
        self._journal, self._retention = journal, retention
        self._recent: list[Marker] = []
        """By time."""
        self._ids: OrderedDict[str, None] = OrderedDict()
        self.version = 0
        """Grows with every marker."""

    def load(self, store: Store, now: int) -> None:
        """The recent ones, at start. Waits for the disk."""
        for event in store.history(kinds=(MARKER,), since=now - RECENT, limit=KEPT):
            self._remember(_marker(event.time, event.detail))

    def mark(self, marker: Marker, now: int) -> bool:
        """Puts a marker into the journal; False if its id is known. Raises RequestError for a time no history holds."""
        if not now - self._retention < marker.time <= now + LATEST:
            raise RequestError("the time of the marker is in the future or older than the kept history")
        if marker.id in self._ids:
            return False
        detail: dict[str, Any] = msgspec.to_builtins(marker)
        del detail["time"]
        self._journal.event(marker.time, MARKER, **detail)
        self._remember(marker)
        while self._recent and (self._recent[0].time < now - RECENT or len(self._recent) > KEPT):
            self._recent.pop(0)
        while len(self._ids) > 2 * KEPT:
            self._ids.popitem(last=False)
        return True

    def _remember(self, marker: Marker) -> None:
        self.version += 1
        insort(self._recent, marker, key=lambda m: m.time)
        self._ids[marker.id] = None

    def around(self, service: str, since: int, until: int, environment: str = "") -> Marker | None:
        """The last marker of a service with since <= time <= until. Where both name an environment, it is the same."""
        for marker in reversed(self._recent):
            if marker.time < since:
                return None
            elsewhere = marker.environment and environment and marker.environment != environment
            if marker.time <= until and same_service(marker.service, service) and not elsewhere:
                return marker
        return None

    def before(self, moment: int, within: int, services: Iterable[str] = ()) -> list[Marker]:
        """Markers of these services (without any: all) at most `within` before a moment, newest first."""
        wanted = tuple(services)
        found: list[Marker] = []
        for marker in reversed(self._recent):
            if marker.time < moment - within:
                break
            if marker.time <= moment and (not wanted or any(_alike(marker.service, name) for name in wanted)):
                found.append(marker)
        return found


def marker_words(marker: Marker) -> str:
    """A deploy in a few words."""
    what = " ".join(part for part in (marker.service, marker.version) if part and part not in marker.title)
    return f"{marker.title} ({what})" if what else marker.title


def _alike(marked: str, service: str) -> bool:
    return bool(marked) and marked.rsplit("/", 1)[-1] == service.rsplit("/", 1)[-1]


def stored_markers(store: Store, since: int, until: int, limit: int, service: str = "") -> list[Marker]:
    """Newest first; for one service among the newest LOOKED_AT. Waits for the disk: call it in a thread."""
    found: list[Marker] = []
    events = store.history(kinds=(MARKER,), since=since, until=until, limit=LOOKED_AT if service else limit)
    for event in events:
        marker = _marker(event.time, event.detail)
        if not service or marker.service == service:
            found.append(marker)
            if len(found) == limit:
                break
    return found


def _marker(time: int, detail: bytes) -> Marker:
    return Marker(time=time, **msgspec.json.decode(detail))
