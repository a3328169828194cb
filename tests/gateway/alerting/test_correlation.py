"""Correlation: what belongs together comes together, what does not stays apart, over crashes too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.alerting.evidence import weigh
from gateway.alerting.inbound import Marker
from gateway.alerting.incident_group import rank_of
from gateway.alerting.likely_cause import likely_causes
from gateway.alerting.moments import SECOND
from gateway.alerting.sqlite_store import SqliteStore
from tests.gateway.alerting.incident_world import IncidentWorld
from tests.gateway.alerting.virtual import labels_of


def test_a_cascade_along_calls_is_one_group_and_names_what_is_called_as_the_cause() -> None:
    world = IncidentWorld()
    slow = world.fire(alertname="SlowQueries", service="db", severity="warning")
    world.advance(40)
    cart = world.fire(alertname="Errors", service="cart", severity="critical")
    shop = world.fire(alertname="Errors", service="shop", severity="critical")
    world.advance(30)
    web = world.fire(alertname="SlowPages", service="web", severity="critical")
    mail = world.fire(alertname="QueueFull", service="mail", severity="critical")
    assert world.together(slow, cart, shop, web)
    assert not world.together(slow, mail)
    (cause, *_) = world.incidents.notices.causes(world.group(web))
    assert cause.place.service == "db"
    assert "began first" in cause.reasons
    assert any("depend on db" in reason for reason in cause.reasons)
    assert "nothing that db calls is affected" in cause.reasons
    why = world.incidents.of_alert(web)
    assert why is not None
    assert any("web calls" in words for words in why["why"])


def test_unrelated_services_at_one_moment_stay_apart() -> None:
    world = IncidentWorld()
    names = [world.fire(alertname="Errors", service=name) for name in ("web", "mail", "batch")]
    assert len({world.group(name).id for name in names}) == 3


def test_time_separates_what_place_would_join() -> None:
    world = IncidentWorld()
    one = world.fire(alertname="Errors", service="cart")
    world.advance(3600)
    other = world.fire(alertname="Latency", service="cart")
    assert not world.together(one, other)
    again = world.fire(alertname="Errors", service="cart", instance="pod-7")
    assert world.together(one, again), "the same rule on the same service, while it still fires"


def test_one_rule_over_many_hosts_without_services_is_one_group() -> None:
    world = IncidentWorld()
    names = [world.fire(alertname="HostDown", instance=f"10.0.0.{n}:9100") for n in range(20)]
    assert world.together(*names)


def test_an_alert_that_returns_while_the_group_is_open_returns_to_it_and_a_quiet_group_closes() -> None:
    world = IncidentWorld()
    one = world.fire(alertname="Errors", service="cart")
    first = world.group(one).id
    world.advance(60)
    world.end(alertname="Errors", service="cart")
    world.advance(300)
    world.fire(alertname="Errors", service="cart")
    assert world.group(one).id == first
    assert world.group(one).members[one].times == 2
    world.end(alertname="Errors", service="cart")
    world.advance(1000)
    assert world.incidents.correlator.group_of(one) is None
    closed = world.incidents.show(first)
    assert closed["state"] == "closed"
    world.fire(alertname="Errors", service="cart")
    assert world.group(one).id != first


def test_an_alert_between_two_groups_joins_them_unless_a_person_separated_them() -> None:
    world = IncidentWorld()
    lake, web = world.fire(alertname="Lake", service="lake"), world.fire(alertname="Web", service="web")
    assert not world.together(lake, web)
    world.see([("web", "middle"), ("middle", "lake")])
    middle = world.fire(alertname="Middle", service="middle")
    assert world.together(lake, web, middle)
    first = world.group(lake).id
    world.incidents.regrouping.split(first, [web], "ana", world.now)
    assert not world.together(lake, web)
    world.fire(alertname="Middle2", service="middle")
    assert not world.together(lake, web)


def test_groups_members_and_the_model_survive_a_crash(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "alerts.sqlite")
    store.open()
    world = IncidentWorld(store=store)
    db, cart = world.fire(alertname="Slow", service="db"), world.fire(alertname="Errors", service="cart")
    mail = world.fire(alertname="Queue", service="mail")
    world.advance(20)
    before = {name: world.group(name).id for name in (db, cart, mail)}
    shown = world.incidents.show(before[db])
    pairs = dict(world.incidents.correlator.model)
    world.crash(down=5)
    assert {name: world.group(name).id for name in (db, cart, mail)} == before
    assert world.incidents.show(before[db]) == shown
    assert {pair: known.count for pair, known in world.incidents.correlator.model} == {
        pair: known.count for pair, known in pairs.items()
    }
    assert pairs
    assert world.incidents.topology.callees("cart")
    late = world.fire(alertname="SlowPages", service="web")
    assert world.together(db, late)
    store.close()


def test_what_ended_while_the_gateway_was_down_is_ended_in_its_group() -> None:
    world = IncidentWorld()
    world.grace = 0.0
    one = world.fire(alertname="Errors", service="cart", lasts=30)
    group = world.group(one).id
    world.crash(down=4000)
    world.advance(2000)
    assert world.incidents.show(group)["state"] == "closed"


def test_a_store_without_groups_gets_them() -> None:
    world = IncidentWorld()
    name = world.fire(alertname="Errors", service="cart")
    kept = world.store.kept  # type: ignore[attr-defined]
    for key in [key for key in kept if key[0].startswith("incident")]:
        del kept[key]
    world.crash()
    assert world.group(name).members


def test_work_and_memory_stay_bounded_in_a_storm() -> None:
    world = IncidentWorld()
    for number in range(3000):
        labels = labels_of(alertname=f"rule{number % 500}", service=f"s{number % 300}", instance=f"i{number}")
        world.engine.receive([world.alert(**labels)], world.now)
    world.commit()
    correlator = world.incidents.correlator
    assert sum(len(group.members) for group in correlator.open_groups()) == 3000
    assert len(correlator.model) < 5000
    for alert in list(world.engine.alerts.values()):
        world.end(**alert.labels)
    world.advance(3000)
    assert not correlator.open_groups()
    assert len(correlator.groups) <= 300
    assert not correlator._index
    assert not correlator._of
    kept = [key for key in world.store.kept if key[0] == "incident_member"]  # type: ignore[attr-defined]
    assert len(kept) == sum(len(group.members) for group in correlator.groups.values())


def test_a_deploy_just_before_outweighs_a_slightly_earlier_alert() -> None:
    world = IncidentWorld()
    at = world.now - 60 * SECOND
    world.markers.mark(Marker(id="1", time=at, title="cart rolled out", service="shop/cart", version="v42"), world.now)
    first = world.fire(alertname="SlowPages", service="web")
    world.advance(20)
    world.fire(alertname="Errors", service="cart")
    members = world.group(first).members.values()
    cause = likely_causes(members, world.incidents.topology, world.markers)[0]
    assert cause.place.service == "cart"
    assert any("v42" in reason and "deployed 80 s before" in reason for reason in cause.reasons)


def test_severities_of_other_tools_have_their_place() -> None:
    ranks = [rank_of(name) for name in ("none", "info", "warning", "error", "Critical")]
    assert ranks == [0, 1, 2, 3, 4]
    assert rank_of("gold") == 2


def test_many_targets_of_one_rule_join_without_being_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    world = IncidentWorld()
    compared = 0

    def counting(*given: Any, **more: Any) -> Any:
        nonlocal compared
        compared += 1
        return weigh(*given, **more)

    monkeypatch.setattr("gateway.alerting.correlation.weigh", counting)
    names = [world.fire(alertname=f"r{n % 5}", service="cart", instance=f"i{n}") for n in range(300)]
    assert world.together(*names)
    assert compared < 50
