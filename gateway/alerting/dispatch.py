"""What each integration is to be told about a group at its flush, and what became of telling it.

The decision is a function of the members, the stages and the notification log; it goes into the outbox. `finish` takes
the outcome of an attempt. Nothing here waits or sends.
"""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from gateway.alerting.alert import Alert, sort_key
from gateway.alerting.composer import Composer
from gateway.alerting.configuration import Configuration, Integration
from gateway.alerting.group import Group
from gateway.alerting.grouping import Grouping
from gateway.alerting.hooks import Hooks, Telling
from gateway.alerting.inhibition import Inhibitor
from gateway.alerting.journal import Journal
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import IN_PLACE, Again, Delivered, Notification, Outcome
from gateway.alerting.notification_log import SAID, LogEntry, NotificationLog, log_key, reason_to_tell
from gateway.alerting.outbox import Outbox, Slot, SlotRecord, backoff
from gateway.alerting.passing import Passing
from gateway.alerting.silence import Silences
from gateway.alerting.stages import Stage, inhibition_stage, interval_stage, judge, kind_of, silence_stage
from gateway.alerting.store import OUTBOX

STEP: Final = 64
"""Members of a group that a flush handles before the loop has its turn."""
DEPARTING: Final = 32
"""Members that leave a group before the loop has its turn."""
FLUSH: Final = "flush"
RELEASE: Final = "release"
ESCALATION: Final = "escalation"
RENEWAL: Final = "renewal"
"""Why a decision is made: the group's moment has come; what was held is told; a step wants it noticed; people said
something, which is to be shown."""


