"""Settings of the watch over limits: the [limits] section."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.errors import RequestError
from gateway.settings_types import Duration, Settings
from gateway.telemetry.selector import parse_selector


class LimitRule(Settings, frozen=True):
    """A limit that neither names nor companions tell."""

    match: str
    """A selector as PromQL writes it, for example 'orders_queue_length{region="eu"}'."""
    limit: float
    """The value that must not be reached."""
    falling: bool = False
    """Whether the value runs down to it, as free space does."""

    def __post_init__(self) -> None:
        """Raises ValueError for a selector that cannot be read."""
        try:
            parse_selector(self.match)
        except RequestError as error:
            raise ValueError(f"match: {error}") from error


class LimitSettings(Settings, frozen=True):
    """When series that fill something up will reach their limit."""

    enabled: bool = True
    """Look for limits at all."""
    horizon: Duration = Duration(6 * 3600.0)
    """How long before a limit is reached, at the earliest (90 %), people are told."""
    max_series: Annotated[int, msgspec.Meta(ge=0)] = 20_000
    """Series that are watched at most; each costs about 700 bytes and some 50 microseconds a minute."""
    rules: tuple[LimitRule, ...] = ()
    """Limits of your own; they go before what names tell."""
