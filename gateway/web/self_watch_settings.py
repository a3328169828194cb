"""Settings of the gateway's watch over itself: section `[self_watch]`."""

from __future__ import annotations

from gateway.settings_types import Duration, Secret, Settings


class SelfWatchSettings(Settings, frozen=True):
    """What tells others that the gateway is well, and people that the data is not."""

    watchdog: bool = False
    """Keep an alert `Watchdog` firing for ever, so that its absence at a receiver shows that the way to people is
    broken. Off by default, as it goes to whatever receiver the route chooses."""
    heartbeat_url: Secret = Secret("")
    """Address that gets a POST as long as both planes are well, for a service that raises an alarm when it stays away;
    empty = none. Kept as a secret, as such addresses carry a token."""
    heartbeat_interval: Duration = Duration(60)
    """Seconds between heartbeats."""
    data_quality_alerts: bool = True
    """Raise alerts `DataQuality` for clocks of senders that are off, series that vanish or pause, repeated points, and
    values whose unit changed."""
