"""Maintenance windows of events: what they cover, how later events and people change them, and their limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.alerting.freeze_publisher import freeze_windows_of
from gateway.alerting.maintenance import Maintenance, Window
from gateway.alerting.maintenance_events import MOST, MaintenanceEvents
from gateway.alerting.matcher import all_match, parse_matchers
from gateway.alerting.moments import SECOND
from gateway.alerting.store import MAINTENANCE
from gateway.selfmetrics import REGISTRY
from gateway.telemetry.maintenance_event import MaintenanceEvent
from tests.gateway.alerting.test_properties import ONE
from tests.gateway.alerting.virtual import EPOCH, World

TILL = {"service.name": "till"}


def at(seconds: float) -> int:
    return round((EPOCH + seconds) * SECOND)


def start(time: float, lasts: float, key: str = "k", **more: Any) -> MaintenanceEvent:
    more.setdefault("scope", TILL)
    return MaintenanceEvent(
        key=key, id=key, sender="ci", action="start", time=at(time), lasts=round(lasts * SECOND), **more
    )


def end(time: float, key: str = "k") -> MaintenanceEvent:
    return MaintenanceEvent(key=key, id=key, sender="ci", action="end", time=at(time))


class Desk:
    """Windows of a world, and the events that come to them."""

    def __init__(self, naming: str = "prometheus") -> None:
        self.world = World(ONE)
        self.maintenance = Maintenance(self.world.engine)
        self.events = MaintenanceEvents(self.maintenance, naming)

    def take(self, event: MaintenanceEvent) -> str:
        return self.events.take(event, self.world.now)

    def span(self, key: str = "k") -> tuple[float, float]:
        """When the window begins and ends, in seconds of the world's clock."""
        window = self.maintenance.get(key)
        return (window.starts - at(0)) / SECOND, (window.ends - at(0)) / SECOND


