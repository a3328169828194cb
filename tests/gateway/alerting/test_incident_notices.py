"""Incident groups in notifications: one for a group, joined quietly, told when it matters, and nothing lost."""

from __future__ import annotations

import random

import pytest

from gateway.alerting.configuration import built_in_configuration
from gateway.alerting.notification import Again, Delivered, Notification, Outcome
from gateway.alerting.settings import AlertingSettings
from gateway.settings_types import Duration
from tests.gateway.alerting.incident_world import BY_INCIDENT, IncidentWorld
from tests.gateway.alerting.test_properties import ONE


def test_one_notification_for_a_group_and_alerts_that_join_are_not_told_anew() -> None:
    world = IncidentWorld()
    db = world.fire(alertname="Slow", service="db", severity="warning")
    world.advance(30)
    cart = world.fire(alertname="Errors", service="cart", severity="warning")
    web = world.fire(alertname="Errors", service="web", severity="warning")
    world.advance(600)
    assert [told.firing for told in world.told] == [{db}]
    held = world.store.history(kinds=("held",))
    assert {event.fingerprint for event in held} == {cart, web}
    assert world.incidents.notices.held(web)


def test_what_waits_is_told_at_the_latest_after_the_delay() -> None:
    world = IncidentWorld(settings=AlertingSettings(joining_delay=Duration(600)))
    db = world.fire(alertname="Slow", service="db")
    world.advance(30)
    cart = world.fire(alertname="Errors", service="cart")
    world.advance(590)
    assert len(world.told) == 1
    world.advance(90)
    assert [told.firing for told in world.told] == [{db}, {db, cart}]
    assert world.told[0].notification.group_key == world.told[1].notification.group_key


def test_without_a_delay_it_is_an_update_at_the_group_interval() -> None:
    world = IncidentWorld(settings=AlertingSettings(joining_delay=Duration(0)))
    world.fire(alertname="Slow", service="db")
    world.advance(30)
    world.fire(alertname="Errors", service="cart")
    world.advance(60)
    assert [len(told.firing) for told in world.told] == [1, 2]


def test_something_more_severe_is_told_at_once_and_something_less_severe_is_not() -> None:
    world = IncidentWorld()
    world.fire(alertname="Slow", service="db", severity="warning")
    world.advance(30)
    critical = world.fire(alertname="Errors", service="cart", severity="critical")
    world.advance(3)
    assert world.told[-1].firing == {critical}
    world.fire(alertname="Slow", service="shop", severity="warning")
    world.fire(alertname="Errors", service="web", severity="critical")
    world.advance(300)
    assert len(world.told) == 2


def test_another_incident_is_told_as_ever() -> None:
    world = IncidentWorld()
    world.fire(alertname="Slow", service="db")
    world.advance(30)
    mail = world.fire(alertname="Queue", service="mail")
    world.advance(11)
    assert world.told[-1].firing == {mail}


def test_ends_are_told_of_what_was_told() -> None:
    world = IncidentWorld()
    db = world.fire(alertname="Slow", service="db")
    world.advance(30)
    world.fire(alertname="Errors", service="cart")
    world.advance(61)
    world.end(alertname="Errors", service="cart")
    world.advance(120)
    assert len(world.told) == 1, "the end of what nobody was told of"
    world.end(alertname="Slow", service="db")
    world.advance(120)
    assert world.told[-1].resolved == {db}
    assert not world.engine.alerts


def test_alerts_stay_in_their_notification_over_merge_split_and_crash() -> None:
    world = IncidentWorld()
    mail, batch = world.fire(alertname="Queue", service="mail"), world.fire(alertname="Late", service="batch")
    world.advance(30)
    keys = {min(told.firing): told.notification.group_key for told in world.told}
    assert len(set(keys.values())) == 2
    world.incidents.regrouping.merge(world.group(mail).id, [world.group(batch).id], "ana", world.now)
    world.commit()
    world.crash()
    world.fire(alertname="Queue", service="mail")
    world.advance(300)
    assert len(world.told) == 2
    world.end(alertname="Late", service="batch")
    world.advance(120)
    assert world.told[-1].resolved == {batch}
    assert world.told[-1].notification.group_key == keys[batch]


