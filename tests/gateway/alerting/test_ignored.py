"""Alerts that are told again and again and that nobody touches."""

from __future__ import annotations

from gateway.alerting.ignored import Ignored, IgnoredOptions
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import SECOND
from gateway.alerting.people import People
from tests.gateway.alerting.virtual import World

HOURLY = """
route:
  receiver: one
  group_by: [alertname]
  group_wait: 10s
  group_interval: 10m
  repeat_interval: 1h
receivers:
- name: one
  webhook_configs: [{url: 'http://one/'}, {url: 'http://two/'}]
"""
OPTIONS = IgnoredOptions(threshold=3, repeat=24 * 3600 * SECOND, exempt=parse_matchers('{severity="critical"}'))


def build() -> tuple[World, Ignored, People]:
    world = World(HOURLY)
    ignored = Ignored(world.engine, OPTIONS)
    people = People(world.engine)
    people.act_watchers.append(ignored.touched)
    return world, ignored, people


def times(world: World) -> int:
    return sum(told.integration.endswith("/0") for told in world.told)


def test_repetition_becomes_rare_and_says_why_until_somebody_acts() -> None:
    world, ignored, people = build()
    name = world.fire(alertname="noisy")
    world.advance(10 * 3600)
    assert times(world) == 3, "told first and repeated twice; ten hours would have made nine"
    assert [one.fingerprint for one in ignored] == [name]
    world.advance(20 * 3600)
    assert times(world) == 4, "once a day"
    assert world.told[-1].notification.note == "lowered: noisy was told 3 times and nobody acted on it"
    assert world.told[-1].notification.lowered
    people.comment(name, "ana", "looking", world.now)
    assert not list(ignored)
    world.advance(3 * 3600)
    assert times(world) == 7
    assert not world.told[-1].notification.note


def test_it_is_counted_over_occurrences_and_beginnings_and_ends_are_told_as_ever() -> None:
    world, _, _ = build()
    for _ in range(5):
        world.fire(alertname="noisy")
        world.advance(700)
        world.end(alertname="noisy")
        world.advance(700)
    told = [told.notification for told in world.told if told.integration.endswith("/0")]
    assert [one.status for one in told] == ["firing", "resolved"] * 5
    assert [one.lowered for one in told if one.status == "firing"] == [False] * 3 + [True] * 2


def test_critical_alerts_are_never_lowered_and_a_release_raises_one_again() -> None:
    world, ignored, _ = build()
    world.fire(alertname="page", severity="critical")
    name = world.fire(alertname="noisy")
    world.advance(4 * 3600)
    assert [one.fingerprint for one in ignored] == [name]
    ignored.release(name, "ana", world.now)
    assert not list(ignored)
    before = times(world)
    world.advance(3600)
    assert times(world) == before + 2
