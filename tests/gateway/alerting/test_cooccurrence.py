"""Co-occurrence: chance says nothing, regularity says much, people say most; memory is bounded."""

from __future__ import annotations

import random

import pytest

from gateway.alerting import cooccurrence as cooccurrence_module
from gateway.alerting.cooccurrence import HALF_LIFE, MAX_RECENT, Cooccurrence
from gateway.alerting.moments import SECOND

WINDOW = 300 * SECOND
HOUR = 3600 * SECOND


def test_pairs_that_fire_together_are_told_from_those_that_meet_by_chance() -> None:
    model, chance = Cooccurrence(WINDOW), random.Random(1)
    moments = []
    for day in range(20):
        start = day * 24 * HOUR + chance.randrange(20 * HOUR)
        moments += [(start, "a@x"), (start + chance.randrange(60) * SECOND, "b@y")]
    moments += [(chance.randrange(20 * 24 * HOUR), "noise@z") for _ in range(200)]
    for moment, key in sorted(moments):
        model.see(key, moment)
    end = 20 * 24 * HOUR
    assert model.lift("a@x", "b@y", end) > 0.6
    assert model.lift("a@x", "noise@z", end) < 0.3
    assert model.lift("a@x", "never", end) == 0.0
    assert model.partners("a@x")[0] == "b@y"


def test_one_meeting_says_little() -> None:
    model = Cooccurrence(WINDOW)
    model.see("a", HOUR)
    model.see("b", HOUR + SECOND)
    assert 0 < model.lift("a", "b", 20 * 24 * HOUR) < 0.3


def test_a_key_counts_once_a_window_and_a_storm_not_at_all() -> None:
    model = Cooccurrence(WINDOW)
    for second in range(200):
        model.see("a", HOUR + second * SECOND)
    assert model.occurrences("a", HOUR) == pytest.approx(1.0)
    for number in range(3 * MAX_RECENT):
        model.see(f"storm{number}", HOUR + 201 * SECOND)
    assert len(model) <= MAX_RECENT * (MAX_RECENT + 1) / 2


def test_counts_fade() -> None:
    model = Cooccurrence(WINDOW)
    model.see("a", HOUR)
    assert model.occurrences("a", HOUR + HALF_LIFE) == pytest.approx(0.5)


def test_what_people_say_counts_and_can_be_taken_back() -> None:
    model = Cooccurrence(WINDOW)
    model.teach("b", "a", 2.0, HOUR)
    assert model.weight("a", "b") == 2.0
    assert model.partners("a") == ["b"]
    model.teach("a", "b", -3.0, HOUR)
    assert model.weight("a", "b") == -1.0
    known = model.pair("a", "b")
    assert known is not None
    assert (known.same, known.different) == (1, 1)
    model.teach("a", "b", 3.0, HOUR, acts=-1)
    model.teach("a", "b", -2.0, HOUR, acts=-1)
    assert model.weight("a", "b") == 0.0
    assert (known.same, known.different) == (0, 0)


def test_memory_is_bounded_and_keeps_what_people_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooccurrence_module, "MAX_KEYS", 50)
    monkeypatch.setattr(cooccurrence_module, "MAX_PAIRS", 100)
    model = Cooccurrence(WINDOW)
    model.teach("said", "so", 1.0, 0)
    dropped: set[tuple[str, str]] = set()
    for number in range(2000):
        model.see(f"k{number}", HOUR + number * 20 * SECOND)
        dropped |= {pair for pair in model.changed_pairs if model.pair_record(pair) is None}
        model.changed_pairs.clear()
    assert len(model) <= 111
    assert len(dropped) > 1000
    assert model.weight("said", "so") == 1.0
    assert {key for key in model.changed_keys if model.key_record(key) is None}
