"""Replay of a configuration over recorded history: the same one changes nothing, another one what it should."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gateway.alerting.configuration import read_configuration
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Again, Delivered, Refused
from gateway.alerting.people import People
from gateway.alerting.replay import compare
from gateway.alerting.sqlite_store import SqliteStore
from gateway.alerting.store import Batch, Event
from gateway.alerting.told_otherwise import Comparison
from gateway.commands.alerting import register
from gateway.errors import GatewayError
from tests.gateway.alerting.test_properties import MIXED, NAMES, ONE
from tests.gateway.alerting.virtual import EPOCH, World

START = EPOCH * SECOND
BY_SEVERITY = """
route:
  receiver: a
  group_by: [alertname]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 10m
  routes: [{matchers: [severity="critical"], receiver: pager}]
receivers:
  - {name: a, webhook_configs: [{url: 'http://a.example/'}]}
  - {name: pager, webhook_configs: [{url: 'http://pager.example/'}]}
"""


def replayed(world: World, configuration: str, since: int = START, tolerance: int = 0) -> Comparison:
    changed = read_configuration(configuration, "new.yml")
    return compare(world.store, changed, since, world.now + 1, tolerance=tolerance)


def test_the_same_configuration_changes_nothing() -> None:
    world = World(ONE)
    world.fire(alertname="x", n="1")
    world.advance(20)
    world.fire(alertname="x", n="2")
    world.fire(lasts=90, alertname="y")
    world.advance(2000)
    world.end(alertname="x", n="1")
    world.advance(500)
    found = replayed(world, ONE)
    assert found.differences == []
    assert found.firings == 3
    assert found.before == found.after == {"a/webhook": len(world.told)}


def test_another_receiver() -> None:
    world = World(ONE)
    name = world.fire(alertname="x", severity="critical")
    world.fire(alertname="y", severity="warning")
    world.advance(30)
    (one,) = replayed(world, BY_SEVERITY).differences
    assert (one.fingerprint, one.kinds) == (name, ("other receiver",))
    assert (list(one.before), list(one.after)) == (["a/webhook"], ["pager/webhook"])


def test_another_time_and_fewer_repeats() -> None:
    world = World(ONE)
    world.fire(alertname="x")
    world.advance(3600)
    slower = ONE.replace("group_wait: 10s", "group_wait: 45s").replace("repeat_interval: 10m", "repeat_interval: 2h")
    (one,) = replayed(world, slower, tolerance=30 * SECOND).differences
    assert one.kinds == ("other time", "less often")
    assert one.after["a/webhook"].first == START + 45 * SECOND
    assert (one.before["a/webhook"].times, one.after["a/webhook"].times) == (6, 1)
    (one,) = replayed(world, slower, tolerance=60 * SECOND).differences
    assert one.kinds == ("less often",)


def test_no_longer_told_and_newly_told() -> None:
    muted = ONE + '\ninhibit_rules: [{source_matchers: [alertname="x"], target_matchers: [alertname="y"]}]\n'
    for recorded, tried, kind in ((ONE, muted, "no longer told"), (muted, ONE, "newly told")):
        world = World(recorded)
        world.fire(alertname="x")
        target = world.fire(alertname="y")
        world.advance(100)
        (one,) = replayed(world, tried).differences
        assert (one.fingerprint, one.kinds) == (target, (kind,))


def test_only_the_span_is_compared_but_alerts_from_before_it_are_known() -> None:
    world = World(ONE)
    world.fire(alertname="x")
    world.advance(700)
    since = world.now
    world.advance(900)
    found = replayed(world, ONE, since)
    assert found.differences == []
    assert found.before == found.after == {"a/webhook": 1}
    (one,) = replayed(world, ONE.replace("10m", "5m"), since).differences
    assert one.kinds == ("more often",)


def test_deliveries_that_failed_count_once_from_when_they_were_due() -> None:
    world = World(ONE)
    world.answer = lambda _key, _notification: Again("HTTP 503")
    world.fire(alertname="x")
    world.advance(100)
    world.answer = lambda _key, _notification: Delivered()
    world.advance(100)
    world.answer = lambda _key, _notification: Refused("HTTP 400")
    world.end(alertname="x")
    world.fire(alertname="y")
    world.advance(30)
    found = replayed(world, ONE)
    assert found.differences == []


def test_two_configurations_can_be_compared_with_each_other() -> None:
    world = World(ONE)
    world.fire(alertname="x", severity="critical")
    world.advance(30)
    old, new = read_configuration(BY_SEVERITY, "old.yml"), read_configuration(ONE, "new.yml")
    (one,) = compare(world.store, new, START, world.now, against=old).differences
    assert (list(one.before), list(one.after)) == (["pager/webhook"], ["a/webhook"])


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("fire"), st.integers(0, 7)),
        st.tuples(st.just("lapse"), st.integers(0, 7)),
        st.tuples(st.just("end"), st.integers(0, 7)),
        st.tuples(st.just("advance"), st.sampled_from([1, 9, 10, 31, 60, 70, 301, 1300])),
        st.tuples(st.just("silence"), st.sampled_from(['{alertname="x"}', '{n="2"}', '{severity=~"w.*"}'])),
        st.tuples(st.just("expire"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["acknowledge", "unacknowledge", "snooze"]), st.integers(0, 7)),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_any_history_replayed_under_its_own_configuration_is_as_it_was(actions: list[tuple[str, object]]) -> None:
    world = World(MIXED)
    people = People(world.engine)
    silences: list[str] = []
    names: dict[int, str] = {}
    # Empty groups are swept in a rhythm that is not recorded; beginning at once gives both the same.
    world.fire(alertname="first")
    world.advance(1)
    for kind, argument in actions:
        number = int(str(argument)) if str(argument).isdigit() else 0
        if kind in ("fire", "lapse"):
            names[number] = world.fire(lasts=300 if kind == "lapse" else None, **NAMES[number])
        elif kind == "end":
            world.end(**NAMES[number])
        elif kind == "advance":
            world.advance(number)
        elif kind == "silence":
            silences.append(world.silence(str(argument), world.seconds, world.seconds + 500))
        elif kind == "expire":
            for silence in silences[number:][:1]:
                world.expire(silence)
        elif number in names:
            try:
                if kind == "snooze":
                    people.snooze(names[number], "ana", world.now + 400 * SECOND, world.now)
                else:
                    getattr(people, kind)(names[number], "ana", world.now)
            except GatewayError:
                continue  # it has ended
            world.commit()
    world.advance(100)
    found = replayed(world, MIXED)
    assert found.differences == []
    assert found.before == found.after


def run(*arguments: str, data_dir: Path) -> Result:
    app = typer.Typer()
    register(app)
    command = ["alerting", *arguments, "--data-dir", str(data_dir)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_what_people_did_to_alerts_from_before_the_kept_history_is_counted(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state" / "alerting.sqlite")
    store.open()
    try:
        detail = b'{"by": "ada", "note": ""}'
        gone = [
            Event(time=START + at * SECOND, kind="acknowledged", fingerprint="gone", group="", detail=detail)
            for at in (-2 * 86400, 10, 20)  # the first lies before everything that is replayed
        ]
        store.commit(Batch(events=gone)).result(10)
        new = tmp_path / "new.yml"
        new.write_text(ONE)
        span = ("--from", str(EPOCH), "--to", str(EPOCH + 100))
        assert json.loads(run("replay", "--config", str(new), "--json", *span, data_dir=tmp_path).stdout)[
            "not_replayed"
        ] == len(gone[1:])
        assert (
            "2 recorded events could not be replayed"
            in run("replay", "--config", str(new), *span, data_dir=tmp_path).stdout
        )
    finally:
        store.close()


def test_the_commands_read_beside_a_store_that_is_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state" / "alerting.sqlite")
    store.open()
    try:
        world = World(ONE, store)
        world.fire(alertname="x", severity="critical", note="[red]markup")
        world.advance(30)
        new = tmp_path / "new.yml"
        new.write_text(BY_SEVERITY)
        span = ("--from", str(EPOCH), "--to", str(EPOCH + 100))
        done = run("replay", "--config", str(new), "--json", *span, data_dir=tmp_path)
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["notifications"] == {"before": {"a/webhook": 1}, "after": {"pager/webhook": 1}}
        assert found["differences"][0]["kinds"] == ["other receiver"]
        done = run("replay", "--config", str(new), *span, data_dir=tmp_path)
        assert done.exit_code == 0, done.stderr
        assert "other receiver" in done.stdout
        assert "[red]markup" in done.stdout
        done = run("report", *span, data_dir=tmp_path)
        assert done.exit_code == 0, done.stderr
        assert "| x | 1 | 1 | 1 |" in done.stdout
    finally:
        store.close()


def test_the_commands_refuse_with_a_reason(tmp_path: Path) -> None:
    done = run("report", data_dir=tmp_path)
    assert done.exit_code == 1
    assert "no alert history" in done.stderr
    bad = tmp_path / "bad.yml"
    bad.write_text("route: {receiver: nobody}\nreceivers: []\n")
    done = run("replay", "--config", str(bad), data_dir=tmp_path)
    assert done.exit_code == 1
    assert "nobody" in done.stderr
