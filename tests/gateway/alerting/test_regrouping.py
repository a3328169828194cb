"""Merge and split by a person: recorded, learned, undone, and there after a crash."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.alerting.sqlite_store import SqliteStore
from gateway.errors import NotFound, RequestError
from tests.gateway.alerting.incident_world import IncidentWorld


def two(world: IncidentWorld) -> tuple[str, str, str]:
    """Two groups that nothing in the topology joins: mail and batch; and one of the batch's alerts more."""
    mail = world.fire(alertname="Queue", service="mail")
    batch = world.fire(alertname="Late", service="batch")
    more = world.fire(alertname="Disk", service="batch")
    assert not world.together(mail, batch)
    assert world.together(batch, more)
    return mail, batch, more


def end_all(world: IncidentWorld) -> None:
    for alert in list(world.engine.alerts.values()):
        world.end(**alert.labels)
    world.advance(4 * 3600)


def test_a_merge_is_recorded_learned_and_used_the_next_time() -> None:
    world = IncidentWorld()
    mail, batch, more = two(world)
    act = world.incidents.regrouping.merge(world.group(mail).id, [world.group(batch).id], "ana", world.now, "one disk")
    world.commit()
    assert world.together(mail, batch, more)
    assert all(change > 1.0 for _, _, change in act.taught)
    assert {(one, other) for one, other, _ in act.taught} == {
        ("Late@batch", "Queue@mail"),
        ("Disk@batch", "Queue@mail"),
    }
    (event,) = world.store.history(kinds=("incident groups merged",))
    assert msgspec.json.decode(event.detail)["by"] == "ana"
    shown = world.incidents.show(act.target)
    assert shown["acts"][0]["by"] == "ana"
    assert shown["acts"][0]["note"] == "one disk"
    end_all(world)
    mail, batch = world.fire(alertname="Queue", service="mail"), world.fire(alertname="Late", service="batch")
    assert world.together(mail, batch), "the next time the correlation does it by itself"
    why = world.incidents.of_alert(batch)
    assert why is not None
    assert "people merged such alerts before" in why["why"]


def test_a_split_is_learned_and_the_groups_stay_apart() -> None:
    world = IncidentWorld()
    cart, shop = world.fire(alertname="Errors", service="cart"), world.fire(alertname="Errors", service="shop")
    assert world.together(cart, shop)
    act = world.incidents.regrouping.split(world.group(cart).id, [shop], "bob", world.now)
    assert not world.together(cart, shop)
    assert world.group(shop).id == act.target
    world.end(alertname="Errors", service="shop")
    world.fire(alertname="Errors", service="shop")
    assert world.group(shop).id == act.target, "it returns to where the person has put it"
    end_all(world)
    cart, shop = world.fire(alertname="Errors", service="cart"), world.fire(alertname="Errors", service="shop")
    assert not world.together(cart, shop)


@pytest.mark.parametrize("kind", ["merge", "split"])
def test_an_act_can_be_undone_with_what_it_taught(kind: str) -> None:
    world = IncidentWorld()
    mail, batch, more = two(world)
    homes = {name: world.group(name).id for name in (mail, batch, more)}
    if kind == "merge":
        act = world.incidents.regrouping.merge(homes[mail], [homes[batch]], "ana", world.now)
        assert world.together(mail, batch, more)
    else:
        act = world.incidents.regrouping.split(homes[batch], [more], "ana", world.now)
        assert not world.together(batch, more)
    model = world.incidents.correlator.model
    assert any(model.weight(one, other) for one, other, _ in act.taught)
    world.commit()
    world.crash()
    undone = world.incidents.regrouping.undo(act.target, "bob", world.now)
    world.commit()
    assert undone.undone_by == "bob"
    assert {name: world.group(name).id for name in homes} == homes
    assert all(world.incidents.correlator.model.weight(one, other) == 0.0 for one, other, _ in act.taught)
    assert [act["undoneBy"] for act in world.incidents.show(homes[batch])["acts"]] == ["bob"]
    with pytest.raises(NotFound):
        world.incidents.regrouping.undo(homes[batch], "bob", world.now)
    world.crash()
    assert {name: world.group(name).id for name in homes} == homes
    world.advance(60)
    end_all(world)
    assert not world.incidents.correlator.open_groups()


def test_acts_survive_a_crash_of_the_real_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "alerts.sqlite")
    store.open()
    world = IncidentWorld(store=store)
    mail, batch, _ = two(world)
    target = world.group(mail).id
    act = world.incidents.regrouping.merge(target, [world.group(batch).id], "ana", world.now)
    world.commit()
    said = [world.incidents.correlator.model.weight(one, other) for one, other, _ in act.taught]
    assert min(said) > 0
    shown = world.incidents.show(target)
    world.crash(down=1)
    assert world.together(mail, batch)
    assert world.incidents.show(target) == shown
    assert [world.incidents.correlator.model.weight(one, other) for one, other, _ in act.taught] == said
    assert world.incidents.correlator.find(next(iter(act.sources))) is world.group(mail)
    store.close()


def test_closed_groups_can_be_merged_afterwards() -> None:
    world = IncidentWorld()
    mail, batch, _ = two(world)
    first, second = world.group(mail).id, world.group(batch).id
    end_all(world)
    world.incidents.regrouping.merge(first, [second], "ana", world.now)
    assert world.incidents.show(second)["id"] == first
    assert len(world.incidents.show(first)["alerts"]) == 3
    assert not world.incidents.correlator.open_groups()
    world.fire(alertname="Queue", service="mail")
    assert world.group(mail).id != first
    world.incidents.regrouping.undo(first, "ana", world.now)
    assert world.group(mail).id != first, "an alert that fires again is not taken out of its present group"


def test_what_cannot_be_done_is_refused() -> None:
    world = IncidentWorld()
    mail, batch, more = two(world)
    regrouping, first = world.incidents.regrouping, world.group(mail).id
    with pytest.raises(NotFound):
        regrouping.merge(first, ["ig-nothing"], "ana", world.now)
    with pytest.raises(RequestError):
        regrouping.merge(first, [first], "ana", world.now)
    with pytest.raises(RequestError):
        regrouping.merge(first, [], "ana", world.now)
    with pytest.raises(RequestError):
        regrouping.split(world.group(batch).id, [batch, more], "ana", world.now)
    with pytest.raises(NotFound):
        regrouping.split(first, [batch], "ana", world.now)
    with pytest.raises(NotFound):
        regrouping.undo(first, "ana", world.now)
