"""The store in one SQLite file: WAL, one writer thread, group commit.

The writer thread takes everything that is queued, writes it in one transaction and syncs once (`synchronous=FULL`),
so a thousand small commits a second cost a few dozen syncs. Readers use their own connection; WAL lets them see the
last commit while the next is written.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.alerting.store import Batch, Event
from gateway.errors import DiskFailed, GatewayError, ShuttingDown, StateError
from gateway.selfmetrics import TASK_FAILURES, counter, histogram

SCHEMA_VERSION: Final = 1
MAX_GROUP: Final = 4096
"""Batches written in one transaction at most."""
LOCK_SECONDS: Final = 10.0
"""Wait for a lock that another program holds."""
RETRY_SECONDS: Final = 1.0
"""Wait before writing again what the disk refused."""

CACHE_KIB: Final = 32 * 1024
"""Pages that the writer keeps in memory."""
CHECKPOINT_PAGES: Final = 8_000
"""Pages of 4 KiB in the write-ahead log before they are copied into the file: a page that many commits change is copied
once."""
_STATEMENT_ROWS: Final = (128, 16, 1)
_PUT: Final = "INSERT INTO record VALUES "
_PUT_ON_CONFLICT: Final = " ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"
_DROP: Final = "DELETE FROM record WHERE kind = ? AND key IN (VALUES "
_ADD_EVENT: Final = "INSERT INTO event (time, kind, fingerprint, grp, detail) VALUES "

_COMMIT_SECONDS = histogram("alerting_commit_seconds", "Time of one group commit of the alert store, sync included.")
_COMMITS = counter("alerting_commits", "Group commits of the alert store.", ["result"])
_log = structlog.get_logger(__name__)

_SCHEMA = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE record (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE event (
  seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL,
  fingerprint TEXT NOT NULL, grp TEXT NOT NULL, detail BLOB NOT NULL);
CREATE INDEX event_time ON event (time);
CREATE INDEX event_fingerprint ON event (fingerprint, time) WHERE fingerprint <> '';
CREATE INDEX event_group ON event (grp, time) WHERE grp <> '';
"""


