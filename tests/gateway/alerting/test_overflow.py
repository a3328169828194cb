"""Budgets, digests and storms: held notifications are gathered, told, ended, released, and survive a crash."""

from __future__ import annotations

import msgspec
import pytest

from gateway.alerting.budget import Budget, Budgets, Level
from gateway.alerting.digest import LISTED, Digests, Held
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Delivered, Notification, Outcome
from gateway.alerting.recovery import restore
from gateway.alerting.store import BUDGET, HELD, RUNTIME
from gateway.alerting.storm import KEY, Storm, StormOptions, StormRecord
from gateway.errors import NotFound
from tests.gateway.alerting.virtual import Told, World

EACH = """
route:
  receiver: one
  group_by: [alertname]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h
receivers:
- name: one
  webhook_configs: [{url: 'http://one/'}]
"""


class Overflow:
    """A world with budget and storm, crashes included."""

    def __init__(self, budget: Budget | None = None, storm: StormOptions | None = None) -> None:
        self.world = World(EACH)
        self._options = (budget, storm or StormOptions(groups=0, factor=10, release=0))
        self._wire()

    def _wire(self) -> None:
        budget, storm = self._options
        engine = self.world.engine
        self.budgets = Budgets(engine, (budget,) if budget else ())
        self.storm = Storm(engine, storm)
        self.digests = Digests(engine, (self.storm, self.budgets))
        self.storm.digests = self.digests

    def crash(self, down: float) -> None:
        world = self.world
        world.now += round(down * SECOND)
        world.engine = world._engine()
        self._wire()
        for key, body in world.store.records(BUDGET):
            self.budgets.load(key, msgspec.json.decode(body, type=Level))
        for _, body in world.store.records(HELD):
            self.digests.load(msgspec.json.decode(body, type=Held))
        for key, body in world.store.records(RUNTIME):
            if key == KEY:
                self.storm.load(msgspec.json.decode(body, type=StormRecord), world.now)
        restore(world.engine, world.store, world.now, grace=0)
        world.commit()

    @property
    def alone(self) -> list[Told]:
        return [told for told in self.world.told if "digest/" not in told.notification.group_key]

    @property
    def together(self) -> list[Told]:
        return [told for told in self.world.told if "digest/" in told.notification.group_key]


def two_an_hour(exempt: str = "") -> Budget:
    return Budget(
        receiver="one",
        notifications=2,
        per=3600 * SECOND,
        burst=2,
        interval=300 * SECOND,
        exempt=parse_matchers(exempt) if exempt else (),
    )


def test_what_is_over_the_budget_is_told_in_one_digest_and_its_end_as_well() -> None:
    overflow = Overflow(two_an_hour())
    world = overflow.world
    names = [world.fire(alertname=f"a{n}", service=f"s{n % 2}") for n in range(10)]
    world.advance(100)
    assert len(overflow.alone) == 2
    assert len(list(overflow.digests)) == 8
    world.advance(300)
    (digest,) = overflow.together
    told = {name for one in overflow.alone for name in one.firing}
    assert digest.firing == set(names) - told
    assert "over the budget of 2 notifications per 1h" in digest.notification.note
    assert "8 alerts fire: s0 4, s1 4" in digest.notification.note
    for n in range(10):
        world.end(alertname=f"a{n}", service=f"s{n % 2}")
    world.advance(400)
    assert {name for one in overflow.alone for name in one.resolved} == told
    assert overflow.together[-1].resolved == set(names) - told
    assert overflow.together[-1].notification.status == "resolved"
    assert not world.engine.alerts
    world.advance(400)
    assert not list(overflow.digests)
    assert len(overflow.together) == 2


def test_a_digest_counts_by_the_label_that_names_the_service() -> None:
    overflow = Overflow(two_an_hour())
    for n in range(10):
        overflow.world.fire(alertname=f"a{n}", service_name=f"s{n % 2}", job="agent")
    overflow.world.advance(400)
    (digest,) = overflow.together
    assert "8 alerts fire: s0 4, s1 4" in digest.notification.note


def test_critical_alerts_pass_an_empty_bucket_and_take_nothing_from_it() -> None:
    overflow = Overflow(two_an_hour('{severity="critical"}'))
    for n in range(5):
        overflow.world.fire(alertname=f"c{n}", severity="critical")
    for n in range(3):
        overflow.world.fire(alertname=f"w{n}", severity="warning")
    overflow.world.advance(20)
    severities = [told.notification.alerts[0].labels["severity"] for told in overflow.alone]
    assert (severities.count("critical"), severities.count("warning")) == (5, 2)


def test_the_bucket_is_refilled_with_time_and_not_by_a_restart() -> None:
    overflow = Overflow(two_an_hour())
    world = overflow.world
    world.fire(alertname="a")
    world.fire(alertname="b")
    world.advance(20)
    assert len(overflow.alone) == 2
    overflow.crash(1)
    world.fire(alertname="c")
    world.advance(20)
    assert len(overflow.alone) == 2
    world.advance(1500)  # told by a digest by now, so it stays there
    assert {name for one in overflow.together for name in one.firing}
    world.advance(400)
    world.fire(alertname="d")
    world.advance(20)
    assert len([one for one in overflow.alone if one.notification.group_labels == {"alertname": "d"}]) == 1


