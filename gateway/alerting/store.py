"""What the alert router asks of durable storage: keyed records and an append-only history, nothing else.

Rules of the subject:
  * State is records: (kind, key) → bytes. History is events in the order of their commit.
  * `commit` is atomic per batch: all of it is there after a crash or none. When its future is done without an error,
    the batch survives a crash of the machine.
  * A batch whose commit failed is not lost: the store keeps it and writes it before the next one (later records of the
    same key replace earlier ones), while the future carries `DiskFailed` so that no promise is given for it.
  * One process owns a store at a time.
The interface is this narrow so that another database can stand behind it; every implementation passes the same suite
(tests/gateway/alerting/test_store.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Final, Protocol, TypeVar

import msgspec

from gateway.errors import StateError

T = TypeVar("T")

ALERT: Final = "alert"
GROUP: Final = "group"
NOTIFICATION_LOG: Final = "notification_log"
OUTBOX: Final = "outbox"
SILENCE: Final = "silence"
ANOMALY: Final = "anomaly"
PEOPLE: Final = "people"
ESCALATION: Final = "escalation"
RUNTIME: Final = "runtime"
HELD: Final = "held"
BUDGET: Final = "budget"
IGNORED: Final = "ignored"
MAINTENANCE: Final = "maintenance"
HEARTBEAT: Final = "heartbeat"
INCIDENT_GROUP: Final = "incident_group"
INCIDENT_MEMBER: Final = "incident_member"
INCIDENT_ACT: Final = "incident_act"
COOCCURRENCE_KEY: Final = "cooccurrence_key"
COOCCURRENCE_PAIR: Final = "cooccurrence_pair"
TOPOLOGY: Final = "topology"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line of history. `time` is nanoseconds; `detail` is JSON."""

    time: int
    kind: str
    fingerprint: str = ""
    group: str = ""
    detail: bytes = b"{}"


class Batch(msgspec.Struct):
    """Changes that belong together."""

    records: dict[tuple[str, str], bytes | None] = {}
    """(kind, key) → new bytes, or None to remove."""
    events: list[Event] = []

    def __bool__(self) -> bool:
        return bool(self.records or self.events)


class Store(Protocol):
    """Durable records and history. `open` and `close` may wait for the disk; the rest never does, except reads."""

    def open(self) -> None:
        """Creates or opens; raises StateError for an unknown version or a damaged file."""
        ...

    def records(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Every record of a kind as last committed. Raises StateError if they cannot be read."""
        ...

    def commit(self, batch: Batch) -> Future[None]:
        """Queues a batch for the writer; done when durable. Called from any thread, never waits."""
        ...

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
        """Committed events that meet every condition given. Waits for the disk: call it in a thread. Raises
        StateError if they cannot be read."""
        ...

    def forget(self, before: int) -> Future[int]:
        """Removes events older than `before`; the future gives their number."""
        ...

    def close(self) -> None:
        """Writes what is queued and closes; idempotent."""
        ...


def decoded(store: Store, kind: str, shape: type[T]) -> Iterator[tuple[str, T]]:
    """Every record of a kind as a value. Raises StateError, which names the record that cannot be read."""
    decoder = msgspec.json.Decoder(shape)
    for key, body in store.records(kind):
        try:
            yield key, decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(f'the record {kind} "{key}" of the alert store cannot be read: {error}') from error