class Dispatcher:
    """Decisions and their outcomes. `gone` is told of a resolved alert that no group holds any more."""

    def __init__(
        self,
        journal: Journal,
        grouping: Grouping,
        silences: Silences,
        hooks: Hooks,
        *,
        external_url: str,
        seed: int | None,
        new_id: Callable[[], str],
        gone: Callable[[Alert], None],
    ) -> None:
        self.log = NotificationLog(journal)
        self.outbox = Outbox(journal)
        self._journal, self._grouping, self._silences, self._hooks = journal, grouping, silences, hooks
        self._composer, self._gone = Composer(hooks, external_url, new_id), gone
        self._random = random.Random(seed)  # noqa: S311 - jitter
        self._inherited: dict[str, SlotRecord] = {}
        """Slots of an earlier run or configuration, whose groups were not looked at since."""
        self._stages: tuple[Stage, ...] = ()
        self._departing: OrderedDict[str, None] = OrderedDict()
        """Groups with more members to let go."""

    def configure(self, configuration: Configuration, inhibitor: Inhibitor) -> None:
        """Another configuration, or the first."""
        self._configuration = configuration
        self._by_key: dict[str, Integration] = {i.key: i for i in configuration.integrations}
        self._stages = (
            inhibition_stage(inhibitor),
            interval_stage(configuration.intervals),
            silence_stage(self._silences),
        )

    def inherit(self, records: dict[str, SlotRecord], now: int) -> None:
        """What was on its way when the gateway stopped; it is decided anew when its groups are flushed."""
        self._inherited = dict(records)
        for record in records.values():
            if record.firing:
                self.log.doubt(record.group_key, record.integration, record.firing, now)

    def recall(self, pending: Iterable[Slot], now: int) -> None:
        """After a reload: what waits is decided anew, what is being sent is looked at afterwards."""
        for slot in pending:
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
            group = self._grouping.groups.get(slot.group_id)
            if group is not None:
                self._grouping.schedule(group, now)

    # Deciding

    def flush(self, group: Group, members: list[Alert], now: int) -> Iterator[bool]:
        """The group's moment has come; `members` in notification order, not empty. Gives False between two steps."""
        stages = (*self._stages, *self._hooks.stages)
        passing = Passing(now)
        leaving: dict[str, Alert] = {}
        muted: dict[str, str] = {}
        integrations = self.integrations_of(group)
        for start in range(0, len(members), STEP):
            if start:
                yield False
            some = members[start : start + STEP]
            verdict = judge(stages, group.route, some, now)
            passing.add(verdict.passing)
            muted.update(verdict.muted)
            self._note_muted(group, verdict.muted, now)
            for alert in some:
                # One that is muted while a receiver still believes it fires stays: its end is told after the muting.
                if not alert.active(now) and not (
                    alert.fingerprint in verdict.muted and self._believed(group, integrations, alert.fingerprint)
                ):
                    leaving[alert.fingerprint] = alert
        for fingerprint in group.muted:
            if fingerprint not in muted and fingerprint in group.members:
                self._journal.event(now, "unmuted", fingerprint=fingerprint, group=group.id)
        group.muted, group.leaving = muted, leaving
        for integration in integrations:
            if len(members) > STEP:
                yield False
            self.decide(group, integration, passing, now)
        if len(members) > STEP:
            yield False
        self.settle(group)
        self._hooks.flushed(group, passing.alerts, now)

    def _believed(self, group: Group, integrations: list[Integration], fingerprint: str) -> bool:
        for integration in integrations:
            entry = self.log.get(group.key, integration.key)
            if entry is not None and (fingerprint in self.log.told(entry) or fingerprint in entry.doubtful):
                return True
        return False

    def integrations_of(self, group: Group) -> list[Integration]:
        """Ways out of the group's receiver, and of those that an escalation told."""
        names = dict.fromkeys((group.route.receiver, *self._hooks.informed(group)))
        return [integration for name in names for integration in self._configuration.receivers[name]]

    def unmuted_firing(self, group: Group, now: int) -> list[Alert]:
        """Members that fire and that no stage mutes now."""
        firing = [alert for alert in sorted(group.members.values(), key=sort_key) if alert.active(now)]
        return judge((*self._stages, *self._hooks.stages), group.route, firing, now).passing

    def tell_now(self, group: Group, receivers: list[str], now: int) -> None:
        """Tells these receivers of what fires in the group, even if they were told before."""
        firing = self.unmuted_firing(group, now)
        passing = Passing(now, firing)
        for name in receivers:
            for integration in self._configuration.receivers.get(name, ()):
                entry = self.log.get(group.key, integration.key)
                if entry is not None:
                    self.log.forget_firing(entry, {alert.fingerprint for alert in firing})
                self.decide(group, integration, passing, now, occasion=ESCALATION)

    def renew(self, group: Group, now: int) -> None:
        """What people said of the group is shown where a message about it can be changed; nobody else is told."""
        for integration in self.integrations_of(group):
            entry = self.log.get(group.key, integration.key)
            if entry is None or IN_PLACE not in entry.memory or self.outbox.get(group.key, integration.key) is not None:
                continue  # what is on its way is more than this
            firing = self.unmuted_firing(group, now)
            if firing:
                self.decide(group, integration, Passing(now, firing), now, occasion=RENEWAL)

    def forget_told(self, group: Group, fingerprints: set[str]) -> None:
        """Lets these alerts count as not told, so that the next decision about the group tells them."""
        for integration in self.integrations_of(group):
            entry = self.log.get(group.key, integration.key)
            if entry is not None and fingerprints & set(entry.firing):
                self.log.forget_firing(entry, fingerprints)

    def _note_muted(self, group: Group, muted: dict[str, str], now: int) -> None:
        for fingerprint, reason in muted.items():
            if group.muted.get(fingerprint) != reason:
                self._journal.event(now, "muted", fingerprint=fingerprint, group=group.id, reason=reason)
                self._hooks.suppressed(kind_of(reason))

    def decide(
        self, group: Group, integration: Integration, passing: Passing, now: int, *, occasion: str = FLUSH
    ) -> None:
        """What one integration is to be told of the unmuted members; hooks may hold it if the occasion is a flush."""
        slot = self.outbox.get(group.key, integration.key)
        if slot is not None and slot.sending:
            slot.stale = True
            return
        inherited = self._inherited.pop(log_key(group.key, integration.key), None)
        entry = self.log.get(group.key, integration.key)
        older = slot or inherited
        why = self._why(group, integration, entry, passing, now, occasion=occasion, waits=older is not None)
        if not why:
            self._withdraw(group, integration, slot, inherited, now)
        elif integration.send_resolved or passing.firing:
            reminder = why == "repeat" or occasion == ESCALATION
            notification = self._composer.notification(group, integration, entry, passing, now, reminder=reminder)
            self._put_into_outbox(group, integration, passing, notification, older, why)
        else:
            # Nobody is told of the end, but what fires next is news.
            self.log.put(LogEntry(group_key=group.key, integration=integration.key, at=now, firing=[], resolved=[]))
            if slot is not None:
                self.outbox.drop(slot)

    def _why(
        self,
        group: Group,
        integration: Integration,
        entry: LogEntry | None,
        passing: Passing,
        now: int,
        *,
        occasion: str,
        waits: bool,
    ) -> str:
        """Why it is told now, "" if it is not. waits: a notification of it is on its way already; none is held then."""
        if not passing.alerts:
            return ""
        told, firing, ended = self.log.told(entry), passing.firing_names, passing.resolved_names
        why = reason_to_tell(
            entry,
            told,
            firing,
            ended,
            send_resolved=integration.send_resolved,
            repeat=group.route.repeat_interval,
            now=now,
        )
        if why == "repeat" and self._hooks.quiet(passing.firing, now):
            why = ""
        if not why:
            return SAID if occasion == RENEWAL else ""
        if occasion == FLUSH and not waits:
            telling = Telling(group, integration.key, entry, told, passing.firing, firing, ended, why)
            if self._hooks.hold(telling, now):
                return ""
        return why

    def _withdraw(
        self, group: Group, integration: Integration, slot: Slot | None, inherited: SlotRecord | None, now: int
    ) -> None:
        """What is on its way is not to be told any more."""
        if slot is not None:
            self._journal.event(now, "withdrawn", group=group.id, integration=integration.key)
            self.outbox.drop(slot)
        elif inherited is not None:
            self._journal.drop(OUTBOX, log_key(group.key, integration.key))  # of an earlier run; nothing is left of it

    def _put_into_outbox(
        self,
        group: Group,
        integration: Integration,
        passing: Passing,
        notification: Notification,
        older: Slot | SlotRecord | None,
        why: str,
    ) -> None:
        """In the place of the older one, if there is one, with its moments and attempts."""
        now = notification.at
        firing, resolved = tuple(passing.names), tuple(passing.resolved_names)
        self.outbox.put(
            Slot(
                key=log_key(group.key, integration.key),
                group_id=group.id,
                integration=integration.key,
                notification=notification,
                why=why,
                created=older.created if older else now,
                due=older.due if older else now,
                attempts=older.attempts if older else 0,
                firing=firing,
                told=passing.firing_names,
                severities=frozenset(passing.severities),
                resolved=resolved,
            )
        )
        self._journal.event(
            now,
            "notifying",
            group=group.id,
            id=notification.id,
            integration=integration.key,
            why=why,
            firing=firing,
            resolved=resolved,
        )

    def settle(self, group: Group) -> None:
        """Lets resolved members go once nobody has to hear of them any more."""
        if group.failed or not group.leaving:
            return
        for integration in self.integrations_of(group):
            if self.outbox.get(group.key, integration.key) is not None:
                return
        kept = self._hooks.kept(group)
        going = [name for name in itertools.islice(group.leaving, DEPARTING + len(kept)) if name not in kept]
        for fingerprint in going:
            alert = group.leaving.pop(fingerprint)
            if group.members.get(fingerprint) is alert and self._grouping.remove(group, alert):
                self._gone(alert)
        if len(group.leaving) > len(kept):
            self._departing[group.id] = None

    @property
    def departing(self) -> bool:
        """Whether `depart` has more to do."""
        return bool(self._departing)

    def depart(self) -> None:
        """Lets more of the members go that `settle` began with: at most `DEPARTING`."""
        if self._departing:
            name, _ = self._departing.popitem(last=False)
            group = self._grouping.groups.get(name)
            if group is not None:
                self.settle(group)

    # Delivery

    def finish(self, slot: Slot, outcome: Outcome, now: int) -> None:
        """What became of an attempt."""
        slot.sending = False
        slot.attempts += 1
        stale, slot.stale = slot.stale, False
        group = self._grouping.groups.get(slot.group_id)
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
                    firing=list(slot.firing),
                    resolved=list(slot.resolved),
                    memory=outcome.memory,
                ),
                slot.told,
                slot.severities,
            )
            lag = (now - slot.created) / SECOND
            self._journal.event(now, "delivered", group=slot.group_id, lag=lag, **detail)
        elif isinstance(outcome, Again) and slot.integration in self._by_key:
            slot.last_error = outcome.reason
            if outcome.uncertain:
                self.log.doubt(slot.notification.group_key, slot.integration, slot.firing, now)
            asked = round((outcome.after or 0.0) * SECOND)
            slot.due = now + max(backoff(slot.attempts, self._random.random()), asked)
            self.outbox.put(slot)
            self._journal.event(now, "retry", group=slot.group_id, reason=outcome.reason, due=slot.due, **detail)
        else:
            self.outbox.drop(slot)
            self._journal.event(now, "refused", group=slot.group_id, reason=outcome.reason, **detail)
            if group is not None:
                group.failed = True
        if group is not None:
            if stale:
                self._grouping.schedule(group, now)
            else:
                self.settle(group)
        self._hooks.attempted(slot, outcome, stale, now)

    def interrupted(self, slot: Slot, now: int) -> None:
        """An attempt was cut off by a stop or a reload."""
        slot.sending = False
        self.log.doubt(slot.notification.group_key, slot.integration, slot.firing, now)
