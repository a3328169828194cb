"""Escalation on a virtual clock, and schedules across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from gateway.alerting.escalation import Escalation, Escalations
from gateway.alerting.moments import SECOND
from gateway.alerting.oncall import read_oncall
from gateway.alerting.people import People
from gateway.errors import ConfigError
from tests.gateway.alerting.virtual import World

CONFIGURATION = """
route: {receiver: team, group_by: [alertname], group_wait: 10s, group_interval: 60s, repeat_interval: 4h}
receivers:
  - {name: team, webhook_configs: [{url: 'http://team.example/'}]}
  - {name: ana, webhook_configs: [{url: 'http://ana.example/'}]}
  - {name: bob, webhook_configs: [{url: 'http://bob.example/'}]}
  - {name: boss, webhook_configs: [{url: 'http://boss.example/'}]}
"""
RECEIVERS = {"team", "ana", "bob", "boss"}
ONCALL = """
people: [{name: ana, receiver: ana}, {name: bob, receiver: bob}]
schedules:
  - name: primary
    location: Europe/Rome
    rotations: [{people: [ana, bob], start: '2023-11-13T09:00', shift: 1w}]
    overrides: [{person: bob, start: '2023-11-25T00:00', end: '2023-11-26T00:00'}]
escalation_policies:
  - name: pages
    matchers: [severity="critical"]
    steps:
      - {wait: 5m, notify: ['schedule:primary']}
      - {wait: 10m, notify: ['person:bob', 'receiver:boss']}
    repeat: 1
"""


def wired(world: World) -> tuple[People, Escalations]:
    people = People(world.engine)
    escalations = Escalations(world.engine, people, read_oncall(ONCALL, "oncall.yml", RECEIVERS))
    for _, body in world.store.records("escalation"):
        escalations.load(msgspec.json.decode(body, type=Escalation))
    return people, escalations


def pages(world: World) -> list[tuple[float, str]]:
    return [(told.at, told.integration.split("/")[0]) for told in world.told if told.firing]


def test_steps_run_at_their_moments_and_again_as_often_as_asked() -> None:
    world = World(CONFIGURATION)
    wired(world)
    world.fire(alertname="x", severity="critical")
    world.fire(alertname="y", severity="warning")
    world.advance(3600)
    assert pages(world) == [
        (10.0, "team"), (10.0, "team"), (310.0, "ana"), (910.0, "bob"), (910.0, "boss"),
        (1210.0, "ana"), (1810.0, "bob"), (1810.0, "boss"),
    ]  # fmt: skip
    assert [told.notification.reminder for told in world.told] == [False] * 2 + [True] * 6


def test_an_acknowledgement_stops_the_steps_even_at_the_last_moment_and_the_end_goes_to_all_who_were_told() -> None:
    world = World(CONFIGURATION)
    people, escalations = wired(world)
    name = world.fire(alertname="x", severity="critical")
    world.advance(400)
    world.now = (1_700_000_000 + 910) * SECOND  # the step is due this instant, and so is the acknowledgement
    people.acknowledge(name, "ana", world.now)
    world.advance(3600)
    assert pages(world) == [(10.0, "team"), (310.0, "ana")]
    world.end(alertname="x", severity="critical")
    world.advance(120)
    assert {told.integration.split("/")[0] for told in world.told if told.resolved} == {"team", "ana"}
    assert escalations.get('team|{}:{alertname="x"}') is None
    assert not world.engine.alerts
    world.fire(alertname="x", severity="critical")
    before = len(world.told)
    world.advance(400)
    assert [page[1] for page in pages(world)][-2:] == ["team", "ana"]
    assert len(world.told) == before + 2


def test_timers_survive_a_crash_and_overdue_steps_run_once_in_order() -> None:
    world = World(CONFIGURATION)
    wired(world)
    world.fire(alertname="x", severity="critical")
    world.advance(100)
    world.crash(down=50)
    wired(world)
    world.advance(200)
    assert pages(world) == [(10.0, "team"), (310.0, "ana")]
    world.crash(down=700)  # 1050: the step of 910 is overdue
    wired(world)
    world.advance(1)
    assert [name for _, name in pages(world)] == ["team", "ana", "bob", "boss"]
    world.advance(3000)
    assert [name for _, name in pages(world)] == ["team", "ana", "bob", "boss", "ana", "bob", "boss"]


def test_a_silenced_group_is_not_escalated_and_a_new_alert_of_an_acknowledged_group_is() -> None:
    world = World(CONFIGURATION)
    people, _ = wired(world)
    one = world.fire(alertname="x", severity="critical", n="1")
    world.silence('{n="1"}', 0, 100)
    world.advance(305)
    assert pages(world) == [(130.0, "team")]
    world.advance(200)
    assert pages(world)[-1] == (430.0, "ana")
    people.acknowledge(one, "ana", world.now)
    world.advance(1000)
    assert len(pages(world)) == 2
    world.fire(alertname="x", severity="critical", n="2")
    world.advance(400)
    assert [name for _, name in pages(world)[2:]] == ["team", "ana", "ana"]


def test_schedules_keep_the_time_of_day_across_changes_of_the_clock() -> None:
    schedule = read_oncall(
        """
people: [{name: a, receiver: ana}, {name: b, receiver: bob}]
schedules:
  - {name: weekly, location: Europe/Rome, rotations: [{people: [a, b], start: '2026-03-23T09:00', shift: 1w}]}
  - {name: hourly, location: Europe/Rome, rotations: [{people: [a, b], start: '2026-03-29T00:00', shift: 1h}]}
