"""Recorded history, read in order: by the router itself, or by a command beside a router that is running."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gateway.alerting.sqlite_store import SCHEMA_VERSION, SqliteStore
from gateway.alerting.store import Event, Store
from gateway.errors import NotFound, StateError

STORE_NAME: Final = "alerting.sqlite"
PAGE: Final = 5_000
"""Events read in one go; a reader holds the store no longer than that takes."""


def events_between(store: Store, since: int, until: int, kinds: Sequence[str] = ()) -> Iterator[Event]:
    """Events with since <= time < until (nanoseconds), oldest first. Waits for the disk: call it in a thread."""
    known = 0
    while True:
        limit = PAGE + known
        events = store.history(kinds=kinds, since=since, until=until, limit=limit, newest_first=False)
        yield from events[known:]
        if len(events) < limit:
            return
        # The next page begins at the last moment of this one; what was given of that moment is skipped.
        since = events[-1].time
        known = sum(1 for event in events if event.time == since)


class RecordedStore(SqliteStore):
    """A store that another process may own: reading alone, nothing is written, no schema is made."""

    def open(self) -> None:
        """Raises NotFound if there is no store, StateError for one that cannot be read."""
        if not self.path.exists():
            raise NotFound(f"no alert history at {self.path}")
        try:
            self._reader = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=10.0
            )
            (version,) = self._reader.execute("SELECT version FROM schema_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self.path} cannot be read: {error}") from error
        if version != SCHEMA_VERSION:
            raise StateError(f"{self.path} has schema version {version}; this program reads version {SCHEMA_VERSION}")


def open_recorded(data_dir: Path) -> RecordedStore:
    """The alert store of a data directory; raises NotFound, StateError."""
    store = RecordedStore(data_dir / "state" / STORE_NAME)
    store.open()
    return store
