"""The notification log: what each receiver was last told about each group. It alone decides whether something is new.

Rules of the subject (Alertmanager `DedupStage`):
  * Never told: tell if something fires.
  * Told: tell if an alert fires that was not among those told; if nothing fires any more but something did; if an alert
    resolved that was not told as resolved, where the receiver wants to know; else once the repeat interval has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Final

import msgspec

from gateway.alerting.journal import Journal
from gateway.alerting.store import NOTIFICATION_LOG

SAID: Final = "said"
"""The reason of a notification that only shows what people said, beside those of `reason_to_tell`."""


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
    entry: LogEntry | None,
    told: Set[str],
    firing: Set[str],
    resolved: Set[str],
    *,
    send_resolved: bool,
    repeat: int,
    now: int,
) -> str:
    """Why a notification is due ("first", "changed", "resolved", "repeat"), or "" if none is; `told` is the entry's
    `firing` as a set."""
    if entry is None:
        return "first" if firing else ""
    if len(firing) > len(told) or not firing <= told:
        return "changed"
    if not firing:
        return "resolved" if entry.firing or entry.doubtful else ""
    if send_resolved and resolved and not resolved <= set(entry.resolved):
        return "resolved"
    return "repeat" if entry.at < now - repeat else ""


class NotificationLog:
    """All entries; changes go to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: dict[str, LogEntry] = {}
        self._told: dict[str, tuple[LogEntry, Set[str]]] = {}
        """What `told` has answered, while the entry is the same."""
        self._severities: dict[str, tuple[LogEntry, frozenset[str]]] = {}

    def load(self, key: str, entry: LogEntry) -> None:
        """At start."""
        self._entries[key] = entry

    def get(self, group_key: str, integration: str) -> LogEntry | None:
        """The entry, if there is one."""
        return self._entries.get(log_key(group_key, integration))

    def told(self, entry: LogEntry | None) -> Set[str]:
        """The entry's firing alerts as a set."""
        if entry is None or not entry.firing:
            return frozenset()
        key = log_key(entry.group_key, entry.integration)
        known = self._told.get(key)
        if known is None or known[0] is not entry:
            known = self._told[key] = (entry, frozenset(entry.firing))
        return known[1]

    def severities(self, entry: LogEntry, severity_of: Callable[[str], str | None]) -> frozenset[str]:
        """The severities of the entry's firing alerts; `severity_of` is asked where the log does not know them (after a
        start): None for an alert that is forgotten."""
        key = log_key(entry.group_key, entry.integration)
        known = self._severities.get(key)
        if known is None or known[0] is not entry:
            found = frozenset(severity for name in entry.firing if (severity := severity_of(name)) is not None)
            known = self._severities[key] = (entry, found)
        return known[1]

    def put(self, entry: LogEntry, told: Set[str] | None = None, severities: frozenset[str] = frozenset()) -> None:
        """A delivery succeeded; `told`: its firing alerts as a set, where there is one, and their severities."""
        key = log_key(entry.group_key, entry.integration)
        self._entries[key] = entry
        self._told.pop(key, None)
        if told:
            self._told[key] = (entry, told)
            self._severities[key] = (entry, severities)
        self._journal.put(NOTIFICATION_LOG, key, entry)

    def doubt(self, group_key: str, integration: str, firing: Iterable[str], now: int) -> None:
        """A delivery that told of these as firing may have arrived or not."""
        entry = self.get(group_key, integration) or LogEntry(group_key=group_key, integration=integration, at=now)
        self.put(msgspec.structs.replace(entry, doubtful=list(dict.fromkeys((*entry.doubtful, *firing)))))

    def forget_firing(self, entry: LogEntry, fingerprints: set[str]) -> None:
        """Lets these alerts be told at the next flush; should they end before it, their end is still owed."""
        left = [fingerprint for fingerprint in entry.firing if fingerprint not in fingerprints]
        again = fingerprints & set(entry.firing)
        self.put(msgspec.structs.replace(entry, firing=left, doubtful=sorted({*entry.doubtful, *again})))

    def prune(self, before: int) -> int:
        """Drops entries without firing alerts that are older than `before`; gives their number."""
        old = [key for key, entry in self._entries.items() if entry.at < before and not entry.believed]
        for key in old:
            del self._entries[key]
            self._told.pop(key, None)
            self._severities.pop(key, None)
            self._journal.drop(NOTIFICATION_LOG, key)
        return len(old)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._entries.values())
