"""Verdicts on anomalies: what they change, within which bounds, for how long, and how they are taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway.alerting.feedback import FAMILY, HALF_LIFE, HIGHEST, LOWEST, SERIES, Feedback
from gateway.alerting.journal import Journal
from gateway.alerting.moments import SECOND
from gateway.alerting.router import AlertRouter
from gateway.clock import ManualClock
from gateway.errors import NotFound
from gateway.telemetry.anomaly import Anomaly
from gateway.web.feedback_api import FeedbackApi
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import served
from tests.gateway.alerting.test_context import START, anomaly, muted, the_alert, with_router

NOW = START * SECOND


def another(number: int, score: float = 0.55, severity: str = "medium") -> Anomaly:
    return msgspec.structs.replace(anomaly(severity=severity), id=f"a{number}", score=score)


def test_verdicts_add_up_within_bounds_fade_and_are_taken_back() -> None:
    feedback = Feedback(Journal())
    feedback.give(another(1), "noise", "ana", "", NOW)
    assert feedback.shift(another(2), NOW) == pytest.approx(-SERIES)
    assert feedback.shift(another(2), NOW + HALF_LIFE) == pytest.approx(-SERIES / 2)
    assert feedback.shift(another(1), NOW) == 0.0, "what is open stays as it is"
    sibling = another(3)
    sibling.series = sibling.series | {"pod": "b"}
    assert feedback.shift(sibling, NOW) == pytest.approx(-FAMILY)
    for stranger in (
        msgspec.structs.replace(another(4), kind="stale"),
        msgspec.structs.replace(another(4), series={"__name__": "errors", "job": "shop/cart"}),
    ):
        assert feedback.shift(stranger, NOW) == 0.0
    feedback.give(another(1), "useful", "bo", "it was one", NOW)
    assert feedback.shift(another(2), NOW) == pytest.approx(SERIES), "the opposite replaces"
    feedback.take_back("a1", "bo", NOW)
    assert feedback.shift(another(2), NOW) == 0.0
    with pytest.raises(NotFound):
        feedback.take_back("a1", "bo", NOW)
    for verdict, bound in (("noise", LOWEST), ("useful", HIGHEST)):
        for number in range(10, 30):
            feedback.give(another(number), verdict, "ana", "", NOW)  # type: ignore[arg-type]
        assert feedback.shift(another(2), NOW) == bound


def test_noise_needs_more_evidence_next_time_and_useful_less(tmp_path: Path) -> None:
    async def act(router: AlertRouter, clock: ManualClock) -> None:
        router.feedback.give(another(1), "noise", "ana", "", NOW)
        await router.submit_anomaly(another(2))
        alert = the_alert(router)
        assert alert.labels["severity"] == "low"
        assert muted(router, alert, NOW).startswith("feedback")
        assert router.context_of(another(2))["feedback"]
        worse = another(2, score=0.75, severity="high")
        await router.submit_anomaly(worse)
        assert the_alert(router).labels["severity"] == "medium", "more evidence is told"
        assert not muted(router, the_alert(router), NOW)
        router.feedback.give(another(1), "useful", "ana", "", NOW)
        await router.submit_anomaly(another(3, score=0.65))
        (alert,) = [a for a in router.engine.alerts.values() if a.annotations["anomaly_id"] == "a3"]
        assert alert.labels["severity"] == "high"

    with_router(tmp_path, act)


class Feed:
    """Knows one anomaly."""

    def get(self, anomaly_id: str) -> Anomaly | None:
        return another(7) if anomaly_id == "a7" else None


def test_over_http_and_across_a_restart(tmp_path: Path) -> None:
    async def ask(router: AlertRouter) -> None:
        application = web.Application(middlewares=[declared_errors])
        application.add_routes(FeedbackApi(router, Feed()).routes())  # type: ignore[arg-type]
        async with served(application) as url, aiohttp.ClientSession(url) as session:
            path = "/api/v1/anomalies/a7/feedback"
            for body in ({}, {"verdict": "meh", "by": "ana"}, {"verdict": "noise"}, {"verdict": "noise", "by": ""}):
                async with session.post(path, json=body) as answer:
                    assert answer.status == 400, body
            async with session.post(path.replace("a7", "a8"), json={"verdict": "noise", "by": "ana"}) as answer:
                assert answer.status == 404
            async with session.post(path, json={"verdict": "noise", "by": "ana", "comment": "backup"}) as answer:
                assert answer.status == 201
                assert (await answer.json())["by"] == "ana"
            async with session.get("/api/v1/feedback") as answer:
                (line,) = (await answer.read()).splitlines()
                assert msgspec.json.decode(line)["anomaly"]["id"] == "a7"

    async def act(router: AlertRouter, _clock: ManualClock) -> None:
        await ask(router)

    async def after(router: AlertRouter, _clock: ManualClock) -> None:
        given = router.feedback.get("a7")
        assert given is not None
        assert (given.verdict, given.comment) == ("noise", "backup")
        (event,) = await asyncio.to_thread(router.store.history, kinds=("feedback",))
        assert msgspec.json.decode(event.detail)["by"] == "ana"

    with_router(tmp_path, act)
    with_router(tmp_path, after)
