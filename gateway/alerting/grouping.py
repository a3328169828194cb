"""Which groups hold which alerts, and when each group is flushed next.

Groups follow from the alerts and the routes; only their rhythm is kept on disk. See `group` for the rules.
"""

from __future__ import annotations

import bisect
import heapq

from gateway.alerting.alert import Alert
from gateway.alerting.group import Group, GroupRecord, group_id
from gateway.alerting.hooks import Hooks
from gateway.alerting.journal import Journal
from gateway.alerting.moments import NEVER
from gateway.alerting.route import Route
from gateway.alerting.store import GROUP


class Grouping:
    """All groups; changes go to the journal."""

    def __init__(self, journal: Journal, hooks: Hooks) -> None:
        self._journal, self._hooks = journal, hooks
        self.groups: dict[str, Group] = {}
        self.membership: dict[str, tuple[str, ...]] = {}
        """Fingerprint → ids of the groups that hold the alert. Tuples of texts are no work for the cycle collector."""
        self.receivers_of: dict[str, tuple[str, ...]] = {}
        """Fingerprint → names of the receivers of those groups, sorted; equal tuples are one object."""
        self.order: list[tuple[tuple[tuple[str, str], ...], str, str]] = []
        """Labels, receiver and id of every group, sorted."""
        self._receiver_sets: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._timers: list[tuple[int, int, str]] = []
        self._timer_count = 0
        self._changes = 0

    def records(self) -> dict[str, GroupRecord]:
        """The rhythm of every group."""
        return {g.id: GroupRecord(next_flush=g.next_flush, flushed=g.flushed) for g in self.groups.values()}

    def clear(self) -> None:
        """Forgets everything in memory; what is on disk stays until groups are made anew or dropped."""
        self.groups.clear()
        self.membership.clear()
        self.receivers_of.clear()
        self._timers.clear()
        self.order.clear()

    def drop_records(self, names: dict[str, GroupRecord]) -> None:
        """Removes from disk those that no longer exist."""
        for name in names:
            if name not in self.groups:
                self._journal.drop(GROUP, name)

    def place(self, root: Route, alert: Alert, now: int, records: dict[str, GroupRecord]) -> None:
        """Puts an alert, or its newer state, into the groups of all routes that match it.

        `records` gives known groups their rhythm back, at a start or reload.
        """
        for route in root.matching(alert.labels):
            labels = route.group_labels(self._hooks.labels(route, alert, now))
            key = route.group_key(labels)
            name = group_id(route.receiver, key)
            group = self.groups.get(name)
            if group is None:
                if not alert.active(now) and name not in records:
                    continue
                group = self._new_group(name, key, route, labels, records.get(name), now)
            if alert.fingerprint not in group.members:
                self.membership[alert.fingerprint] = (*self.membership.get(alert.fingerprint, ()), group.id)
                self._note_receivers(alert.fingerprint)
                if alert.active(now) and not records:
                    self._journal.event(
                        now,
                        "grouped",
                        fingerprint=alert.fingerprint,
                        group=name,
                        route=route.key,
                        receiver=route.receiver,
                        next_flush=group.next_flush,
                    )
            self._mark(group, came_or_went=alert.fingerprint not in group.members)
            group.members[alert.fingerprint] = alert
            if not group.flushed and alert.starts + route.group_wait < now and group.next_flush > now:
                self.schedule(group, now)

    def _note_receivers(self, fingerprint: str) -> None:
        holders = self.membership[fingerprint]
        if len(holders) == 1:
            names: tuple[str, ...] = (self.groups[holders[0]].route.receiver,)
        else:
            names = tuple(sorted({self.groups[name].route.receiver for name in holders}))
        self.receivers_of[fingerprint] = self._receiver_sets.setdefault(names, names)
        self._hooks.touched(fingerprint)

    def _new_group(
        self, name: str, key: str, route: Route, labels: dict[str, str], record: GroupRecord | None, now: int
    ) -> Group:
        due = now + route.group_wait
        if record is not None:
            # A moment further away was set by a clock that was ahead, or by longer waits.
            due = min(record.next_flush, now + max(route.group_wait, route.group_interval))
        group = Group(
            id=name, key=key, route=route, labels=labels, next_flush=due, flushed=record is not None and record.flushed
        )
        self.groups[name] = group
        bisect.insort(self.order, _place(group))
        self.schedule(group, due)
        if record is None:
            self._hooks.began(group, now)
        return group

    def remove(self, group: Group, alert: Alert) -> bool:
        """Takes a member out; gives whether no group holds the alert any more."""
        del group.members[alert.fingerprint]
        self._mark(group, came_or_went=True)
        holders = self.membership.get(alert.fingerprint)
        if holders is None:
            return False
        holders = tuple(name for name in holders if name != group.id)
        if holders:
            self.membership[alert.fingerprint] = holders
            self._note_receivers(alert.fingerprint)
            return False
        del self.membership[alert.fingerprint]
        self.receivers_of.pop(alert.fingerprint, None)
        return True

    def _mark(self, group: Group, *, came_or_went: bool) -> None:
        self._changes += 1
        group.version = self._changes
        if came_or_went:
            group.roster = self._changes

    def drop(self, group: Group) -> None:
        """Ends an empty group."""
        del self.groups[group.id]
        del self.order[bisect.bisect_left(self.order, _place(group))]
        self._journal.drop(GROUP, group.id)

    def schedule(self, group: Group, due: int) -> None:
        """The group is flushed at `due` and not at the moment set before."""
        group.next_flush = due
        self._timer_count += 1
        heapq.heappush(self._timers, (due, self._timer_count, group.id))
        self._journal.put(GROUP, group.id, GroupRecord(next_flush=due, flushed=group.flushed))

    def next_due(self) -> int:
        """When `take_due` may give something, or NEVER."""
        return self._timers[0][0] if self._timers else NEVER

    def take_due(self, now: int) -> Group | None:
        """The next group that is to be flushed by now, or None."""
        while self._timers and self._timers[0][0] <= now:
            due, _, name = heapq.heappop(self._timers)
            group = self.groups.get(name)
            if group is not None and group.next_flush == due:
                return group
        return None


def _place(group: Group) -> tuple[tuple[tuple[str, str], ...], str, str]:
    return tuple(sorted(group.labels.items())), group.route.receiver, group.id
