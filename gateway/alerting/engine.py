"""The alerting engine: every decision of the router, as a function of what arrived and of the time it is told.

It does no input and output and never waits: `receive`, `tick` and `dispatcher.finish` change its state, the journal
collects what the store must keep, the outbox what channels must send. The same engine runs under the live clock, under
a virtual clock in tests, and over recorded history in `gateway alerting replay`.

Its parts: `grouping` holds the groups and their rhythm, `dispatcher` decides what receivers are told and takes the
outcomes, `silencing` makes and ends silences, `hooks` is where everything beyond Alertmanager hangs itself in. Here are
the alerts themselves: how they begin, change, end and are forgotten.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterable, Iterator

import msgspec

from gateway.alerting.alert import Alert, SortKey, combine, sort_key
from gateway.alerting.configuration import Configuration
from gateway.alerting.dispatch import STEP, Dispatcher
from gateway.alerting.group import SWEEP_SECONDS, Group, GroupRecord
from gateway.alerting.grouping import Grouping
from gateway.alerting.hooks import Hooks
from gateway.alerting.inhibition import Inhibitor
from gateway.alerting.journal import Journal
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.outbox import SlotRecord
from gateway.alerting.silence import DEFAULT_MOST, Silences
from gateway.alerting.silencing import Silencing
from gateway.alerting.store import ALERT

LOG_RETENTION = 5 * 86400 * SECOND
"""Notification log entries without firing alerts are kept this long."""


class Engine:
    """See the head of the file. Not thread-safe; owned by one loop."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        external_url: str = "",
        seed: int | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        max_silences: int = DEFAULT_MOST,
    ) -> None:
        self.journal = Journal()
        self.hooks = Hooks()
        self.alerts: dict[str, Alert] = {}
        self.population = 0
        """Grows whenever an alert becomes known or is forgotten."""
        self.external_url = external_url
        self.silences = Silences(self.journal, new_id, most=max_silences)
        self.grouping = Grouping(self.journal, self.hooks)
        self.dispatcher = Dispatcher(
            self.journal,
            self.grouping,
            self.silences,
            self.hooks,
            external_url=external_url,
            seed=seed,
            new_id=new_id,
            gone=self._forget,
        )
        self.silencing = Silencing(self.journal, self.silences, self.grouping, self.dispatcher)
        self.log, self.outbox = self.dispatcher.log, self.dispatcher.outbox
        self.groups, self.membership = self.grouping.groups, self.grouping.membership
        self.receivers_of = self.grouping.receivers_of
        self._announced: set[str] = set()
        self._next_sweep = 0
        self._flushing: Iterator[bool] | None = None
        self._configure(configuration)

    def _configure(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.inhibitor = Inhibitor(configuration.inhibit_rules)
        self.dispatcher.configure(configuration, self.inhibitor)

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
                alert = msgspec.structs.replace(alert, ends=now + grace, assumed_end=True)
                self.journal.put(ALERT, alert.fingerprint, alert)
            self.alerts[alert.fingerprint] = alert
            if alert.active(alert.updated):
                self._announced.add(alert.fingerprint)
        self.dispatcher.inherit(outbox, now)
        self._regroup(groups, now)
        for record in outbox.values():
            group = self.groups.get(record.group_id)
            if group is not None:
                self.grouping.schedule(group, min(group.next_flush, now))
        self.grouping.drop_records(groups)

    def reload(self, configuration: Configuration, now: int) -> None:
        """Another configuration; groups that both know keep their rhythm, pending notifications are decided anew."""
        kept = self.grouping.records()
        self._flushing = None  # its group is still due
        pending = list(self.outbox)
        self._configure(configuration)
        self.grouping.clear()
        self._regroup(kept, now)
        self.dispatcher.recall(pending, now)
        self.grouping.drop_records(kept)
        self.journal.event(now, "reloaded")

    def _regroup(self, records: dict[str, GroupRecord], now: int) -> None:
        self.population += 1
        for alert in self.alerts.values():
            self.inhibitor.take(alert)
        for alert in list(self.alerts.values()):
            self.grouping.place(self.configuration.route, alert, now, records)

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
            self.hooks.touched(alert.fingerprint)
            self._announce(alert, now)
            self.grouping.place(self.configuration.route, alert, now, {})

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
            self.hooks.changed("firing", alert, now)
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
            self.hooks.changed("ended", alert, now)

    def _forget(self, alert: Alert) -> None:
        self.population += 1
        self._announced.discard(alert.fingerprint)
        if self.alerts.pop(alert.fingerprint, None) is not None:
            self.journal.drop(ALERT, alert.fingerprint)
            self.hooks.touched(alert.fingerprint)
        self.inhibitor.drop(alert)

    def forget_told(self, alert: Alert) -> None:
        """Lets an alert count as not told, so that the next decision about its groups tells it."""
        for name in self.membership.get(alert.fingerprint, ()):
            self.dispatcher.forget_told(self.groups[name], {alert.fingerprint})

    # Time

    def next_due(self) -> int:
        """When `tick` has something to do at the latest."""
        others = min((timer.next_due() for timer in self.hooks.timers), default=NEVER)
        if self._flushing is not None or self.dispatcher.departing:
            return 0
        return min(self.grouping.next_due(), others, self._next_sweep, self.silencing.next_due())

    def clock_went_back(self, now: int, by: int) -> None:
        """The wall clock was put back: what was to happen in a while still happens in that while. What people named as
        a moment (ends of silences, snoozes, windows) stays where it is."""
        for group in self.groups.values():
            if group.next_flush > now:
                self.grouping.schedule(group, max(group.next_flush - by, now))
        for slot in self.outbox.pending():
            if slot.due > now and not slot.sending:
                slot.due = max(slot.due - by, now)
                self.outbox.put(slot)
        self._next_sweep = min(self._next_sweep, now)
        for watcher in self.hooks.clock_watchers:
            watcher(now, by)

    def tick(self, now: int, limit: int = 1_000_000_000) -> int:
        """Runs what is due, at most `limit` steps of flushes; gives their number.

        A small group is flushed in one step, a large one in steps of `STEP` members. A flush that is begun is continued
        by the next tick; it decides about the members and the moment with which it began.
        """
        ran = 0
        while ran < limit:
            if self._flushing is None and self.dispatcher.departing:
                self.dispatcher.depart()
                ran += 1
                continue
            if self._flushing is None:
                group = self.grouping.take_due(now)
                if group is None:
                    break
                self._flushing = self._flush(group, now)
            ran += 1
            if next(self._flushing, True):
                self._flushing = None
        for timer in self.hooks.timers:
            timer.tick(now)
        self.silencing.tick(now)
        if self._next_sweep <= now:
            self._sweep(now)
        return ran

    def _flush(self, group: Group, now: int) -> Iterator[bool]:
        """Gives False while there is more to do. On disk the group is due until the flush is over."""
        due = group.next_flush
        group.flushed, group.last_flush, group.failed, group.leaving = True, now, False, {}
        left = list(group.members.values())
        runs: list[list[tuple[SortKey, Alert]]] = []
        for start in range(0, len(left), STEP):
            if start:
                yield False
            # No two label sets of a group have the same key, so that alerts are never compared.
            runs.append(sorted((sort_key(alert), alert) for alert in left[start : start + STEP]))
            for _, alert in runs[-1]:
                if not alert.active(now):
                    self._announce(alert, now)
        members: list[Alert] = []
        for _, alert in runs[0] if len(runs) == 1 else heapq.merge(*runs):
            members.append(alert)
            if len(members) % STEP == 0 and len(runs) > 1:
                yield False
        if members:
            yield from self.dispatcher.flush(group, members, now)
        else:
            self.hooks.flushed(group, [], now)
        if group.next_flush == due:  # otherwise it became due again meanwhile
            self.grouping.schedule(group, now + group.route.group_interval)

    def _sweep(self, now: int) -> None:
        self._next_sweep = now + SWEEP_SECONDS * SECOND
        for group in [group for group in self.groups.values() if not group.members]:
            self.hooks.flushed(group, [], now)
            self.grouping.drop(group)
        self.log.prune(now - LOG_RETENTION)
        self.silences.prune(now)
