"""The engine on a clock turned by hand, over a store that survives crashes, before receivers that fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from gateway.alerting.alert import Alert, fingerprint
from gateway.alerting.configuration import read_configuration
from gateway.alerting.engine import Engine
from gateway.alerting.matcher import parse_matchers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.notification import Delivered, Notification, Outcome
from gateway.alerting.outbox import Slot
from gateway.alerting.recovery import ALIVE, restore
from gateway.alerting.silence import Silence
from gateway.alerting.store import RUNTIME, Store
from tests.gateway.alerting.memory_store import MemoryStore

EPOCH = 1_700_000_000


class Told(msgspec.Struct):
    """A delivery that a receiver took."""

    at: float
    """Seconds since the world began."""
    integration: str
    notification: Notification
    after_crash: bool

    @property
    def firing(self) -> set[str]:
        return {alert.fingerprint for alert in self.notification.firing}

    @property
    def resolved(self) -> set[str]:
        return {alert.fingerprint for alert in self.notification.resolved}


def labels_of(**labels: str) -> dict[str, str]:
    return dict(sorted(labels.items()))


class World:
    """`answer` decides what a receiver says; None means that it hangs until `release` or a crash."""

    def __init__(self, configuration: str, store: Store | None = None, grace: float = 0.0) -> None:
        self.configuration = read_configuration(configuration, "test.yml")
        self.store: Store = store or MemoryStore()
        self.grace = grace
        self.now = EPOCH * SECOND
        self.told: list[Told] = []
        self.attempts: list[tuple[float, str]] = []
        self.answer: Callable[[str, Notification], Outcome | None] = lambda _key, _notification: Delivered()
        self.hanging: list[Slot] = []
        self._crashed_since: dict[str, bool] = {}
        self._ids = itertools.count()
        self.engine = self._engine()
        self.commit()

    def _engine(self) -> Engine:
        return Engine(self.configuration, seed=1, new_id=lambda: f"id-{next(self._ids)}")

    @property
    def seconds(self) -> float:
        return (self.now - EPOCH * SECOND) / SECOND

    def commit(self) -> None:
        self.engine.journal.put(RUNTIME, ALIVE, self.now)
        self.store.commit(self.engine.journal.take()).result(10)

    def alert(self, ends: float | None = None, lasts: float | None = None, **labels: str) -> Alert:
        """Fires from now; `ends` is an end on the world's clock, `lasts` an assumed end from now."""
        full = labels_of(**labels)
        end = NEVER if ends is None else round((EPOCH + ends) * SECOND)
        if lasts is not None:
            end = self.now + round(lasts * SECOND)
        return Alert(
            fingerprint=fingerprint(full),
            labels=full,
            starts=min(self.now, end),
            ends=end,
            updated=self.now,
            assumed_end=lasts is not None,
        )

    def fire(self, lasts: float | None = None, **labels: str) -> str:
        alert = self.alert(lasts=lasts, **labels)
        self.engine.receive([alert], self.now)
        self.commit()
        return alert.fingerprint

    def end(self, **labels: str) -> str:
        old = self.engine.alerts.get(fingerprint(labels_of(**labels)))
        alert = self.alert(ends=self.seconds, **labels)
        if old is not None:
            alert = msgspec.structs.replace(alert, starts=min(old.starts, alert.ends))
        self.engine.receive([alert], self.now)
        self.commit()
        return alert.fingerprint

    def silence(self, matchers: str, starts: float, ends: float, silence_id: str = "") -> str:
        made = self.engine.silencing.set(
            Silence(
                id=silence_id,
                matchers=parse_matchers(matchers),
                starts=round((EPOCH + starts) * SECOND),
                ends=round((EPOCH + ends) * SECOND),
                updated=0,
                created_by="t",
                comment="c",
            ),
            self.now,
        )
        self.commit()
        return made

    def expire(self, silence_id: str) -> None:
        self.engine.silencing.expire(silence_id, self.now)
        self.commit()

    def advance(self, seconds: float) -> None:
        """Runs everything that falls due until then."""
        until = self.now + round(seconds * SECOND)
        while True:
            due = [self.engine.next_due()]
            due += [d for key in self.integrations if (d := self.engine.outbox.next_due(key)) is not None]
            following = min(due)
            if following > until:
                break
            self.now = max(self.now, following)
            self.step()
        self.now = until
        self.step()

    @property
    def integrations(self) -> list[str]:
        return [integration.key for integration in self.configuration.integrations]

    def step(self) -> None:
        self.engine.tick(self.now)
        self.commit()
        for key in self.integrations:
            while (slot := self.engine.outbox.take(key, self.now)) is not None:
                self.attempts.append((self.seconds, key))
                outcome = self.answer(key, slot.notification)
                if outcome is None:
                    self.hanging.append(slot)
                    continue
                self.settle(slot, outcome)

    def settle(self, slot: Slot, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered):
            self.take_down(slot)
        self.engine.dispatcher.finish(slot, outcome, self.now)
        self.commit()

    def take_down(self, slot: Slot) -> None:
        crashed = self._crashed_since.pop(slot.key, False)
        self.told.append(Told(self.seconds, slot.integration, slot.notification, crashed))

    def crash(self, down: float = 0.0, *, delivered_but_not_noted: bool = False) -> None:
        """kill -9 and a start `down` seconds later; a hanging delivery may have arrived without our knowing."""
        for slot in self.hanging:
            if delivered_but_not_noted:
                self.take_down(slot)
                self._crashed_since[slot.key] = True
        self.hanging = []
        self.now += round(down * SECOND)
        self.engine = self._engine()
        restore(self.engine, self.store, self.now, grace=round(self.grace * SECOND))
        self.commit()