def test_a_window_of_an_event_mutes_until_its_end_and_freezes_learning() -> None:
    desk = Desk()
    assert desk.take(start(0, 600, body="move", author="ana")) == "made"
    one = desk.world.fire(alertname="x", service="till")
    other = desk.world.fire(alertname="x", service="cart")
    desk.world.advance(500)
    assert [told.firing for told in desk.world.told] == [{other}]
    (frozen,) = freeze_windows_of(desk.maintenance, desk.world.now, 0)
    assert (frozen.id, frozen.spans) == ("k", ((at(0) // 10**6, at(600) // 10**6),))
    desk.world.advance(200)
    assert [told.at >= 600 for told in desk.world.told if one in told.firing] == [True]
    window = desk.maintenance.get("k")
    assert (window.name, window.created_by, window.comment) == ("move", "ana", "")


def test_a_second_event_extends_shortens_and_an_end_ends() -> None:
    desk = Desk()
    desk.take(start(0, 600, name="move", description="racks"))
    desk.world.advance(100)
    assert desk.take(start(100, 3600, scope={}, resource_scope={"service.name": "ci"})) == "changed"
    assert desk.span() == (0, 3700), "the start stays, and a duration counts from the event"
    window = desk.maintenance.get("k")
    assert (window.name, window.comment) == ("move", "racks")
    assert all_match(window.matchers, {"service": "till"}), "the resource of who sends it does not move it elsewhere"
    assert desk.take(start(101, 200, scope={})) == "changed"
    assert desk.span() == (0, 301)
    desk.world.advance(100)
    assert desk.take(end(150)) == "ended"
    assert desk.span() == (0, 200)
    assert desk.take(start(201, 60)) == "changed"
    assert desk.span() == (201, 261), "one that is over begins anew"


def test_a_window_to_come_keeps_its_start() -> None:
    desk = Desk()
    desk.take(start(0, 600, starts=at(5000)))
    assert desk.span() == (5000, 5600)
    desk.take(start(1, 1200, scope={}))
    assert desk.span() == (5000, 6200)
    desk.take(end(2))
    assert desk.maintenance.get("k").state(desk.world.now) == "expired"


def test_what_is_sent_again_or_late_changes_nothing() -> None:
    desk = Desk()
    first, longer = start(0, 600), start(10, 900)
    assert [desk.take(event) for event in (first, first, longer, first)] == ["made", "repeated", "changed", "stale"]
    assert desk.span() == (0, 910)
    assert [desk.take(event) for event in (end(10), end(10), longer, end(5))] == ["ended", "repeated", "stale", "stale"]
    assert desk.maintenance.get("k").ends == desk.world.now


def test_people_have_the_last_word() -> None:
    desk = Desk()
    desk.take(start(0, 600))
    desk.world.advance(60)
    desk.maintenance.expire("k", desk.world.now)
    assert desk.take(start(30, 600)) == "stale", "it was on its way when somebody ended the window"
    assert desk.maintenance.get("k").state(desk.world.now) == "expired"
    longer = Window(
        id="k", name="by hand", matchers=parse_matchers('service="cart"'), starts=at(0), ends=at(9000), created_by="ana"
    )
    desk.maintenance.put(longer, desk.world.now)
    assert desk.take(end(40)) == "stale"
    assert desk.maintenance.get("k").state(desk.world.now) == "active"
    assert desk.take(end(90)) == "ended", "a new word of the sender counts"


def test_an_end_that_is_read_before_its_start_holds() -> None:
    desk = Desk()
    assert [desk.take(event) for event in (end(10), start(5, 600))] == ["unknown", "stale"]
    assert list(desk.maintenance) == []
    assert desk.take(start(11, 600)) == "made"


@pytest.mark.parametrize(
    "event",
    [
        start(-1000, 60),
        start(0, 60, scope={}),
        start(0, 60, scope={"deployment.environment.name": "prod"}),
        start(0, 60, ends=at(50), starts=at(70)),
        start(0, 60, labels={"l" * 5000: "x"}),
    ],
)
def test_what_the_interface_refuses_is_refused(event: MaintenanceEvent) -> None:
    desk = Desk()
    before = REGISTRY.get_sample_value("gateway_maintenance_events_total", {"outcome": "refused"}) or 0.0
    assert desk.take(event) == "refused"
    assert list(desk.maintenance) == []
    assert REGISTRY.get_sample_value("gateway_maintenance_events_total", {"outcome": "refused"}) == before + 1


@pytest.mark.parametrize(
    ("naming", "scope", "covered", "others"),
    [
        (
            "prometheus",
            TILL,
            [{"service": "till"}, {"service": "shop/till"}],
            [{"service": "still"}, {"service": "till2"}],
        ),
        (
            "prometheus",
            {"service.name": "till", "service.namespace": "shop"},
            [{"service": "till"}, {"service": "shop/till"}],
            [{"service": "x/till"}],
        ),
        (
            "otlp",
            {"service.name": "till", "service.namespace": "shop"},
            [{"service": "till", "service.namespace": "shop"}, {"service": "till"}],
            [{"service": "till", "service.namespace": "x"}],
        ),
        ("prometheus", {"service.namespace": "shop"}, [{"service": "shop/till"}], [{"service": "till"}]),
        ("otlp", {"service.namespace": "shop"}, [{"service.namespace": "shop"}], [{"service": "till"}]),
        (
            "prometheus",
            {"service.name": "till", "deployment.environment.name": "prod"},
            [{"service": "till"}, {"service": "till", "env": "prod"}],
            [
                {"service": "till", name: "test"}
                for name in ("env", "environment", "deployment_environment", "deployment_environment_name")
            ],
        ),
        (
            "otlp",
            {"service.name": "till", "deployment.environment": "prod"},
            [{"service": "till", "deployment.environment.name": "prod"}],
            [{"service": "till", "deployment.environment.name": "test"}],
        ),
        ("prometheus", {"host.name": "a.b"}, [{"host_name": "a.b", "service": "x"}], [{"host_name": "axb"}, {}]),
        ("otlp", {"host.name": "a.b"}, [{"host.name": "a.b"}], [{"host_name": "a.b"}]),
        ("prometheus", {"service.instance.id": "i"}, [{"instance": "i"}], [{"service_instance_id": "i"}]),
        ("prometheus", {"service.name": ".*"}, [{"service": ".*"}], [{"service": "till"}]),
        ("prometheus", {"service.name": "a|b) \n\\E("}, [{"service": "a|b) \n\\E("}], [{"service": "a"}]),
    ],
)
def test_attributes_are_labels_of_alerts(
    naming: str, scope: dict[str, str], covered: list[dict[str, str]], others: list[dict[str, str]]
) -> None:
    matchers = Desk(naming).events.matchers_of(scope, {})
    assert [all_match(matchers, labels) for labels in covered] == [True] * len(covered)
    assert [all_match(matchers, labels) for labels in others] == [False] * len(others)


def test_labels_that_are_named_are_taken_as_they_are() -> None:
    matchers = Desk().events.matchers_of({}, {"alertname": "HostDown", "job": ".*"})
    assert [str(matcher) for matcher in matchers] == ['alertname="HostDown"', 'job=".*"']


def test_a_sender_that_never_stops_makes_a_bounded_number() -> None:
    desk = Desk()
    by_hand = Window(id="", name="n", matchers=parse_matchers('a="b"'), starts=at(0), ends=at(5))
    desk.maintenance.put(by_hand, desk.world.now)
    assert {desk.take(start(0, 60 + n, f"k{n}")) for n in range(MOST)} == {"made"}
    assert desk.take(start(0, 60, "more")) == "too_many"
    assert desk.take(start(1, 60, "k3")) == "changed"
    desk.world.advance(60.5)
    assert desk.take(start(60, 60, "more")) == "made"
    ids = {window.id for window in desk.maintenance}
    assert (len(ids), "k0" in ids, "k1" in ids) == (MOST + 1, False, True)


def test_windows_are_kept_with_who_declared_them_and_each_act_is_in_the_history() -> None:
    desk = Desk()
    desk.take(start(0, 600, author="ana", body="move"))
    desk.take(end(5))
    events = desk.world.engine.journal.take().events
    said = [(event.kind, msgspec.json.decode(event.detail)) for event in events if event.kind.startswith("maintenance")]
    assert [kind for kind, _ in said] == [
        "maintenance set", "maintenance began", "maintenance expired", "maintenance ended"
    ]  # fmt: skip
    assert {(one["sender"], one["event"], one["by"]) for _, one in said} == {("ci", "k", "ana")}


def test_a_crash_forgets_nothing_and_what_is_read_again_changes_nothing() -> None:
    desk = Desk()
    desk.take(start(0, 600))
    desk.take(end(5))
    desk.world.commit()
    again = Maintenance(desk.world.engine)
    for _, body in desk.world.store.records(MAINTENANCE):
        again.load(msgspec.json.decode(body, type=Window), desk.world.now)
    events = MaintenanceEvents(again, "prometheus")
    assert [events.take(event, desk.world.now) for event in (start(0, 600), end(5))] == ["stale", "repeated"]
    old = msgspec.json.encode(next(iter(again)))
    kept = msgspec.json.decode(old)
    del kept["declared"]
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Window).declared is None, "of an earlier version"
