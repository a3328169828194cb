"""Groups as records: who takes part, in words, the same id when scored again, and across a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.baseline.freeze import FreezeStore
from gateway.baseline.group_detector import GroupDetector
from gateway.clock import ManualClock
from gateway.pipeline.group_watch import GroupWatch
from gateway.pipeline.watches import services_of
from gateway.series.index import SeriesIndex
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition
from gateway.telemetry.labels import encode_label_blob
from kernels.series_state import TRANSITION

START = 1_700_000_040_000
SERIES = 12


def defined(index: SeriesIndex, *label_sets: dict[str, str]) -> NDArray[np.uint32]:
    blobs = [encode_label_blob(labels) for labels in label_sets]
    joined = np.frombuffer(b"".join(blobs), np.uint8)
    offsets = np.cumsum([0, *map(len, blobs)]).astype(np.uint32)
    return index.define(Definitions(np.zeros(len(blobs), np.uint8), offsets, joined))


INDEX = SeriesIndex()
SIDS = defined(INDEX, *({"__name__": f"m{n}", "job": "shop/cart", "pod": "p" * 200} for n in range(SERIES)))


def frame_at(minute: int) -> Frame:
    nothing = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
    at = LogPosition(0, 0)
    times = np.full(SERIES, START + 60_000 * minute, np.int64)
    return Frame(0, 0, at, at, 0, SERIES, 0, SIDS, times, np.zeros(SERIES), None, 0, nothing)


def observation(scores: dict[int, float]) -> Observation:
    score = np.zeros(SERIES, np.float32)
    for sid, value in scores.items():
        score[sid] = value
    band = np.zeros(SERIES)
    return Observation(SERIES, 0, 0, 0, score, band, band, band, np.empty(0, np.int64), np.empty(0, TRANSITION))


def watch(path: Path) -> GroupWatch:
    made = GroupWatch(GroupDetector(), INDEX, INDEX.blob, path, ManualClock(), FreezeStore(0))
    made.learn(SIDS, frame_at(0))
    return made


def run(made: GroupWatch, first: int, last: int, scores: dict[int, float]) -> list[Anomaly]:
    found: list[Anomaly] = []
    for minute in range(first, last):
        found += made.observe(SIDS, frame_at(minute), observation(scores))
        found += made.advance(START + 60_000 * minute)
    return found


def test_a_record_names_the_members_and_has_the_same_id_again(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        made = watch(tmp_path / "state")
        assert run(made, 0, 100, {}) == []
        (opened,) = run(made, 100, 101, dict.fromkeys((3, 1, 7, 5, 9), 0.4))
        assert (opened.kind, opened.state, opened.value) == ("group", "firing", 5.0)
        assert opened.series == {"service": "shop/cart"}
        assert [m.series["__name__"] for m in opened.members] == ["m1", "m3", "m5", "m7", "m9"]
        assert opened.reasons[0] == "5 series of shop/cart deviate at the same time, usually hardly any"
        closed = run(made, 101, 120, {})[-1]
        assert (closed.id, closed.state) == (opened.id, "resolved")
        assert closed.ended is not None
        assert closed.ended >= closed.time
        ids.append(opened.id)
    assert ids[0] == ids[1]


def test_what_was_open_before_a_restart_is_closed_after_it(tmp_path: Path) -> None:
    made = watch(tmp_path / "state")
    run(made, 0, 100, {})
    (opened,) = run(made, 100, 101, dict.fromkeys(range(6), 0.4))
    made.save()
    again = watch(tmp_path / "state")
    (closed,) = run(again, 101, 102, {})
    assert (closed.id, closed.state) == (opened.id, "resolved")
    (anew,) = run(again, 130, 131, dict.fromkeys(range(6), 0.4))
    assert anew.id != opened.id, "no hour of waiting: the service is known"


def test_a_damaged_state_is_left_and_learned_anew(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"\xff no state")
    assert run(watch(tmp_path / "state"), 0, 10, {}) == []


def test_the_services_of_series() -> None:
    index = SeriesIndex()
    sids = defined(
        index,
        {"job": "a", "service": "b"},
        {"service_name": "c" * 300, "x": "\n\x03job\x12"},
        {"x": "job"},
        {"job": "a"},
        {"job": "a", "x": "y"},
    )
    names, which = services_of(index, sids)
    assert [names[n] for n in which] == ["b", "c" * 300, "", "a", "a"]
