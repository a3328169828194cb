"""Settings of the series index."""

from __future__ import annotations

from gateway.settings_types import Duration, Settings


class SeriesSettings(Settings, frozen=True, kw_only=True):
    """How long a series is remembered."""

    expiry: Duration = Duration(86_400)
    """A series without a point for this long, by the points' own time, is forgotten and its id reused."""
