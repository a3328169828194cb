"""What must hold of delivery, on a virtual clock: examples of each property, and random lives of the whole router."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.alerting.alert import fingerprint
from gateway.alerting.matcher import all_match
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Again, Delivered, Notification, Outcome, Refused
from gateway.alerting.outbox import backoff
from tests.gateway.alerting.virtual import EPOCH, World, labels_of

ONE = """
route: {receiver: a, group_by: [alertname], group_wait: 10s, group_interval: 60s, repeat_interval: 10m}
receivers: [{name: a, webhook_configs: [{url: 'http://a.example/'}]}]
"""
TWO = """
route: {receiver: both, group_by: [alertname], group_wait: 10s, group_interval: 60s, repeat_interval: 1h}
receivers: [{name: both, webhook_configs: [{url: 'http://dead.example/'}, {url: 'http://alive.example/'}]}]
"""
INHIBITED = (
    ONE
    + """
inhibit_rules: [{source_matchers: [severity="critical"], target_matchers: [severity="warning"], equal: [host]}]
"""
)


def test_told_once_and_repeated_only_after_the_repeat_interval() -> None:
    world = World(ONE)
    world.fire(alertname="x")
    world.advance(9.9)
    assert not world.told
    world.advance(0.2)
    assert [told.at for told in world.told] == [10.0]
    world.fire(alertname="x")  # the same report again changes nothing
    world.advance(599)
    assert len(world.told) == 1
    world.advance(120)
    assert [told.at for told in world.told] == [10.0, 670.0]
    assert [told.notification.reminder for told in world.told] == [False, True]


def test_a_changed_set_is_told_at_the_next_group_interval() -> None:
    world = World(ONE)
    world.fire(alertname="x", n="1")
    world.advance(20)
    world.fire(alertname="x", n="2")
    world.advance(100)
    assert [(told.at, len(told.firing)) for told in world.told] == [(10.0, 1), (70.0, 2)]


def test_what_was_accepted_is_there_after_a_crash_and_is_told() -> None:
    world = World(ONE)
    name = world.fire(alertname="x")
    world.crash(down=3)
    assert name in world.engine.alerts
    world.advance(7)
    assert [told.at for told in world.told] == [10.0]


def test_a_crash_in_flight_repeats_once_at_most() -> None:
    world = World(ONE)
    world.answer = lambda _key, _notification: None
    world.fire(alertname="x")
    world.advance(11)
    world.answer = lambda _key, _notification: Delivered()
    world.crash(delivered_but_not_noted=True)
    world.advance(3000 - 11)
    early = [told for told in world.told if told.at < 600]
    assert len(early) == 2
    assert early[1].after_crash


def test_a_notified_firing_gets_its_resolve_even_when_it_ended_while_we_were_down() -> None:
    world = World(ONE)
    name = world.fire(alertname="x", lasts=120)
    world.advance(30)
    world.crash(down=3600)
    world.advance(70)
    assert world.told[-1].resolved == {name}
    assert world.told[-1].notification.status == "resolved"
    assert len(world.told) == 2


def test_after_a_long_absence_senders_may_report_again_before_anything_is_called_resolved() -> None:
    world = World(ONE, grace=120)
    world.fire(alertname="x", lasts=120)
    world.advance(30)
    world.crash(down=3600)
    world.advance(60)
    world.fire(alertname="x", lasts=300)
    world.advance(200)
    # Nothing was called resolved; the repetition is due since the repeat interval passed while we were away.
    assert not any(told.resolved for told in world.told)


def test_a_resolve_that_a_silence_held_back_is_told_after_the_silence() -> None:
    world = World(ONE)
    name = world.fire(alertname="x")
    world.advance(20)
    world.silence('{alertname="x"}', 20, 500)
    world.end(alertname="x")
    world.advance(400)
    assert len(world.told) == 1
    world.advance(200)
    assert world.told[-1].resolved == {name}
    world.advance(60)
    assert not world.engine.alerts


def test_one_dead_receiver_delays_no_other() -> None:
    world = World(TWO)

    def answer(key: str, _notification: Notification) -> Outcome | None:
        return Again("connection refused") if key.endswith("/0") else Delivered()

    world.answer = answer
    for number in range(50):
        world.fire(alertname=f"x{number}")
    world.advance(11)
    assert len([told for told in world.told if told.integration.endswith("/1")]) == 50
    world.answer = lambda _key, _notification: Delivered()
    world.advance(120)
    assert len([told for told in world.told if told.integration.endswith("/0")]) == 50
    assert len([told for told in world.told if told.integration.endswith("/1")]) == 50


def test_retry_after_is_kept_and_a_refusal_is_final_until_the_next_group_interval() -> None:
    world = World(ONE)
    world.answer = lambda _key, _notification: Again("HTTP 429", after=25.0)
    world.fire(alertname="x")
    world.advance(30)
    assert [at for at, _ in world.attempts] == [10.0]
    world.answer = lambda _key, _notification: Refused("HTTP 400")
    world.advance(10)
    assert [at for at, _ in world.attempts] == [10.0, 35.0]
    world.advance(29)
    assert len(world.attempts) == 2
    world.advance(2)
    assert [at for at, _ in world.attempts] == [10.0, 35.0, 70.0]


def test_a_silence_holds_from_its_start_up_to_but_not_including_its_end() -> None:
    world = World(ONE)
    made = world.engine.silences.get(world.silence('{alertname="x"}', 10, 70))
    assert [made.state(moment) for moment in (made.starts - 1, made.starts, made.ends - 1, made.ends)] == [
        "pending", "active", "active", "expired",
    ]  # fmt: skip
    name = world.fire(alertname="x")
    world.advance(10)
    assert not world.told  # the flush at 10 is inside
    world.advance(60)
    assert [told.at for told in world.told] == [70.0]  # the flush at 70 is not
    assert world.told[0].firing == {name}


def test_when_a_silence_ends_what_it_muted_is_told_again() -> None:
    world = World(ONE)
    name = world.fire(alertname="x")
    world.advance(15)
    silence = world.silence('{alertname="x"}', 15, 400)
    world.advance(100)
    world.expire(silence)
    world.expire(silence)
    world.advance(60)
    assert [told.at for told in world.told] == [10.0, 130.0]
    assert world.told[-1].firing == {name}


def test_an_alert_that_ends_right_after_its_silence_is_still_told_as_resolved() -> None:
    world = World(ONE)
    name = world.fire(alertname="x")
    world.advance(15)
    silence = world.silence('{alertname="x"}', 15, 400)
    world.advance(100)
    world.expire(silence)
    world.end(alertname="x")
    world.advance(60)
    assert world.told[-1].resolved == {name}


def test_nothing_suppressed_is_told_on_start_and_a_resolved_inhibitor_frees_its_targets() -> None:
    world = World(INHIBITED)
    world.fire(alertname="source", severity="critical", host="h")
    target = world.fire(alertname="target", severity="warning", host="h")
    other = world.fire(alertname="target", severity="warning", host="i")
    world.crash(down=30)
    world.advance(200)
    assert {
        f for told in world.told if told.notification.group_labels["alertname"] == "target" for f in told.firing
    } == {other}
    world.engine.reload(world.configuration, world.now)
    world.advance(100)
    assert target not in {f for told in world.told for f in told.firing}
    world.end(alertname="source", severity="critical", host="h")
    world.advance(61)
    assert target in world.told[-1].firing or target in world.told[-2].firing


def test_reload_keeps_rhythm_and_tells_nothing_twice() -> None:
    world = World(ONE)
    world.fire(alertname="x")
    world.advance(20)
    for _ in range(5):
        world.engine.reload(world.configuration, world.now)
        world.advance(30)
    assert len(world.told) == 1


MIXED = """
route:
  receiver: a
  group_by: [alertname]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 20m
  routes:
    - {matchers: [n="2"], receiver: b, continue: true, group_by: ['...'], group_wait: 0s}
    - {matchers: [alertname="y"], receiver: c}
