"""A change that somebody made to a service, as the data plane hands it to the control plane."""

from __future__ import annotations

import msgspec


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A deploy that an OTLP event told of. `time` is nanoseconds since the epoch, the sender's.

    `id` is a digest of what the event says, so that one sent again is known again.
    """

    id: str
    time: int
    title: str
    service: str = ""
    version: str = ""
    environment: str = ""
    url: str = ""
    tags: dict[str, str] = {}
