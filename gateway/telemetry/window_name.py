"""What may be the name of a maintenance window, over the API and in OTLP events alike."""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_NAME: Final = 1024
"""Characters."""
_SEEN: Final = "LNPS"
"""Classes of what leaves a mark: letters, numbers, punctuation, symbols."""
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Fillers that are letters and symbols to Unicode, and look like nothing."""


def name_problem(name: str) -> str:
    """Why a window cannot have this name, or ""."""
    if len(name) > MAX_NAME:
        return f"the name of a maintenance window has {len(name)} characters; {MAX_NAME} is the limit"
    if not is_visible(name):
        return "a maintenance window needs a name of which something can be seen"
    return ""


def is_visible(text: str) -> bool:
    """Whether there is any character to be seen."""
    return any(unicodedata.category(char)[0] in _SEEN and char not in _BLANK for char in text)
