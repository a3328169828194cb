"""A group: the alerts that one route tells about together, and when it tells next.

Rules of the subject (Alertmanager `aggrGroup`):
  * A new group is flushed group_wait after its first alert, then every group_interval while it has alerts. An alert
    that started longer than group_wait ago does not wait again.
  * A resolved alert leaves the group when every integration has been told what the last flush had to tell.
  * An empty group lives on until the next sweep, so that an alert that comes back at once keeps the rhythm.
"""

from __future__ import annotations

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.route import Route

SWEEP_SECONDS = 30
"""Empty groups are removed this often."""


class Group(msgspec.Struct, kw_only=True):
    """See the rules above. Moments in nanoseconds."""

    id: str
    """`receiver|group key`"""
    key: str
    route: Route
    labels: dict[str, str]
    members: dict[str, Alert] = {}
    next_flush: int
    flushed: bool = False
    failed: bool = False
    """An integration refused what the last flush had to tell."""
    leaving: dict[str, Alert] = {}
    """Resolved members that the last flush told of; they leave once all is delivered."""
    muted: dict[str, str] = {}
    """Members that the last flush left out, and why: `silence ID`, `inhibition FINGERPRINT`, `interval NAME`, …"""
    last_flush: int = 0
    version: int = 0
    """Another one, never given before, whenever a member comes, changes or goes."""
    roster: int = 0
    """As `version`, but only when a member comes or goes."""
    most: int = 0
    """Alerts that a notification about it lists at most; 0: all."""


class GroupRecord(msgspec.Struct, kw_only=True):
    """What is kept on disk of a group; its members follow from the alerts and the routes."""

    next_flush: int
    flushed: bool


def group_id(receiver: str, key: str) -> str:
    """The identity over restarts and reloads."""
    return f"{receiver}|{key}"
