"""Regular expressions that users write: in selectors, silences and routes.

RE2's syntax, as in Prometheus and Alertmanager, matched in time linear in the text. Python's own `re` backtracks: one
expression such as `(a+)+$` and one long label value would hold the interpreter's lock, and with it the whole process,
for years.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import re2

from gateway.errors import RequestError

MAX_CHARACTERS: Final = 10_000
_MAX_MEMORY: Final = 4 * 2**20
"""Bytes one compiled expression may take; counted repetitions such as `(x{1000}){1000}` are refused by it."""


class RegularExpression:
    """A compiled expression, anchored at both ends.

    dot_matches_line_break: as Prometheus has it; Alertmanager does not.
    """

    __slots__ = ("_pattern",)

    def __init__(self, text: str, *, dot_matches_line_break: bool = True) -> None:
        """Raises RequestError."""
        if len(text) > MAX_CHARACTERS:
            raise RequestError(
                f"a regular expression of {len(text)} characters; {MAX_CHARACTERS} is the limit", reason="expression"
            )
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MAX_MEMORY
        options.dot_nl = dot_matches_line_break
        try:
            self._pattern: Any = re2.compile(text, options)
        except re2.error as error:
            said = error.args[0] if error.args else "it cannot be compiled"
            problem = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
            raise RequestError(f"not a regular expression: {problem}", reason="expression") from None
        except UnicodeEncodeError:
            raise RequestError("not a regular expression: it is not valid Unicode", reason="expression") from None

    def fullmatch(self, value: str) -> bool:
        """Whether the whole value matches; a value that is no valid Unicode does not."""
        try:
            return self._pattern.fullmatch(value) is not None
        except UnicodeEncodeError:
            return False


@functools.lru_cache(maxsize=256)
def compile_expression(text: str) -> RegularExpression:
    """The expression, remembered. Raises RequestError."""
    return RegularExpression(text)
