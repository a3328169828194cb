"""What the name of a series says of a limit: that it has one by nature, that it is one, or that another series is it.

    name                                                                       its limit
    …_free…, …_avail…, …_available… bytes, inodes, connections, …              0, from above
    …_utilization, …_usage_ratio, …_used_percent of something that fills up    1 or 100
    the same words and labels with limit, capacity or max in place of used,
    usage, open, in use …                                                      that series' value

Companions: `jvm_memory_used_bytes` and `jvm_memory_max_bytes`, `process_open_fds` and `process_max_fds`, `queue_size`
and `queue_capacity`. The label `state` of the used one may be missing from its limit. Processor time is left out: full
use of it is no end of anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

_LIMIT_WORDS: Final = frozenset({"limit", "capacity", "max", "maximum", "quota"})
_USED_WORDS: Final = frozenset({"used", "usage", "open", "size", "current", "working", "set", "in", "use", "active"})
_FREE_WORDS: Final = frozenset({"free", "avail", "available"})
_RATIO_WORDS: Final = frozenset({"utilization", "utilisation", "saturation", "full"})
_FILLS: Final = frozenset(
    {
        *("memory", "mem", "heap", "swap", "disk", "filesystem", "fs", "volume", "storage", "inodes", "files", "fds"),
        *("pool", "queue", "buffer", "connections", "threads", "space", "bytes", "quota", "tablespace"),
    }
)
"""What can be full."""
STATE_LABEL: Final = "state"
USED_STATE: Final = "used"
"""The only state of OpenTelemetry's `system.memory.utilization` whose way to 1 is bad news: not free, not cached."""

Stem = tuple[str, ...]


def stem_of(name: str) -> tuple[str, Stem]:
    """What a name says: ("limit" or "used" or "", its other words)."""
    words = tuple(word for word in re.split(r"[_.]", name) if word)
    if _LIMIT_WORDS & set(words):
        return "limit", tuple(word for word in words if word not in _LIMIT_WORDS)
    if _USED_WORDS & set(words):
        return "used", tuple(word for word in words if word not in _USED_WORDS)
    return "", words


def natural_limit(name: str) -> tuple[float, bool] | None:
    """(limit, whether the value falls to it) that a name tells by itself."""
    words = set(re.split(r"[_.]", name))
    if "cpu" in words or not words & _FILLS:
        return None
    if words & _FREE_WORDS:
        return 0.0, True
    if "percent" in words and words & (_USED_WORDS | _RATIO_WORDS):
        return 100.0, False
    if words & _RATIO_WORDS or ("ratio" in words and words & _USED_WORDS):
        return 1.0, False
    return None


def limit_keys(stem: Stem, labels: Mapping[str, str]) -> Sequence[bytes]:
    """Under which a limit for these labels may stand: with all labels but the name, and without `state`. Digests: the
    labels themselves would take some kilobytes a series."""
    others = sorted(pair for pair in labels.items() if pair[0] != "__name__")
    keys = [_digest(stem, others)]
    if STATE_LABEL in labels:
        keys.append(_digest(stem, [pair for pair in others if pair[0] != STATE_LABEL]))
    return keys


def _digest(stem: Stem, labels: Sequence[tuple[str, str]]) -> bytes:
    return blake2b(msgspec.msgpack.encode((stem, labels)), digest_size=16).digest()
