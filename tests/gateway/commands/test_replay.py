"""`gateway replay`: which labels and inputs are warned of or refused, and how the scorecard reads."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gateway.baseline.recording import Recording
from gateway.baseline.scorecard import Scorecard
from gateway.baseline.span_file import read_labels
from gateway.commands import replay
from gateway.errors import RequestError

DAY = 86_400.0


def program() -> typer.Typer:
    app = typer.Typer()
    replay.register(app)
    return app


def recording(name: str) -> Recording:
    times = np.arange(0.0, 10 * DAY, 600.0)
    return Recording(name, times, np.zeros(len(times)), iso=False)


def warnings(directory: Path, rows: str) -> list[str]:
    path = directory / "labels.csv"
    path.write_text("start,end,recording\n" + rows)
    found = replay.without_effect(read_labels(path), [recording("cpu"), recording("disk")], path)
    return [text.removeprefix(f"{path}: ") for text in found]


def test_labels_that_judge_nothing_are_warned_of(tmp_path: Path) -> None:
    rows = f"{2 * DAY},,cpu\n{2 * DAY},,cpuu\n{3 * DAY},,cpuu\n{DAY / 2},,disk\n{20 * DAY},,\n{9 * DAY},,\n"
    said = warnings(tmp_path, rows)
    assert len(said) == 3
    assert said[0].startswith('line 3: no input is named "cpuu"')
    assert said[1].startswith("line 5 is left out: it begins outside the recording, or in its first tenth")
    assert said[2].startswith("line 6 is left out")


def test_a_file_without_labels_is_warned_of(tmp_path: Path) -> None:
    assert warnings(tmp_path, "") == ["names no event"]


def test_what_cannot_be_said_of_nothing_is_a_dash() -> None:
    text = replay.shown(Scorecard())
    assert "nan" not in text
    assert "recall -" in text
    assert "delay mean -  median -" in text


def test_two_inputs_of_one_name_are_refused_because_they_would_be_one_series(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "cpu.csv", tmp_path / "b" / "cpu.csv"]
    for path in paths:
        path.parent.mkdir()
        path.write_text("timestamp,value\n1700000000,1\n")
    inputs = [argument for path in paths for argument in ("--input", str(path))]
    result = CliRunner().invoke(program(), [*inputs, "--target", "http://127.0.0.1:9"])
    assert (result.exit_code, "two inputs are named cpu" in result.stderr) == (2, True)


def test_an_api_that_is_another_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu, labels = tmp_path / "cpu.csv", tmp_path / "labels.csv"
    cpu.write_text("timestamp,value\n1700000000,1\n")
    labels.write_text("start,end\n1700000000,\n")
    monkeypatch.setattr(replay, "_get", lambda _url: {"status": "success"})
    result = CliRunner().invoke(program(), ["--input", str(cpu), "--labels", str(labels)])
    assert (result.exit_code, "--api: is not the gateway's API" in result.stderr) == (2, True)


@pytest.mark.parametrize(("wait", "seconds"), [("Wed, 21 Oct 2015 07:28:00 GMT", 1.0), ("-3", 0.0), ("60", 5.0)])
def test_whatever_a_target_says_of_waiting_is_waited_for_and_then_tried_again(
    monkeypatch: pytest.MonkeyPatch, wait: str, seconds: float
) -> None:
    headers = http.client.HTTPMessage()
    headers["Retry-After"] = wait
    answers: list[BaseException] = [
        urllib.error.HTTPError("", 503, "", headers, io.BytesIO()),
        urllib.error.HTTPError("", 400, "", headers, io.BytesIO(b"a sample that is too old")),
    ]

    def answer(*_: object, **__: object) -> None:
        raise answers.pop(0)

    waits: list[float] = []
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(RequestError, match="too old; start that gateway with a longer"):
        replay._post("http://127.0.0.1:9", b"")
    assert waits == [seconds]
