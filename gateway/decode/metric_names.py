"""Metric and label names from OTLP's, in Prometheus form.

Metric names: runs of characters that Prometheus does not take become one `_`; the unit is spelled out and appended
unless it is there already; monotonic sums end in `_total`, gauges of unit `1` in `_ratio`; units in braces are
dropped. Sources: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"; prometheus/otlptranslator.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

UNITS: Final = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tebibytes", "KBy": "kilobytes", "kBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes",
    "TBy": "terabytes", "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
"""UCUM units that have a word."""
PER_UNITS: Final = {
    "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year",
}  # fmt: skip
"""Words for what stands below the stroke."""

_NOT_IN_METRIC = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def _unit_word(text: str) -> str:
    """A unit as part of a name: runs of foreign characters are one `_`, none in front."""
    return _NOT_IN_METRIC.sub("_", text).removeprefix("_")


@lru_cache(maxsize=16_384)
def prometheus_metric_name(name: str, unit: str, *, monotonic_sum: bool, gauge: bool) -> str:
    """The Prometheus name of a metric. Needs a letter, digit or colon in `name` (decoders refuse the others)."""
    tokens = [word for word in _NOT_IN_METRIC.split(name) if word]
    main, stroke, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    main_word = "" if "{" in main or "}" in main else _unit_word(UNITS.get(main, main))
    per_word = "" if not stroke or "{" in per or "}" in per or not per else _unit_word("per_" + PER_UNITS.get(per, per))
    per_word = "" if per_word == "per_" else per_word.removesuffix("_")
    if main_word in tokens:
        main_word = ""
    if per_word in tokens:
        per_word = ""
    if per_word:
        main_word = main_word.removesuffix("_")
    tokens += [word for word in (main_word, per_word) if word]
    if monotonic_sum:
        tokens = [*(word for word in tokens if word != "total"), "total"]
    if unit == "1" and gauge:
        tokens = [*(word for word in tokens if word != "ratio"), "ratio"]
    joined = "_".join(tokens)
    return "_" + joined if joined[:1].isdigit() else joined


@lru_cache(maxsize=16_384)
def prometheus_label_name(key: str) -> str:
    """The Prometheus label of an attribute key; empty if none can be made of it."""
    label = _NOT_IN_LABEL.sub("_", key)
    if label[:1].isdigit():
        label = "key_" + label
    elif label.startswith("_") and not label.startswith("__"):
        label = "key" + label
    if label != key and not label.strip("_"):
        return ""
    return label
