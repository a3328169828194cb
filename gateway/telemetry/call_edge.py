"""A call edge: one service was seen calling another."""

from __future__ import annotations

import msgspec


class CallEdge(msgspec.Struct, frozen=True):
    """`calls` counts the spans that showed it, of those that were looked at; `last_seen` is Unix nanoseconds."""

    caller: str
    callee: str
    calls: int = 1
    last_seen: int = 0
