"""Series that deviate together: found with less from each, told once, members in order, and not when it is usual."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.group_detector import APART_MS, FLOOR, GroupChange, GroupDetector, surprise
from kernels.series_state import CHANGED, CLOSED, OPENED

MINUTE = 60_000
START = 1_700_000_000_000 // MINUTE * MINUTE


class Fleet:
    """Services of some series each, scored once a minute."""

    def __init__(self, *sizes: int) -> None:
        self.detector = GroupDetector()
        self.services = [f"s{number}" for number in range(len(sizes))]
        self.which = np.repeat(np.arange(len(sizes)), sizes)
        self.sids = np.arange(len(self.which), dtype=np.uint32)
        self.detector.learn(self.sids, self.services, self.which, START)
        self.minute = 0
        self.changes: list[GroupChange] = []

    def step(self, scores: dict[int, float], minutes: int = 1) -> list[GroupChange]:
        found: list[GroupChange] = []
        for _ in range(minutes):
            self.minute += 1
            time = START + self.minute * MINUTE
            score = np.zeros(len(self.sids), np.float32)
            for sid, value in scores.items():
                score[sid] = value
            times = np.full(len(self.sids), time, np.int64)
            found += self.detector.observe(self.sids, times, score)
            found += self.detector.advance(time)
        self.changes += found
        return found


def test_five_series_with_scores_below_an_alert_are_one_alert_in_their_order() -> None:
    fleet = Fleet(10, 10)
    assert fleet.step({}, 120) == []
    fleet.step({7: 0.4})
    fleet.step({7: 0.4, 3: 0.45})
    fleet.step({7: 0.4, 3: 0.4, 5: 0.35, 1: 0.4, 2: 0.4})
    (opened,) = fleet.changes
    assert (opened.kind, opened.service, opened.opened_ms) == (OPENED, "s0", START + 123 * MINUTE)
    assert [m.sid for m in opened.members] == [7, 3, 1, 2, 5]
    assert opened.score >= 0.5
    assert opened.members[1].onset_ms == START + 122 * MINUTE
    assert opened.members[1].score == pytest.approx(0.45)


def test_it_grows_is_told_again_and_ends_when_most_are_back() -> None:
    fleet = Fleet(20)
    fleet.step({}, 120)
    fleet.step(dict.fromkeys(range(6), 0.4))
    assert [c.kind for c in fleet.changes] == [OPENED]
    fleet.step(dict.fromkeys(range(12), 0.4), 2)
    assert [c.kind for c in fleet.changes] == [OPENED, CHANGED]
    assert fleet.changes[-1].count == 12
    fleet.step(dict.fromkeys(range(12), 0.4) | {0: 0.95})
    assert fleet.changes[-1].score == pytest.approx(0.95), "as severe as its worst member"
    fleet.step({}, 10)
    assert fleet.changes[-1].kind == CLOSED
    assert fleet.changes[-1].opened_ms == fleet.changes[0].opened_ms


@pytest.mark.parametrize(
    ("scores", "minutes"),
    [
        (dict.fromkeys(range(2), 0.9), 1),  # two are no group
        (dict.fromkeys(range(20), FLOOR - 0.01), 1),  # nothing of note
        (dict.fromkeys((0, 1, 20, 21, 40, 41), 0.4), 1),  # two in each of three services
    ],
)
def test_what_is_no_group(scores: dict[int, float], minutes: int) -> None:
    fleet = Fleet(20, 20, 20)
    fleet.step({}, 120)
    assert fleet.step(scores, minutes) == []


def test_the_cold_start_of_a_service_is_silent() -> None:
    fleet = Fleet(20)
    assert fleet.step(dict.fromkeys(range(20), 0.6), 30) == []


def test_one_that_lasts_sets_out_once() -> None:
    fleet = Fleet(30)
    fleet.step({}, 120)
    for sid in range(12):  # one after the other, half an hour apart, and all of them last
        assert fleet.step(dict.fromkeys(range(sid + 1), 0.4), 30) == []


def test_a_service_that_often_moves_together_needs_more() -> None:
    restless, calm = Fleet(30), Fleet(30)
    for _ in range(96):  # four days of six series together, every hour
        restless.step(dict.fromkeys(range(6), 0.4))
        restless.step({}, 59)
        calm.step({}, 60)
    assert sum(c.kind == OPENED for c in restless.changes) < 24, "it learns"
    restless.changes.clear()
    assert restless.step(dict.fromkeys(range(7), 0.4)) == []
    assert calm.step(dict.fromkeys(range(7), 0.4))
    restless.step({}, 59)
    assert restless.step(dict.fromkeys(range(28), 0.4)), "more than ever is still found"


def test_late_rows_and_rows_of_many_minutes_in_one_batch() -> None:
    whole, parts = Fleet(10), Fleet(10)
    for fleet in (whole, parts):
        fleet.step({}, 120)
    at = START + 121 * MINUTE
    sids = np.array([4, 2, 2, 8, 8, 6, 1], np.uint32)
    times = np.array([at + 2 * MINUTE, at, at + MINUTE, at, at - APART_MS // 2, at + MINUTE, at], np.int64)
    scores = np.array([0.4, 0.4, 0.4, 0.4, 0.1, 0.4, 0.4], np.float32)
    (opened,) = whole.detector.observe(sids, times, scores)
    order = np.argsort(times, kind="stable")
    found = [c for row in order for c in parts.detector.observe(*(a[row : row + 1] for a in (sids, times, scores)))]
    assert [(c.kind, c.opened_ms) for c in found] == [(OPENED, found[0].opened_ms)]
    assert {m.sid for m in opened.members} >= {m.sid for m in found[0].members}


def test_series_that_end_leave_and_ids_are_used_again() -> None:
    fleet = Fleet(8)
    fleet.step({}, 120)
    fleet.detector.forget(np.arange(5, dtype=np.uint32))
    assert fleet.step(dict.fromkeys(range(5), 0.9)) == []
    fleet.detector.learn(np.arange(5, dtype=np.uint32), ["other"], np.zeros(5, np.int64), START + 121 * MINUTE)
    fleet.step({}, 100)
    (opened, *_) = fleet.step(dict.fromkeys(range(5), 0.4))
    assert opened.service == "other"


def test_what_is_known_survives() -> None:
    fleet = Fleet(30)
    for _ in range(48):
        fleet.step(dict.fromkeys(range(6), 0.4))
        fleet.step({}, 59)
    kept = fleet.detector.dump()
    again = Fleet()
    for name, entry in kept.items():
        again.detector.load(name, entry)
    again.detector.learn(fleet.sids, fleet.services, fleet.which, START + fleet.minute * MINUTE)
    assert again.detector.dump() == kept


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 20.0), st.floats(1.0, 8.0))
def test_surprise_is_the_tail(count: int, mean: float, shared: float) -> None:
    """Against the sum of the probabilities below, in plain floating point, where that can be told from 1."""
    variance = mean * shared
    terms = [1.0]
    if shared <= 1.0001:
        terms = [float(np.exp(-mean))]
        for k in range(1, count):
            terms.append(terms[-1] * mean / k)
    else:
        size, share = mean * mean / (variance - mean), 1.0 - mean / variance
        terms = [float((1.0 - share) ** size)]
        for k in range(1, count):
            terms.append(terms[-1] * share * (size + k - 1) / k)
    tail = 1.0 - sum(terms)
    got = surprise(count, mean, variance + mean * mean)
    if count <= mean:
        assert got == 0.0
    elif tail > 1e-9:
        assert got == pytest.approx(-np.log10(tail), abs=1e-3)


def test_a_service_learns_nothing_while_half_of_its_series_are_frozen() -> None:
    fleet = Fleet(20, 20, 20)
    fleet.step({}, 120)
    known = fleet.detector.dump()
    fleet.detector.freeze(np.concatenate([fleet.sids[:20], fleet.sids[20:29], np.array([5000], np.uint32)]))
    for _ in range(40):  # two of each service at a time: no group, but nothing usual either
        fleet.step(dict.fromkeys((0, 1, 20, 21, 40, 41), 0.4))
        fleet.step({}, 11)
    during = fleet.detector.dump()
    assert during["s0"][:2] == known["s0"][:2]
    for service in ("s1", "s2"):
        assert during[service][0] > 3 * known[service][0], "nine of twenty are no half"
    fleet.detector.freeze(np.empty(0, np.uint32))
    fleet.step(dict.fromkeys((0, 1), 0.4))
    fleet.step({}, 11)
    fleet.step(dict.fromkeys((0, 1), 0.4))
    assert fleet.detector.dump()["s0"][0] > known["s0"][0]
