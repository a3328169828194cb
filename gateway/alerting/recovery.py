"""Recovery: an engine as the store left it, made up for the time away."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import GroupRecord
from gateway.alerting.notification_log import LogEntry
from gateway.alerting.outbox import SlotRecord
from gateway.alerting.silence import Silence
from gateway.alerting.store import ALERT, GROUP, NOTIFICATION_LOG, OUTBOX, RUNTIME, SILENCE, Store
from gateway.errors import StateError

ALIVE: Final = "alive"
"""Runtime record: the last moment the router is known to have run, nanoseconds."""


def restore(engine: Engine, store: Store, now: int, *, grace: int) -> None:
    """Loads everything; `grace` is described at `Engine.load`. Raises StateError for a record that cannot be read."""
    try:
        for key, body in store.records(NOTIFICATION_LOG):
            engine.log.load(key, msgspec.json.decode(body, type=LogEntry))
        for _, body in store.records(SILENCE):
            engine.silencing.load(msgspec.json.decode(body, type=Silence))
        last_alive = int(dict(store.records(RUNTIME)).get(ALIVE, b"0")) or now
        alert_decoder = msgspec.json.Decoder(Alert)
        engine.load(
            [alert_decoder.decode(body) for _, body in store.records(ALERT)],
            {key: msgspec.json.decode(body, type=GroupRecord) for key, body in store.records(GROUP)},
            {key: msgspec.json.decode(body, type=SlotRecord) for key, body in store.records(OUTBOX)},
            now,
            last_alive=last_alive,
            grace=grace,
        )
    except msgspec.DecodeError as error:
        raise StateError(f"a record of the alert store cannot be read: {error}") from error
