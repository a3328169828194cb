"""Lists made from kept parts beside lists made from nothing, after any history."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from gateway.alerting.alert import sort_key
from gateway.alerting.configuration import read_configuration
from gateway.alerting.listing import Listing, Selection
from gateway.alerting.maintenance import Maintenance, Window
from gateway.alerting.matcher import all_match, parse_matchers, pattern
from gateway.alerting.moments import NEVER, SECOND, format_moment
from gateway.alerting.sieve import Sieve, SieveIndex
from gateway.alerting.stages import muting_interval
from tests.gateway.alerting.virtual import World

ROUTES = """
route:
  receiver: all
  group_by: [service]
  group_wait: 10s
  group_interval: 1m
  routes:
  - {receiver: pager, matchers: [severity="critical"], continue: true}
  - {receiver: night, matchers: [severity="low"], mute_time_intervals: [always]}
  - {receiver: all, matchers: [service=~".+"], group_by: [alertname, service]}
inhibit_rules:
- {source_matchers: [severity="critical"], target_matchers: [severity="low"], equal: [service]}
time_intervals:
- {name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}
receivers: [{name: all}, {name: pager}, {name: night}]
"""
SELECTIONS = [
    Selection(),
    Selection(matchers=parse_matchers('{service=~"s[12]",alertname!="a1"}')),
    Selection(receiver=pattern("pa.*")),
    Selection(silenced=False),
    Selection(inhibited=False),
    Selection(active=False),
    Selection(muted=False),
]


def slow_alert(world: World, maintenance: Maintenance, fingerprint: str, interval: str = "") -> dict[str, Any]:
    engine, now = world.engine, world.now
    alert = engine.alerts[fingerprint]
    silenced = engine.silences.muting(alert.labels, now)
    inhibited = engine.inhibitor.inhibitors(alert.labels, fingerprint, now)
    muted = [interval] if interval else []
    muted += [f"maintenance {window.id}" for window in maintenance.muting(alert.labels, now)]
    ends = now + engine.configuration.resolve_timeout if alert.ends == NEVER else alert.ends
    return {
        "annotations": alert.annotations,
        "fingerprint": fingerprint,
        "labels": alert.labels,
        "startsAt": format_moment(alert.starts),
        "updatedAt": format_moment(alert.updated),
        "endsAt": format_moment(ends),
        "receivers": [{"name": name} for name in engine.receivers_of[fingerprint]],
        "status": {
            "state": "suppressed" if silenced or inhibited or muted else "active",
            "silencedBy": silenced,
            "inhibitedBy": inhibited,
            "mutedBy": muted,
        },
    }


def wanted(shown: dict[str, Any], selection: Selection) -> bool:
    status = shown["status"]
    return (
        all_match(selection.matchers, shown["labels"])
        and (selection.receiver is None or any(selection.receiver.fullmatch(one["name"]) for one in shown["receivers"]))
        and (selection.silenced or not status["silencedBy"])
        and (selection.inhibited or not status["inhibitedBy"])
        and (selection.active or bool(status["silencedBy"] or status["inhibitedBy"]))
    )


def slow_alerts(world: World, maintenance: Maintenance, selection: Selection) -> list[dict[str, Any]]:
    names = sorted(name for name, alert in world.engine.alerts.items() if alert.active(world.now))
    return [one for name in names if wanted(one := slow_alert(world, maintenance, name), selection)]


def slow_groups(world: World, maintenance: Maintenance, selection: Selection) -> list[dict[str, Any]]:
    found = []
    for group in sorted(world.engine.groups.values(), key=lambda g: (sorted(g.labels.items()), g.route.receiver, g.id)):
        muted = muting_interval(group.route, world.engine.configuration.intervals, world.now)
        if muted and not selection.muted:
            continue
        if selection.receiver is not None and not selection.receiver.fullmatch(group.route.receiver):
            continue
        alerts = [
            slow_alert(world, maintenance, alert.fingerprint, muted)
            for alert in sorted(group.members.values(), key=sort_key)
            if alert.active(world.now) and wanted(slow_alert(world, maintenance, alert.fingerprint), selection)
        ]
        if alerts:
            found.append({"alerts": alerts, "labels": group.labels, "receiver": {"name": group.route.receiver}})
    return found


@pytest.mark.parametrize("seed", range(3))
def test_lists_are_what_the_engine_holds_after_any_history(seed: int) -> None:
    dice = random.Random(seed)
    world = World(ROUTES)
    maintenance = Maintenance(world.engine, new_id=lambda: f"w{dice.random()}")
    listing = Listing(world.engine, maintenance)
    silences: list[str] = []
    for step in range(60):
        labels = {
            "alertname": f"a{dice.randrange(4)}",
            "service": f"s{dice.randrange(5)}",
            "severity": dice.choice(["critical", "low", "warning"]),
        }
        what = dice.randrange(10)
        if what < 5:
            world.fire(lasts=dice.choice([None, 30.0, 300.0]), **labels)
        elif what == 5:
            world.end(**labels)
        elif what == 6:
            matchers = dice.choice(['{service="s1"}', '{alertname=~"a[12]"}', '{service="s2",severity!="low"}'])
            silences.append(world.silence(matchers, world.seconds, world.seconds + dice.choice([20, 200])))
        elif what == 7 and silences:
            world.expire(silences.pop())
        elif what == 8:
            maintenance.put(
                Window(
                    id="",
                    name="n",
                    matchers=parse_matchers(f'{{service="s{dice.randrange(5)}"}}'),
                    starts=world.now,
                    ends=world.now + dice.choice([30, 300]) * SECOND,
                ),
                world.now,
            )
        elif step % 20 == 19:
            world.engine.reload(
                read_configuration(ROUTES.replace("group_by: [service]", "group_by: [alertname]"), "new"), world.now
            )
        world.advance(dice.choice([0.0, 1.0, 15.0]))
        if dice.random() < 0.3:
            while listing.refresh(world.now):
                pass
        selection = dice.choice(SELECTIONS)
        got = msgspec.json.decode(b"".join(listing.alerts(selection, world.now)))
        assert got == slow_alerts(world, maintenance, selection)
        got = msgspec.json.decode(b"".join(listing.groups(selection, world.now)))
        assert got == slow_groups(world, maintenance, selection)


def test_an_empty_list_is_an_empty_list() -> None:
    world = World(ROUTES)
    listing = Listing(world.engine)
    assert b"".join(listing.alerts(Selection(), world.now)) == b"[]"
    assert b"".join(listing.groups(Selection(), world.now)) == b"[]"
    world.fire(alertname="x")
    nothing = Selection(matchers=parse_matchers('{alertname="y"}'))
    assert b"".join(listing.alerts(nothing, world.now)) == b"[]"
    assert b"".join(listing.groups(nothing, world.now)) == b"[]"


def test_a_sieve_decides_as_its_matchers_do() -> None:
    texts = ['{a="1"}', '{a!="1"}', '{a=~"1|2",b=""}', '{a=~".*",b!~"x.*"}', '{b="x",a="2"}']
    all_matchers = {text: parse_matchers(text) for text in texts}
    index = SieveIndex(all_matchers.items())
    sieves = {text: Sieve(matchers) for text, matchers in all_matchers.items()}
    for _ in range(2):
        for labels in ({}, {"a": "1"}, {"a": "2"}, {"a": "2", "b": "x"}, {"b": "xy"}, {"a": "", "b": "x"}):
            expected = sorted(text for text, matchers in all_matchers.items() if all_match(matchers, labels))
            assert index.matching(labels) == expected
            assert sorted(text for text, sieve in sieves.items() if sieve.passes(labels)) == expected


def many_alerts() -> tuple[World, Maintenance, Listing]:
    """A hundred alerts of one service, and the list that shows them."""
    world = World(ROUTES)
    maintenance = Maintenance(world.engine)
    for number in range(100):
        world.fire(alertname=f"a{number}", service="s1")
    return world, maintenance, Listing(world.engine, maintenance)


@pytest.mark.parametrize("what", ["silence", "window"])
def test_what_mutes_from_the_middle_of_a_list_on_is_shown_by_the_next(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    world, maintenance, listing = many_alerts()
    with monkeypatch.context() as patched:
        patched.setattr("gateway.alerting.listing.SLICE", -1.0)  # a piece for each shelf
        pieces = listing.alerts(Selection(), world.now)
        next(pieces)
        if what == "silence":
            world.silence('{service="s1"}', world.seconds, world.seconds + 200)
        else:
            matchers = parse_matchers('{service="s1"}')
            window = Window(id="", name="n", matchers=matchers, starts=world.now, ends=world.now + 200 * SECOND)
            maintenance.put(window, world.now)
        assert len(list(pieces)) > 10
    shown = msgspec.json.decode(b"".join(listing.alerts(Selection(), world.now)))
    assert {one["status"]["state"] for one in shown} == {"suppressed"}


def test_a_list_goes_through_silences_and_windows_once_and_not_for_every_shelf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, maintenance, listing = many_alerts()
    gone_through: list[object] = []
    for kept in (maintenance, world.engine.silences):
        asked = kept.active
        monkeypatch.setattr(kept, "active", lambda now, asked=asked: (gone_through.append(asked), asked(now))[1])
    b"".join(listing.alerts(Selection(), world.now))
    assert len(gone_through) <= 2
