"""Enrichment: every piece from data, with its source; what is not there is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.alerting import enrichment as enrichment_module
from gateway.alerting.enrichment import Enrichment, RelatedValue
from gateway.alerting.inbound import Marker
from gateway.alerting.moments import SECOND
from gateway.alerting.past_alerts import PER_KEY, PastAlerts
from gateway.alerting.people import People
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings, Runbook
from gateway.clock import SystemClock
from gateway.errors import ConfigError, NotFound, Unavailable
from tests.gateway.alerting.incident_world import IncidentWorld
from tests.gateway.alerting.test_properties import ONE

RUNBOOKS = (
    Runbook(
        matchers='alertname="Slow",service=~"db.*"', url="https://wiki.example/slow", actions=("look at the locks",)
    ),
    Runbook(matchers='severity="critical"', title="On call", actions=("call the lead",)),
)


class Fixture:
    """A world with enrichment and people."""

    def __init__(self, configuration: str | None = None, **settings: Any) -> None:
        given = AlertingSettings(runbooks=RUNBOOKS, **settings)
        self.world = IncidentWorld(settings=given) if configuration is None else IncidentWorld(configuration, given)
        self.people = People(self.world.engine)
        self.enrichment = Enrichment(self.world.engine, self.world.incidents, given)

    def context(self, fingerprint: str) -> dict[str, Any]:
        alert = self.world.engine.alerts[fingerprint]
        return asyncio.run(self.enrichment.context(alert, self.world.now))


def test_runbooks_by_matcher_and_by_annotation_each_with_its_source() -> None:
    fixture = Fixture()
    name = fixture.world.fire(alertname="Slow", service="db-main", severity="critical")
    context = fixture.context(name)
    assert [r["source"].split(":")[0] for r in context["runbooks"]] == ["alerting.runbooks[0]", "alerting.runbooks[1]"]
    assert [a["action"] for a in context["suggestedActions"]] == ["look at the locks", "call the lead"]
    assert all(a["source"] for a in context["suggestedActions"])
    other = fixture.world.fire(alertname="Slow", service="cart")
    assert fixture.context(other)["runbooks"] == []
    broken = AlertingSettings(runbooks=(Runbook(matchers="no matcher"),))
    with pytest.raises(ConfigError, match="runbooks"):
        Enrichment(fixture.world.engine, fixture.world.incidents, broken)


def test_what_ended_the_last_ones_and_what_was_said() -> None:
    fixture = Fixture()
    world = fixture.world
    name = world.fire(alertname="Late", service="batch")
    world.advance(60)
    fixture.people.comment(name, "bob", "the lake was full", world.now)
    fixture.people.resolve(name, "ana", world.now, "restarted the loader")
    world.advance(3000)
    assert name not in world.engine.alerts
    fixture.people.comment(name, "ana", "and it stayed up", world.now)
    name = world.fire(alertname="Late", service="batch", severity="critical")
    same = world.fire(alertname="Late", service="batch")
    (past,) = fixture.context(same)["similar"]
    assert (past["ended"], past["by"], past["note"]) == ("by hand", "ana", "restarted the loader")
    assert past["comments"] == ["the lake was full", "and it stayed up"]
    assert past["relation"] == "the same rule and service"
    actions = {a["action"]: a["source"] for a in fixture.context(name)["suggestedActions"]}
    assert actions["restarted the loader"].startswith("ana about Late@batch")
    assert "last_resolution" in fixture.enrichment.annotate(world.engine.alerts[name], world.now)


def test_alerts_that_fire_together_are_similar_too() -> None:
    fixture = Fixture()
    world = fixture.world
    for _ in range(4):
        for rule, service in (("Errors", "web"), ("Slow", "db")):
            world.fire(alertname=rule, service=service)
        world.advance(60)
        for rule, service in (("Errors", "web"), ("Slow", "db")):
            world.end(alertname=rule, service=service)
        world.advance(20_000)
    name = world.fire(alertname="Errors", service="web")
    relations = [past["relation"] for past in fixture.context(name)["similar"]]
    assert relations.count("the same rule and service") == 4
    assert "Slow@db fires together with it" in relations


def test_memory_of_the_past_is_bounded_and_comes_from_the_store_after_a_start(tmp_path: Path) -> None:
    fixture = Fixture()
    world = fixture.world
    for _ in range(PER_KEY + 3):
        world.fire(alertname="Late", service="batch")
        world.advance(10)
        world.end(alertname="Late", service="batch")
        world.advance(600)
    before = fixture.enrichment.past.of_key("Late@batch")
    assert len(before) == PER_KEY
    world.crash()
    past = PastAlerts(world.engine.journal)
    past.load(world.store, world.now)
    assert past.of_key("Late@batch") == before


def test_deploys_of_the_service_and_of_what_it_calls() -> None:
    fixture = Fixture()
    world = fixture.world
    for number, (service, ago) in enumerate((("cart", 60), ("db", 600), ("mail", 60), ("cart", 30_000))):
        at = world.now - ago * SECOND
        world.markers.mark(Marker(id=str(number), time=at, title=f"rollout {number}", service=service), world.now)
    name = world.fire(alertname="Errors", service="cart")
    deploys = fixture.context(name)["deploys"]
    assert [(d["service"], d["beforeSeconds"]) for d in deploys] == [("cart", 60), ("db", 600)]
    assert all(d["source"] == "deploy marker" for d in deploys)


def test_related_series_are_asked_with_a_bound_and_a_failure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = Fixture()
    name = fixture.world.fire(alertname="AnomalyDetected", service="cart", metric="latency")
    assert "no history" in fixture.context(name)["relatedSeriesProblem"]

    class Answering:
        asked: list[str]

        async def values(self, labels: Mapping[str, str], metrics: Sequence[str], limit: int) -> list[RelatedValue]:
            self.asked = list(metrics)
            one = RelatedValue(series={}, last=1.0, at=2.0, minimum=0.0, maximum=1.0, samples=2, source="log")
            return [one] * 50

    answering = Answering()
    fixture.enrichment.related = answering
    found = fixture.context(name)
    assert answering.asked == ["latency"]
    assert len(found["relatedSeries"]) == enrichment_module.MAX_SERIES
    assert found["relatedSeries"][0]["source"] == "log"

    class Failing:
        async def values(self, labels: Mapping[str, str], metrics: Sequence[str], limit: int) -> list[RelatedValue]:
            raise Unavailable("the data plane does not answer")

    fixture.enrichment.related = Failing()
    assert fixture.context(name)["relatedSeriesProblem"] == "the data plane does not answer"

    class Hanging:
        async def values(self, labels: Mapping[str, str], metrics: Sequence[str], limit: int) -> list[RelatedValue]:
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr(enrichment_module, "RELATED_SECONDS", 0.01)
    fixture.enrichment.related = Hanging()
    assert "did not answer" in fixture.context(name)["relatedSeriesProblem"]


def test_notifications_carry_it_and_ones_own_annotations_stay() -> None:
    fixture = Fixture()
    world = fixture.world
    name = world.fire(alertname="Slow", service="db-main")
    world.advance(20)
    (told,) = world.told
    (alert,) = told.notification.alerts
    assert alert.annotations["runbook_url"] == "https://wiki.example/slow"
    assert alert.annotations["incident_group"] == world.group(name).id
    assert told.notification.context["runbook_url"] == "https://wiki.example/slow"
    assert world.engine.alerts[name].annotations == {}, "the alert itself is not changed"


@pytest.mark.parametrize("mode", ["built-in", "always", "never"])
def test_ones_own_routes_send_ones_own_annotations_unless_asked(mode: str) -> None:
    fixture = Fixture(ONE, config_file="alertmanager.yml", context_in_notifications=mode)
    fixture.world.fire(alertname="Slow", service="db-main")
    fixture.world.advance(20)
    (alert,) = fixture.world.told[0].notification.alerts
    assert bool(alert.annotations) == (mode == "always")
    assert ("context" in fixture.world.told[0].notification.webhook_body()) == (mode == "always")


async def test_the_context_of_an_alert_that_has_ended(tmp_path: Path) -> None:
    router = AlertRouter(AlertingSettings(runbooks=RUNBOOKS), tmp_path, SystemClock())
    await router.start()
    with pytest.raises(NotFound):
        await router.alert_context("0" * 16)
    world = IncidentWorld()
    alert = world.alert(alertname="Slow", service="db")
    await router.post_alerts([alert])
    await router.acts.resolve(alert.fingerprint, "ana", "killed the query")
    router.engine.alerts.pop(alert.fingerprint)  # as after the flush that tells of the end
    context = await router.alert_context(alert.fingerprint)
    assert context["runbooks"][0]["url"] == "https://wiki.example/slow"
    assert context["similar"][0]["note"] == "killed the query"
    await router.stop()