""",
        "oncall.yml",
        RECEIVERS,
    ).schedules

    def moment(text: str) -> int:
        return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND

    # Rome is UTC+1 before 29 March 2026 02:00, UTC+2 after it.
    assert schedule["weekly"].on_call(moment("2026-03-23T07:59:59")) == ""
    assert schedule["weekly"].on_call(moment("2026-03-23T08:00:00")) == "a"
    assert schedule["weekly"].on_call(moment("2026-03-30T06:59:59")) == "a"
    assert schedule["weekly"].on_call(moment("2026-03-30T07:00:00")) == "b"
    assert [schedule["hourly"].on_call(moment(f"2026-03-29T{h:02}:30:00")) for h in range(4)] == ["b", "a", "b", "a"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("people: [{name: a, receiver: nobody}]", '"nobody" is not defined'),
        ("schedules: [{name: s, rotations: [{people: [x], start: '2026-01-01T00:00', shift: 1w}]}]", '"x" is not'),
        ("escalation_policies: [{name: p, steps: [{wait: 1m, notify: ['person:x']}]}]", '"person:x" is not known'),
        ("escalation_policies: [{name: p, steps: []}]", "needs steps"),
        ("groups: []", '"groups" is not supported'),
        ("teams: [{name: t, members: [x]}]", '"x" is not defined'),
        ("teams: [{name: t, members: []}]", "needs members"),
        ("escalation_policies: [{name: p, team: t, steps: [{wait: 1m, notify: ['receiver:boss']}]}]", '"t" is not'),
        ("people: [{name: a, receiver: ana}, {name: a, receiver: bob}]", "defined twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"oncall\.yml:1") as raised:
        read_oncall(text, "oncall.yml", RECEIVERS)
    assert problem in str(raised.value)


TEAMS = """
people: [{name: ana, receiver: ana}, {name: bob, receiver: bob}]
schedules:
  - name: shop-primary
    location: Asia/Kathmandu
    rotations: [{people: [ana, bob], start: '2023-11-13T09:00', shift: 1w}]
    overrides: [{person: bob, start: '2023-11-15T04:10', end: '2023-11-15T05:00'}]
  - name: later
    rotations: [{people: [bob], start: '2099-01-01T00:00', shift: 1w}]
teams:
  - {name: shop, members: [ana, bob], schedules: [shop-primary], matchers: ['service=~"cart|checkout"']}
  - {name: search, members: [ana, bob], schedules: [later]}
escalation_policies:
  - {name: shop, team: shop, steps: [{wait: 5m, notify: ['team:shop']}]}
  - {name: search, team: search, matchers: [severity="critical"], steps: [{wait: 5m, notify: ['team:search']}]}
"""


def test_a_team_is_told_by_who_is_on_call_in_it_and_else_as_a_whole() -> None:
    oncall = read_oncall(TEAMS, "oncall.yml", RECEIVERS)

    def owners(**labels: str) -> list[str]:
        return [team.name for team in oncall.teams.values() if team.owns(labels)]

    assert owners(service="cart") == ["shop"]
    assert owners(service="cart", team="search") == ["search"]
    assert owners(service="other") == []

    def told(**labels: str) -> list[tuple[float, str]]:
        world = World(CONFIGURATION)
        people = People(world.engine)
        Escalations(world.engine, people, oncall)
        world.fire(alertname="x", **labels)
        world.advance(1800)
        return pages(world)

    # The world begins at 2023-11-14T22:13:20Z, 03:58:20 of the next day in Kathmandu: bob's override is not yet.
    assert told(service="cart") == [(10.0, "team"), (310.0, "ana")]
    assert told(team="shop") == [(10.0, "team"), (310.0, "ana")]
    assert told(team="search", severity="critical") == [(10.0, "team"), (310.0, "ana"), (310.0, "bob")]
    assert told(team="search", severity="low") == [(10.0, "team")]
    assert told(service="other") == [(10.0, "team")]
    later = read_oncall(
        TEAMS.replace("wait: 5m, notify: ['team:shop']", "wait: 15m, notify: ['team:shop']"), "o", RECEIVERS
    )
    world = World(CONFIGURATION)
    Escalations(world.engine, People(world.engine), later)
    world.fire(alertname="x", service="cart")
    world.advance(1800)
    assert pages(world) == [(10.0, "team"), (910.0, "bob")]


def test_overdue_steps_of_several_groups_run_in_the_order_in_which_they_were_due() -> None:
    world = World(CONFIGURATION)
    wired(world)
    world.fire(alertname="zero", severity="critical")
    world.advance(20)
    world.fire(alertname="one", severity="critical")
    world.advance(20)
    world.crash(down=7200)
    wired(world)
    world.advance(0)
    steps = world.store.history(kinds=("escalated",), newest_first=False)
    order = [(event.group.split('"')[1], msgspec.json.decode(event.detail)["step"]) for event in steps]
    assert order == [(name, step) for name in ("zero", "one") for step in range(4)]


def test_a_clock_that_is_put_back_does_not_put_off_a_step() -> None:
    world = World(CONFIGURATION)
    wired(world)
    world.fire(alertname="x", severity="critical")
    world.advance(100)
    world.now -= 7200 * SECOND
    world.engine.clock_went_back(world.now, 7200 * SECOND)
    world.advance(3600)
    assert pages(world)[1:] == [
        (at - 7200, name) for at, name in [
            (310.0, "ana"), (910.0, "bob"), (910.0, "boss"), (1210.0, "ana"), (1810.0, "bob"), (1810.0, "boss"),
        ]
    ]  # fmt: skip
