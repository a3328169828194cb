"""Settings of what surrounds an anomaly: deploys and what a service means for the business."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.settings_types import Duration, Settings


class ImpactRule(Settings, frozen=True):
    """Anomalies of what matters more to the business weigh more."""

    match: tuple[str, ...]
    """Matchers as in Alertmanager's routes, all of which must hold for the labels of the alert, for example
    ['service="checkout"', 'tier=~"1|gold"']."""
    steps: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    """How many steps the severity is raised: low, medium, high, critical."""
    name: str = ""
    """What the alert says about it, for example "takes payments"; empty: the matchers."""


class ContextSettings(Settings, frozen=True):
    """What is known around an anomaly shifts the severity of its alert; the score stays as it is."""

    deploy_before: Duration = Duration(300)
    """How long before a deploy's marker an anomaly of its service may begin and still be its effect: many tools send
    the marker when the roll-out is through."""
    deploy_after: Duration = Duration(900)
    """How long after a deploy's marker an anomaly may begin and be its effect."""
    deploy_mute: Duration = Duration(3600)
    """How long people are not told of such an alert, from its begin; what is still open then is told. Critical alerts,
    and services that stop altogether, are told at once. 0: never muted."""
    impact: tuple[ImpactRule, ...] = ()
    """Business impact; of the rules that match, the one with the most steps holds."""
