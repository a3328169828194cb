"""What the measurement of freezing derives from its steps."""

from __future__ import annotations

from bench.maintenance_freeze import derived


def test_costs_of_one_series_are_what_its_steps_have_more_than_others() -> None:
    steps = {
        "no window": 1.0,
        "a window over none, first": 1.75,
        "a window over none": 1.25,
        "a window over all, first": 6.5,
        "a window over all": 1.5,
        "all restored": 4.0,
    }
    assert derived(steps) == {
        "window_us_per_row": 0.5,
        "match_us_per_series": 0.5,
        "freeze_us_per_series": 4.5,
        "restore_us_per_series": 3.0,
    }
