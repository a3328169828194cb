"""The yardstick of the correlation: truth is counted right, scenarios follow their seed, a run makes sense."""

from __future__ import annotations

from bench.correlation.run import WITHOUT_LEARNING, Run, judge
from bench.correlation.scenarios import MadeAlert, MadeIncident, Scenario, make


def alert(incident: int, name: str, at: float) -> MadeAlert:
    return MadeAlert(incident, {"alertname": name, "service": name}, at, at + 600.0)


def test_pairs_and_causes_are_counted_against_the_truth() -> None:
    scenario = Scenario([], [], {})
    scenario.alerts = [alert(1, "a", 0.0), alert(1, "b", 10.0), alert(2, "c", 20.0), alert(1, "d", 30.0)]
    scenario.alerts.append(alert(1, "late", 5000.0))
    scenario.incidents = [MadeIncident(1, "cascade", "b", None), MadeIncident(2, "hidden", "", None)]
    groups = ["x", "x", "x", "y", "x"]
    verdict = judge(scenario, groups.__getitem__, {"x": ["a", "b"]}, 0.0)
    assert (verdict.same, verdict.together, verdict.together_right) == (3, 3, 1)
    assert (verdict.incidents, verdict.hits, verdict.hits3) == (1, 0, 1)
    assert verdict.precision == verdict.recall == 1 / 3


def test_a_scenario_is_a_function_of_its_seed() -> None:
    one, same, other = make(7, 1.0), make(7, 1.0), make(8, 1.0)
    assert one.alerts == same.alerts
    assert one.alerts != other.alerts
    assert set(one.known_calls) < set(one.calls)


def test_a_short_run_is_far_better_than_chance_and_people_act() -> None:
    scenario = make(7, 1.5)
    run = Run(scenario, weights=WITHOUT_LEARNING)
    run.run()
    verdict = run.verdict(0.0)
    assert verdict.precision > 0.5
    assert verdict.recall > 0.5
    assert verdict.hits > verdict.incidents / 2
    corrected = Run(scenario, people=True, learn_days=1.0)
    corrected.run()
    assert corrected.verdict(1.0).acts > 3
