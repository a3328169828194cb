"""One suite for every store: what the router relies on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.alerting import sqlite_store
from gateway.alerting.sqlite_store import SqliteStore
from gateway.alerting.store import Batch, Event, Store, decoded
from gateway.errors import DiskFailed, ShuttingDown, StateError
from tests.gateway.alerting.memory_store import MemoryStore


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = SqliteStore(tmp_path / "alerting.sqlite") if request.param == "sqlite" else MemoryStore()
    made.open()
    yield made
    made.close()


def event(time: int, kind: str = "firing", fingerprint: str = "", group: str = "") -> Event:
    return Event(time=time, kind=kind, fingerprint=fingerprint, group=group, detail=b'{"n":1}')


def test_records_are_what_was_committed_last(store: Store) -> None:
    store.commit(Batch(records={("alert", "a"): b"1", ("alert", "b"): b"2", ("group", "a"): b"3"})).result(10)
    store.commit(Batch(records={("alert", "a"): b"4", ("alert", "b"): None, ("alert", "never"): None})).result(10)
    assert dict(store.records("alert")) == {"a": b"4"}
    assert dict(store.records("group")) == {"a": b"3"}
    assert dict(store.records("silence")) == {}


def test_history_meets_every_condition_and_keeps_the_order_of_commit(store: Store) -> None:
    store.commit(Batch(events=[event(5, "firing", "f"), event(5, "grouped", "f", "g"), event(9, "ended", "f")])).result(
        10
    )
    store.commit(Batch(events=[event(7, "firing", "x"), event(8, "delivered", "", "g")])).result(10)
    assert [e.kind for e in store.history(fingerprint="f", newest_first=False)] == ["firing", "grouped", "ended"]
    assert [e.time for e in store.history(group="g")] == [8, 5]
    assert [e.fingerprint for e in store.history(kinds=("firing",), newest_first=False)] == ["f", "x"]
    assert [e.time for e in store.history(since=7, until=9)] == [8, 7]
    assert len(store.history(limit=2)) == 2
    assert store.history(fingerprint="f")[0].detail == b'{"n":1}'
    assert store.forget(8).result(10) == 3
    assert [e.time for e in store.history()] == [9, 8]


def test_commits_from_many_threads_are_all_there(store: Store) -> None:
    def write(number: int) -> None:
        for step in range(20):
            store.commit(Batch(records={("alert", f"{number}-{step}"): b"x"}, events=[event(step)])).result(10)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(dict(store.records("alert"))) == 80
    assert len(store.history()) == 80


def test_a_waiter_that_gives_up_does_not_stop_the_writer(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "alerting.sqlite")
    store.open()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def give_up() -> None:
        waiter = asyncio.wrap_future(store.commit(Batch(records={("alert", "a"): b"1"})))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiter, 0.05)
        other.execute("ROLLBACK")
        await asyncio.wrap_future(store.commit(Batch(records={("alert", "b"): b"2"})))

    asyncio.run(give_up())
    other.close()
    assert dict(store.records("alert")) == {"a": b"1", "b": b"2"}
    store.close()


def test_a_batch_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "alerting.sqlite")
    store.open()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    keys = ["first", "a", "\ud800", "b"]  # while the first waits for the lock, the others queue up for one group
    futures = [store.commit(Batch(records={("alert", key): b"1"})) for key in keys]
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(DiskFailed):
        futures.pop(2).result(10)
    for future in futures:
        future.result(10)
    store.commit(Batch(records={("alert", "c"): b"1"})).result(10)
    assert dict(store.records("alert")).keys() == {"first", "a", "b", "c"}
    store.close()


def test_a_closed_store_promises_nothing(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(ShuttingDown):
        store.commit(Batch(records={("alert", "a"): b"1"})).result(10)


def test_what_the_disk_refused_is_written_with_the_next_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "alerting.sqlite")
    store.open()
    other = sqlite3.connect(tmp_path / "alerting.sqlite", isolation_level=None)
    try:
        # A trigger that raises stands for a disk that refuses the write.
        other.execute("CREATE TRIGGER full BEFORE INSERT ON record BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        with pytest.raises(DiskFailed, match="disk full"):
            store.commit(Batch(records={("alert", "a"): b"old"}, events=[event(1)])).result(10)
        with pytest.raises(DiskFailed):
            store.commit(Batch(records={("alert", "a"): b"new"})).result(10)
        other.execute("DROP TRIGGER full")
        store.commit(Batch(events=[event(2)])).result(10)
        assert dict(store.records("alert")) == {"a": b"new"}
        assert [e.time for e in store.history()] == [2, 1]
    finally:
        other.close()
        store.close()


def test_another_version_and_another_programs_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerting.sqlite"
    store = SqliteStore(path)
    store.open()
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StateError, match="version 99"):
        SqliteStore(path).open()
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StateError, match="another program"):
        SqliteStore(foreign).open()
    (tmp_path / "text.sqlite").write_text("this is not a database, but it is long enough to be read as one " * 20)
    with pytest.raises(StateError):
        SqliteStore(tmp_path / "text.sqlite").open()
    assert path.stat().st_mode & 0o077 == 0


def test_a_record_that_cannot_be_read_is_named(store: Store) -> None:
    store.commit(Batch(records={("silence", "good"): b"7", ("silence", "bad"): b'"\xff"'})).result(10)
    with pytest.raises(StateError, match='silence "bad"'):
        list(decoded(store, "silence", int))


def test_a_damaged_file_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "alerting.sqlite"
    store = SqliteStore(path)
    store.open()
    store.commit(Batch(records={("alert", f"{n}"): b"x" * 500 for n in range(2000)})).result(10)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096 * 8)
        file.write(b"\xa5" * 4096 * 100)
    damaged = SqliteStore(path)
    damaged.open()
    with pytest.raises(StateError, match=r"alerting\.sqlite"):
        list(damaged.records("alert"))
    damaged.close()


def test_a_file_that_another_program_holds_is_refused_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "LOCK_SECONDS", 0.01)
    path = tmp_path / "alerting.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StateError, match="locked"):
        SqliteStore(path).open()
    other.close()


def test_what_is_committed_is_synced_before_it_is_promised(tmp_path: Path) -> None:
    # No crash of a process shows a missing sync, only that of a machine; so the connection is asked.
    store = SqliteStore(tmp_path / "alerting.sqlite")
    store.open()
    connection = store._connect()
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    store.close()