class SqliteStore:
    """See Store. The file is made with mode 0600, since alerts may carry private text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._read_lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._closing = False

    def open(self) -> None:
        """See Store."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            connection = self._connect()
            try:
                self._prepare(connection)
            finally:
                connection.close()
            self._reader = self._connect()
        except sqlite3.DatabaseError as error:
            raise StateError(f"{self.path} cannot be opened: {error}") from error
        self._writer = threading.Thread(target=self._write_loop, name="alert-store", daemon=True)
        self._writer.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=LOCK_SECONDS)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={2 * CHECKPOINT_PAGES * 4096}")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "schema_version" not in tables:
            if tables:
                raise StateError(f"{self.path} is another program's database")
            connection.executescript(f"BEGIN;{_SCHEMA}INSERT INTO schema_version VALUES ({SCHEMA_VERSION});COMMIT;")  # noqa: S608 - constants
            return
        (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
        if version != SCHEMA_VERSION:
            raise StateError(f"{self.path} has schema version {version}; this program reads version {SCHEMA_VERSION}")

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """See Store."""
        yield from self._read("SELECT key, body FROM record WHERE kind = ?", (kind,))

    def history(
        self,
        *,
        fingerprint: str = "",
        group: str = "",
        kinds: Sequence[str] = (),
        since: int = 0,
        until: int = 2**62,
        limit: int = 1000,
        newest_first: bool = True,
    ) -> list[Event]:
        """See Store."""
        conditions, values = ["time >= ?", "time < ?"], [since, until]
        parameters: list[Any] = list(values)
        for column, wanted in (("fingerprint", fingerprint), ("grp", group)):
            if wanted:
                # The second condition lets SQLite use the partial index.
                conditions.append(f"{column} = ? AND {column} <> ''")
                parameters.append(wanted)
        if kinds:
            conditions.append(f"kind IN ({','.join('?' * len(kinds))})")
            parameters.extend(kinds)
        falling = "DESC" if newest_first else "ASC"
        statement = (  # the parts are constants of this function; values go through placeholders
            f"SELECT time, kind, fingerprint, grp, detail FROM event WHERE {' AND '.join(conditions)} "  # noqa: S608
            f"ORDER BY time {falling}, seq {falling} LIMIT ?"
        )
        rows = self._read(statement, (*parameters, limit))
        return [Event(time=t, kind=k, fingerprint=f, group=g, detail=bytes(d)) for t, k, f, g, d in rows]

    def _read(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._read_lock:
            if self._reader is None:
                raise ShuttingDown("the alert store is closed")
            try:
                return self._reader.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise StateError(f"{self.path} cannot be read: {error}") from error

    def commit(self, batch: Batch) -> Future[None]:
        """See Store."""
        return self._enqueue(_Job(batch=batch))

    def forget(self, before: int) -> Future[int]:
        """See Store."""
        return self._enqueue(_Job(forget_before=before))

    def _enqueue(self, job: _Job) -> Future[Any]:
        if self._closing or self._writer is None:
            job.future.set_exception(ShuttingDown("the alert store is closed"))
        else:
            self._queue.put(job)
        return job.future

    def close(self) -> None:
        """See Store."""
        if self._closing:
            return
        self._closing = True
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join(timeout=30.0)
        with self._read_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    # Everything below runs in the writer thread.

    def _write_loop(self) -> None:
        left: GatewayError = ShuttingDown("the alert store is closed")
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
                kept, last = Batch(), False
                while not last:
                    jobs, last = self._next_jobs(kept)
                    if jobs or kept:
                        kept = self._write_or_answer(connection, kept, jobs)
        except Exception as error:  # noqa: BLE001 - outermost edge of the thread
            TASK_FAILURES.labels("alert-store").inc()
            _log.error("the alert store's writer ended", error=repr(error), exc_info=True)
            left = DiskFailed("the alert store's writer ended")
        self._closing = True
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    job.future.set_exception(left)

    def _write_or_answer(self, connection: sqlite3.Connection, kept: Batch, jobs: list[_Job]) -> Batch:
        """As `_write`, but a batch that cannot be written at all is refused, and takes no other with it."""
        try:
            return self._write(connection, kept, jobs)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one write meets
            TASK_FAILURES.labels("alert-store").inc()
            _COMMITS.labels("failed").inc()
            _log.error("a write to the alert store failed unexpectedly", error=repr(error), exc_info=True)
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            unanswered = [job for job in jobs if not job.future.done()]
            if len(jobs) > 1:
                for job in unanswered:
                    kept = self._write_or_answer(connection, kept, [job])
                return kept
            for job in unanswered:
                job.future.set_exception(DiskFailed(f"the alert store could not be written: {error!r}"))
            return kept

    def _next_jobs(self, kept: Batch) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        try:
            job = self._queue.get(timeout=RETRY_SECONDS) if kept else self._queue.get()
            while True:
                if job is None:
                    return jobs, True
                jobs.append(job)
                if len(jobs) >= MAX_GROUP:
                    return jobs, False
                job = self._queue.get_nowait()
        except queue.Empty:
            return jobs, False

    def _write(self, connection: sqlite3.Connection, kept: Batch, jobs: list[_Job]) -> Batch:
        """One transaction; gives back what must be written again because the disk refused it."""
        together = Batch(records=dict(kept.records), events=list(kept.events))
        for job in jobs:
            together.records.update(job.batch.records)
            together.events.extend(job.batch.events)
        began = time.perf_counter()
        removed = 0
        try:
            connection.execute("BEGIN IMMEDIATE")
            puts = [(kind, key, body) for (kind, key), body in together.records.items() if body is not None]
            puts.sort(key=itemgetter(0, 1))
            drops: dict[str, list[tuple[str]]] = {}
            for (kind, key), body in together.records.items():
                if body is None:
                    drops.setdefault(kind, []).append((key,))
            _execute(connection, _PUT, puts, _PUT_ON_CONFLICT)
            for kind, keys in drops.items():
                _execute(connection, _DROP, keys, ")", kind)
            events = [(e.time, e.kind, e.fingerprint, e.group, e.detail) for e in together.events]
            _execute(connection, _ADD_EVENT, events)
            for job in jobs:
                if job.forget_before:
                    removed = connection.execute("DELETE FROM event WHERE time < ?", (job.forget_before,)).rowcount
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            _COMMITS.labels("failed").inc()
            _log.error("the alert store could not be written", error=str(error), path=str(self.path))
            for job in jobs:
                job.future.set_exception(DiskFailed(f"the alert store could not be written: {error}"))
            return together
        _COMMITS.labels("done").inc()
        _COMMIT_SECONDS.observe(time.perf_counter() - began)
        for job in jobs:
            job.future.set_result(removed if job.forget_before else None)
        return Batch()


def _execute(
    connection: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "", *first: str
) -> None:
    """Many rows a statement: between two statements the interpreter's lock changes hands, which under load costs a
    thread more than the row."""
    start = 0
    for size in _STATEMENT_ROWS:
        while len(rows) - start >= size:
            part = rows[start : start + size]
            place = f"({','.join('?' * len(part[0]))})"
            values = (*first, *itertools.chain.from_iterable(part))
            connection.execute(f"{head}{','.join((place,) * size)}{tail}", values)
            start += size


class _Job:
    __slots__ = ("batch", "forget_before", "future")

    def __init__(self, batch: Batch | None = None, forget_before: int = 0) -> None:
        self.batch = batch or Batch()
        self.forget_before = forget_before
        self.future: Future[Any] = Future()
        # What is queued will be written: a waiter that gives up must not cancel it under the writer.
        self.future.set_running_or_notify_cancel()
