"""Why a data point is not accepted, as the small numbers that kernels count under."""

from __future__ import annotations

from typing import Final

ACCEPTED: Final = 0
TOO_OLD: Final = 1
TOO_NEW: Final = 2
NAN: Final = 3
NO_VALUE: Final = 4
INVALID_NAME: Final = 5
TEMPORALITY: Final = 6
NOT_UTF8: Final = 7
LABEL_TOO_LONG: Final = 8
TOO_MANY_ATTRIBUTES: Final = 9
SCALE: Final = 10
BUCKETS: Final = 11
ATTRIBUTE_DEPTH: Final = 12

REASONS: Final = (
    "accepted",
    "too_old",
    "too_new",
    "nan",
    "no_value",
    "invalid_name",
    "temporality",
    "not_utf8",
    "label_too_long",
    "too_many_attributes",
    "scale",
    "buckets",
    "attribute_depth",
)
"""Names, by number."""