def test_a_held_group_is_told_at_once_when_a_person_releases_it() -> None:
    overflow = Overflow(two_an_hour())
    world = overflow.world
    for n in range(3):
        world.fire(alertname=f"a{n}")
    world.advance(20)
    (held,) = overflow.digests
    overflow.digests.release(held.id, "ana", world.now)
    world.step()
    assert len(overflow.alone) == 3
    assert not overflow.digests.firing_groups("budget", world.now)
    with pytest.raises(NotFound):
        overflow.digests.release(held.id, "ana", world.now)
    world.advance(600)
    assert not overflow.together


def test_a_digest_survives_a_crash_before_and_while_it_is_told() -> None:
    overflow = Overflow(two_an_hour())
    world = overflow.world
    names = {world.fire(alertname=f"a{n}") for n in range(6)}
    world.advance(20)
    overflow.crash(5)
    hanging = True

    def answer(_key: str, notification: Notification) -> Outcome | None:
        return None if hanging and notification.group_key.startswith("digest/") else Delivered()

    world.answer = answer
    world.advance(300)
    hanging = False
    world.hanging = []
    overflow.crash(5)
    for n in range(6):
        world.end(alertname=f"a{n}")
    world.advance(1000)
    ended = {name for one in world.told for name in one.resolved}
    assert ended == names
    assert not world.engine.alerts


def test_a_digest_lists_a_bounded_number_of_alerts() -> None:
    overflow = Overflow(two_an_hour())
    for n in range(LISTED + 52):
        overflow.world.fire(alertname=f"a{n}")
    overflow.world.advance(400)
    (digest,) = overflow.together
    assert len(digest.notification.alerts) == LISTED
    assert digest.notification.webhook_body()["truncatedAlerts"] == 50
    for n in range(LISTED + 52):
        overflow.world.end(alertname=f"a{n}")
    overflow.world.advance(700)
    assert not overflow.world.engine.alerts


def test_nothing_is_held_that_repeats_or_ends_within_the_budget() -> None:
    overflow = Overflow(two_an_hour())
    world = overflow.world
    world.fire(alertname="a")
    world.advance(20)
    world.end(alertname="a")
    world.advance(100)
    assert [told.notification.status for told in world.told] == ["firing", "resolved"]


STORM = StormOptions(groups=30, factor=10, release=5, exempt=parse_matchers('{severity="critical"}'))


def test_a_storm_is_told_as_one_summary_by_service() -> None:
    overflow = Overflow(storm=STORM)
    world = overflow.world
    for n in range(200):
        world.fire(alertname=f"a{n}", service=f"s{n % 4}")
        world.advance(0.1)
    world.fire(alertname="page", severity="critical")
    world.advance(60)
    assert overflow.storm.state.since
    assert [told.notification.group_labels["alertname"] for told in overflow.alone if told.firing][-1] == "page"
    assert len(overflow.alone) < 3, "what began before the storm was known waits for its group wait and is held as well"
    summary = overflow.together[0].notification
    assert summary.group_labels == {"alertname": "AlertStorm"}
    assert "alert storm since" in summary.note
    assert "s0 " in summary.note
    for n in range(200):
        world.end(alertname=f"a{n}", service=f"s{n % 4}")
    world.advance(900)
    assert not overflow.storm.state.since
    assert overflow.together[-1].notification.status == "resolved"
    assert [alert.name for alert in world.engine.alerts.values()] == ["page"]


def test_few_that_outlast_the_storm_are_told_one_by_one_and_many_stay_with_the_summary() -> None:
    for left, alone in ((3, 3), (20, 0)):
        overflow = Overflow(storm=STORM)
        world = overflow.world
        for n in range(100):
            world.fire(alertname=f"a{n}")
        world.advance(30)
        for n in range(100 - left):
            world.end(alertname=f"a{n}")
        world.advance(900)
        assert not overflow.storm.state.since
        assert len([told for told in overflow.alone if told.firing]) == alone
        for n in range(100):
            world.end(alertname=f"a{n}")
        world.advance(900)
        assert not world.engine.alerts
        told = {name for one in world.told for name in one.firing}
        assert {name for one in world.told for name in one.resolved} == told


def test_usual_traffic_is_no_storm_and_a_storm_outlives_a_crash() -> None:
    overflow = Overflow(storm=STORM)
    world = overflow.world
    for minute in range(90):
        for n in range(5):
            world.fire(alertname=f"m{minute}-{n}")
        world.advance(60)
    assert not overflow.storm.state.since
    assert overflow.storm.state.usual == pytest.approx(4, abs=1.5)
    for n in range(35):
        world.fire(alertname=f"b{n}")
    world.advance(1)
    assert not overflow.storm.state.since, "35 a minute are not ten times the usual five"
    for n in range(100):
        world.fire(alertname=f"c{n}")
    assert overflow.storm.state.since
    overflow.crash(2)
    assert overflow.storm.state.since
    world.advance(60)
    assert not [told for told in overflow.alone if told.notification.group_labels["alertname"][0] in "bc"]
    assert overflow.together
