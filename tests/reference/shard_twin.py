"""Slow twins of kernels.shard_rows: which labels name a series' owner, and rows in order of their shards."""

from __future__ import annotations

from gateway.telemetry import kind
from gateway.telemetry.labels import decode_label_blob

BOUNDS = ("le", "vmrange")
ENDINGS = ("_bucket", "_count", "_sum")


def owner_labels(blob: bytes) -> frozenset[tuple[str, str]]:
    """Series with the same owner labels have the same shard, whatever the number of shards."""
    labels = {name: value for name, value in decode_label_blob(blob).items() if name not in BOUNDS}
    name = labels.pop("__name__", "")
    if labels or not name:
        return frozenset(labels.items())
    labels["__name__"] = name
    for ending in ENDINGS:
        if name.endswith(ending) and len(name) > len(ending):
            labels["__name__"] = name.removesuffix(ending)
            break
    return frozenset(labels.items())


def grouped(
    ids: list[int], shard_of: list[int], kinds: list[int], shards: int
) -> tuple[list[int], list[int], list[int]]:
    """Row numbers in their new order; rows of each shard; those of them that are not target_info."""
    order = sorted(range(len(ids)), key=lambda row: shard_of[ids[row]])
    rows = [sum(shard_of[i] == shard for i in ids) for shard in range(shards)]
    counted = [
        sum(shard_of[ids[row]] == shard and kinds[row] & kind.CLASS_MASK != kind.TARGET_INFO for row in range(len(ids)))
        for shard in range(shards)
    ]
    return order, rows, counted
