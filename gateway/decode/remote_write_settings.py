"""Settings of the remote write decoders."""

from __future__ import annotations

from gateway.settings_types import Duration, Settings


class RemoteWriteSettings(Settings, frozen=True, kw_only=True):
    """What a sample and a series must keep to. Anything beyond is rejected by reason and its neighbours are taken."""

    max_age: Duration = Duration(48 * 3600)
    """Samples older than this are rejected (`too_old`). Seconds; default 48 h."""
    max_future: Duration = Duration(600)
    """Samples further ahead of the clock than this are rejected (`too_new`). Seconds; default 10 min."""
    max_labels: int = 256
    """Labels of one series (`too_many_labels`). Default 256."""
    max_label_name_bytes: int = 1024
    """UTF-8 bytes of one label name (`label_too_long`). Default 1,024."""
    max_label_value_bytes: int = 16384
    """UTF-8 bytes of one label value (`label_too_long`). Default 16,384."""
    max_buckets: int = 16384
    """Buckets, spans and bounds of one side of a native histogram (`buckets`). Default 16,384."""
    max_histogram_rows: int = 2_000_000
    """Rows that the native histograms of one request may become (`buckets`). Default 2,000,000."""
