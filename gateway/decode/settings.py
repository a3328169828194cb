"""What decoders are told: how to name things, and what is too old, too new or too large to accept."""

from __future__ import annotations

from typing import Literal

from gateway.settings_types import Duration, Settings


class DecodeSettings(Settings, frozen=True, kw_only=True):
    """data_role takes the ages from [ingest], the naming from [victoriametrics]; the limits are the defaults here."""

    naming: Literal["prometheus", "otlp"] = "prometheus"
    """"prometheus": names sanitised, with unit and `_total` suffixes, resource as `job`, `instance` and `target_info`.
    "otlp": names as sent, all resource attributes on every series."""

    max_age: Duration = Duration(48 * 3600)
    """Points older than this are refused (`too_old`). Seconds, default 48h."""

    max_future: Duration = Duration(600)
    """Points further ahead than this are refused (`too_new`). Seconds, default 10m."""

    max_attributes: int = 128
    """Attributes of one point, scope or resource; with more the point is refused (`too_many_attributes`)."""

    max_label_bytes: int = 16384
    """Bytes of one attribute, key and value together, and of one name; longer ones refuse the point
    (`label_too_long`)."""

    max_rows: int = 4_194_304
    """Log rows one request may expand to (a histogram is one for each bucket); more is refused as too large."""

    max_exemplars: int = 16_384
    """Exemplars kept of one request; further ones are counted and left out."""