def test_a_notification_says_what_is_known_of_the_incident() -> None:
    world = IncidentWorld()
    world.engine.external_url = "http://gw.example"
    db = world.fire(alertname="Slow", service="db", severity="warning")
    world.advance(1)
    world.fire(alertname="Errors", service="cart", severity="critical")
    world.advance(2)
    (told,) = world.told
    context = told.notification.context
    assert context["incident_group"] == world.group(db).id
    assert context["likely_cause"] == "Slow on db"
    assert "began first" in context["likely_cause_reasons"]
    assert context["related_alerts"] == "1"
    assert context["incident_url"].endswith(world.group(db).id)
    body = told.notification.webhook_body()
    assert body["context"] == context
    assert "likely cause: Slow on db" in told.notification.remarks


def test_routes_of_ones_own_group_as_they_say() -> None:
    world = IncidentWorld(ONE)
    world.fire(alertname="x", service="db")
    world.advance(20)
    world.fire(alertname="x", service="cart")
    world.advance(60)
    assert [len(told.firing) for told in world.told] == [1, 2]
    assert world.told[0].notification.group_labels == {"alertname": "x"}


def test_the_built_in_route_tells_about_incident_groups() -> None:
    world = IncidentWorld()
    world.configuration = built_in_configuration("http://a.example/")
    world.engine = world._engine()
    db = world.fire(alertname="Slow", service="db", severity="critical")
    world.fire(alertname="Errors", service="cart", severity="critical")
    world.advance(2)
    (told,) = world.told
    assert len(told.firing) == 2
    assert told.notification.group_labels == {"incident_group": world.group(db).id}


@pytest.mark.parametrize("seed", range(6))
def test_random_lives_lose_nothing(seed: int) -> None:
    """Whatever fires longer than all waits is told as firing; whatever was told is told to have ended."""
    chance = random.Random(seed)
    world = IncidentWorld(BY_INCIDENT, AlertingSettings(joining_delay=Duration(300), correlation_window=Duration(300)))

    def answer(_key: str, _notification: Notification) -> Outcome | None:
        return Again("busy") if chance.random() < 0.2 else Delivered()

    world.answer = answer
    firing: dict[str, tuple[dict[str, str], float]] = {}
    told_firing: set[str] = set()
    seen = 0
    for _ in range(150):
        labels = {
            "alertname": f"r{chance.randrange(4)}",
            "service": chance.choice(["web", "cart", "shop", "db", "mail"]),
            "severity": chance.choice(["warning", "critical"]),
        }
        match chance.randrange(5):
            case 0 | 1:
                name = world.fire(**labels)
                firing.setdefault(name, (labels, world.seconds))
            case 2 if firing:
                ended = chance.choice(sorted(firing))
                world.end(**firing.pop(ended)[0])
            case 3 if chance.random() < 0.2:
                world.crash(down=chance.randrange(30))
            case 4:
                groups = world.incidents.correlator.open_groups()
                if len(groups) > 1 and chance.random() < 0.5:
                    one, other = chance.sample(groups, 2)
                    world.incidents.regrouping.merge(one.id, [other.id], "ana", world.now)
                elif groups and len(groups[0].members) > 1:
                    world.incidents.regrouping.split(groups[0].id, [min(groups[0].members)], "ana", world.now)
                world.commit()
            case _:
                pass
        world.advance(chance.choice([1, 20, 120]))
        for told in world.told[seen:]:
            told_firing |= told.firing
            told_firing -= told.resolved
        seen = len(world.told)
        for name, (_, since) in firing.items():
            if world.seconds - since > 300 + 3 * 60 + 120 + 60:
                assert name in told_firing, (seed, world.seconds, since)
    for labels, _ in firing.values():
        world.end(**labels)
    world.advance(3600)
    for told in world.told[seen:]:
        told_firing |= told.firing
        told_firing -= told.resolved
    assert not told_firing
    assert not world.engine.alerts
    assert not world.incidents.correlator.open_groups()
