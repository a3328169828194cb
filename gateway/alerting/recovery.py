"""Recovery: an engine as the store left it, made up for the time away."""

from __future__ import annotations

from typing import Final

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import GroupRecord
from gateway.alerting.notification_log import LogEntry
from gateway.alerting.outbox import SlotRecord
from gateway.alerting.silence import Silence
from gateway.alerting.store import ALERT, GROUP, NOTIFICATION_LOG, OUTBOX, RUNTIME, SILENCE, Store, decoded
from gateway.errors import StateError

ALIVE: Final = "alive"
"""Runtime record: the last moment the router is known to have run, nanoseconds."""


def restore(engine: Engine, store: Store, now: int, *, grace: int) -> None:
    """Loads everything; `grace` is described at `Engine.load`. Raises StateError for a record that cannot be read."""
    for key, entry in decoded(store, NOTIFICATION_LOG, LogEntry):
        engine.log.load(key, entry)
    for _, silence in decoded(store, SILENCE, Silence):
        engine.silencing.load(silence)
    alive = dict(store.records(RUNTIME)).get(ALIVE, b"0")
    if not alive.isdigit():
        raise StateError(f'the record {RUNTIME} "{ALIVE}" of the alert store cannot be read: {alive[:40]!r}')
    engine.load(
        [alert for _, alert in decoded(store, ALERT, Alert)],
        dict(decoded(store, GROUP, GroupRecord)),
        dict(decoded(store, OUTBOX, SlotRecord)),
        now,
        last_alive=int(alive) or now,
        grace=grace,
    )
