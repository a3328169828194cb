"""Finding series by typing: words that may come from the name or from any label, forgiving of gaps.

The list of active series is asked from the data plane at most every few seconds and kept as one lower-case text a
series. A word counts by how it is met: start of the name, inside the name, inside the labels, or letters in order
within the name; every word has to be met somehow.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from gateway.errors import RequestError, Unavailable

MAX_SERIES: Final = 100_000
MAX_QUERY: Final = 200
MAX_FOUND: Final = 500
_KEEP_SECONDS: Final = 5.0
_STALE_SECONDS: Final = 60.0
_KEEP_PER_SERIES: Final = 0.0002
"""A list of 100,000 is kept 20 seconds longer: it costs more to ask for."""


class SeriesSource(Protocol):
    """The data plane, asked from the control plane."""

    async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
        """`[{"id", "labels"}]`; raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    labels: dict[str, str]
    name: str
    text: str


class SeriesCatalog:
    """The active series, at most a few seconds old. Shared by everything on the control plane that lists series."""

    def __init__(self, source: SeriesSource) -> None:
        self._source = source
        self._entries: list[_Entry] = []
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self.version = 0
        """Changes with every list taken."""

    async def entries(self) -> list[_Entry]:
        """The list; while a new one is taken, the old one for another minute. Raises Unavailable."""
        now = time.monotonic()
        if now >= self._until:
            if self.version and now < self._until + _STALE_SECONDS:
                if self._refreshing is None or self._refreshing.done():
                    self._refreshing = asyncio.create_task(self._refresh_quietly(), name="series-catalog")
            else:
                await self._refresh()
        return self._entries

    async def stop(self) -> None:
        """Ends a refresh in progress; idempotent."""
        task, self._refreshing = self._refreshing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _refresh(self) -> None:
        async with self._lock:
            if time.monotonic() < self._until:
                return  # somebody else did while we waited
            found = await self._source.series("", MAX_SERIES)
            self._entries = await asyncio.to_thread(lambda: [_entry(e["labels"]) for e in found])
            self._until = time.monotonic() + _KEEP_SECONDS + _KEEP_PER_SERIES * len(found)
            self.version += 1

    async def _refresh_quietly(self) -> None:
        # Whoever asks a minute later asks directly, and is told.
        with contextlib.suppress(Unavailable):
            await self._refresh()


def _entry(labels: dict[str, str]) -> _Entry:
    name = labels.get("__name__", "").lower()
    rest = " ".join(f"{k}={v}" for k, v in labels.items() if k != "__name__")
    return _Entry(labels, name, f"{name} {rest.lower()}")


def rank(entry: _Entry, words: list[str]) -> int:
    """How badly the words are met, 0 best; -1 if one is not met."""
    total = 0
    for word in words:
        if entry.name.startswith(word):
            continue
        if word in entry.name:
            total += 1
        elif word in entry.text:
            total += 2
        elif in_order(word, entry.name):
            total += 8
        else:
            return -1
    return total


def in_order(letters: str, text: str) -> bool:
    """Whether the letters appear in the text in this order."""
    at = 0
    for letter in letters:
        at = text.find(letter, at) + 1
        if at == 0:
            return False
    return True


def search(entries: list[_Entry], query: str, limit: int) -> dict[str, Any]:
    """`{"total", "series": [labels]}`, best first, names in order where equally good."""
    words = query.lower().split()
    met = [(r, e.text, e) for e in entries if (r := rank(e, words)) >= 0]
    met.sort(key=lambda found: found[:2])
    return {"total": len(met), "of": len(entries), "series": [e.labels for _, _, e in met[:limit]]}


class SeriesSearch:
    """Serves /api/v1/series/search?q=&limit=."""

    def __init__(self, catalog: SeriesCatalog) -> None:
        self._catalog = catalog

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/series/search", self.search)]

    async def search(self, request: web.Request) -> web.Response:
        """Raises RequestError for a query that is too long or a limit that is no number."""
        query = request.query.get("q", "")
        limit = request.query.get("limit", "50")
        if len(query) > MAX_QUERY:
            raise RequestError(f"q is longer than {MAX_QUERY} characters", reason="parameter")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 9) or not 1 <= int(limit) <= MAX_FOUND:
            raise RequestError(
                f"limit={limit[:100]!r}: expected a whole number from 1 to {MAX_FOUND}", reason="parameter"
            )
        found = await asyncio.to_thread(search, await self._catalog.entries(), query, int(limit))
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")
