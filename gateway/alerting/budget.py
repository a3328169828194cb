"""Budgets: how many notifications a receiver takes in a span of time. A token bucket per integration.

The bucket holds `burst` tokens and is refilled evenly with `notifications` per `per`. A notification that tells of
something firing takes one; ends are free, as each belongs to a beginning. What finds the bucket empty goes into the
digest. Alerts that match `exempt` pass without a token. The level is kept on disk, so that a restart refills nothing.
"""

from __future__ import annotations

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.configuration import Integration
from gateway.alerting.engine import Engine
from gateway.alerting.matcher import Matcher, all_match
from gateway.alerting.moments import format_duration
from gateway.alerting.store import BUDGET


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver's; `per` and `interval` (between digests) in nanoseconds."""

    receiver: str
    notifications: int
    per: int
    burst: int
    interval: int
    exempt: tuple[Matcher, ...] = ()


class Level(msgspec.Struct, frozen=True):
    """What a bucket held at a moment."""

    tokens: float
    at: int


class Budgets:
    """All buckets. A source of digests."""

    kind = "budget"
    title = "NotificationDigest"

    def __init__(self, engine: Engine, budgets: tuple[Budget, ...]) -> None:
        self._engine = engine
        self._budgets = {budget.receiver: budget for budget in budgets}
        self._levels: dict[str, Level] = {}

    def load(self, integration: str, level: Level) -> None:
        """At start."""
        self._levels[integration] = level

    def reason(self, integration: Integration, firing: list[Alert], _first: bool, now: int) -> str:
        """See Source; takes a token if it lets the notification go."""
        budget = self._budgets.get(integration.receiver)
        if budget is None or (budget.exempt and any(all_match(budget.exempt, alert.labels) for alert in firing)):
            return ""
        level = self._levels.get(integration.key, Level(budget.burst, now))
        tokens = min(budget.burst, level.tokens + max(now - level.at, 0) / budget.per * budget.notifications)
        if tokens < 1:
            return f"over the budget of {described(budget)}"
        level = Level(tokens - 1, now)
        self._levels[integration.key] = level
        self._engine.journal.put(BUDGET, integration.key, level)
        return ""

    def intervals(self, integration: Integration) -> tuple[int, int]:
        """See Source."""
        budget = self._budgets[integration.receiver]
        return budget.interval, budget.interval

    def headline(self, integration: Integration, _now: int) -> str:
        """See Source."""
        return f"digest of what was over the budget of {described(self._budgets[integration.receiver])}"


def described(budget: Budget) -> str:
    """For people."""
    return f"{budget.notifications} notifications per {format_duration(budget.per)}"
