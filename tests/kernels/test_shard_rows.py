"""Owners of series and rows in order of their shards, against the twins."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry.columns import Definitions
from gateway.telemetry.labels import encode_label_blob
from kernels.label_hash import derive_secrets
from kernels.shard_rows import group_rows, shard_hashes
from tests.reference.shard_twin import grouped, owner_labels

SECRETS = derive_secrets((3, 4))


def hashes(blobs: list[bytes]) -> list[int]:
    definitions = Definitions.from_blobs(blobs, np.zeros(len(blobs), np.uint8))
    out = np.empty(len(blobs), np.uint64)
    shard_hashes(definitions.blobs, definitions.offsets, SECRETS, out)
    found: list[int] = out.tolist()
    return found


names = st.sampled_from(["__name__", "le", "vmrange", "job", "len", "l", "__name__x"])
values = st.sampled_from(["m", "m_bucket", "m_count", "m_sum", "_sum", "m_bucket_sum", "x" * 130, "é", "1"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=4), min_size=2, max_size=6))
def test_series_share_an_owner_exactly_when_the_twin_says_so(label_sets: list[dict[str, str]]) -> None:
    blobs = [encode_label_blob(labels) for labels in label_sets]
    found = hashes(blobs)
    owners = [owner_labels(blob) for blob in blobs]
    for i in range(len(blobs)):
        for j in range(len(blobs)):
            assert (found[i] == found[j]) == (owners[i] == owners[j]), (label_sets[i], label_sets[j])
    assert 0 not in found


def test_the_series_of_a_histogram_have_one_owner() -> None:
    base = {"job": "a", "path": "/x"}
    series = [{**base, "__name__": "t_count"}, {**base, "__name__": "t_sum"}]
    series += [{**base, "__name__": "t_bucket", "le": bound} for bound in ("0.1", "1", "+Inf")]
    series += [{**base, "__name__": "t_bucket", "vmrange": "1.0e0...1.1e0"}]
    assert len(set(hashes([encode_label_blob(labels) for labels in series]))) == 1


def test_a_quantity_and_its_limit_have_one_owner() -> None:
    used = encode_label_blob({"__name__": "jvm_memory_used_bytes", "area": "heap", "instance": "a"})
    limit = encode_label_blob({"__name__": "jvm_memory_max_bytes", "area": "heap", "instance": "a"})
    elsewhere = encode_label_blob({"__name__": "jvm_memory_used_bytes", "area": "heap", "instance": "b"})
    assert hashes([used])[0] == hashes([limit])[0] != hashes([elsewhere])[0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_bytes_that_are_no_labels_have_an_owner_too(blobs: list[bytes]) -> None:
    found = hashes(blobs)
    assert 0 not in found
    assert hashes(blobs) == found


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda shards: st.tuples(
            st.just(shards),
            st.lists(st.integers(0, shards - 1), min_size=1, max_size=8),
            st.lists(st.tuples(st.integers(0, 7), st.sampled_from([1, 2, 7, 0x17])), max_size=30),
            st.booleans(),
        )
    )
)
def test_rows_are_grouped_as_the_twin_does(
    drawn: tuple[int, list[int], list[tuple[int, int]], bool],
) -> None:
    shards, shard_of, drawn_rows, with_starts = drawn
    ids = [number % len(shard_of) for number, _ in drawn_rows]
    kinds = [k for _, k in drawn_rows]
    n = len(ids)
    order, rows, counted = grouped(ids, shard_of, kinds, shards)
    times, numbers = np.arange(n, dtype=np.int64), np.arange(n) / 7.0
    starts = times - 5 if with_starts else np.empty(0, np.int64)
    ids_out, places = np.empty(n, np.uint32), np.empty(n, np.uint32)
    times_out, values_out = np.empty(n, np.int64), np.empty(n)
    starts_out = np.empty(n if with_starts else 0, np.int64)
    rows_out, counted_out = np.empty(shards, np.uint32), np.empty(shards, np.uint32)
    done = group_rows(
        np.array(ids, np.uint32), np.array(kinds, np.uint8), np.array(shard_of, np.uint8), times, numbers, starts,
        shards, ids_out, times_out, values_out, starts_out, places, rows_out, counted_out,
    )  # fmt: skip
    assert done == n
    assert times_out.tolist() == order
    assert ids_out.tolist() == [ids[row] for row in order]
    assert values_out.tolist() == [row / 7.0 for row in order]
    assert starts_out.tolist() == ([row - 5 for row in order] if with_starts else [])
    assert [order[place] for place in places] == list(range(n))
    assert (rows_out.tolist(), counted_out.tolist()) == (rows, counted)


def test_a_local_id_without_a_shard_is_told() -> None:
    n = 2
    arrays = [np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n), np.empty(0, np.int64), np.empty(n, np.uint32)]
    done = group_rows(
        np.array([0, 9], np.uint32), np.ones(n, np.uint8), np.zeros(1, np.uint8), np.zeros(n, np.int64), np.zeros(n),
        np.empty(0, np.int64), 2, *arrays, np.empty(2, np.uint32), np.empty(2, np.uint32),
    )  # fmt: skip
    assert done == 1
