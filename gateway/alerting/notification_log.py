"""The notification log: what each receiver was last told about each group. It alone decides whether something is new.

Rules of the subject (Alertmanager `DedupStage`):
  * Never told: tell if something fires.
  * Told: tell if an alert fires that was not among those told; if nothing fires any more but something did; if an alert
    resolved that was not told as resolved, where the receiver wants to know; else once the repeat interval has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from gateway.alerting.journal import Journal
from gateway.alerting.store import NOTIFICATION_LOG


class LogEntry(msgspec.Struct, kw_only=True):
    """The last successful delivery to one integration about one group. `at` is nanoseconds."""

    group_key: str
    integration: str
    at: int
    firing: list[str] = []
    resolved: list[str] = []
    doubtful: list[str] = []
    """Alerts of which it is not known whether the receiver heard that they fire: an answer or we ourselves were
    lost."""
    memory: dict[str, str] = {}

    @property
    def believed(self) -> set[str]:
        """Alerts that the receiver knows, or may know, to be firing."""
        return {*self.firing, *self.doubtful}


def log_key(group_key: str, integration: str) -> str:
    """The key of an entry."""
    return f"{group_key}|{integration}"


def reason_to_tell(
    entry: LogEntry | None, firing: set[str], resolved: set[str], *, send_resolved: bool, repeat: int, now: int
) -> str:
    """Why a notification is due ("first", "changed", "resolved", "repeat"), or "" if none is."""
    if entry is None:
        return "first" if firing else ""
    if len(firing) > len(entry.firing) or not firing <= set(entry.firing):
        return "changed"
    if not firing:
        return "resolved" if entry.firing or entry.doubtful else ""
    if send_resolved and not resolved <= set(entry.resolved):
        return "resolved"
    return "repeat" if entry.at < now - repeat else ""


class NotificationLog:
    """All entries; changes go to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: dict[str, LogEntry] = {}

    def load(self, key: str, entry: LogEntry) -> None:
        """At start."""
        self._entries[key] = entry

    def get(self, group_key: str, integration: str) -> LogEntry | None:
        """The entry, if there is one."""
        return self._entries.get(log_key(group_key, integration))

    def put(self, entry: LogEntry) -> None:
        """A delivery succeeded."""
        key = log_key(entry.group_key, entry.integration)
        self._entries[key] = entry
        self._journal.put(NOTIFICATION_LOG, key, entry)

    def doubt(self, group_key: str, integration: str, firing: Iterable[str], now: int) -> None:
        """A delivery that told of these as firing may have arrived or not."""
        entry = self.get(group_key, integration) or LogEntry(group_key=group_key, integration=integration, at=now)
        self.put(msgspec.structs.replace(entry, doubtful=sorted({*entry.doubtful, *firing})))

    def forget_firing(self, entry: LogEntry, fingerprints: set[str]) -> None:
        """Lets these alerts be told at the next flush; should they end before it, their end is still owed."""
        left = [fingerprint for fingerprint in entry.firing if fingerprint not in fingerprints]
        again = fingerprints & set(entry.firing)
        self.put(msgspec.structs.replace(entry, firing=left, doubtful=sorted({*entry.doubtful, *again})))

    def prune(self, before: int) -> int:
        """Drops entries without firing alerts that are older than `before`; gives their number."""
        old = [key for key, entry in self._entries.items() if not entry.believed and entry.at < before]
        for key in old:
            del self._entries[key]
            self._journal.drop(NOTIFICATION_LOG, key)
        return len(old)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._entries.values())