receivers:
  - {name: a, webhook_configs: [{url: 'http://a.example/'}]}
  - {name: b, webhook_configs: [{url: 'http://b.example/'}, {url: 'http://b2.example/'}]}
  - {name: c, webhook_configs: [{url: 'http://c.example/', send_resolved: false}]}
inhibit_rules: [{source_matchers: [severity="critical"], target_matchers: [severity="warning"], equal: [n]}]
"""
NAMES = [
    {"alertname": a, "n": n, "severity": s} for a in ("x", "y") for n in ("1", "2") for s in ("critical", "warning")
]
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("fire"), st.integers(0, 7)),
        st.tuples(st.just("lapse"), st.integers(0, 7)),
        st.tuples(st.just("end"), st.integers(0, 7)),
        st.tuples(st.just("advance"), st.sampled_from([1, 9, 10, 31, 60, 70, 301, 1300])),
        st.tuples(st.just("silence"), st.sampled_from(['{alertname="x"}', '{n="2"}', '{severity=~"w.*"}'])),
        st.tuples(st.just("expire"), st.integers(0, 3)),
        st.tuples(st.just("mood"), st.sampled_from(["well", "down", "refusing", "hanging", "fickle"])),
        st.tuples(st.just("crash"), st.sampled_from([0, 5, 100, 2000])),
        st.tuples(st.just("reload"), st.just(0)),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS, st.integers(0, 2**16))
def test_random_lives(actions: list[tuple[str, object]], seed: int) -> None:
    world = World(MIXED)
    chance = random.Random(seed)
    silences: list[tuple[str, str]] = []
    mood = "well"

    def answer(_key: str, _notification: Notification) -> Outcome | None:
        now = mood if mood != "fickle" else chance.choice(["well", "down", "refusing"])
        return {"well": Delivered(), "down": Again("HTTP 503"), "refusing": Refused("HTTP 400"), "hanging": None}[now]

    world.answer = answer
    for kind, argument in actions:
        if kind in ("fire", "lapse", "end"):
            labels = NAMES[int(str(argument))]
            if kind == "end":
                world.end(**labels)
            else:
                world.fire(lasts=300 if kind == "lapse" else None, **labels)
        elif kind == "advance":
            world.advance(float(str(argument)))
        elif kind == "silence":
            matchers = str(argument)
            silences.append((world.silence(matchers, world.seconds, world.seconds + 500), matchers))
        elif kind == "expire" and silences:
            world.expire(silences[int(str(argument)) % len(silences)][0])
        elif kind == "mood":
            mood = str(argument)
        elif kind == "crash":
            world.crash(float(str(argument)), delivered_but_not_noted=chance.random() < 0.5)
        elif kind == "reload":
            world.engine.reload(world.configuration, world.now)
        check_told(world)
    # In the end all is well: receivers answer, silences end, alerts end; then everyone knows.
    mood = "well"
    for slot in world.hanging:
        world.settle(slot, Again("timed out", uncertain=True))
    world.hanging = []
    for name, _ in silences:
        world.expire(name)
    for labels in NAMES:
        if fingerprint(labels_of(**labels)) in world.engine.alerts:
            world.end(**labels)
    world.advance(400)
    check_told(world)
    assert not world.engine.alerts, "an ended alert is still held"
    assert not list(world.engine.outbox)
    believed: dict[tuple[str, str], set[str]] = {}
    for told in world.told:
        believed[told.integration, told.notification.group_key] = told.firing
    for (integration, group), firing in believed.items():
        assert integration.startswith("c/") or not firing, f"{integration} still believes {group} fires"


def check_told(world: World) -> None:
    """No notification of something silenced then, and none without a change before the repeat interval."""
    last: dict[tuple[str, str], tuple[float, set[str], set[str]]] = {}
    for told in world.told:
        at = told.notification.at
        for silence in world.engine.silences:
            if silence.starts <= at < silence.ends and silence.updated < at:
                for alert in told.notification.firing:
                    assert not all_match(silence.matchers, alert.labels), "a silenced alert was told"
        key = told.integration, told.notification.group_key
        if key in last and not told.after_crash:
            before, firing, resolved = last[key]
            same = told.firing <= firing and told.resolved <= resolved and told.firing
            freed = any(
                silence.ends <= at and silence.ends > (EPOCH + before) * SECOND for silence in world.engine.silences
            )
            if same and not freed:
                assert told.at - before >= 1200, "told again without a change"
        last[key] = told.at, told.firing, told.resolved


def test_a_large_group_is_flushed_in_steps_and_none_of_it_is_lost_in_between() -> None:
    world = World(ONE)
    names = {world.fire(alertname="x", n=str(n)) for n in range(500)}
    world.now += 60 * SECOND
    assert world.engine.tick(world.now, limit=1) == 1
    assert world.engine.next_due() == 0, "there is more to do at once"
    late = world.fire(alertname="x", n="late")
    world.crash()
    world.advance(1)
    assert world.told[0].firing == {*names, late}, "the flush was not over, so it is still owed after a crash"
    world = World(ONE)
    names = {world.fire(alertname="x", n=str(n)) for n in range(500)}
    world.now += 60 * SECOND
    steps = 1
    world.engine.tick(world.now, limit=1)
    late = world.fire(alertname="x", n="late")
    while world.engine.tick(world.now, limit=1):
        steps += 1
    assert steps > 10
    world.advance(0)
    assert world.told[0].firing == names
    order = [alert.labels["n"] for alert in world.told[0].notification.alerts]
    assert order == sorted(order)
    world.advance(600)
    assert world.told[1].firing == {*names, late}


def test_what_ended_before_a_crash_has_ended_after_it() -> None:
    world = World(ONE, grace=120)
    name = world.fire(alertname="x", lasts=120)
    world.advance(15)
    world.advance(110)  # its end was passed while the gateway ran, and is not told yet
    world.crash(down=2)
    world.advance(1)
    assert not world.engine.alerts[name].active(world.now), "only an end that nobody saw passing is in doubt"
    world.advance(60)
    assert world.told[-1].resolved == {name}


def test_an_alert_that_is_source_and_target_is_not_muted_by_one_that_is_both() -> None:
    world = World(
        ONE + 'inhibit_rules: [{source_matchers: [severity="critical"], target_matchers: [team="a"], equal: [host]}]\n'
    )
    both = [world.fire(alertname=n, severity="critical", team="a", host="h") for n in ("x", "y")]
    only_target = world.fire(alertname="z", severity="low", team="a", host="h")
    elsewhere = world.fire(alertname="z", severity="low", team="a", host="i")
    world.advance(11)
    assert {name for told in world.told for name in told.firing} == {*both, elsewhere}
    assert only_target not in {name for told in world.told for name in told.firing}


def test_waits_between_attempts_grow_to_a_minute_and_no_further() -> None:
    assert [backoff(attempts, 0.5) / SECOND for attempts in (1, 2, 3, 8, 9, 100)] == [0.5, 1.0, 2.0, 60.0, 60.0, 60.0]
    assert backoff(1, 0.0) < backoff(1, 1.0)


def test_a_clock_that_is_put_back_delays_nothing() -> None:
    world = World(ONE)
    world.fire(alertname="x")
    world.now -= 3600 * SECOND
    world.engine.clock_went_back(world.now, 3600 * SECOND)
    world.advance(10)
    assert [told.at for told in world.told] == [-3590.0]
    world.fire(alertname="x", n="2")
    world.answer = lambda _key, _notification: Again("HTTP 429", after=25.0)
    world.advance(60)
    assert len(world.attempts) == 2
    world.answer = lambda _key, _notification: Delivered()
    world.now -= 3600 * SECOND
    world.engine.clock_went_back(world.now, 3600 * SECOND)
    world.advance(30)
    assert len(world.told) == 2
    world = World(ONE)
    name = world.fire(alertname="x")
    world.crash(down=-3600)
    world.advance(60)
    assert [told.firing for told in world.told] == [{name}], "nor does one that is behind after a start"
