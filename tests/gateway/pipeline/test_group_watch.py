"""Groups as records: who takes part, in words, the same id when scored again, and across a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateway.baseline.detector import Observation
from gateway.baseline.group_detector import GroupDetector
from gateway.clock import ManualClock
from gateway.pipeline.group_watch import GroupWatch
from gateway.pipeline.watches import SERVICE_LABELS, label_value
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition
from gateway.telemetry.labels import encode_label_blob
from kernels.series_state import TRANSITION

START = 1_700_000_040_000
SERIES = 12
BLOBS = [encode_label_blob({"__name__": f"m{n}", "job": "shop/cart", "pod": "p" * 200}) for n in range(SERIES)]
SIDS = np.arange(SERIES, dtype=np.uint32)


def frame_at(minute: int) -> Frame:
    nothing = Definitions(np.empty(0, np.uint8), np.zeros(1, np.int64), np.empty(0, np.uint8))
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
    made = GroupWatch(GroupDetector(), BLOBS.__getitem__, path, ManualClock())
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


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({"job": "a", "service": "b"}, "b"),
        ({"service_name": "c" * 300, "x": "\n\x03job\x12"}, "c" * 300),
        ({"x": "job"}, ""),
    ],
)
def test_the_service_of_a_label_blob(labels: dict[str, str], service: str) -> None:
    assert label_value(encode_label_blob(labels), SERVICE_LABELS) == service
