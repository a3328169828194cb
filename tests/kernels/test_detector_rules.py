"""The detector's rules one by one: runs, the strength of evidence, opening and closing, adoption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.baseline.parameters import parameters
from gateway.baseline.settings import DetectionSettings
from kernels import series_state as state
from kernels.adoption import adopts_alert, adopts_silently
from kernels.alert_rule import close_alert, hold_alert, open_alert
from kernels.candidates import Floors, Verdict, limit_of, name_reason
from kernels.days import Days, Variation, settle_muted
from kernels.findings import O_CHANGE, O_CLOSING, O_REASON, O_SEVERITY, OUTPUTS
from kernels.moment import Moment
from kernels.prediction import Deviation
from kernels.runs import Run, follow_run
from kernels.series_state import STATE
from kernels.strength import Strength, floor_of, severity_of, strength_of
from kernels.zero_and_flat import is_stuck
from tests.reference.run_twin import RunTwin

NOW_S = 1_700_000_000
NO_DAYS, NO_VARIATION = Days(0.0, 0.0, 1.0), Variation(0.0, 0.0, 1.0)
OUTSIDE = Run(False, False, 0.0)
PARAMETERS = parameters(DetectionSettings())


def moment(tau: float = 60.0, *, mature: bool = True, at_s: int = NOW_S) -> Moment:
    return Moment(at_s * 1000, at_s, tau, tau, True, mature, tau > 90.0)


def deviation(z: float, dense: float = 1.0) -> Deviation:
    """z scales of one from 10."""
    return Deviation(10.0 + z, 0.0, 10.0 + z, 10.0, 10.0, 1.0, z, z, dense)


def series(**fields: Any) -> Any:
    record = np.zeros(1, STATE)[0]
    record["count"], record["interval"] = 5000, 60.0
    for name, value in fields.items():
        record[name] = value
    return record


# Sixteenths: the sums of float32 are exact, and both sides say of the same sample that the run is over.
deviations = st.integers(-200, 200).map(lambda n: n / 16.0)


@settings(max_examples=200, deadline=None)
@given(zs=st.lists(deviations, min_size=1, max_size=60), dense=st.sampled_from([1.0, 0.5]))
def test_runs_are_the_twins(zs: list[float], dense: float) -> None:
    record, twin = series(), RunTwin()
    for z in zs:
        run = follow_run(record, moment(), deviation(z, dense))
        assert run.inside == twin.follow(z, dense)
        assert float(record["run_side"]) == twin.side
        assert float(record["run_sum"]) == twin.total
        if run.inside:
            assert record["run_count"] == len(twin.samples)


def test_a_run_freezes_the_prediction_it_began_with() -> None:
    record = series()
    follow_run(record, moment(), deviation(1.0))
    assert record["reference"] == 0.0, "within the scales nothing begins"
    follow_run(record, moment(), deviation(4.0))
    assert (record["reference"], record["began_ms"]) == (10.0, NOW_S * 1000)
    follow_run(record, moment(at_s=NOW_S + 60), deviation(4.0)._replace(prediction=14.0))
    assert (record["reference"], record["began_ms"]) == (10.0, NOW_S * 1000)
    assert record["candidate"] == pytest.approx(14.0), "the level of the run is what may be adopted"


@given(score=st.floats(0.0, 1.0))
def test_a_severity_begins_at_its_floor(score: float) -> None:
    severity = severity_of(score)
    assert severity == sum(score >= least for least in (0.5, 0.7, 0.9)) + (score > 0.25)
    if severity >= 2:
        assert floor_of(severity) <= score
        assert severity_of(floor_of(severity)) == severity


@settings(deadline=None)
@given(odds=st.floats(-30, 60), limit=st.floats(-2, 6), held=st.integers(0, 65535), z=st.floats(-1e6, 1e6))
def test_strength_reaches_one_half_where_the_odds_reach_the_limit(
    odds: float, limit: float, held: int, z: float
) -> None:
    record = series(open=state.SPIKE, held=held)
    verdict = Verdict(odds, limit, state.SPIKE)
    strength = strength_of(record, moment(), z, verdict)
    assert (strength.level >= 0.5) == (odds >= limit)
    assert strength.level <= strength.lasting < 1.0
    assert strength.severity == severity_of(strength.lasting)
    # What lasts counts up to a quarter, and only where an alert is open.
    alone = strength_of(series(held=held), moment(), z, verdict)
    assert alone.lasting == alone.level == strength.level
    assume(odds >= limit)
    assert strength_of(series(open=state.SPIKE), moment(), z, verdict).lasting == strength.level


def test_the_furthest_evidence_names_an_alert_and_a_run_has_the_limit_of_runs() -> None:
    run = Run(True, False, 6.0)
    days, wave = Days(0.0, 50.0, 1.0), Variation(0.0, -0.9, 0.1)
    everything, slow = Floors(True, True, True), Floors(False, True, True)
    assert name_reason(series(run_count=1), deviation(200.0), run, days, wave, everything) == state.SPIKE
    assert name_reason(series(run_count=9), deviation(200.0), run, days, wave, everything) == state.SUSTAINED
    assert name_reason(series(), deviation(5.0), run, days, wave, everything) == state.SEASON
    assert name_reason(series(), deviation(200.0), run, NO_DAYS, wave, slow) == state.CALMER
    assert name_reason(series(), deviation(0.0), run, NO_DAYS, Variation(0.0, 0.9, 0.1), slow) == state.NOISIER
    p = PARAMETERS
    assert limit_of(everything, -0.9, p) == p[state.P_LIMIT]
    assert limit_of(slow, -0.9, p) == p[state.P_LIMIT_SLOW]
    assert limit_of(Floors(False, False, True), 0.9, p) == p[state.P_LIMIT_SLOW]
    assert limit_of(Floors(False, False, True), -0.9, p) == p[state.P_LIMIT_CALMER]


def held(record: Any, out: Any, *, strength: float = 0.6, days: Days = NO_DAYS, run: Run = OUTSIDE) -> bool:
    now = moment()
    evidence = Strength(strength, strength, severity_of(strength))
    out[:] = 0.0
    return bool(hold_alert(record, now, deviation(5.0), run, days, NO_VARIATION, evidence, False, out))


def test_an_alert_opens_rises_and_closes_when_its_series_is_back() -> None:
    record, out = series(), np.zeros(OUTPUTS)
    open_alert(record, moment(), deviation(5.0), OUTSIDE, state.SUSTAINED, Strength(0.6, 0.6, 2), out)
    assert (out[O_CHANGE], out[O_REASON], out[O_SEVERITY]) == (state.OPENED, state.SUSTAINED, 2)
    assert (record["open"], record["reference"], record["held"]) == (state.SUSTAINED, 10.0, 0)
    local = Run(True, True, 5.0)
    held(record, out, run=local)
    assert out[O_CHANGE] == 0
    held(record, out, strength=0.95, run=local)
    assert (out[O_CHANGE], out[O_SEVERITY], record["severity"]) == (state.CHANGED, 4, 4)
    held(record, out, strength=0.6, run=local)
    assert (out[O_CHANGE], record["severity"]) == (0, 4), "a severity only rises"
    record["calm"] = 3
    held(record, out, run=local)
    assert (out[O_CHANGE], out[O_CLOSING], out[O_SEVERITY]) == (state.CLOSED, state.BACK, 4)
    assert (record["open"], record["severity"], record["muted"]) == (0, 0, 0)


def test_an_alert_on_days_is_said_once_and_muted_until_it_is_over() -> None:
    record, out = series(open=state.SEASON, severity=2), np.zeros(OUTPUTS)
    away = Days(20.0, 20.0, 1.0)
    samples = 0
    while record["open"]:
        held(record, out, days=away)
        samples += 1
    assert samples == 25, "1,500 s"
    assert (out[O_CLOSING], record["muted"]) == (state.ADOPTED, state.SEASON)
    assert settle_muted(record, moment(at_s=NOW_S + 86400), away, NO_VARIATION) == 20.0
    assert record["muted"] == state.SEASON
    # After a day it is the level of days.
    assert settle_muted(record, moment(at_s=NOW_S + 86401), away, NO_VARIATION) == 0.0
    assert (record["muted"], record["slow"], record["slow_before"]) == (0, 20.0, 0.0)
    record["muted"] = state.SEASON
    assert settle_muted(record, moment(), Days(1.0, 1.0, 1.0), NO_VARIATION) == 1.0
    assert record["muted"] == 0


def test_a_value_that_stood_still_goes_on_where_it_moves_again() -> None:
    record, out = series(open=state.FLAT, run_side=1.0, run_sum=9.0, levels=[1.0, 2.0, 3.0, 4.0]), np.zeros(OUTPUTS)
    close_alert(record, moment(), deviation(5.0)._replace(season=0.5), False, False, out)
    assert list(record["levels"]) == [15.0] * 4
    assert (record["run_side"], record["run_sum"], record["season_then"]) == (0.0, 0.0, 0.5)
    assert out[O_CLOSING] == state.BACK


def test_a_level_is_adopted_once_it_has_lasted() -> None:
    p = PARAMETERS.copy()
    p[state.P_ADOPT] = 20.0
    lasting = {"open": state.SUSTAINED, "candidate_dev": 1.0}
    assert not adopts_alert(series(held=19, **lasting), 60.0, 1.0, p)
    assert adopts_alert(series(held=20, **lasting), 60.0, 1.0, p)
    unsteady = {"open": state.SUSTAINED, "candidate_dev": 9.0}
    assert not adopts_alert(series(held=29, **unsteady), 60.0, 1.0, p)
    assert adopts_alert(series(held=30, **unsteady), 60.0, 1.0, p)
    assert not adopts_alert(series(held=60000, open=state.ZERO), 60.0, 1.0, p)
    # Without an alert: ten samples, or two at the level before the last adoption.
    run = {"run_side": 1.0, "candidate": 40.0, "candidate_dev": 1.0}
    assert not adopts_silently(series(run_count=9, **run), moment(), 1.0, p)
    assert adopts_silently(series(run_count=10, **run), moment(), 1.0, p)
    assert adopts_silently(series(run_count=2, fallback=40.0, fallback_s=NOW_S - 60, **run), moment(), 1.0, p)
    assert not adopts_silently(series(run_count=2, fallback=40.0, fallback_s=NOW_S - 43200, **run), moment(), 1.0, p)
    p[state.P_ADOPT] = 0.0
    assert not adopts_alert(series(held=60000, **lasting), 60.0, 1.0, p)
    assert not adopts_silently(series(run_count=60000, **run), moment(), 1.0, p)


def test_a_value_is_stuck_once_it_repeats_longer_than_it_ever_did() -> None:
    assert not is_stuck(series(repeats=9), moment(), PARAMETERS), "ten minutes at least"
    assert is_stuck(series(repeats=10), moment(), PARAMETERS)
    assert not is_stuck(series(repeats=27, longest_repeat=4.0), moment(), PARAMETERS)
    assert is_stuck(series(repeats=28, longest_repeat=4.0), moment(), PARAMETERS)
    assert not is_stuck(series(repeats=900, longest_repeat=8.0), moment(), PARAMETERS), "it often stands still"
    assert not is_stuck(series(repeats=4900, zero_share=0.5), moment(), PARAMETERS), "little else is known of it"
