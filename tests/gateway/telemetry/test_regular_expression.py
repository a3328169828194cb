"""Users' regular expressions: whole-value matching, RE2's syntax, and no expression that can hold the process."""

from __future__ import annotations

import pytest

from gateway.errors import RequestError
from gateway.telemetry.regular_expression import MAX_CHARACTERS, RegularExpression
from gateway.telemetry.selector import parse_selector


def test_the_whole_value_must_match_and_a_dot_may_be_a_line_break() -> None:
    assert RegularExpression("a.c").fullmatch("a\nc")
    assert not RegularExpression("a.c", dot_matches_line_break=False).fullmatch("a\nc")
    assert not RegularExpression("b").fullmatch("abc")
    assert RegularExpression("ü+").fullmatch("üü")
    assert RegularExpression("").fullmatch("")


@pytest.mark.parametrize("text", ["(", "(?=a)", r"(a)\1", "x{1000}{1000}", "a" * (MAX_CHARACTERS + 1), "\ud800"])
def test_what_cannot_be_compiled_in_bounds_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="regular expression"):
        RegularExpression(text)


def test_an_expression_that_backtracking_would_never_finish_is_answered() -> None:
    matcher = parse_selector('{path=~"(a+)+(b|c)*$"}')[0]
    assert not matcher.matches("a" * 50_000 + "!")
    assert not matcher.matches("\ud800")
