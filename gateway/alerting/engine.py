"""The alerting engine: every decision of the router, as a function of what arrived and of the time it is told.

It does no input and output and never waits: `receive`, `tick` and `finish` change its state, the journal collects
what the store must keep, the outbox what channels must send. The same engine runs under the live clock, under a
virtual clock in tests, and over recorded history in `gateway alerting replay`.
"""

from __future__ import annotations

import heapq
import random
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from gateway.alerting.alert import Alert, combine, sort_key
from gateway.alerting.configuration import Configuration, Integration
from gateway.alerting.group import SWEEP_SECONDS, Group, GroupRecord, group_id
from gateway.alerting.inhibition import Inhibitor
from gateway.alerting.journal import Journal
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.notification import Again, Delivered, Notification, Outcome
from gateway.alerting.notification_log import LogEntry, NotificationLog, reason_to_tell
from gateway.alerting.outbox import Outbox, Slot, SlotRecord, backoff
from gateway.alerting.route import Route
from gateway.alerting.silence import Silence, Silences
from gateway.alerting.stages import Stage, inhibition_stage, interval_stage, judge, silence_stage
from gateway.alerting.store import ALERT, GROUP, OUTBOX

GROUP_TIMER: Final = "group"
LOG_RETENTION: Final = 5 * 86400 * SECOND
"""Notification log entries without firing alerts are kept this long."""


class Timer(Protocol):
    """Another part with moments of its own, run by the engine's tick."""

    def next_due(self) -> int:
        """When `tick` has something to do, or NEVER."""
        ...

    def tick(self, now: int) -> None:
        """Runs what is due."""
        ...


