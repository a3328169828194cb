"""The memory of label sets: against its twin, under several threads, and a decoder with it against one without."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from gateway.decode.known_labels import KnownLabels
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import DecodeError
from gateway.telemetry.columns import PointColumns
from kernels.known_labels import (
    BUCKETS_FULL,
    ENTERED,
    TALLIES,
    empty_table,
    hash_range,
    memory_of,
    move_known,
    recall,
    remember,
)
from kernels.label_hash import derive_secrets
from kernels.wire import pointer
from tests.fuzz import otlp_mutations, remote_write_mutations
from tests.reference.known_labels_twin import KnownLabelsTwin
from tests.reference.known_labels_twin import hash_range as twin_hash
from tests.reference.remote_write_twin import Series, encode_v1

NOW = remote_write_mutations.NOW_MS


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _remember(table: Any, tally: Any, high: Any, low: Any, first: Any, second: Any, detail: Any, dice: Any) -> None:
    remember(memory_of(table, tally), high, low, first, second, detail, dice)


@njit(nogil=True)  # type: ignore[untyped-decorator]
def _recall(table: Any, tally: Any, high: Any, low: Any) -> Any:
    return recall(memory_of(table, tally), high, low)


@njit  # type: ignore[untyped-decorator]
def _hash(data: Any, at: Any, count: Any, secrets: Any) -> Any:
    return hash_range(pointer(data), at, count, pointer(secrets))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 5))
def test_a_range_is_hashed_as_the_twin_hashes_it(data: bytes, before: int) -> None:
    secrets = derive_secrets((3, 4))
    whole = np.frombuffer(bytes(before) + data + b"behind", np.uint8)
    found = _hash(whole, np.int64(before), np.int64(len(data)), secrets)
    assert tuple(int(half) for half in found) == twin_hash(data, secrets.tolist())


words = st.integers(1, 2**64 - 1)
entries = st.tuples(words, words, words, words, st.integers(0, 255), st.integers(0, 2**62))


@settings(max_examples=100, deadline=None)
@given(st.lists(entries, max_size=60), st.sampled_from([1, 2, 8, 64]))
def test_what_is_found_is_what_was_entered(made: list[tuple[int, ...]], buckets: int) -> None:
    table, tally, twin = empty_table(buckets), np.zeros(TALLIES, np.int64), KnownLabelsTwin()
    for high, low, first, second, detail, dice in made:
        if twin.recall(high, low) is not None:
            continue
        arguments = [np.uint64(word) for word in (high, low, first, second)]
        _remember(table, tally, *arguments, np.int64(detail), np.int64(dice))
        twin.remember(high, low, first, second, detail)
    larger = empty_table(4 * buckets)
    moved = move_known(table, larger)
    assert moved <= tally[ENTERED]
    found_of = []
    for one in (table, larger):
        found = 0
        for high, low in {(high, low | 255): (high, low) for high, low, *_ in made}.values():
            there, first, second, detail = _recall(one, tally, np.uint64(high), np.uint64(low))
            assert not there or (int(first), int(second), int(detail)) == twin.recall(high, low)
            found += there
            # One other bit of the key, and it is another key.
            other = _recall(one, tally, np.uint64(high ^ 1 << 40), np.uint64(low))
            assert not other[0] or twin.recall(high ^ 1 << 40, low) is not None
        found_of.append(found)
    if not tally[BUCKETS_FULL]:
        assert found_of[0] == tally[ENTERED] == len(twin.entries)
    # Entries move in the order of their places, so one may find both of its buckets full in a larger table too.
    assert found_of[1] == moved


def test_entries_half_stored_by_another_thread_are_not_found() -> None:
    """Two threads store different things under keys of one bucket while a third reads: every answer is whole."""
    table, rounds = empty_table(1), 200_000
    keys = [(np.uint64(7 + 11 * i), np.uint64((5 + i) << 20)) for i in range(6)]

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def write(table: Any, tally: Any, high: Any, low: Any, times: Any) -> None:
        for i in range(times):
            remember(memory_of(table, tally), high, low, high * np.uint64(3), low * np.uint64(5), 9, np.int64(i))

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def read(table: Any, tally: Any, highs: Any, lows: Any, times: Any) -> Any:
        found, wrong = 0, 0
        for i in range(times):
            high, low = highs[i % highs.size], lows[i % highs.size]
            there, first, second, detail = recall(memory_of(table, tally), high, low)
            if there:
                found += 1
                if first != high * np.uint64(3) or second != low * np.uint64(5) or detail != 9:
                    wrong += 1
        return found, wrong

    highs, lows = (np.array(half, np.uint64) for half in zip(*keys, strict=True))
    tallies = [np.zeros(TALLIES, np.int64) for _ in range(7)]
    write(table, tallies[0], *keys[0], 1)
    assert read(table, tallies[6], highs, lows, 6) == (1, 0)
    writers = [threading.Thread(target=write, args=(table, tallies[i], *keys[i], rounds)) for i in range(6)]
    for thread in writers:
        thread.start()
    found, wrong = read(table, tallies[6], highs, lows, rounds)
    for thread in writers:
        thread.join()
    assert found > 0
    assert wrong == 0


def test_the_table_grows_with_what_is_entered_and_stops_at_its_bound() -> None:
    known = KnownLabels(most_buckets=1 << 12)
    decoder = RemoteWriteV1Decoder((1, 2), RemoteWriteSettings())
    decoder._known = known
    bodies = [
        encode_v1([Series([("__name__", "up"), ("i", f"{part}-{i}")], [(NOW, 1.0)]) for i in range(1000)])
        for part in range(12)
    ]
    sizes = []
    for body in bodies:
        decoder.decode(body, NOW)
        sizes.append(known.entries)
    assert sizes == sorted(sizes)
    assert sizes[0] >= 1024
    assert sizes[-1] == 2 << 12


def rounds_of(decoder: RemoteWriteV1Decoder, rounds: int, staying: int, coming: int) -> None:
    """`staying` series in every round, and `coming` that are in this one alone."""
    stay = [Series([("__name__", "up"), ("i", f"stays-{i}")], [(NOW, 1.0)]) for i in range(staying)]
    for turn in range(rounds):
        come = [Series([("__name__", "up"), ("i", f"{turn}-{i}")], [(NOW, 1.0)]) for i in range(coming)]
        decoder.decode(encode_v1(stay + come), NOW)


def test_series_that_come_and_go_do_not_make_the_table_grow() -> None:
    known = KnownLabels()
    decoder = RemoteWriteV1Decoder((1, 2), RemoteWriteSettings())
    decoder._known = known
    rounds_of(decoder, 50, staying=600, coming=6)
    size = known.entries
    rounds_of(decoder, 1000, staying=600, coming=6)  # some 6,000 in all
    assert known.entries == size <= 2048
    rounds_of(decoder, 2, staying=5000, coming=0)
    assert known.entries >= 5000, "it grows with what is sent now"


def test_a_table_too_small_for_what_is_sent_does_not_begin_anew() -> None:
    known = KnownLabels(most_buckets=1 << 9)
    decoder = RemoteWriteV1Decoder((1, 2), RemoteWriteSettings())
    decoder._known = known
    rounds_of(decoder, 20, staying=2 << 11, coming=0)
    table = known.for_request()[0]
    rounds_of(decoder, 60, staying=2 << 11, coming=0)
    assert known.for_request()[0] is table


def same(left: PointColumns, right: PointColumns) -> None:
    for name in ("hash_hi", "hash_lo", "times_ms", "values", "kinds"):
        assert getattr(left, name).tobytes() == getattr(right, name).tobytes(), name
    assert (left.points, left.rejected, left.rejected_message) == (right.points, right.rejected, right.rejected_message)
    rows = np.arange(len(left))
    mine, other = left.source.definitions(rows), right.source.definitions(rows)
    assert mine.blobs.tobytes() == other.blobs.tobytes()
    assert mine.offsets.tobytes() == other.offsets.tobytes()
    for of_left, of_right in ((left.starts_ms, right.starts_ms), (left.row_points, right.row_points)):
        assert (of_left is None) == (of_right is None)
        if of_left is not None and of_right is not None:
            assert of_left.tobytes() == of_right.tobytes()


def outcome(decode: Any, body: bytes, now_ms: int) -> PointColumns | tuple[str, int | None]:
    try:
        columns: PointColumns = decode(body, now_ms)
    except DecodeError as error:
        return str(error), error.offset
    return columns


def one_byte_changed(random_of: random.Random, body: bytes) -> bytes:
    """Most lengths still fit."""
    changed = bytearray(body)
    changed[random_of.randrange(len(body))] = random_of.randrange(256)
    return bytes(changed)


def compare(warm: Any, cold: Any, bodies: list[bytes], now_ms: int) -> int:
    """Decodes every body with both; returns how many gave rows."""
    with_rows = 0
    for body in bodies:
        mine, other = outcome(warm, body, now_ms), outcome(cold, body, now_ms)
        if isinstance(mine, tuple) or isinstance(other, tuple):
            assert mine == other
        else:
            same(mine, other)
            with_rows += len(mine) > 0
    return with_rows


@pytest.mark.parametrize("seed", range(2))
def test_remote_write_means_the_same_whether_it_was_seen_before_or_not(seed: int) -> None:
    random_of = random.Random(seed)
    many = [
        Series([("__name__", "up"), ("job", "é" * i), ("zone", "x" * (i % 40))], [(NOW - i, float(i))])
        for i in range(60)
    ]
    bases = [encode_v1(remote_write_mutations.seeds()), encode_v1(many), *(encode_v1([one]) for one in many[:20])]
    warm, cold = (RemoteWriteV1Decoder((1, seed), RemoteWriteSettings()) for _ in range(2))
    cold._known = KnownLabels(0)
    bodies = [body for base in bases for body in [base, base]]
    bodies += [remote_write_mutations.mutate(random_of, random_of.choice(bases)) for _ in range(400)]
    bodies += [one_byte_changed(random_of, random_of.choice(bases)) for _ in range(800)]
    assert compare(warm.decode, cold.decode, bodies, NOW) > 300
    assert warm._known.entered > 60


@pytest.mark.parametrize("naming", ["prometheus", "otlp"])
def test_otlp_means_the_same_whether_it_was_seen_before_or_not(naming: Any) -> None:
    random_of = random.Random(5)
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for i in range(40):
        point = metric.gauge.data_points.add(
            time_unix_nano=otlp_mutations.NOW * 10**6, as_double=float(i), flags=int(i % 13 == 0)
        )
        for key in ["a", "b", "a"][: i % 4]:
            point.attributes.append(KeyValue(key=key, value=AnyValue(string_value="v" * (i % 20))))
        point.attributes.append(KeyValue(key="n", value=AnyValue(int_value=i)))
    bases = [request.SerializeToString(), *otlp_mutations.seeds()]
    warm, cold = (OtlpMetricsDecoder((1, 2), DecodeSettings(naming=naming)) for _ in range(2))
    cold._known = KnownLabels(0)
    bodies = [body for base in bases for body in [base, base]]
    bodies += [otlp_mutations.mutate(random_of.choice(bases), random_of) for _ in range(400)]
    bodies += [one_byte_changed(random_of, random_of.choice(bases)) for _ in range(800)]
    assert compare(warm.decode_protobuf, cold.decode_protobuf, bodies, otlp_mutations.NOW) > 300
    assert warm._known.entered > 10
