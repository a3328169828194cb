"""A configuration is checked as the next start would read it, and what comes over the network opens no file."""

from __future__ import annotations

from pathlib import Path

from gateway.config import load_config
from gateway.config_check import check


def test_the_files_as_they_are_now_with_what_they_would_change(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[log]\nretention = "6h"\n')
    running = load_config(file, environment={}, assignments=["detection.warm_up=5m"])
    assert check(running) == {"ok": True, "changes": [], "alerting": "1 receivers"}
    file.write_text('[log]\nretention = "8h"\n[detection]\nwarm_up = "1h"\n')
    found = check(running)
    assert found["changes"] == [{"key": "log.retention", "from": "6h", "to": "8h", "source": str(file)}]


def test_what_is_wrong_is_named_with_its_place() -> None:
    running = load_config(environment={})
    found = check(running, '[log]\nretention = "soon"\n')
    assert (found["ok"], found["key"], found["source"]) == (False, "log.retention", "the text")
    assert "duration" in found["expected"]
    found = check(running, "[log\n")
    assert not found["ok"]
    assert "TOML" in found["problem"]
    assert "nested" in check(running, "a=" + "[" * 100_000)["problem"]
    assert check(running, "[nowhere]\nx = 1\n")["problem"] == "unknown key"


def test_an_address_that_the_start_would_refuse_is_refused() -> None:
    running = load_config(environment={})
    found = check(running, '[server]\notlp_http = "0.0.0.0:4318"\n')
    assert (found["ok"], found["key"]) == (False, "server.otlp_http")
    assert "allow_unauthenticated" in found["expected"]
    assert check(running, '[server]\notlp_http = "0.0.0.0:4318"\n[access]\nallow_unauthenticated = true\n')["ok"]


def test_a_text_opens_no_file_and_reads_no_variable(tmp_path: Path) -> None:
    running = load_config(environment={})
    secret = tmp_path / "secret"
    secret.write_text("do not look")
    for reference in ('{ file = "/nonexistent/x" }', f'{{ file = "{secret}" }}', '{ env = "NOT_SET_ANYWHERE" }'):
        found = check(running, f"[self_watch]\nheartbeat_url = {reference}\n")
        assert found["ok"], "a reference is not followed, so it cannot be told whether it leads somewhere"
        assert found["changes"] == [
            {"key": "self_watch.heartbeat_url", "from": "Secret(***)", "to": "Secret(***)", "source": "the text"}
        ]
    found = check(running, f'[alerting]\nconfig_file = "{secret}"\n')
    assert found["ok"]
    assert "not opened" in found["alerting"]


def test_the_alerting_file_in_use_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text("route: {receiver: a}\nreceivers: [{name: a}]\n")
    running = load_config(environment={}, assignments=[f"alerting.config_file={file}"])
    assert check(running)["ok"]
    file.write_text("route: {receiver: b}\nreceivers: [{name: a}]\n")
    found = check(running)
    assert not found["ok"]
    assert str(file) in found["source"]
