"""GET /api/v1/refusals: what was refused since the data plane started, by reason; the other side of its limits.

    [{"what": "points" | "requests" | "tenant" | "events", "by", "reason", "count"}]

`points` are those of requests that were taken otherwise, `requests` were refused whole, both by protocol; `tenant` are
requests told to come again, by the tenant's name; `events` are maintenance events of log records, by their sender's
name. They are the data plane's own counters, read when asked for.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.json_api import json_response

_COUNTERS: Final = {
    "gateway_ingest_rejected_points": ("points", "protocol"),
    "gateway_ingest_errors": ("requests", "protocol"),
    "gateway_tenant_refusals": ("tenant", "tenant"),
    "gateway_maintenance_events_refused": ("events", "sender"),
}


class Refusals:
    """The handler."""

    def __init__(self, data_plane: DataPlaneClient) -> None:
        self._data_plane = data_plane

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/refusals", self.refusals)]

    async def refusals(self, _: web.Request) -> web.Response:
        """What was refused since the data plane started, by reason, the most first."""
        return json_response(refused(await self._data_plane.metrics()))


def refused(exposition: bytes) -> list[dict[str, Any]]:
    """Of the data plane's own metrics; several workers' are added up."""
    total: dict[tuple[str, str, str], int] = defaultdict(int)
    for name, (what, by) in _COUNTERS.items():
        lines = [line for line in exposition.split(b"\n") if line.startswith(name.encode() + b"_total{")]
        for family in text_string_to_metric_families(b"\n".join([*lines, b""]).decode()):
            for sample in family.samples:
                total[what, sample.labels[by], sample.labels["reason"]] += round(sample.value)
    found = sorted(total.items(), key=lambda one: (-one[1], one[0]))
    return [dict(zip(("what", "by", "reason"), key, strict=True)) | {"count": n} for key, n in found if n]
