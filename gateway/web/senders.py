"""GET /api/v1/senders: who sends, with which SDK or client, how much, and how far its clock is off.

    {"senders": [{"sender", "points_per_second", "delay_seconds", "live_series", "sdk": {"name", "version", "language"},
                  "problems": [{"check", "value", "since"}]}],
     "clients": [{"protocol", "agent", "address", "requests", "points", "bytes", "refused", "first", "last"}]}

A sender is a value of `job` (OTLP's service.name); its SDK is what its resource says (telemetry.sdk.*). A client is a
connection's own word: its user agent and address, with totals since the data plane started.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.json_api import json_response


class Senders:
    """The handler."""

    def __init__(self, data_plane: DataPlaneClient) -> None:
        self._data_plane = data_plane

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/senders", self.senders)]

    async def senders(self, _: web.Request) -> web.Response:
        """Senders with rate, delay and SDK, and clients with their totals."""
        found = await self._data_plane.senders()
        status = await self._data_plane.status()
        problems: dict[str, list[dict[str, Any]]] = {}
        for problem in status.get("data_quality", ()):
            problems.setdefault(problem["sender"], []).append(
                {key: problem[key] for key in ("check", "value", "since")}
            )
        for sender in found["senders"]:
            sender["problems"] = problems.get(sender["sender"], [])
        return json_response(found)
