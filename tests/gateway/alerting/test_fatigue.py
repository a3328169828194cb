"""Silences that are about to end, and alerts that flap."""

from __future__ import annotations

from gateway.alerting.flapping import Flapping
from gateway.alerting.moments import SECOND
from gateway.alerting.silence_warning import SilenceWarnings
from tests.gateway.alerting.test_properties import ONE
from tests.gateway.alerting.virtual import World


def test_a_silence_that_still_mutes_something_is_announced_before_its_end() -> None:
    world = World(ONE)
    SilenceWarnings(world.engine, 900 * SECOND)
    world.fire(alertname="x")
    world.silence('{alertname="x"}', 0, 7200)
    world.silence('{alertname="nothing"}', 0, 7200)
    world.silence('{alertname="x"}', 0, 1000)  # too short to be announced
    world.advance(6000)
    assert not world.told
    world.advance(400)
    (told,) = world.told
    (alert,) = told.notification.alerts
    assert (alert.name, told.at) == ("SilenceEnding", 6310.0)
    assert alert.annotations["alerts"] == "x"
    world.advance(1000)
    names = [(told.notification.alerts[0].name, told.notification.status) for told in world.told]
    assert names.count(("SilenceEnding", "resolved")) == 1
    assert ("x", "firing") in names


def test_a_prolonged_silence_is_announced_again_for_its_new_end() -> None:
    world = World(ONE)
    SilenceWarnings(world.engine, 900 * SECOND)
    world.fire(alertname="x")
    silence = world.silence('{alertname="x"}', 0, 7200)
    world.advance(6400)
    assert len(world.told) == 1
    world.silence('{alertname="x"}', 0, 14400, silence)
    world.advance(7200)
    assert len({told.notification.alerts[0].starts for told in world.told}) == 2


def test_a_flapping_alert_is_named_and_still_told() -> None:
    world = World(ONE)
    Flapping(world.engine, 3)
    for _ in range(4):
        world.fire(alertname="x")
        world.advance(70)
        world.end(alertname="x")
        world.advance(70)
    notes = [told.notification.note for told in world.told if told.firing]
    assert notes[:2] == ["", ""]
    assert notes[2] == "flapping: x began 3 times in the last hour"
    world.advance(3600)
    world.fire(alertname="x")
    world.advance(70)
    assert world.told[-1].notification.note == ""
