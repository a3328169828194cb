"""People's verdicts on anomalies.

POST   /api/v1/anomalies/{id}/feedback   {"verdict": "useful" | "noise", "by", "comment"}
DELETE /api/v1/anomalies/{id}/feedback?by=
GET    /api/v1/feedback                  every verdict with its anomaly, one JSON object a line, oldest first
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from gateway.alerting.feedback import Feedback, Given, Verdict
from gateway.alerting.moments import format_moment
from gateway.alerting.router import AlertRouter
from gateway.errors import NotFound
from gateway.web.anomaly_feed import AnomalyFeed
from gateway.web.json_api import json_response
from gateway.web.posted import posted

MAX_BY: Final = 200
MAX_COMMENT: Final = 4000


class PostedFeedback(msgspec.Struct, forbid_unknown_fields=True):
    """A verdict."""

    verdict: Verdict
    by: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_BY)]
    comment: Annotated[str, msgspec.Meta(max_length=MAX_COMMENT)] = ""


class FeedbackApi:
    """The handlers; over a started router."""

    def __init__(self, router: AlertRouter, feed: AnomalyFeed) -> None:
        self._router, self._feed = router, feed

    @property
    def _feedback(self) -> Feedback:
        return self._router.feedback

    def routes(self) -> list[web.RouteDef]:
        """The three addresses."""
        return [
            web.post("/api/v1/anomalies/{id}/feedback", self.give),
            web.delete("/api/v1/anomalies/{id}/feedback", self.take_back),
            web.get("/api/v1/feedback", self.export),
        ]

    async def give(self, request: web.Request) -> web.Response:
        """Says of an anomaly that it was useful or noise; replaces an earlier verdict."""
        verdict = await posted(request, PostedFeedback)
        anomaly = self._feed.get(request.match_info["id"])
        if anomaly is None:
            raise NotFound(f"no anomaly {request.match_info['id']}")
        now = self._router.clock.time_ns()
        copy = msgspec.structs.replace(anomaly)  # the feed's own goes on changing
        given = self._feedback.give(copy, verdict.verdict, verdict.by, verdict.comment, now)
        await self._router.commit()
        return json_response(shown(given), 201)

    async def take_back(self, request: web.Request) -> web.Response:
        """Removes a verdict and what it changed."""
        by = request.query.get("by", "")[:MAX_BY]
        self._feedback.take_back(request.match_info["id"], by, self._router.clock.time_ns())
        await self._router.commit()
        return web.Response(status=204)

    async def export(self, _: web.Request) -> web.Response:
        """Every verdict with its anomaly as JSON lines, for training."""
        lines = [msgspec.json.encode({**shown(g), "anomaly": msgspec.to_builtins(g.anomaly)}) for g in self._feedback]
        return web.Response(body=b"".join(line + b"\n" for line in lines), content_type="application/x-ndjson")


def shown(given: Given) -> dict[str, Any]:
    """A verdict for people, without the anomaly."""
    return {"verdict": given.verdict, "by": given.by, "comment": given.comment, "at": format_moment(given.at)}
