"""Settings of the detector: the [detection] section. What the kernels make of them: `parameters`, a module of its own,
so that whoever only reads configuration does not load compilers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.settings_types import Duration, Settings

Sensitivity = Literal["quiet", "balanced", "keen"]


class DetectionSettings(Settings, frozen=True, kw_only=True):
    """How series are scored and when a deviation becomes an alert."""

    enabled: bool = True
    """Score series at all. Off: points are forwarded, nothing is learned and nothing alerts."""
    sensitivity: Sensitivity = "balanced"
    """Where on the measured trade-off between missed and false alerts the alert rule stands (docs/detection.md)."""
    pattern_model: str = ""
    """File of a pattern model of your own (`python -m bench.detection.retrain`); empty: the one that is shipped."""
    warm_up: Duration = Duration(600.0)
    """How long a series is only learned from after its first point; its score is 0 until then."""
    max_frozen_series: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 250_000
    """Series, of one worker, whose learning maintenance windows freeze at a time, 540 to 1,100 bytes each;
    others go on learning. 0: none is frozen."""
