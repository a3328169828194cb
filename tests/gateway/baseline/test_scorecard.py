"""The scorecard on examples small enough to work out by hand. One sample a minute unless said otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.scorecard import (
    Event,
    Opening,
    Rules,
    Scorecard,
    judge,
    merge,
    openings_of,
    scored_span,
)

MIN = 60.0


def card_of(events: list[tuple[float, float]], openings: list[tuple[float, float]], **more: object) -> Scorecard:
    """Judged over a day; everything in minutes."""
    neutral = [Opening(a * MIN, b * MIN) for a, b in more.pop("neutral", [])]  # type: ignore[attr-defined]
    return judge(
        [Event(a * MIN, b * MIN) for a, b in events],
        [Opening(a * MIN, b * MIN) for a, b in openings],
        interval_s=MIN,
        scored_from=float(more.pop("scored_from", 0.0)) * MIN,  # type: ignore[arg-type]
        scored_to=1440 * MIN,
        rules=Rules(),
        neutral=neutral,
    )


def test_openings_come_from_the_rows_in_which_an_alert_is_open() -> None:
    flags = np.array([0, 1, 1, 0, 0, 1], np.bool_)
    assert openings_of(np.arange(6) * MIN, flags) == [Opening(60, 180), Opening(300, 300)]
    assert openings_of(np.empty(0), np.empty(0, np.bool_)) == []


def test_rows_that_run_backward_are_put_in_order() -> None:
    times, flags = np.array([0.0, 120.0, 60.0, 180.0]), np.array([0, 1, 1, 0], np.bool_)
    assert openings_of(times, flags) == [Opening(60, 180)]


def test_reopenings_within_half_an_hour_are_one_alert() -> None:
    alerts = merge([Opening(0, 600), Opening(2400, 3000), Opening(4801, 5000)], 1800.0)
    assert [(a.start, a.end) for a in alerts] == [(0, 3000), (4801, 5000)]


@pytest.mark.parametrize(
    ("start", "true"), [(94, False), (95, True), (100, True), (110, True), (115, True), (116, False)]
)
def test_an_alert_is_true_within_five_samples_of_a_label(start: float, true: bool) -> None:
    card = card_of([(100, 110)], [(start, start + 2)])
    assert (card.true_alerts, card.false_alerts, card.found) == ((1, 0, 1) if true else (0, 1, 0))


def test_delay_runs_from_the_label_and_a_miss_counts_as_the_end() -> None:
    card = card_of([(100, 110), (500, 519)], [(103, 108)])
    assert [judged.delay_s / MIN for judged in card.events] == [3, 20]
    assert card.mean_delay_min == pytest.approx(11.5)
    assert card.median_delay_min == pytest.approx(3)
    assert card_of([(100, 110)], [(97, 99)]).events[0].delay_s == 0


def test_the_clock_of_a_slow_fault_starts_late() -> None:
    event = Event(0.0, 600 * MIN, clock=60 * MIN)
    card = judge([event], [Opening(70 * MIN, 90 * MIN)], interval_s=MIN, scored_from=0, scored_to=1e5, rules=Rules())
    assert card.events[0].delay_s == 10 * MIN


def test_an_alert_that_does_not_resolve_counts_again_every_hour() -> None:
    # The event ends at 110, half an hour of grace until 140.
    assert card_of([(100, 110)], [(100, 139)]).false_alerts == 0
    card = card_of([(100, 110)], [(100, 150)])
    assert (card.true_alerts, card.false_alerts, card.unresolved) == (1, 1, 1)
    assert card_of([(100, 110)], [(100, 201)]).unresolved == 2
    assert card_of([(100, 110)], [(100, 261)]).unresolved == 3


def test_one_alert_finds_several_events_only_while_it_is_true() -> None:
    near = card_of([(100, 110), (130, 135)], [(100, 160)])
    assert (near.found, near.true_alerts, near.false_alerts) == (2, 1, 0)
    far = card_of([(100, 110), (400, 410)], [(100, 405)])
    assert (far.found, far.true_alerts, far.false_alerts) == (1, 1, 5)


def test_a_reopening_on_a_later_event_continues_a_true_alert() -> None:
    card = card_of([(100, 110), (150, 160)], [(100, 125), (150, 160)])
    assert (card.found, card.true_alerts, card.false_alerts) == (2, 1, 0)


def test_a_reopening_long_after_the_event_is_false() -> None:
    card = card_of([(100, 110)], [(100, 125), (150, 152)])
    assert (card.found, card.true_alerts, card.false_alerts, card.unresolved) == (1, 1, 1, 1)


def test_an_event_inside_a_false_alert_is_missed() -> None:
    card = card_of([(100, 110)], [(50, 120)])
    assert (card.found, card.false_alerts) == (0, 1)


def test_warm_up_is_not_scored() -> None:
    card = card_of([(30, 40), (200, 210)], [(10, 20), (30, 33), (200, 205)], scored_from=60)
    assert (len(card.events), card.found, card.true_alerts, card.false_alerts) == (1, 1, 1, 0)
    # An event that began in the warm-up is abnormal all the same: alerts on it are not false.
    late = card_of([(30, 90)], [(70, 80)], scored_from=60)
    assert (len(late.events), late.alerts, late.neutral_alerts) == (0, 0, 1)


def test_an_alert_that_does_not_resolve_after_the_warm_up_counts() -> None:
    assert card_of([], [(50, 89)], scored_from=60).false_alerts == 0
    assert card_of([], [(50, 95)], scored_from=60).false_alerts == 1
    # Chatter that began in the warm-up is not one alert of the warm-up for ever.
    assert card_of([], [(a, a + 5) for a in range(50, 400, 10)], scored_from=60).false_alerts == 1


def test_neutral_time_counts_neither_way() -> None:
    card = card_of([], [(300, 310), (600, 610)], neutral=[(290, 320)])
    assert (card.neutral_alerts, card.false_alerts) == (1, 1)
    assert card.normal_s == (1440 - 30) * MIN
    assert card.normal_in_alert_s == 10 * MIN


def test_shares_and_rates() -> None:
    card = card_of([(100, 110)], [(100, 110), (600, 610), (800, 810)])
    assert card.false_share == pytest.approx(2 / 3)
    assert card.false_per_series_day == pytest.approx(2)
    assert card.normal_in_alert_share == pytest.approx(20 / (1440 - 20))
    nothing = card_of([], [])
    assert math.isnan(nothing.recall)
    assert math.isnan(nothing.false_share)


def test_scorecards_add_up() -> None:
    total = Scorecard()
    total.add(card_of([(100, 110)], [(100, 105)]))
    total.add(card_of([(100, 110)], [(700, 705)]))
    assert (total.series, total.recall, total.false_share) == (2, 0.5, 0.5)


def test_warm_up_is_a_day_or_a_tenth() -> None:
    assert scored_span(0, 86400 * 100) == (86400, 86400 * 100)
    assert scored_span(0, 1000) == (100, 1000)
    assert scored_span(0, 1000, 300) == (300, 1000)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1300), st.integers(0, 60)), max_size=6),
    st.lists(st.tuples(st.integers(0, 1300), st.integers(1, 90)), max_size=8),
)
def test_every_alert_is_counted_once_and_nothing_exceeds_its_whole(
    events: list[tuple[int, int]], openings: list[tuple[int, int]]
) -> None:
    card = card_of([(a, a + n) for a, n in events], [(a, a + n) for a, n in openings])
    alerts = merge([Opening(a * MIN, (a + n) * MIN) for a, n in openings], Rules().merge_s)
    assert card.true_alerts + card.false_alerts - card.unresolved == len(alerts)
    assert card.found <= len(events) == len(card.events)
    assert 0 <= card.normal_in_alert_s <= card.normal_s <= card.scored_s
    if not openings:
        assert card.found == 0
