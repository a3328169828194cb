"""Selectors as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.telemetry.selector import LabelMatcher, format_matcher, parse_selector


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("{}", []),
        ("up", [("__name__", "=", "up")]),
        ('up{job="a"}', [("__name__", "=", "up"), ("job", "=", "a")]),
        ('{ job =~ "a|b" , zone != "x", }', [("job", "=~", "a|b"), ("zone", "!=", "x")]),
        ('{"http.server.duration", "service.name"="cart"}', [
            ("__name__", "=", "http.server.duration"), ("service.name", "=", "cart")]),
        (r'{a="quote \" and \\ and \n"}', [("a", "=", 'quote " and \\ and \n')]),
        ("{a='b'}", [("a", "=", "b")]),
    ],
)  # fmt: skip
def test_parses(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert parse_selector(text) == tuple(LabelMatcher(*e) for e in expected)


@pytest.mark.parametrize(
    "text", ["{", "up{", "up{a}", "up{a=}", 'up{a="b"', 'up{a=~"("}', 'up{a="b"}x', "{,}", '{a=="b"}']
)
def test_refuses_with_the_place(text: str) -> None:
    with pytest.raises(RequestError, match="character"):
        parse_selector(text)


def test_regular_expressions_are_anchored_and_absent_labels_are_empty() -> None:
    assert not LabelMatcher("a", "=~", "b").matches("abc")
    assert LabelMatcher("a", "!~", "b").matches("abc")
    assert LabelMatcher("a", "=", "").matches("")


@given(
    st.lists(st.text('ab.|\\"-/ é', min_size=1, max_size=4), min_size=1, max_size=4),
    st.sampled_from(["job", "service.name"]),
)
def test_a_matcher_that_was_written_reads_back_and_names_its_values(values: list[str], label: str) -> None:
    (matcher,) = parse_selector(f"{{{format_matcher(label, values)}}}")
    assert matcher.name == label
    assert matcher.values() == sorted(set(values))
    assert all(matcher.matches(value) for value in values)


@pytest.mark.parametrize(
    "text", ['{a=""}', '{a=~""}', '{a=~"b|"}', '{a=~"b.*"}', '{a!="b"}', '{a!~"b"}', '{a=~"\\\\d"}']
)
def test_a_matcher_that_others_satisfy_too_names_no_values(text: str) -> None:
    assert parse_selector(text)[0].values() is None
