"""Configuration: every key of the contract with its default, order of sources, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_config, shown
from gateway.errors import ConfigError
from gateway.settings_types import ByteSize, Duration, Secret

DEFAULTS: dict[str, Any] = {
    "server.otlp_grpc": "127.0.0.1:4317",
    "server.otlp_http": "127.0.0.1:4318",
    "server.http": "127.0.0.1:4319",
    "server.data_dir": "data",
    "server.workers": 1,
    "ingest.max_request_bytes": 67108864,
    "ingest.max_in_flight_bytes": 268435456,
    "ingest.max_series": 2_000_000,
    "ingest.max_age": 48 * 3600,
    "ingest.max_future": 600,
    "log.durability": "fsync",
    "log.retention": 24 * 3600,
    "log.max_bytes": 10 * 2**30,
    "victoriametrics.url": "",
    "victoriametrics.naming": "prometheus",
    "victoriametrics.scores": "exceedances",
    "detection.enabled": True,
    "detection.sensitivity": "balanced",
    "detection.warm_up": 600,
    "alerting.config_file": "",
    "alerting.webhook_url": "",
}

EXAMPLE = """
[server]
otlp_grpc = "127.0.0.1:4317"
otlp_http = "127.0.0.1:4318"
http      = "127.0.0.1:4319"
data_dir  = "data"
workers   = 1
[ingest]
max_request_bytes = 67108864
max_in_flight_bytes = 268435456
max_series = 2000000
max_age = "48h"
max_future = "10m"
[log]
durability = "fsync"
retention = "24h"
max_bytes = "10GiB"
[victoriametrics]
url = ""
naming = "prometheus"
scores = "exceedances"
[detection]
enabled = true
sensitivity = "balanced"
warm_up = "10m"
[alerting]
config_file = ""
webhook_url = ""
"""


def value_at(config: Any, key: str) -> Any:
    for step in key.split("."):
        config = getattr(config, step)
    return config.reveal() if isinstance(config, Secret) else config


@pytest.mark.parametrize("key", DEFAULTS)
def test_defaults(key: str) -> None:
    value = value_at(load_config(environment={}).config, key)
    assert value == DEFAULTS[key]
    assert isinstance(value, bool) == isinstance(DEFAULTS[key], bool)


def test_an_empty_file_and_a_file_of_all_defaults_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "full.toml").write_text(EXAMPLE)
    empty = load_config(tmp_path / "empty.toml", environment={}).config
    full = load_config(tmp_path / "full.toml", environment={}).config
    for key in DEFAULTS:
        assert value_at(empty, key) == value_at(full, key), key


def test_later_sources_win_and_each_value_knows_its_source(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text('[log]\nretention = "1h"\nmax_bytes = "1GiB"\ndurability = "os"\n')
    loaded = load_config(
        file,
        environment={"GATEWAY_LOG__MAX_BYTES": "2GiB", "GATEWAY_LOG__DURABILITY": "fsync", "OTHER__X": "1"},
        assignments=["log.durability=os"],
    )
    assert loaded.config.log.retention == 3600
    assert loaded.config.log.max_bytes == 2 * 2**30
    assert loaded.config.log.durability == "os"
    tree = shown(loaded.config, loaded.sources)
    assert tree["log"]["retention"]["source"] == str(file)
    assert tree["log"]["max_bytes"]["source"] == "environment GATEWAY_LOG__MAX_BYTES"
    assert tree["log"]["durability"]["source"] == "--set log.durability"
    assert tree["log"]["segment_age"]["source"] == "default"


def test_string_assignments_are_verbatim_and_others_are_toml() -> None:
    config = load_config(
        environment={},
        assignments=[
            'server.data_dir=a = "b" # c',
            "victoriametrics.url=http://h:8428",
            "ingest.max_series=1_000",
            "detection.enabled=false",
            "ingest.max_age=2d",
            'detection.warm_up="5m"',
            'victoriametrics.headers={ AccountID = "7" }',
        ],
    ).config
    assert config.server.data_dir == 'a = "b" # c'
    assert config.victoriametrics.url == "http://h:8428"
    assert config.ingest.max_series == 1000
    assert config.detection.enabled is False
    assert config.ingest.max_age == 2 * 86400
    assert config.detection.warm_up == 300
    assert config.victoriametrics.headers == {"AccountID": "7"}


def test_the_webhook_s_address_may_be_kept_out_of_the_file(tmp_path: Path) -> None:
    address = "https://hooks.example/T0/b1/verysecret"
    (tmp_path / "hook").write_text(address + "\n")
    for given in (f'{{ file = "{tmp_path / "hook"}" }}', '"' + address + '"'):
        file = tmp_path / "g.toml"
        file.write_text(f"[alerting]\nwebhook_url = {given}\n")
        loaded = load_config(file, environment={})
        assert loaded.config.alerting.webhook_url.reveal() == address
        assert "verysecret" not in json.dumps(shown(loaded.config, loaded.sources))
        assert "verysecret" not in repr(loaded)
    verbatim = load_config(environment={}, assignments=[f"alerting.webhook_url={address}"]).config
    assert verbatim.alerting.webhook_url.reveal() == address


REFUSED = [
    # (TOML, key, part of the reason, part of what was expected)
    ("[sever]\nhttp = 'x'", "sever", "unknown key", '"server"'),
    ("[log]\nretain = '1h'", "log.retain", "unknown key", '"retention"'),
    ("[log]\nretention = 'soon'", "log.retention", '"soon" is not a duration', "a duration"),
    ("[log]\nretention = '-1h'", "log.retention", "is not a duration", "a duration"),
    ("[log]\nmax_bytes = 'huge'", "log.max_bytes", '"huge" is not a size', "a size"),
    ("[log]\ndurability = 'maybe'", "log.durability", "maybe", '"fsync", "os"'),
    ("[ingest]\nmax_series = 'many'", "ingest.max_series", "int", "a whole number"),
    ("[ingest]\nmax_series = 0", "ingest.max_series", "", "at least 1"),
    ("[ingest]\nmax_series = 1.5", "ingest.max_series", "int", "a whole number"),
    ("[ingest]\nmax_age = -5", "ingest.max_age", "negative", "a duration"),
    ("[log]\nmax_bytes = -5", "log.max_bytes", "negative", "a size"),
    ("[ingest]\nmax_in_flight_bytes = 1024", "ingest", "max_in_flight_bytes", ""),
    ("[detection]\nenabled = 'yes'", "detection.enabled", "bool", "true or false"),
    ("[detection]\nsensitivity = 'loud'", "detection.sensitivity", "loud", '"quiet", "balanced", "keen"'),
    ("[server]\nworkers = 0", "server.workers", "", "at least 1"),
    ("[server]\nworkers = 65", "server.workers", "", "at most 64"),
    ("[server]\nworkers = 2\notlp_http = '127.0.0.1:0'", "server.otlp_http", "share a port", "host:port"),
    ("[server]\nhttp = 4319", "server.http", "str", "a string"),
    ("[server]\nhttp = '4319'", "server.http", "is not an address", "host:port"),
    ("[server]\notlp_http = 'a..b:24361'", "server.otlp_http", "host name", "host:port"),
    ("[server]\notlp_grpc = '.:24361'", "server.otlp_grpc", "host name", "host:port"),
    ("[server]\nhttp = '::1:24363'", "server.http", "in brackets", "host:port"),
    ("[server]\nhttp = 'h:99999'", "server.http", "is not an address", "host:port"),
    ("[server]\nhttp = '127.0.0.1:4318'", "server.http", "otlp_http has the same address", "host:port"),
    ("[log]\nmax_bytes = 0", "log", "max_bytes", "more than 0"),
    ("[victoriametrics]\nurl = 'localhost:8428'", "victoriametrics", "url", "http://host:port"),
    ("[victoriametrics]\nurl = 'http://ana:pw@h:8428'", "victoriametrics", "no credentials", "username"),
    ("log = 3", "log", "is not a section", "[log]"),
    (
        "[alerting]\nwebhook_signing_secret = { file = '/no/such' }",
        "alerting.webhook_signing_secret",
        "/no/such",
        "env",
    ),
    ("[alerting]\nwebhook_signing_secret = { env = 'NO_SUCH' }", "alerting.webhook_signing_secret", "NO_SUCH", "file"),
    ("[limits]\nrules = [{match = 'orders{', limit = 1}]", "limits.rules", "character 6", "a list of tables"),
]


@pytest.mark.parametrize(("text", "key", "reason", "expected"), REFUSED, ids=[r[1] + "-" + r[2][:12] for r in REFUSED])
def test_what_cannot_be_used_is_refused_with_file_key_reason_and_expectation(
    tmp_path: Path, text: str, key: str, reason: str, expected: str
) -> None:
    file = tmp_path / "g.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(file, environment={})
    error = raised.value
    assert error.source == str(file)
    assert error.key == key
    assert reason in error.problem
    assert expected in str(error)


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("log.retain=1h", "no such key"),
        ("log=1", "not an assignment"),
        ("nonsense", "not an assignment"),
        ("server.workers=" + "[" * 100_000, "expected a whole number"),
        ("server.workers=" + "9" * 5000, "expected a whole number"),
        ("server.data_dir=", "is empty"),
        ("server.data_dir= ", "is empty"),
        ("server.data_dir=a\0b", "NUL"),
    ],
)
def test_assignments_are_checked(assignment: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as raised:
        load_config(environment={}, assignments=[assignment])
    assert raised.value.source.startswith("--set ")


def test_a_file_that_is_absent_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.toml", environment={})
    (tmp_path / "bad.toml").write_text("= nothing")
    with pytest.raises(ConfigError, match=r"bad\.toml: is not TOML"):
        load_config(tmp_path / "bad.toml", environment={})


@pytest.mark.parametrize("value", ["[" * 100_000, "{a=" * 100_000, "9" * 5000])
def test_a_file_that_the_reader_of_toml_chokes_on_is_named(tmp_path: Path, value: str) -> None:
    (tmp_path / "deep.toml").write_text(f"a={value}")
    with pytest.raises(ConfigError, match=r"deep\.toml: is not TOML"):
        load_config(tmp_path / "deep.toml", environment={})


def test_secrets_come_from_files_and_environment_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3cret-token\n")
    monkeypatch.setenv("HOOK_KEY", "s3cret-key")
    file = tmp_path / "g.toml"
    file.write_text(
        f"[victoriametrics]\nbearer_token = {{ file = '{tmp_path / 'token'}' }}\n"
        "[alerting]\nwebhook_signing_secret = { env = 'HOOK_KEY' }\n"
    )
    loaded = load_config(file, environment={})
    assert loaded.config.victoriametrics.bearer_token.reveal() == "s3cret-token"
    assert loaded.config.alerting.webhook_signing_secret.reveal() == "s3cret-key"
    for text in (repr(loaded.config), str(loaded.config), json.dumps(shown(loaded.config, loaded.sources))):
        assert "s3cret" not in text
    for wrong in ("[victoriametrics]\nbearer_token = 's3cret'\nusername = 'u'", "[log]\nretention = 's3cret-pasted'"):
        file.write_text(wrong)
        with pytest.raises(ConfigError):
            load_config(file, environment={})


def test_a_secret_of_a_wrong_type_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("[alerting]\nwebhook_signing_secret = ['s3cret']")
    with pytest.raises(ConfigError) as raised:
        load_config(file, environment={})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800), ("1w", 604800), (7, 7)]
)
def test_durations(text: str | int, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("64MiB", 2**26), ("10GB", 10**10), ("5", 5), ("1.5KiB", 1536), ("2 TiB", 2**41), (9, 9)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert ByteSize.parse(text) == size
