"""What the overload takes off for a gateway that merely runs, and what `faults --quick` passes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest import __main__ as program
from loadtest import faults, overload
from loadtest.generator.work import Outcome, Work
from loadtest.scene import QUICK, Load


class Clock:
    """Time that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class IdleGateway:
    """Uses a processor a twentieth of the time, and 10 ms for an answer."""

    pid = 7

    def __init__(self, clock: Clock) -> None:
        self.clock, self.asked = clock, 0

    def pending(self) -> int:
        self.asked += 1
        return 0

    def used(self, pid: int) -> float:
        assert pid == self.pid
        return 3.0 + 0.05 * self.clock.now + 0.01 * self.asked


def test_use_at_rest_is_a_rate_with_what_the_questions_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    gateway = IdleGateway(clock)
    monkeypatch.setattr(overload, "time", clock)
    monkeypatch.setattr(overload, "cpu_seconds", gateway.used)
    assert overload._use_at_rest(gateway) == pytest.approx(0.05 + 0.01 / overload._LOOK_SECONDS)  # type: ignore[arg-type]
    assert gateway.asked == overload._REST_SECONDS / overload._LOOK_SECONDS


def test_only_the_time_until_all_is_handed_on_is_freed_of_what_running_costs() -> None:
    work = Work("otlp-http", "http://127.0.0.1:1/", requests=100)
    outcome = Outcome(work, 10.0, 1.0, 100, 0, 0, 0, np.zeros(100), 1000)
    phase = overload._Phase(outcome, 12.0, 9.0, 0.5, 20.0, watch=None, prober=None, quiet=0)  # type: ignore[arg-type]
    assert phase.used_beyond(0.0) == 12.0
    assert phase.used_beyond(0.06) == pytest.approx(12.0 - 1.2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--quick", "--rounds", "3"], Load(QUICK.rate, QUICK.seconds, QUICK.series, QUICK.batch, 3)),
        (["--quick"], QUICK),
        (["--rate", "7", "--seconds", "2", "--rounds", "0"], Load(rate=7.0, seconds=2.0, rounds=1)),
    ],
)
def test_rounds_hold_for_a_quick_run_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: Load
) -> None:
    loads: list[Load] = []

    def play(directory: Path, only: list[str], load: Load, *, quick: bool, document: Path | None) -> int:
        loads.append(load)
        return 0

    monkeypatch.setattr(faults, "faults", play)
    assert program.main(["faults", *words]) == 0
    assert loads == [expected]
