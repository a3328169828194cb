"""The ledger's verdict, on made-up exports and against a real VictoriaMetrics."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from loadtest import ledger as ledger_module
from loadtest.generator.sender import ledger_files, send
from loadtest.generator.work import Work
from loadtest.ledger import ACKNOWLEDGED, GIVEN_UP, SENT, Ledger, LedgerFile, Samples
from loadtest.programs import VictoriaMetrics

BATCH = 10
NOW = 1_763_900_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two requests acknowledged, one given up; template 0, 1, 0."""
    file = LedgerFile(tmp_path / "ledger-0")
    for request, template, outcome in ((0, 0, ACKNOWLEDGED), (1, 1, ACKNOWLEDGED), (2, 0, GIVEN_UP)):
        file.write(request, NOW + request, template, SENT)
        file.write(request, NOW + request, template, outcome)
    file.close()
    return Ledger([tmp_path / "ledger-0"], BATCH)


def rows(request: int, template: int) -> Samples:
    """What the store holds of a request."""
    series = np.arange(template * BATCH, (template + 1) * BATCH)
    values = np.arange(request * BATCH, (request + 1) * BATCH, dtype=np.float64)
    return series, np.full(BATCH, NOW + request), values


def verdict(monkeypatch: pytest.MonkeyPatch, ledger: Ledger, held: Iterable[Samples]) -> ledger_module.Verdict:
    """Of an export that is given."""
    monkeypatch.setattr(ledger_module, "export", lambda url, start_ms: held)
    return ledger.verify("")


def test_everything_held(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    found = verdict(monkeypatch, ledger, [rows(0, 0), rows(1, 1)])
    assert (found.acknowledged, found.held, found.lost, found.repeated, found.unacknowledged_held) == (20, 20, 0, 0, 0)
    assert found.passed


def test_a_missing_sample_is_lost_and_named(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    series, times, values = rows(1, 1)
    found = verdict(monkeypatch, ledger, [rows(0, 0), (series[1:], times[1:], values[1:])])
    assert found.lost == 1
    assert not found.passed
    assert found.first_lost == (f"series 10 time {NOW + 1} value 10",)


def test_repetitions_and_unacknowledged_samples_are_counted_apart(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    found = verdict(monkeypatch, ledger, [rows(0, 0), rows(0, 0), rows(1, 1), rows(2, 0)])
    assert (found.lost, found.repeated, found.unacknowledged_held) == (0, BATCH, BATCH)
    assert found.passed


def test_the_noise_above_a_number_is_no_part_of_it_and_nothing_else_may_stand_there(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    series, times, values = rows(0, 0)
    noisy = values + (np.arange(1000, 1000 + BATCH) * 2.0**40)
    assert verdict(monkeypatch, ledger, [(series, times, noisy), rows(1, 1)]).passed
    found = verdict(monkeypatch, ledger, [(series, times, values + 2.0**52), rows(1, 1)])
    assert (found.wrong, found.lost) == (BATCH, BATCH)


def test_a_sample_under_another_series_or_time_is_wrong(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    series, times, values = rows(0, 0)
    found = verdict(monkeypatch, ledger, [(series, times + 5, values), rows(1, 1)])
    assert (found.wrong, found.lost) == (BATCH, BATCH)


@pytest.mark.parametrize(("alone", "start_ms"), [(True, 1), (False, NOW)])
def test_samples_before_the_first_one_are_looked_at_only_where_the_store_holds_no_others(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, alone: bool, start_ms: int
) -> None:
    asked: list[int] = []

    def export(url: str, since_ms: int) -> list[Samples]:
        asked.append(since_ms)
        return [rows(0, 0), rows(1, 1)]

    monkeypatch.setattr(ledger_module, "export", export)
    assert ledger.verify("", alone=alone).passed
    assert asked == [start_ms]


@pytest.mark.real
def test_remote_write_into_a_real_victoriametrics_and_back(tmp_path: Path) -> None:
    if shutil.which("victoria-metrics") is None:
        pytest.skip("the Debian package victoria-metrics is not installed")
    store = VictoriaMetrics(tmp_path / "store")
    store.start()
    try:
        work = Work(
            "remote-write", f"{store.url}/api/v1/write", series=2_000, batch=500, requests=20, connections=2,
            encoding="snappy", step_ms=15_000, churn_per_minute=0.1, numbered=True, ledger_dir=tmp_path / "ledger",
        )  # fmt: skip
        outcome = send(work)
        assert (outcome.acknowledged, outcome.refused, outcome.given_up) == (20, 0, 0)
        found = Ledger(ledger_files(tmp_path / "ledger"), work.batch).verify(store.url)
    finally:
        store.kill()
    assert found.passed
    assert (found.acknowledged, found.held, found.repeated) == (10_000, 10_000, 0)
