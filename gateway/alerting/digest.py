"""Digests: notifications that are held back are told together, in one message per integration, instead of being lost.

Rules of the subject:
  * A source (a spent budget, a storm) says why a due notification about a group is held. The group's alerts then go
    into the digest of that source and integration. A digest is told like a group: after a short wait, afterwards once
    per interval if it changed, from its own entry of the notification log. So it is repeated, tried again, deduplicated
    and survives restarts by the same rules as everything else.
  * An end goes the way of its beginning: alerts that a digest told as firing are told as ended by the digest, and stay
    in their groups until then.
  * A group that a digest has told stays with it until its alerts have ended or a person releases it. A group that waits
    for a digest and may be told on its own before is told on its own.
  * A digest lists `LISTED` alerts and counts the rest.
  * A held group can be released: it is told at once and is not held again while it lives.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec

from gateway.alerting.alert import ALERT_NAME, Alert, sort_key
from gateway.alerting.configuration import Integration
from gateway.alerting.dispatch import RELEASE
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.hooks import Telling
from gateway.alerting.moments import NEVER
from gateway.alerting.notification import Delivered, Outcome
from gateway.alerting.notification_log import log_key
from gateway.alerting.outbox import Slot
from gateway.alerting.passing import Passing
from gateway.alerting.route import Route
from gateway.alerting.store import HELD
from gateway.errors import NotFound
from gateway.telemetry.service_labels import service_as_named

LISTED: Final = 100
"""Alerts that a digest lists; the others are counted."""
NAMED: Final = 10
"""Services that its note names."""
_PREFIX: Final = "digest/"


class Source(Protocol):
    """What holds notifications back."""

    kind: str
    title: str
    """The `alertname` of its digests."""

    def reason(self, integration: Integration, firing: list[Alert], first: bool, now: int) -> str:
        """Why a due notification is held, or "" to let it go; `first`: the receiver never heard of the group."""
        ...

    def intervals(self, integration: Integration) -> tuple[int, int]:
        """Nanoseconds from the first held notification to the digest, and between digests."""
        ...

    def headline(self, integration: Integration, now: int) -> str:
        """How its digest's note begins."""
        ...


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One group whose notifications to one integration are held. Moments in nanoseconds."""

    id: str
    group_id: str
    group_key: str
    integration: str
    kind: str
    reason: str
    since: int
    released_by: str = ""


class Digests:
    """All held groups and their digests, wired into an engine."""

    def __init__(self, engine: Engine, sources: Iterable[Source]) -> None:
        self._engine = engine
        self._sources = {source.kind: source for source in sources}
        self._held: dict[str, Held] = {}
        self._known: dict[str, set[str]] = {}
        """Key of a held group → its alerts whose holding is in the history."""
        self._due: dict[tuple[str, str], int] = {}
        self._notes: dict[str, str] = {}
        self._configuration = engine.configuration
        if self._sources:
            engine.hooks.holds.append(self.hold)
            engine.hooks.keepers.append(self.keep)
            engine.hooks.noters.append(lambda group, _firing, _now: self._notes.get(group.id, ""))
            engine.hooks.attempt_watchers.append(self._on_attempt)
            engine.hooks.timers.append(self)

    def load(self, held: Held) -> None:
        """At start, before the engine's state."""
        if held.kind in self._sources:
            self._held[log_key(held.group_key, held.integration)] = held
            self._due[held.kind, held.integration] = 0

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def get(self, group: Group, integration: str) -> Held | None:
        """Whether and why notifications about a group are held."""
        return self._held.get(log_key(group.key, integration))

    # Holding

    def hold(self, telling: Telling, now: int) -> str:
        """See hooks."""
        group, firing = telling.group, telling.firing
        integration = self._integration(telling.integration)
        if integration is None or telling.why == "resolved" or not firing or group.id.startswith(_PREFIX):
            return ""
        held = self.get(group, integration.key)
        if held is not None and held.released_by:
            return ""
        if held is not None and self._told(held, firing):
            self._hold(held, group, firing, now)
            return held.reason
        for source in self._sources.values():
            reason = source.reason(integration, firing, telling.entry is None, now)
            if reason:
                key = log_key(group.key, integration.key)
                made = Held(
                    id=hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16],
                    group_id=group.id,
                    group_key=group.key,
                    integration=integration.key,
                    kind=source.kind,
                    reason=reason,
                    since=held.since if held is not None else now,
                )
                self._hold(made, group, firing, now)
                return reason
        if held is not None:
            self._drop(held)
        return ""

    def _hold(self, held: Held, group: Group, firing: list[Alert], now: int) -> None:
        key = log_key(held.group_key, held.integration)
        if self._held.get(key) != held:
            self._held[key] = held
            self._engine.journal.put(HELD, key, held)
        self._engine.hooks.suppressed(held.kind)
        known = self._known.setdefault(key, set())
        digest = digest_key(held.kind, held.integration)
        for alert in firing:
            if alert.fingerprint not in known:
                known.add(alert.fingerprint)
                self._engine.journal.event(
                    now,
                    "held",
                    fingerprint=alert.fingerprint,
                    group=digest,
                    integration=held.integration,
                    reason=held.reason,
                    of=group.id,
                )
        integration = self._integration(held.integration)
        if integration is not None:
            wait, _ = self._sources[held.kind].intervals(integration)
            self._due.setdefault((held.kind, held.integration), now + wait)

    def _told(self, held: Held, firing: list[Alert]) -> bool:
        entry = self._engine.log.get(digest_key(held.kind, held.integration), held.integration)
        return entry is not None and any(alert.fingerprint in entry.believed for alert in firing)

    def keep(self, group: Group) -> set[str]:
        """Resolved members of the group whose end a digest, or a held notification, still has to tell."""
        kept: set[str] = set()
        if self._due:
            for integration in self._engine.dispatcher.integrations_of(group):
                keys = [digest_key(kind, integration.key) for kind in self._sources]
                held = self.get(group, integration.key)
                if held is not None and not held.released_by:
                    keys.append(group.key)
                for key in keys:
                    entry = self._engine.log.get(key, integration.key)
                    if entry is not None:
                        kept |= entry.believed & group.leaving.keys()
        return kept

    def _drop(self, held: Held) -> None:
        key = log_key(held.group_key, held.integration)
        del self._held[key]
        self._known.pop(key, None)
        self._engine.journal.drop(HELD, key)

    # Releasing

    def release(self, held_id: str, who: str, now: int) -> None:
        """Tells a held group at once. Raises NotFound."""
        found = next((held for held in self._held.values() if held.id == held_id and not held.released_by), None)
        if found is None:
            raise NotFound(f"nothing is held as {held_id}")
        self._release(found, who, now)

    def release_kind(self, kind: str, who: str, now: int) -> int:
        """All that one source holds; gives their number."""
        chosen = [held for held in self._held.values() if held.kind == kind and not held.released_by]
        for held in chosen:
            self._release(held, who, now)
        return len(chosen)

    def _release(self, held: Held, who: str, now: int) -> None:
        key = log_key(held.group_key, held.integration)
        released = msgspec.structs.replace(held, released_by=who)
        self._held[key] = released
        self._engine.journal.put(HELD, key, released)
        for fingerprint in self._known.get(key, ()):
            self._engine.journal.event(
                now, "released", fingerprint=fingerprint, group=held.group_id, integration=held.integration, by=who
            )
        group = self._engine.groups.get(held.group_id)
        integration = self._integration(held.integration)
        if group is not None and integration is not None:
            firing = self._engine.dispatcher.unmuted_firing(group, now)
            self._engine.dispatcher.decide(group, integration, Passing(now, firing), now, occasion=RELEASE)

    def firing_groups(self, kind: str, now: int) -> int:
        """Held groups of one source in which something fires."""
        return sum(
            held.kind == kind
            and not held.released_by
            and (group := self._engine.groups.get(held.group_id)) is not None
            and any(alert.active(now) for alert in group.members.values())
            for held in self._held.values()
        )

    # Telling

    def next_due(self) -> int:
        """See Timer."""
        if self._engine.configuration is not self._configuration:
            return 0
        return min(self._due.values(), default=NEVER)

    def tick(self, now: int) -> None:
        """See Timer."""
        if self._engine.configuration is not self._configuration:
            self._configuration = self._engine.configuration
            self._due = dict.fromkeys(self._due, 0)
        for (kind, key), due in list(self._due.items()):
            if due <= now:
                integration = self._integration(key)
                if integration is None:
                    for held in [h for h in self._held.values() if h.integration == key]:
                        self._drop(held)
                    del self._due[kind, key]
                else:
                    self._flush(self._sources[kind], integration, now)

    def _integration(self, key: str) -> Integration | None:
        return next((i for i in self._engine.configuration.integrations if i.key == key), None)

    def _flush(self, source: Source, integration: Integration, now: int) -> None:
        key = digest_key(source.kind, integration.key)
        held = [h for h in self._held.values() if h.kind == source.kind and h.integration == integration.key]
        firing: dict[str, Alert] = {}
        for one in held:
            group = self._engine.groups.get(one.group_id)
            if group is None:
                self._drop(one)
            elif not one.released_by:
                own = self._engine.log.get(group.key, integration.key)
                told = set(own.firing) if own is not None else set()
                for alert in self._engine.dispatcher.unmuted_firing(group, now):
                    if alert.fingerprint not in told:
                        firing[alert.fingerprint] = alert
        entry = self._engine.log.get(key, integration.key)
        believed = entry.believed if entry is not None else set()
        resolved: list[Alert] = []
        for fingerprint in believed - firing.keys():
            alert_now = self._engine.alerts.get(fingerprint)
            if alert_now is not None and not alert_now.active(now):
                resolved.append(alert_now)
            elif alert_now is not None:
                firing[fingerprint] = alert_now
        alerts = [*sorted(firing.values(), key=sort_key), *sorted(resolved, key=sort_key)]
        self._notes[key] = self._note(source, integration, list(firing.values()), len(resolved), now)
        self._engine.dispatcher.decide(
            self._group(source, integration), integration, Passing(now, alerts), now, occasion=RELEASE
        )
        if believed or any(one.integration == integration.key and one.kind == source.kind for one in self):
            _, interval = source.intervals(integration)
            self._due[source.kind, integration.key] = now + interval
        else:
            del self._due[source.kind, integration.key]
            self._notes.pop(key, None)

    def _group(self, source: Source, integration: Integration) -> Group:
        key = digest_key(source.kind, integration.key)
        route = self._engine.configuration.route
        return Group(
            id=key,
            key=key,
            route=Route(key=key, receiver=integration.receiver, repeat_interval=route.repeat_interval),
            labels={ALERT_NAME: source.title},
            next_flush=NEVER,
            most=LISTED,
        )

    def _note(self, source: Source, integration: Integration, firing: list[Alert], resolved: int, now: int) -> str:
        services = Counter(_counted_as(alert) for alert in firing)
        named = ", ".join(f"{name} {count}" for name, count in services.most_common(NAMED))
        more = f" and {len(services) - NAMED} more services" if len(services) > NAMED else ""
        ended = f", {resolved} ended" if resolved else ""
        by_service = f": {named}{more}" if named else ""
        return f"{source.headline(integration, now)}: {len(firing)} alerts fire{ended}{by_service}"

    def _on_attempt(self, slot: Slot, outcome: Outcome, stale: bool, now: int) -> None:
        if not slot.group_id.startswith(_PREFIX):
            return
        kind = slot.group_id.split("/", 2)[1]
        if stale:
            self._due[kind, slot.integration] = now
        if isinstance(outcome, Delivered):
            for held in list(self._held.values()):
                group = self._engine.groups.get(held.group_id)
                if group is not None and held.integration == slot.integration:
                    self._engine.dispatcher.settle(group)


def digest_key(kind: str, integration: str) -> str:
    """Group key and id of a digest."""
    return f"{_PREFIX}{kind}/{integration}"


def _counted_as(alert: Alert) -> str:
    return service_as_named(alert.labels) or alert.name or "unnamed"
