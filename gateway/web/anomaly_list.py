"""GET /api/v1/anomalies/page?since=&until=&severity=&state=&q=&offset=&limit=: the list as the console pages it.

    {"total", "open", "anomalies": [...]}    newest first; total and open count what the filter leaves, before paging

q: words that must all occur in a label's value, a reason or the id of the anomaly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from gateway.errors import RequestError
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.web.anomaly_feed import KEEP, AnomalyFeed
from gateway.web.json_api import json_response
from gateway.web.query_parameters import one_of, parse_time, whole_number

MAX_QUERY: Final = 200
MAX_LIMIT: Final = 1000


class AnomalyList:
    """The handler."""

    def __init__(self, feed: AnomalyFeed) -> None:
        self._feed = feed
        self._texts: dict[str, tuple[Anomaly, str]] = {}

    def routes(self) -> list[web.RouteDef]:
        """The one address; goes before /api/v1/anomalies/{id}."""
        return [web.get("/api/v1/anomalies/page", self.page)]

    async def page(self, request: web.Request) -> web.Response:
        """Anomalies filtered by time, severity, state and words, paged."""
        query = request.query.get("q", "")
        if len(query) > MAX_QUERY:
            raise RequestError(f"q is longer than {MAX_QUERY} characters", reason="parameter")
        since, until = request.query.get("since", ""), request.query.get("until", "")
        found = self._feed.newest(
            since=parse_time(since, "since") if since else 0.0,
            limit=KEEP,
            severity=one_of(request, "severity", SEVERITIES) or None,
            state=one_of(request, "state", ("firing", "resolved")) or None,
        )
        latest = parse_time(until, "until") if until else math.inf
        offset = whole_number(request, "offset", 0, KEEP, least=0)
        limit = whole_number(request, "limit", 100, MAX_LIMIT)
        return json_response(await asyncio.to_thread(self._cut, found, query.lower().split(), latest, offset, limit))

    def _cut(
        self, found: Sequence[Anomaly], words: list[str], latest: float, offset: int, limit: int
    ) -> dict[str, Any]:
        if len(self._texts) > 2 * KEEP:
            self._texts = {}
        chosen = [a for a in found if a.time <= latest and (not words or self._meets(a, words))]
        return {
            "total": len(chosen),
            "open": sum(a.state == "firing" for a in chosen),
            "anomalies": chosen[offset : offset + limit],
        }

    def _meets(self, anomaly: Anomaly, words: list[str]) -> bool:
        known = self._texts.get(anomaly.id)
        if known is None or known[0] is not anomaly:
            text = " ".join((anomaly.id, *anomaly.series.values(), *anomaly.reasons)).lower()
            known = self._texts[anomaly.id] = (anomaly, text)
        return all(word in known[1] for word in words)
