"""A maintenance window as an OTLP event declares or ends it, as the data plane hands it to the control plane."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.telemetry.change import Change


class MaintenanceEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="maintenance"):
    """What one event says, checked but for what depends on the window it is about. Moments and `lasts` in nanoseconds.

    Absent texts are "", absent moments 0.
    """

    key: str
    """Id of the window: a digest of the sender's tenant and of `id`, or of all the event says where it has none."""
    id: str = ""
    """The sender's own id."""
    sender: str
    """Name of the credentials it came with."""
    action: Literal["start", "end"]
    time: int
    """The record's; events about one window hold in this order."""
    starts: int = 0
    ends: int = 0
    lasts: int = 0
    """Of a start: this or `ends` is set."""
    name: str = ""
    description: str = ""
    body: str = ""
    author: str = ""
    scope: dict[str, str] = {}
    """Attributes of the record that say what is in maintenance, as in OpenTelemetry's conventions."""
    resource_scope: dict[str, str] = {}
    """The same of its resource; holds where the record has none."""
    labels: dict[str, str] = {}
    """Further labels of alerts, with the values that they must have."""


class _Kind(msgspec.Struct):
    kind: str = ""


_KIND = msgspec.msgpack.Decoder(_Kind)
_CHANGE = msgspec.msgpack.Decoder(Change)
_MAINTENANCE = msgspec.msgpack.Decoder(MaintenanceEvent)


def decode_told(payload: bytes) -> Change | MaintenanceEvent:
    """What a record of the changes log holds; a deploy has no kind. Raises msgspec.DecodeError."""
    return _MAINTENANCE.decode(payload) if _KIND.decode(payload).kind else _CHANGE.decode(payload)