class Engine:
    """See the head of the file. Not thread-safe; owned by one loop."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        external_url: str = "",
        seed: int | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.journal = Journal()
        self.alerts: dict[str, Alert] = {}
        self.groups: dict[str, Group] = {}
        self.membership: dict[str, set[str]] = {}
        """Fingerprint → ids of the groups that hold the alert."""
        self.receivers_of: dict[str, tuple[str, ...]] = {}
        """Fingerprint → names of the receivers of those groups, sorted; equal tuples are one object."""
        self.population = 0
        """Grows whenever an alert becomes known or is forgotten."""
        self._receiver_sets: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.log = NotificationLog(self.journal)
        self.outbox = Outbox(self.journal)
        self.silences = Silences(self.journal, new_id)
        self.external_url = external_url
        self.extra_stages: list[Stage] = []
        """Stages of other parts (snooze, flapping), asked after the silences."""
        self.quiet: Callable[[list[Alert], int], str] = lambda _alerts, _now: ""
        """Why a mere repetition for these firing alerts is not told, or "" (acknowledged alerts are not repeated)."""
        self.noter: Callable[[Group, list[Alert], int], str] = lambda _group, _alerts, _now: ""
        """A line to put into the notification."""
        self.watchers: list[Callable[[str, Alert, int], None]] = []
        """Told of every alert that begins ("firing") or ends ("ended")."""
        self.after_flush: Callable[[Group, list[Alert], int], None] = lambda _group, _passing, _now: None
        """Told after every flush which members passed the stages."""
        self.also_informed: Callable[[Group], tuple[str, ...]] = lambda _group: ()
        """Receivers beside the route's own that hear of a group."""
        self.extra_timers: list[Timer] = []
        self._announced: set[str] = set()
        self._timers: list[tuple[int, int, str, str]] = []
        self._timer_count = 0
        self._next_sweep = 0
        self._silence_ends: dict[str, int] = {}
        self._random = random.Random(seed)  # noqa: S311 - jitter
        self._new_id = new_id
        self._inherited: dict[str, SlotRecord] = {}
        self._configure(configuration)

    def _configure(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.inhibitor = Inhibitor(configuration.inhibit_rules)
        self._by_key: dict[str, Integration] = {i.key: i for i in configuration.integrations}
        self._stages: tuple[Stage, ...] = (
            inhibition_stage(self.inhibitor),
            interval_stage(configuration.intervals),
            silence_stage(self.silences),
        )

    # Start and reload

    def load(
        self,
        alerts: Iterable[Alert],
        groups: dict[str, GroupRecord],
        outbox: dict[str, SlotRecord],
        now: int,
        *,
        last_alive: int,
        grace: int,
    ) -> None:
        """What the store held, after silences and notification log were loaded. Groups follow from alerts and routes.

        An end that lay in the future when the gateway was last alive and has passed since was a promise to report again
        which nobody could keep: such alerts stay active for `grace` nanoseconds from now.
        """
        for alert in alerts:
            if max(last_alive, alert.updated) < alert.ends <= now:
                alert = extended(alert, now + grace)
                self.journal.put(ALERT, alert.fingerprint, alert)
            self.alerts[alert.fingerprint] = alert
            if alert.active(alert.updated):
                self._announced.add(alert.fingerprint)
        self._inherited = dict(outbox)
        for record in outbox.values():
            if record.firing:
                self.log.doubt(record.group_key, record.integration, record.firing, now)
        self._regroup(groups, now)
        for record in outbox.values():
            group = self.groups.get(record.group_id)
            if group is not None:
                self._schedule(group, min(group.next_flush, now))
        for group_name in groups:
            if group_name not in self.groups:
                self.journal.drop(GROUP, group_name)

    def reload(self, configuration: Configuration, now: int) -> None:
        """Another configuration; groups that both know keep their rhythm, pending notifications are decided anew."""
        kept = {g.id: GroupRecord(next_flush=g.next_flush, flushed=g.flushed) for g in self.groups.values()}
        pending = list(self.outbox)
        self._configure(configuration)
        self.groups, self.membership, self._timers = {}, {}, []
        self._regroup(kept, now)
        for slot in pending:
            group = self.groups.get(slot.group_id)
            if slot.sending:
                slot.stale = True
                continue
            self.outbox.drop(slot)
            self._inherited[slot.key] = SlotRecord(
                group_id=slot.group_id,
                integration=slot.integration,
                created=slot.created,
                attempts=slot.attempts,
                due=slot.due,
            )
            if group is not None:
                self._schedule(group, now)
        for name in kept:
            if name not in self.groups:
                self.journal.drop(GROUP, name)
        self.journal.event(now, "reloaded")

    def _regroup(self, records: dict[str, GroupRecord], now: int) -> None:
        self.population += 1
        self.receivers_of = {}
        for alert in self.alerts.values():
            self.inhibitor.take(alert)
        for alert in list(self.alerts.values()):
            self._route(alert, now, records)

    # Alerts

    def receive(self, alerts: Iterable[Alert], now: int) -> None:
        """New reports, each already checked and with start and end filled in."""
        for reported in alerts:
            old = self.alerts.get(reported.fingerprint)
            alert = combine(old, reported)
            if old is None and not alert.active(now):
                continue  # an end of something nobody knew of: there is nothing to tell
            self.population += old is None
            self.alerts[alert.fingerprint] = alert
            self.journal.put(ALERT, alert.fingerprint, alert)
            self.inhibitor.take(alert)
            self._announce(alert, now)
            self._route(alert, now, {})

    def _announce(self, alert: Alert, now: int) -> None:
        known = alert.fingerprint in self._announced
        if alert.active(now) and not known:
            self._announced.add(alert.fingerprint)
            self.journal.event(
                now,
                "firing",
                fingerprint=alert.fingerprint,
                labels=alert.labels,
                annotations=alert.annotations,
                starts=alert.starts,
                origin=alert.origin,
                generator_url=alert.generator_url,
            )
            for watcher in self.watchers:
                watcher("firing", alert, now)
        elif not alert.active(now) and known:
            self._announced.discard(alert.fingerprint)
            self.journal.event(
                now,
                "ended",
                fingerprint=alert.fingerprint,
                ends=alert.ends,
                starts=alert.starts,
                why="not reported again" if alert.assumed_end else "reported",
            )
            for watcher in self.watchers:
                watcher("ended", alert, now)

    def _route(self, alert: Alert, now: int, records: dict[str, GroupRecord]) -> None:
        for route in self.configuration.route.matching(alert.labels):
            labels = route.group_labels(alert.labels)
            key = route.group_key(labels)
            name = group_id(route.receiver, key)
            group = self.groups.get(name)
            if group is None:
                if not alert.active(now) and name not in records:
                    continue
                group = self._new_group(name, key, route, labels, records.get(name), now)
            if alert.fingerprint not in group.members:
                self.membership.setdefault(alert.fingerprint, set()).add(name)
                self._note_receivers(alert.fingerprint)
                if alert.active(now) and not records:
                    self.journal.event(
                        now,
                        "grouped",
                        fingerprint=alert.fingerprint,
                        group=name,
                        route=route.key,
                        receiver=route.receiver,
                        next_flush=group.next_flush,
                    )
            group.members[alert.fingerprint] = alert
            if not group.flushed and alert.starts + route.group_wait < now and group.next_flush > now:
                self._schedule(group, now)

    def _note_receivers(self, fingerprint: str) -> None:
        names = tuple(sorted({self.groups[name].route.receiver for name in self.membership[fingerprint]}))
        self.receivers_of[fingerprint] = self._receiver_sets.setdefault(names, names)

    def _new_group(
        self, name: str, key: str, route: Route, labels: dict[str, str], record: GroupRecord | None, now: int
    ) -> Group:
        due = now + route.group_wait if record is None else record.next_flush
        group = Group(
            id=name, key=key, route=route, labels=labels, next_flush=due, flushed=record is not None and record.flushed
        )
        self.groups[name] = group
        self._schedule(group, due)
        return group

    def _schedule(self, group: Group, due: int) -> None:
        group.next_flush = due
        self._timer_count += 1
        heapq.heappush(self._timers, (due, self._timer_count, GROUP_TIMER, group.id))
        self.journal.put(GROUP, group.id, GroupRecord(next_flush=due, flushed=group.flushed))

    # Time

    def next_due(self) -> int:
        """When `tick` has something to do at the latest."""
        first = self._timers[0][0] if self._timers else NEVER
        others = min((timer.next_due() for timer in self.extra_timers), default=NEVER)
        return min(first, others, self._next_sweep, min(self._silence_ends.values(), default=NEVER))

    def tick(self, now: int, limit: int = 1_000_000) -> int:
        """Runs what is due, at most `limit` flushes; gives their number."""
        ran = 0
        while self._timers and self._timers[0][0] <= now and ran < limit:
            due, _, _, name = heapq.heappop(self._timers)
            group = self.groups.get(name)
            if group is not None and group.next_flush == due:
                ran += 1
                self._flush(group, now)
        for timer in self.extra_timers:
            timer.tick(now)
        ended = [silence_id for silence_id, ends in self._silence_ends.items() if ends <= now]
        if ended:
            for silence_id in ended:
                del self._silence_ends[silence_id]
            self._after_silences(now, ended)
        if self._next_sweep <= now:
            self._sweep(now)
        return ran

    def _sweep(self, now: int) -> None:
        self._next_sweep = now + SWEEP_SECONDS * SECOND
        for group in [group for group in self.groups.values() if not group.members]:
            self.after_flush(group, [], now)
            del self.groups[group.id]
            self.journal.drop(GROUP, group.id)
        self.log.prune(now - LOG_RETENTION)
        self.silences.prune(now)

    def _flush(self, group: Group, now: int) -> None:
        group.flushed, group.last_flush, group.failed, group.leaving = True, now, False, {}
        self._schedule(group, now + group.route.group_interval)
        if not group.members:
            self.after_flush(group, [], now)
            return
        members = sorted(group.members.values(), key=sort_key)
        for alert in members:
            if not alert.active(now):
                self._announce(alert, now)
        verdict = judge((*self._stages, *self.extra_stages), group.route, members, now)
        self._note_muting(group, verdict.muted, now)
        told_firing: set[str] = set()
        for integration in self.integrations_of(group):
            entry = self.log.get(group.key, integration.key)
            if entry is not None:
                told_firing.update(entry.believed)
        # One that is muted while a receiver still believes it fires stays, so that its end is told after the muting.
        group.leaving = {
            alert.fingerprint: alert
            for alert in members
            if not alert.active(now) and not (alert.fingerprint in verdict.muted and alert.fingerprint in told_firing)
        }
        for integration in self.integrations_of(group):
            self._decide(group, integration, verdict.passing, now)
        self._settle(group)
        self.after_flush(group, verdict.passing, now)

    def integrations_of(self, group: Group) -> list[Integration]:
        """Ways out of the group's receiver, and of those that an escalation told."""
        names = dict.fromkeys((group.route.receiver, *self.also_informed(group)))
        return [integration for name in names for integration in self.configuration.receivers[name]]

    def unmuted_firing(self, group: Group, now: int) -> list[Alert]:
        """Members that fire and that no stage mutes now."""
        firing = [alert for alert in sorted(group.members.values(), key=sort_key) if alert.active(now)]
        return judge((*self._stages, *self.extra_stages), group.route, firing, now).passing

    def tell_now(self, group: Group, receivers: list[str], now: int) -> None:
        """Tells these receivers of what fires in the group, even if they were told before."""
        firing = self.unmuted_firing(group, now)
        for name in receivers:
            for integration in self.configuration.receivers.get(name, ()):
                entry = self.log.get(group.key, integration.key)
                if entry is not None:
                    self.log.forget_firing(entry, {alert.fingerprint for alert in firing})
                self._decide(group, integration, firing, now)

    def _note_muting(self, group: Group, muted: dict[str, str], now: int) -> None:
        for fingerprint, reason in muted.items():
            if group.muted.get(fingerprint) != reason:
                self.journal.event(now, "muted", fingerprint=fingerprint, group=group.id, reason=reason)
        for fingerprint in group.muted:
            if fingerprint not in muted and fingerprint in group.members:
                self.journal.event(now, "unmuted", fingerprint=fingerprint, group=group.id)
        group.muted = muted

    def _decide(self, group: Group, integration: Integration, passing: list[Alert], now: int) -> None:
        slot = self.outbox.get(group.key, integration.key)
        if slot is not None and slot.sending:
            slot.stale = True
            return
        key = f"{group.key}|{integration.key}"
        inherited = self._inherited.pop(key, None)
        entry = self.log.get(group.key, integration.key)
        firing = [alert for alert in passing if alert.active(now)]
        firing_names = {alert.fingerprint for alert in firing}
        resolved_names = {alert.fingerprint for alert in passing} - firing_names
        why = ""
        if passing:
            why = reason_to_tell(
                entry,
                firing_names,
                resolved_names,
                send_resolved=integration.send_resolved,
                repeat=group.route.repeat_interval,
                now=now,
            )
            if why == "repeat" and self.quiet(firing, now):
                why = ""
        if not why:
            if slot is not None:
                self.journal.event(now, "withdrawn", group=group.id, integration=integration.key)
                self.outbox.drop(slot)
            elif inherited is not None:
                self.journal.drop(OUTBOX, key)  # of an earlier run; nothing is left of it
            return
        if not integration.send_resolved and not firing:
            self.log.put(LogEntry(group_key=group.key, integration=integration.key, at=now, firing=[], resolved=[]))
            if slot is not None:
                self.outbox.drop(slot)
            return
        told = tuple(passing if integration.send_resolved else firing)
        notification = Notification(
            id=self._new_id(),
            group_key=group.key,
            receiver=integration.receiver,
            group_labels=group.labels,
            alerts=told,
            at=now,
            external_url=self.external_url,
            memory=entry.memory if entry is not None else {},
            note=self.noter(group, firing, now),
        )
        older = slot or inherited
        self.outbox.put(
            Slot(
                key=key,
                group_id=group.id,
                integration=integration.key,
                notification=notification,
                why=why,
                created=older.created if older else now,
                due=older.due if older else now,
                attempts=older.attempts if older else 0,
                firing=frozenset(firing_names),
                resolved=frozenset(resolved_names),
            )
        )
        self.journal.event(
            now,
            "notifying",
            group=group.id,
            id=notification.id,
            integration=integration.key,
            why=why,
            firing=sorted(firing_names),
            resolved=sorted(resolved_names),
        )

    def _settle(self, group: Group) -> None:
        if group.failed or not group.leaving:
            return
        for integration in self.integrations_of(group):
            if self.outbox.get(group.key, integration.key) is not None:
                return
        for fingerprint, alert in group.leaving.items():
            if group.members.get(fingerprint) is alert:
                del group.members[fingerprint]
                holders = self.membership.get(fingerprint)
                if holders is not None:
                    holders.discard(group.id)
                    if holders:
                        self._note_receivers(fingerprint)
                    else:
                        self._forget(alert)
        group.leaving = {}

    def _forget(self, alert: Alert) -> None:
        self.membership.pop(alert.fingerprint, None)
        self.receivers_of.pop(alert.fingerprint, None)
        self.population += 1
        self._announced.discard(alert.fingerprint)
        if self.alerts.pop(alert.fingerprint, None) is not None:
            self.journal.drop(ALERT, alert.fingerprint)
        self.inhibitor.drop(alert)

    # Delivery

    def finish(self, slot: Slot, outcome: Outcome, now: int) -> None:
        """What became of an attempt."""
        slot.sending = False
        slot.attempts += 1
        stale, slot.stale = slot.stale, False
        group = self.groups.get(slot.group_id)
        detail: dict[str, Any] = {
            "id": slot.notification.id,
            "integration": slot.integration,
            "attempts": slot.attempts,
        }
        if isinstance(outcome, Delivered):
            self.outbox.drop(slot)
            self.log.put(
                LogEntry(
                    group_key=slot.notification.group_key,
                    integration=slot.integration,
                    at=now,
                    firing=sorted(slot.firing),
                    resolved=sorted(slot.resolved),
                    memory=outcome.memory,
                )
            )
            lag = (now - slot.created) / SECOND
            self.journal.event(now, "delivered", group=slot.group_id, lag=lag, **detail)
        elif isinstance(outcome, Again) and slot.integration in self._by_key:
            slot.last_error = outcome.reason
            if outcome.uncertain:
                self.log.doubt(slot.notification.group_key, slot.integration, slot.firing, now)
            asked = round((outcome.after or 0.0) * SECOND)
            slot.due = now + max(backoff(slot.attempts, self._random.random()), asked)
            self.outbox.put(slot)
            self.journal.event(now, "retry", group=slot.group_id, reason=outcome.reason, due=slot.due, **detail)
        else:
            self.outbox.drop(slot)
            self.journal.event(now, "refused", group=slot.group_id, reason=outcome.reason, **detail)
            if group is not None:
                group.failed = True
        if group is not None:
            if stale:
                self._schedule(group, now)
            else:
                self._settle(group)

    def interrupted(self, slot: Slot, now: int) -> None:
        """An attempt was cut off by a stop or a reload."""
        slot.sending = False
        self.log.doubt(slot.notification.group_key, slot.integration, slot.firing, now)

    # Silences

    def set_silence(self, silence: Silence, now: int) -> str:
        """Creates or edits; gives its id. Raises NotFound, RequestError."""
        silence_id = self.silences.set(silence, now)
        if silence.id and silence.id != silence_id:
            self._end_silence(silence.id, now)
        stored = self.silences.get(silence_id)
        self._silence_ends[silence_id] = stored.ends
        self.journal.event(
            now,
            "silenced",
            id=silence_id,
            matchers=[str(matcher) for matcher in stored.matchers],
            starts=stored.starts,
            ends=stored.ends,
            by=stored.created_by,
            comment=stored.comment,
        )
        return silence_id

    def expire_silence(self, silence_id: str, now: int) -> None:
        """Ends a silence; idempotent. Raises NotFound."""
        if self.silences.expire(silence_id, now):
            self._end_silence(silence_id, now)

    def load_silence(self, silence: Silence) -> None:
        """At start, before `load`."""
        self.silences.load(silence)
        self._silence_ends[silence.id] = silence.ends

    def _end_silence(self, silence_id: str, now: int) -> None:
        self._silence_ends.pop(silence_id, None)
        self._after_silences(now, [silence_id])

    def _after_silences(self, now: int, ended: list[str]) -> None:
        """What these muted and is still active counts as not told, so the next flush tells it."""
        gone = {f"silence {silence_id}" for silence_id in ended}
        for silence_id in ended:
            self.journal.event(now, "silence ended", id=silence_id)
        for group in self.groups.values():
            freed = {
                fingerprint
                for fingerprint, reason in group.muted.items()
                if reason in gone and self._free(group.members.get(fingerprint), now)
            }
            if not freed:
                continue
            for integration in self.integrations_of(group):
                entry = self.log.get(group.key, integration.key)
                if entry is not None and freed & set(entry.firing):
                    self.log.forget_firing(entry, freed)

    def forget_told(self, alert: Alert) -> None:
        """Lets an alert count as not told, so that the next decision about its groups tells it."""
        for name in self.membership.get(alert.fingerprint, ()):
            group = self.groups[name]
            for integration in self.integrations_of(group):
                entry = self.log.get(group.key, integration.key)
                if entry is not None and alert.fingerprint in entry.firing:
                    self.log.forget_firing(entry, {alert.fingerprint})

    def _free(self, alert: Alert | None, now: int) -> bool:
        return alert is not None and alert.active(now) and not self.silences.muting(alert.labels, now)


def extended(alert: Alert, ends: int) -> Alert:
    """The alert with a later end, for the grace after a restart."""
    return msgspec.structs.replace(alert, ends=ends, assumed_end=True)
