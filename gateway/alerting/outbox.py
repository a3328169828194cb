"""The outbox: notifications decided but not yet delivered, one per group and integration.

Rules of the subject:
  * At most one notification about a group is under way to an integration. A newer decision replaces one that waits; one
    that is being sent is let finish, and the group is looked at again afterwards.
  * Every integration has its own queue, ordered by due time: a dead receiver delays nobody else.
  * The record on disk names group and integration only. After a restart the group is looked at again and the
    notification made anew from the alerts and the notification log, so what was delivered is not sent twice and what
    is no longer true is not sent at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Set

import msgspec

from gateway.alerting.journal import Journal
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Notification
from gateway.alerting.notification_log import log_key
from gateway.alerting.store import OUTBOX


class Slot(msgspec.Struct, kw_only=True):
    """One notification on its way."""

    key: str
    group_id: str
    integration: str
    notification: Notification
    why: str
    created: int
    """When a notification about the group became due that is not delivered since."""
    due: int
    """Next attempt, nanoseconds."""
    attempts: int = 0
    sending: bool = False
    stale: bool = False
    """The group was flushed while this was being sent."""
    firing: tuple[str, ...] = ()
    """What it tells as firing, in the order of the notification."""
    told: Set[str] = frozenset()
    """The same as a set."""
    severities: frozenset[str] = frozenset()
    """Of those."""
    resolved: tuple[str, ...] = ()
    last_error: str = ""


class SlotRecord(msgspec.Struct, kw_only=True):
    """What is kept on disk of a slot."""

    group_id: str
    integration: str
    created: int
    attempts: int
    due: int
    last_error: str = ""
    group_key: str = ""
    firing: list[str] = []
    """Alerts told as firing, once an attempt has begun."""


class Outbox:
    """All slots; changes go to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._slots: dict[str, Slot] = {}
        self._queues: dict[str, list[tuple[int, int, str]]] = {}
        self._count = 0

    def get(self, group_key: str, integration: str) -> Slot | None:
        """The slot, if one is on its way."""
        return self._slots.get(log_key(group_key, integration))

    def put(self, slot: Slot) -> None:
        """New, changed or due at another time."""
        self._slots[slot.key] = slot
        self._count += 1
        heapq.heappush(self._queues.setdefault(slot.integration, []), (slot.due, self._count, slot.key))
        self._record(slot)

    def _record(self, slot: Slot) -> None:
        self._journal.put(
            OUTBOX,
            slot.key,
            SlotRecord(
                group_id=slot.group_id,
                integration=slot.integration,
                created=slot.created,
                attempts=slot.attempts,
                due=slot.due,
                last_error=slot.last_error,
                group_key=slot.notification.group_key,
                firing=list(slot.firing) if slot.sending else [],
            ),
        )

    def drop(self, slot: Slot) -> None:
        """Delivered, refused or no longer wanted."""
        if self._slots.pop(slot.key, None) is not None:
            self._journal.drop(OUTBOX, slot.key)

    def take(self, integration: str, now: int) -> Slot | None:
        """The next slot to send, marked as being sent, or None."""
        queue = self._queues.get(integration, [])
        while queue and queue[0][0] <= now:
            due, _, key = heapq.heappop(queue)
            slot = self._slots.get(key)
            if slot is not None and not slot.sending and slot.due == due:
                slot.sending = True
                self._record(slot)
                return slot
        return None

    def next_due(self, integration: str) -> int | None:
        """When `take` may give something, or None."""
        queue = self._queues.get(integration, [])
        while queue:
            slot = self._slots.get(queue[0][2])
            if slot is not None and not slot.sending and slot.due == queue[0][0]:
                return queue[0][0]
            heapq.heappop(queue)
        return None

    def pending(self, integration: str = "") -> list[Slot]:
        """Slots of one integration or of all."""
        return [slot for slot in self._slots.values() if not integration or slot.integration == integration]

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)


def backoff(attempts: int, jitter: float) -> int:
    """Nanoseconds to wait after that many failed attempts: half a second doubling to a minute, jitter in 0…1 added."""
    seconds = min(0.5 * 2.0 ** min(attempts - 1, 10), 60.0)
    return round(seconds * (0.75 + 0.5 * jitter) * SECOND)
