"""Finding series by typing: words that may come from the name or from any label, forgiving of gaps.

The list of active series is asked from the data plane at most every few seconds and kept as one lower-case text a
series. A word counts by how it is met: start of the name, inside the name, inside the labels, or letters in order
within the name or within one label; every word has to be met somehow.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from gateway.errors import RequestError
from gateway.web.kept import Kept

MAX_SERIES: Final = 100_000
MAX_QUERY: Final = 200
MAX_FOUND: Final = 500


class SeriesSource(Protocol):
    """The data plane, asked from the control plane."""

    async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
        """`[{"id", "labels"}]`; raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """text: the name and each label in lines of their own."""

    labels: dict[str, str]
    name: str
    text: str


class SeriesCatalog:
    """The active series as they are searched, at most some seconds old."""

    def __init__(self, source: SeriesSource) -> None:
        self._source = source
        self._kept = Kept(self._take, "series-catalog")

    async def entries(self) -> list[_Entry]:
        """The list. Raises Unavailable."""
        return await self._kept.get()

    async def stop(self) -> None:
        """Ends a refresh in progress; idempotent."""
        await self._kept.stop()

    async def _take(self) -> list[_Entry]:
        found = await self._source.series("", MAX_SERIES)
        return await asyncio.to_thread(lambda: [_entry(e["labels"]) for e in found])


def _entry(labels: dict[str, str]) -> _Entry:
    name = labels.get("__name__", "").lower()
    rest = "\n".join(f"{k}={v}" for k, v in labels.items() if k != "__name__")
    return _Entry(labels, name, f"{name}\n{rest.lower()}")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a query, and the expression that finds its letters in order."""

    text: str
    in_order: re.Pattern[str]

    def badness(self, entry: _Entry) -> int:
        """How badly the series meets it, 0 best; -1 if it does not."""
        if entry.name.startswith(self.text):
            return 0
        if self.text in entry.name:
            return 1
        if self.text in entry.text:
            return 2
        found = self.in_order.search(entry.text)
        if found is None:
            return -1
        return 8 if found.start() < len(entry.name) else 9


def words_of(query: str) -> list[Word]:
    """The words of a query."""
    return [Word(word, in_order(word)) for word in query.lower().split()]


def rank(entry: _Entry, words: list[Word]) -> int:
    """How badly the words are met, 0 best; -1 if one is not met."""
    total = 0
    for word in words:
        met = word.badness(entry)
        if met < 0:
            return -1
        total += met
    return total


def in_order(letters: str) -> re.Pattern[str]:
    """Finds the letters in this order within one line; nothing is ever tried twice from one beginning."""
    first, *others = map(re.escape, letters)
    return re.compile(first + "".join(f"[^{other}\\n]*{other}" for other in others))


def search(entries: list[_Entry], query: str, limit: int) -> dict[str, Any]:
    """`{"total", "series": [labels]}`, best first, names in order where equally good."""
    words = words_of(query)
    met = [(r, e.text, e) for e in entries if (r := rank(e, words)) >= 0]
    best = heapq.nsmallest(limit, met, key=lambda found: found[:2])
    return {"total": len(met), "of": len(entries), "series": [e.labels for _, _, e in best]}


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
