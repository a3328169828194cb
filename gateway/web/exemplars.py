"""GET /api/v1/exemplars?match=&start=&end=&limit=: traces beside the samples, from the embedded log.

    [{"labels": {…}, "exemplars": [{"time", "value", "trace_id", "span_id"}]}]

Only series that have any are listed, each with its newest. A histogram's exemplars stand at its count (OTLP) or at
its buckets (remote write). The log keeps them as long as samples (log.retention), also where VictoriaMetrics is the
history, as that keeps none.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.errors import RequestError
from gateway.telemetry.selector import parse_selector
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.json_api import json_response
from gateway.web.query_parameters import parse_time, whole_number

MAX_SERIES: Final = 200


class Exemplars:
    """The handler."""

    def __init__(self, data_plane: DataPlaneClient) -> None:
        self._data_plane = data_plane

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/exemplars", self.exemplars)]

    async def exemplars(self, request: web.Request) -> web.Response:
        """Exemplars of the series that a selector matches, over a time range."""
        match = request.query.get("match", "")
        parse_selector(match)
        end = parse_time(request.query.get("end") or "now", "end")
        start = parse_time(request.query.get("start") or str(end - 3600), "start")
        if start >= end:
            raise RequestError("start is not before end", reason="parameter")
        limit = whole_number(request, "limit", MAX_SERIES, MAX_SERIES)
        found = await self._data_plane.history(match, round(start * 1000), round(end * 1000), limit)
        return json_response([{"labels": h.labels, "exemplars": h.exemplars} for h in found if h.exemplars])
