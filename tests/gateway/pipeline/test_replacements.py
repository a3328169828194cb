"""Pods come and go: a silent series whose place another instance's series took is not told of, every other one is."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.log.reader import EventReader
from gateway.pipeline.replacements import AFTER_SECONDS, BEFORE_SECONDS, INSTANCE_LABELS, Replacements
from gateway.series.index import SeriesIndex
from gateway.telemetry import kind
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.columns import Definitions
from gateway.telemetry.label_sets import blobs_of
from gateway.telemetry.labels import encode_label_blob
from kernels.label_family import family_digests
from kernels.label_hash import derive_secrets
from kernels.series_state import OPENED, STALE, TRANSITION
from tests.e2e.otlp import gauge_request
from tests.gateway.forward.targets import Target
from tests.gateway.pipeline.test_expiry import SECOND, Expiring

NOW_MS = 1_700_000_000_000
label_sets = st.dictionaries(
    st.sampled_from(["job", "pod", "po", "pods", "instance", "zone"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    max_size=4,
)


def index_of(sets: list[dict[str, str]]) -> tuple[SeriesIndex, np.ndarray]:
    index = SeriesIndex(4096, arena_bytes=1 << 24)
    blobs = [encode_label_blob({"__name__": "m", **one}) for one in sets]
    return index, index.define(Definitions.from_blobs(blobs, np.full(len(blobs), kind.GAUGE, np.uint8)))


def digests_of(arena: np.ndarray, offsets: np.ndarray, lengths: np.ndarray, sids: np.ndarray) -> list[int]:
    digests = np.zeros(len(sids), np.uint64)
    names, ends = np.frombuffer(b"podinstance", np.uint8), np.array([3, 11], np.int64)
    family_digests(arena, offsets, lengths, sids, names, ends, derive_secrets((1, 2)), digests)
    return digests.tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(label_sets, min_size=1, max_size=10))
def test_digests_are_equal_exactly_where_the_labels_without_the_named_ones_are(sets: list[dict[str, str]]) -> None:
    index, sids = index_of(sets)
    (blobs,) = blobs_of(index, sids)
    digests = digests_of(blobs.area, blobs.begins, blobs.lengths, blobs.rows)
    rest = [{k: v for k, v in one.items() if k not in ("pod", "instance")} for one in sets]
    for i, one in enumerate(rest):
        for j, other in enumerate(rest):
            assert (digests[i] == digests[j]) == (one == other)
    assert 0 not in digests


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_bytes_that_are_no_blob_are_read_within_bounds(arena: bytes, begin: int, length: int) -> None:
    offsets, lengths = np.array([begin], np.uint64), np.array([length], np.uint32)
    digests = digests_of(np.frombuffer(arena, np.uint8), offsets, lengths, np.array([0, 7], np.uint32))
    assert digests[1] == 0
    assert digests[0] == 0 or (length and begin + length <= len(arena))


def fallen(sids: list[int], last_ms: int) -> np.ndarray:
    found = np.zeros(len(sids), TRANSITION)
    found["sid"], found["began_ms"], found["kind"], found["reason"] = sids, last_ms, OPENED, STALE
    return found


class Case:
    """Series pod=0…n-1 of one metric and job."""

    def __init__(self, pods: int, **others: str) -> None:
        self.index, sids = index_of([{"job": "shop", "pod": str(n), **others} for n in range(pods)])
        self.sids = sids.tolist()
        self.replacements = Replacements(self.index)

    def appear(self, pods: list[int], at_s: int) -> None:
        self.replacements.learn(np.array([self.sids[n] for n in pods], np.uint32), NOW_MS + 1000 * at_s)

    def fall(self, pods: list[int], last_s: int, now_s: int) -> tuple[list[int], list[int], list[int]]:
        """Pods told of, found replaced, found replaced after they had been told of."""
        silent = fallen([self.sids[n] for n in pods], NOW_MS + 1000 * last_s)
        told, *replaced = self.replacements.match(silent, NOW_MS + 1000 * now_s)
        return (
            [self.sids.index(s) for s in told["sid"]],
            [self.sids.index(s) for s in replaced[0]],
            [self.sids.index(s) for s in replaced[1]],
        )


def test_a_new_pod_stands_for_one_that_went_and_for_one_only() -> None:
    case = Case(6)
    case.appear([4], at_s=100)
    assert case.fall([0, 1, 2], last_s=90, now_s=160) == ([1, 2], [0], [])


def test_a_pod_that_came_long_before_or_went_itself_replaces_nothing() -> None:
    case = Case(6)
    case.appear([3], at_s=0)
    assert case.fall([0], last_s=BEFORE_SECONDS + 1, now_s=BEFORE_SECONDS + 60) == ([0], [], [])
    case.appear([4], at_s=700)
    assert case.fall([1, 4], last_s=710, now_s=760) == ([1, 4], [], [])


def test_a_pod_that_comes_later_closes_what_was_told() -> None:
    case = Case(6)
    assert case.fall([0, 1], last_s=0, now_s=60) == ([0, 1], [], [])
    case.appear([5], at_s=100)
    assert case.fall([], last_s=0, now_s=101) == ([], [], [0])
    assert case.fall([], last_s=0, now_s=102) == ([], [], [])
    case.appear([4], at_s=AFTER_SECONDS + 10)
    assert case.fall([], last_s=0, now_s=AFTER_SECONDS + 10) == ([], [], [])


def test_pods_that_were_started_together_do_not_stand_for_each_other() -> None:
    case = Case(6)
    case.appear([0, 1, 2, 3], at_s=0)
    assert case.fall([0], last_s=300, now_s=360) == ([0], [], [])
    case.appear([4], at_s=380)
    assert case.fall([1], last_s=400, now_s=460) == ([1], [], [0]), "it stands for the one that waits longest"


def test_other_labels_and_other_alerts_are_no_matter_of_churn() -> None:
    index, sids = index_of([{"job": "shop", "pod": "a"}, {"job": "other", "pod": "b"}, {"job": "shop", "queue": "q"}])
    replacements = Replacements(index)
    replacements.learn(sids[1:], NOW_MS)
    told, replaced, _ = replacements.match(fallen([int(sids[0])], NOW_MS), NOW_MS + 60_000)
    assert len(told) == 1
    assert len(replaced) == 0
    changed = fallen([int(sids[0])], NOW_MS)
    changed["reason"] = 1
    replacements.learn(sids[:1], NOW_MS)
    assert len(replacements.match(changed, NOW_MS + 60_000)[0]) == 1
    assert {"pod", "instance", "service.instance.id"} <= INSTANCE_LABELS


@pytest.mark.parametrize(("first_seen", "records"), [(390, {}), (460, {"firing": 4, "resolved": 4})])
async def test_a_rolling_restart_is_told_of_only_until_the_new_pods_are_there(
    tmp_path: Path, first_seen: int, records: dict[str, int]
) -> None:
    """Four pods of one service send every ten seconds for seven minutes; four others take their place."""
    target = Target()
    await target.start()
    clock = ManualClock(time.time_ns())
    began = clock.time_ns() // SECOND

    async def send(case: Expiring, at_s: int, pods: list[str]) -> None:
        points = [(at_s * SECOND, float(at_s // 10 % 3), {"pod": pod}) for pod in pods]
        columns = case._decoder.decode_protobuf(gauge_request("s", "load", points), clock.time_ns() // 10**6)
        before = case.plane.status()["accepted_points"]
        await case.plane.committer.accept(columns, received_ns=clock.time_ns(), body_bytes=0)
        await case.until(lambda: not case.plane.status()["unscored_backlog_points"])
        assert case.plane.status()["accepted_points"] == before + len(pods)

    try:
        case = Expiring(tmp_path, clock, target)
        await case.plane.start()
        for at_s in range(0, 500, 10):
            old = [f"old-{n}" for n in range(4)] if at_s < 400 else []
            new = [f"new-{n}" for n in range(4)] if at_s >= first_seen else []
            await send(case, began + at_s, [*old, *new, "other"])
            clock.advance(10)
            if at_s >= 350:  # until then nobody is silent, and nothing is to be looked for
                round_before = case.plane._scorer.last_round
                await case.until(lambda seen=round_before: case.plane._scorer.last_round > seen)
        open_ids = case.plane.baseline.open_ids()
        await case.plane.stop()
        assert len(open_ids) == 0
    finally:
        await target.stop()
    reader = EventReader.open(tmp_path / "anomalies", 0)
    written = [msgspec.msgpack.decode(payload, type=Anomaly) for _, payload in reader.read(1 << 24)]
    reader.close()
    assert Counter(one.state for one in written) == Counter(records)
    for one in written:
        assert one.kind == "stale"
        if one.state == "resolved":
            assert "another instance took its place" in one.reasons[-1]
            assert one.ended is not None
            assert one.ended > one.time


def test_new_series_wait_for_the_next_look_but_not_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.pipeline.replacements.MOST_KEPT", 10)
    index, sids = index_of([{"pod": f"a{number}"} for number in range(25)])
    replacements = Replacements(index)
    held = []
    for sid in sids:
        replacements.learn(np.array([sid]), NOW_MS)
        held.append((len(replacements._new), sum(map(len, replacements._arrived))))
    assert max(new + arrived for new, arrived in held) < 20
    replacements.match(np.zeros(0, TRANSITION), NOW_MS)
    assert replacements._new["sid"].tolist() == sids[-10:].tolist()
    assert not replacements._arrived
