"""Replay: what another configuration would have told, had it been in force while the recorded history happened.

Rules of the subject:
  * The same engine runs over the recorded beginnings and ends of alerts, silences, acknowledgements and snoozes, on a
    virtual clock. Every receiver takes what it is told at once; failures of the past are not repeated.
  * It starts LOOKBACK before the span, with every alert that was firing then, so that groups have their rhythm; what it
    decides before the span is not compared.
  * What is compared is, per firing of an alert: which receivers were told of it, first when, and how often.
  * An end is taken at the moment at which it was reported or expired. Where a report named an earlier end while the
    alert was still told as firing, the moment of the report counts.
  * Not recorded, and so not exact: the phase in which empty groups are swept (an alert that comes back within
    SWEEP_SECONDS of its end may wait for the group interval in the one and not in the other), what was told of alerts
    that began before the kept history, and configurations that held in between.
  * A route that groups by `incident_group` is replayed with today's topology and with nothing learned.
Schedules and escalations are not part of an Alertmanager configuration and are not replayed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import msgspec

from gateway.alerting.configuration import Configuration
from gateway.alerting.engine import Engine
from gateway.alerting.incident_group import INCIDENT_LABEL
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import Markers
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Delivered
from gateway.alerting.people import People
from gateway.alerting.recording import LOOKBACK, Action, Recording, Sent, fire, read_recording, resolve
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.store import Store
from gateway.alerting.told_otherwise import Comparison, differences
from gateway.errors import Conflict, NotFound


class Replayed(msgspec.Struct):
    """What the engine decided, and the number of events it could not take."""

    sent: list[Sent]
    not_replayed: int


def compare(
    store: Store,
    configuration: Configuration,
    since: int,
    until: int,
    *,
    tolerance: int = 30 * SECOND,
    against: Configuration | None = None,
) -> Comparison:
    """`configuration` over [since, until), beside what was recorded or, if given, beside `against` replayed as well.

    Moments and `tolerance` (smallest difference of times that counts) are nanoseconds. Waits for the disk.
    """
    recording = read_recording(store, until)
    after = replay(configuration, recording, since, until)
    before = Replayed(recording.sent, 0) if against is None else replay(against, recording, since, until)
    found = differences(recording.firings, before.sent, after.sent, since, until, tolerance)
    return msgspec.structs.replace(found, not_replayed=max(before.not_replayed, after.not_replayed))


def replay(configuration: Configuration, recording: Recording, since: int, until: int) -> Replayed:
    """What the engine decides under this configuration until `until`, in order of time."""
    numbers = itertools.count()
    engine = Engine(configuration, seed=0, new_id=lambda: str(next(numbers)))
    people = People(engine)
    if any(INCIDENT_LABEL in route.group_by for route in configuration.route.walk()):
        Incidents(engine, AlertingSettings(), Markers(engine.journal, LOOKBACK)).see_topology(
            recording.calls, (), since
        )
    sent: list[Sent] = []
    not_replayed = 0
    actions = sorted(_actions(recording, since - LOOKBACK, until), key=lambda action: action[:2])
    reached = actions[0][0] if actions else until
    for moment, together in itertools.groupby(actions, key=lambda action: action[0]):
        _run(engine, reached, moment, sent)
        reached = moment
        for _, _, action in together:
            try:
                action(engine, people, moment)
            except (NotFound, Conflict):
                not_replayed += moment >= since - LOOKBACK  # alerts that ended before are left out on purpose
    _run(engine, reached, until - 1, sent)
    return Replayed(sent, not_replayed)


def _actions(recording: Recording, start: int, until: int) -> Iterator[tuple[int, int, Action]]:
    # An end and a beginning at one moment: the end first; silences and people come after both, in their order.
    for number, firing in enumerate(recording.firings):
        if firing.ends < start or firing.began >= until:
            continue
        yield firing.began, 2 * number, partial(fire, firing)
        if not firing.expired and firing.ends < until:
            yield firing.ends, 2 * number + 1, partial(resolve, firing)
    later = 2 * len(recording.firings)
    for moment, number, action in recording.actions:
        if moment < until:
            yield moment, later + number, action


def _run(engine: Engine, now: int, until: int, sent: list[Sent]) -> None:
    """From `now` on, everything that falls due up to and including `until`."""
    while (due := max(engine.next_due(), now)) <= until:
        engine.tick(due)
        if len(engine.outbox):
            for integration in engine.configuration.integrations:
                while (slot := engine.outbox.take(integration.key, due)) is not None:
                    sent.append(
                        Sent(
                            at=due,
                            integration=slot.integration,
                            why=slot.why,
                            firing=frozenset(slot.firing),
                            resolved=frozenset(slot.resolved),
                        )
                    )
                    engine.dispatcher.finish(slot, Delivered(), due)
        engine.journal.take()
