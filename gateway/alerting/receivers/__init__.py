"""Channels: one file per way to tell somebody, and the table by which a configuration finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from gateway.alerting.document import Section
from gateway.alerting.receivers import email, opsgenie, pagerduty, slack, webhook
from gateway.alerting.receivers.global_options import GlobalOptions

__all__ = ["READERS", "GlobalOptions", "Reader"]


class Reader(msgspec.Struct, frozen=True):
    """How one kind of integration is read."""

    read: Callable[[Section, GlobalOptions], Any]
    send_resolved: bool
    """Whether resolved alerts are told by default."""
    texts: Callable[[Any], Iterable[str]]
    """The templates in its options, to be checked at load."""


READERS: Final[dict[str, Reader]] = {
    "webhook_configs": Reader(webhook.read_options, True, lambda _: ()),
    "slack_configs": Reader(slack.read_options, False, slack.texts_of),
    "pagerduty_configs": Reader(pagerduty.read_options, True, pagerduty.texts_of),
    "email_configs": Reader(email.read_options, False, email.texts_of),
    "opsgenie_configs": Reader(opsgenie.read_options, True, opsgenie.texts_of),
}
