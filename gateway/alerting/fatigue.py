"""Against fatigue: everything that makes fewer or quieter notifications, made from the settings and kept on disk.

Nothing is lost by it: what a budget or a storm holds back is told in a digest, what is lowered is still told, and all
of it can be seen and taken back (`suppressions`). With default settings only warnings and notes are added.
"""

from __future__ import annotations

import msgspec

from gateway.alerting.budget import Budget, Budgets, Level
from gateway.alerting.digest import Digests, Held
from gateway.alerting.engine import Engine
from gateway.alerting.flapping import Flapping
from gateway.alerting.ignored import Ignored, IgnoredOptions, Untouched
from gateway.alerting.matcher import Matcher, parse_matchers
from gateway.alerting.moments import SECOND
from gateway.alerting.people import People
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.silence_warning import SilenceWarnings
from gateway.alerting.store import BUDGET, HELD, IGNORED, RUNTIME, Store, decoded
from gateway.alerting.storm import KEY, Storm, StormOptions, StormRecord
from gateway.errors import ConfigError, NotFound

_LOWERED = "lowered-"


class Fatigue:
    """Its parts, wired into an engine. Raises ConfigError for settings that cannot be used."""

    def __init__(self, engine: Engine, people: People, settings: AlertingSettings) -> None:
        known = engine.configuration.receivers
        for budget in settings.budgets:
            if budget.receiver not in known:
                raise ConfigError(
                    f'the receiver "{budget.receiver}" is not defined',
                    key="alerting.budgets",
                    expected=", ".join(known),
                )
        self.silence_warnings = SilenceWarnings(engine, round(settings.silence_warning * SECOND))
        self.flapping = Flapping(engine, settings.flapping_threshold)
        self.budgets = Budgets(
            engine,
            tuple(
                Budget(
                    receiver=budget.receiver,
                    notifications=budget.notifications,
                    per=round(budget.per * SECOND),
                    burst=budget.burst or budget.notifications,
                    interval=round(budget.digest_interval * SECOND),
                    exempt=_matchers(budget.exempt, "alerting.budgets.exempt"),
                )
                for budget in settings.budgets
            ),
        )
        self.storm = Storm(
            engine,
            StormOptions(
                groups=settings.storm_groups,
                factor=settings.storm_factor,
                release=settings.storm_release,
                exempt=_matchers(settings.storm_exempt, "alerting.storm_exempt"),
            ),
        )
        self.digests = Digests(engine, (self.storm, self.budgets) if settings.storm_groups or settings.budgets else ())
        self.storm.digests = self.digests
        self.ignored = Ignored(
            engine,
            IgnoredOptions(
                threshold=settings.ignored_threshold,
                repeat=round(settings.ignored_repeat * SECOND),
                exempt=_matchers(settings.ignored_exempt, "alerting.ignored_exempt"),
            ),
        )
        people.act_watchers.append(self.ignored.touched)

    def load(self, store: Store, now: int) -> None:
        """At start, before the engine's state. Waits for the disk."""
        for key, level in decoded(store, BUDGET, Level):
            self.budgets.load(key, level)
        for _, held in decoded(store, HELD, Held):
            self.digests.load(held)
        for _, untouched in decoded(store, IGNORED, Untouched):
            self.ignored.load(untouched)
        storm = dict(store.records(RUNTIME)).get(KEY)
        if storm is not None:
            self.storm.load(msgspec.json.decode(storm, type=StormRecord), now)

    def release(self, suppression: str, who: str, now: int) -> int:
        """Takes back one suppression, or all of a storm ("storm") or of the budgets ("budget"); gives their number.

        Raises NotFound.
        """
        if suppression.startswith(_LOWERED):
            self.ignored.release(suppression.removeprefix(_LOWERED), who, now)
            return 1
        if suppression == self.storm.kind:
            if not self.storm.state.since and not self.digests.firing_groups(suppression, now):
                raise NotFound("there is no storm")
            self.storm.end(now, f"ended by {who}")
            return self.digests.release_kind(suppression, who, now)
        if suppression == self.budgets.kind:
            return self.digests.release_kind(suppression, who, now)
        self.digests.release(suppression, who, now)
        return 1


def lowered_id(fingerprint: str) -> str:
    """The id of the suppression of a lowered alert."""
    return _LOWERED + fingerprint


def _matchers(text: str, key: str) -> tuple[Matcher, ...]:
    try:
        return parse_matchers(text) if text else ()
    except ValueError as error:
        raise ConfigError(str(error), key=key, expected='matchers such as severity="critical"') from error
