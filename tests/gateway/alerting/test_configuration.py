"""The configuration reader: real files as they are, everything else refused with line and reason."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.alerting.alert import fingerprint
from gateway.alerting.configuration import built_in_configuration, load_configuration, read_configuration
from gateway.alerting.document import read_document
from gateway.alerting.matcher import Matcher, all_match, parse_matcher, parse_matchers, render
from gateway.alerting.moments import (
    ABSENT,
    SECOND,
    format_duration,
    format_moment,
    format_moment_nano,
    parse_duration,
    parse_moment,
)
from gateway.alerting.mute_interval import any_holds, read_interval
from gateway.errors import ConfigError

BASE = "route: {receiver: r}\nreceivers: [{name: r}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", Matcher("a", "b")),
        ('a="b"', Matcher("a", "b")),
        ('a = "b, c"', Matcher("a", "b, c")),
        ("a!=b", Matcher("a", "b", False, False)),
        ('a=~"b|c"', Matcher("a", "b|c", True)),
        ("a!~b.*", Matcher("a", "b.*", True, False)),
        (r'a="say \"hi\"\n"', Matcher("a", 'say "hi"\n')),
        ('a=""', Matcher("a", "")),
        ("a=", Matcher("a", "")),
        ('"with space"="ü"', Matcher("with space", "ü")),
        ("größe=1", Matcher("größe", "1")),
    ],
)
def test_matchers_are_read(text: str, expected: Matcher) -> None:
    assert parse_matcher(text) == expected
    assert parse_matcher(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "a", "=b", 'a="b', 'a=b"c', 'a=~"["', '"a=b'])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_matcher(text)


def test_lists_of_matchers() -> None:
    assert render(parse_matchers('{b="1", a=~"x,y",}')) == '{a=~"x,y",b="1"}'
    assert parse_matchers("{}") == ()
    assert all_match(parse_matchers('a!="x", missing=""'), {"a": "y"})
    with pytest.raises(ValueError):
        parse_matchers('{a="b"')


@given(st.text(max_size=20), st.booleans())
def test_every_matcher_is_read_back_from_its_text(value: str, is_equal: bool) -> None:
    matcher = Matcher("name", value, False, is_equal)
    assert parse_matcher(str(matcher)) == matcher
    assert parse_matchers(render([matcher])) == (matcher,)


def test_fingerprints_equal_those_of_prometheus() -> None:
    # As the Alertmanager of Debian shows them for these labels.
    assert fingerprint({"alertname": "a", "x": "1"}) == "727f02c030f1ed2e"
    assert fingerprint({}) == "cbf29ce484222325"


@settings(max_examples=50)
@given(st.integers(1, 4_000_000_000_000_000_000))
def test_moments_are_read_back(moment: int) -> None:
    assert parse_moment(format_moment_nano(moment)) == moment
    assert parse_moment(format_moment(moment)) == moment // 1_000_000 * 1_000_000


def test_moments_and_durations() -> None:
    assert parse_moment("0001-01-01T00:00:00.000Z") == ABSENT
    assert parse_moment("2026-01-01T02:00:00.5+02:00") == parse_moment("2026-01-01T00:00:00.5Z")
    for bad in ("", "2026-01-01", "2026-13-01T00:00:00Z", "yesterday", "9999-12-31T23:59:59-23:00"):
        with pytest.raises(ValueError):
            parse_moment(bad)
    for text, seconds in (("1h30m", 5400), ("1d", 86400), ("5m", 300), ("0", 0), ("1w2d", 777600)):
        assert parse_duration(text) == seconds * SECOND
    assert parse_duration("10ms") == 10_000_000
    for bad in ("", "5", "m", "1m1h", "-1m", "1.5h"):
        with pytest.raises(ValueError):
            parse_duration(bad)
    assert format_duration(5400 * SECOND) == "1h30m"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("route: {receiver: r}\nreceivers: [{name: r}]\nnonsense: 1\n", 3, '"nonsense" is not supported'),
        ("route:\n  receiver: r\n  group_byy: [a]\nreceivers: [{name: r}]\n", 3, '"group_byy"'),
        ("route: {receiver: other}\nreceivers: [{name: r}]\n", 1, '"other"'),
        ("route: {receiver: r, matchers: [a=b]}\nreceivers: [{name: r}]\n", 1, "must not have any matchers"),
        ("route: {receiver: r}\nreceivers:\n  - name: r\n    wechat_configs: [{}]\n", 4, '"wechat_configs"'),
        (
            "route: {receiver: r}\nreceivers:\n  - name: r\n    webhook_configs:\n      - {url: 'ftp://x'}\n",
            5,
            "not an http",
        ),
        (
            "route: {receiver: r}\nreceivers:\n  - name: r\n    webhook_configs:\n      - {url: 'http://[::1/x'}\n",
            5,
            "not an http",
        ),
        ("route:\n  receiver: r\n  group_wait: soon\nreceivers: [{name: r}]\n", 3, "not a duration"),
        ("route:\n  receiver: r\n  group_by: [a, '...']\nreceivers: [{name: r}]\n", 3, "wildcard"),
        (
            "route:\n  receiver: r\n  routes:\n    - matchers: ['a=~\"[\"']\nreceivers: [{name: r}]\n",
            4,
            "regular expression",
        ),
        ("route:\n  receiver: r\n  routes:\n    - mute_time_intervals: [x]\nreceivers: [{name: r}]\n", 2, '"x"'),
        ("route: {receiver: r}\nreceivers: [{name: r}, {name: r}]\n", 2, "twice"),
        ("route: {receiver: r}\nroute: {receiver: r}\nreceivers: [{name: r}]\n", 2, "twice"),
        ("route: [\n", 2, "not YAML"),
        (
            "route: {receiver: r}\nreceivers:\n  - name: r\n    slack_configs:\n"
            "      - {api_url: 'http://s.example/', title: '{{ .Statuss }}'}\n",
            5,
            "there is no field or method .Statuss",
        ),
        (
            "route: {receiver: r}\nreceivers:\n  - name: r\n    slack_configs:\n"
            "      - {api_url: 'http://s.example/', title: '{{ tableflip }}'}\n",
            5,
            'function "tableflip" is not supported',
        ),
        (
            BASE
            + "time_intervals:\n  - name: x\n    time_intervals:\n"
            + "      - times: [{start_time: '9:00', end_time: '10:00'}]\n",
            6,
            "time of day",
        ),
        ("route: &a\n  receiver: r\n  routes: [*a]\nreceivers: [{name: r}]\n", 1, "in itself"),
        ("route:\n" + "  x: " + "[" * 200 + "]" * 200 + "\n", 2, "nested too deeply"),
        (BASE + "time_intervals:\n  - {name: x, time_intervals: [{location: Mars/Olympus}]}\n", 4, "time zone"),
    ],
)
def test_a_configuration_is_refused_with_line_and_reason(text: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_configuration(text, "am.yml")
    assert f"am.yml:{line}" in str(raised.value)
    assert problem in str(raised.value)


def test_a_text_nested_beyond_reading_is_refused() -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        read_configuration("route: " + "[" * 3000 + "]" * 3000, "am.yml")


def test_a_large_real_configuration_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "own.tmpl").write_text('{{ define "own.title" }}{{ .CommonLabels.alertname | toUpper }}{{ end }}')
    (tmp_path / "token").write_text("from-a-file\n")
    path = tmp_path / "alertmanager.yml"
    path.write_text(
        textwrap.dedent("""
        global:
          smtp_smarthost: 'localhost:25'
          smtp_from: 'alerts@example.org'
          smtp_auth_password: hidden-one
          slack_api_url: 'https://hooks.example/services/hidden-two'
        templates: ['*.tmpl']
        """)
        + textwrap.dedent(f"""
        route:
          receiver: team-X-mails
          group_by: ['alertname', 'cluster']
          group_wait: 30s
          group_interval: 5m
          repeat_interval: 3h
          routes:
            - matchers: [service=~"^(foo1|foo2|baz)$"]
              receiver: team-X-mails
              routes:
                - match: {{severity: critical}}
                  receiver: team-X-pager
                  continue: true
            - match_re: {{service: files|web}}
              receiver: team-Y
              mute_time_intervals: [nights]
              active_time_intervals: [business]
        inhibit_rules:
          - source_match: {{severity: critical}}
            target_matchers: [severity="warning"]
            equal: [alertname, cluster]
        mute_time_intervals:
          - {{name: nights, time_intervals: [{{times: [{{start_time: '22:00', end_time: '24:00'}}]}}]}}
        time_intervals:
          - name: business
            time_intervals:
              - {{weekdays: ['monday:friday'], months: ['january:march', 7], location: Europe/Rome}}
        receivers:
          - name: team-X-mails
            email_configs: [{{to: 'x@example.org', require_tls: false}}]
          - name: team-X-pager
            pagerduty_configs: [{{routing_key: hidden-three, severity: '{{{{ .CommonLabels.severity }}}}'}}]
          - name: team-Y
            slack_configs: [{{channel: '#y', title: '{{{{ template "own.title" . }}}}', send_resolved: true}}]
            webhook_configs:
              - url: http://hooks.example/
                http_config:
                  authorization: {{credentials_file: '{tmp_path}/token'}}
            opsgenie_configs: [{{api_key: hidden-four, responders: [{{type: team, name: ops}}]}}]
        """)
    )
    configuration = load_configuration(path)
    found = configuration.route.matching({"service": "foo1", "severity": "critical"})
    assert [(route.receiver, route.group_wait, route.goes_on) for route in found] == [
        ("team-X-pager", 30 * SECOND, True)
    ]
    assert found[0].key == '{}/{service=~"^(foo1|foo2|baz)$"}/{severity="critical"}'
    assert [route.receiver for route in configuration.route.matching({"service": "web"})] == ["team-Y"]
    assert [i.key for i in configuration.integrations] == [
        "team-X-mails/email/0", "team-X-pager/pagerduty/0", "team-Y/webhook/0", "team-Y/slack/0", "team-Y/opsgenie/0",
    ]  # fmt: skip
    assert "hidden" not in configuration.original
    assert configuration.original.count("<secret>") == 4
    read_configuration(configuration.original.replace("<secret>", "http://x.example/"), str(path))


def test_the_address_of_the_one_webhook_is_not_shown() -> None:
    configuration = built_in_configuration("https://user:word@hooks.example:8443/services/T0/token?key=1")
    assert '- url: "https://hooks.example:8443/<secret>"\n' in configuration.original
    for part in ("user", "word", "token", "T0", "key=1"):
        assert part not in configuration.original
    read_configuration(configuration.original, "as it is shown")
    assert "webhook" not in built_in_configuration("").original


@pytest.mark.parametrize("address", ["hooks.example/token", "http://[hooks.example/token", "https://token／x.example/"])
def test_an_address_that_is_none_is_not_shown_either(address: str) -> None:
    with pytest.raises(ConfigError, match="not an http or https address") as raised:
        built_in_configuration(address)
    assert "token" not in str(raised.value)


def test_the_built_in_configuration() -> None:
    configuration = built_in_configuration("http://127.0.0.1:1/?q=\"'")
    (critical,) = configuration.route.matching({"severity": "critical"})
    assert critical.group_wait <= 5 * SECOND
    assert configuration.route.group_wait == 30 * SECOND
    assert built_in_configuration("").receivers == {"default": ()}


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("parts", "inside", "outside"),
    [
        ("{times: [{start_time: '09:00', end_time: '17:00'}]}", ["2026-05-04T09:00:00", "2026-05-04T16:59:59"],
         ["2026-05-04T08:59:59", "2026-05-04T17:00:00"]),
        ("{weekdays: ['saturday', 'sunday']}", ["2026-05-03T12:00:00"], ["2026-05-04T00:00:00"]),
        # The last three days of a month, of whatever length.
        ("{days_of_month: ['-3:-1']}", ["2026-02-26T00:00:00", "2028-02-29T23:59:59", "2026-04-28T00:00:00"],
         ["2026-02-25T23:59:59", "2028-02-26T00:00:00", "2026-04-27T23:59:59"]),
        ("{days_of_month: ['31']}", ["2026-01-31T00:00:00"], ["2026-04-30T00:00:00", "2026-02-28T00:00:00"]),
        ("{days_of_month: ['1:-1'], months: ['february']}", ["2026-02-28T12:00:00"], ["2026-03-01T00:00:00"]),
        ("{years: ['2026:2027'], months: ['12']}", ["2027-12-31T23:00:00"], ["2028-12-01T00:00:00"]),
        # Rome goes from UTC+1 to UTC+2 on 29 March 2026 at 01:00 UTC, and back on 25 October at 01:00 UTC.
        ("{times: [{start_time: '09:00', end_time: '10:00'}], location: Europe/Rome}",
         ["2026-03-28T08:30:00", "2026-03-29T07:30:00", "2026-10-25T08:30:00"],
         ["2026-03-29T08:30:00", "2026-03-28T07:30:00", "2026-10-25T07:30:00"]),
        # The hour that does not exist mutes nothing; the hour that comes twice is muted twice.
        ("{times: [{start_time: '02:00', end_time: '03:00'}], location: Europe/Rome}",
         ["2026-10-25T00:30:00", "2026-10-25T01:30:00"], ["2026-03-29T00:30:00", "2026-03-29T01:30:00"]),
        ("{}", ["2026-01-01T00:00:00"], []),
    ],
)  # fmt: skip
def test_time_intervals_across_clock_changes_and_ends_of_months(
    parts: str, inside: list[str], outside: list[str]
) -> None:
    value = read_document(f"{{name: x, time_intervals: [{parts}]}}", "t.yml")
    _, read = read_interval(value)
    assert [text for text in inside if not any_holds(read, moment(text))] == []
    assert [text for text in outside if any_holds(read, moment(text))] == []
